"""The histogram against the plain arithmetic it stands for."""

from __future__ import annotations

import random

import pytest

from ceph_msgr.tools.histogram import FINE_SHIFT, LatencyHistogram

QUANTILES = 1, 500, 900, 990, 999, 1000
#: Half of one bucket in 128, or of one of 64 ns.
TOLERANCE = 1 / 256
TOLERANCE_NS = 32


def filled(values_ns: list[int]) -> LatencyHistogram:
    histogram = LatencyHistogram()
    for value_ns in values_ns:
        histogram.record(value_ns)
    return histogram


def exact_quantile(values_ns: list[int], per_mille: int) -> int:
    """By definition: the first of the sorted values up to which there are at least so many."""
    ordered = sorted(values_ns)
    return next(value for rank, value in enumerate(ordered, 1) if rank * 1000 >= per_mille * len(ordered))


def test_every_latency_is_told_within_its_tolerance(rng: random.Random) -> None:
    edges = [edge + step for bits in range(44) for edge in [1 << bits] for step in (-1, 0, 1)]
    values_ns = sorted([*edges, *(rng.randrange(1 << rng.randrange(1, 44)) for _ in range(2000))])
    told_ns = [middle_ns for middle_ns, count in filled(values_ns).buckets() for _ in range(count)]
    assert told_ns == pytest.approx(values_ns, rel=TOLERANCE, abs=TOLERANCE_NS)


def test_the_short_way_to_record_is_the_same() -> None:
    histogram = LatencyHistogram()
    histogram.fine[100_000 >> FINE_SHIFT] += 1
    assert list(histogram.buckets()) == list(filled([100_000]).buckets())


def test_the_longest_latency_has_a_bucket_and_the_next_has_none() -> None:
    assert filled([2**44 - 1]).quantile_ns(1000) == pytest.approx(2**44, rel=TOLERANCE, abs=TOLERANCE_NS)
    with pytest.raises(IndexError):
        LatencyHistogram().record(2**44)


@pytest.mark.parametrize("count", [1, 2, 3, 10, 999, 1000, 1001, 5000])
def test_quantiles_and_mean_match_the_sorted_values(count: int, rng: random.Random) -> None:
    values_ns = [int(rng.lognormvariate(11, 1.5)) for _ in range(count)]
    histogram = filled(values_ns)
    assert len(histogram) == count
    assert histogram.mean_ns() == pytest.approx(sum(values_ns) / count, rel=TOLERANCE, abs=TOLERANCE_NS)
    for per_mille in QUANTILES:
        exact_ns = exact_quantile(values_ns, per_mille)
        assert histogram.quantile_ns(per_mille) == pytest.approx(exact_ns, rel=TOLERANCE, abs=TOLERANCE_NS)


def test_a_quantile_is_the_value_of_one_operation_not_a_mixture() -> None:
    # 999 fast ones and a slow one: 99.9 % did not exceed the fast value, the longest is the slow one.
    histogram = filled([100] * 999 + [200])
    assert histogram.quantile_ns(999) == pytest.approx(100, abs=TOLERANCE_NS)
    assert histogram.quantile_ns(1000) == pytest.approx(200, abs=TOLERANCE_NS)


def test_merging_is_recording_both(rng: random.Random) -> None:
    one, other = ([rng.randrange(10**7) for _ in range(500)] for _ in range(2))
    merged = filled(one)
    merged.merge(filled(other))
    assert list(merged.buckets()) == list(filled(one + other).buckets())


def test_nothing_recorded_gives_zeros() -> None:
    empty = LatencyHistogram()
    assert (len(empty), empty.mean_ns(), empty.quantile_ns(500), list(empty.buckets())) == (0, 0, 0, [])
