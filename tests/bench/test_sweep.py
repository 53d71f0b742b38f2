"""Steps, cliffs and aims, from figures that are known."""

from __future__ import annotations

import pytest

from bench import aims, sweep
from bench.aims import AIMS, Results
from bench.case import by_name
from bench.compare import Cell
from bench.contestants import contestants
from bench.crowd import Crowd
from bench.sample import Sample
from bench.sweep import SWEEPS, Point, cliffs, run_sweep, steps

DEPTH, PAYLOAD, _ = SWEEPS


def samples(*rates: float) -> list[Sample]:
    return [Sample(rate, 10.0, 20.0, 1.0, 2.0) for rate in rates]


def points(rates_of: dict[int, tuple[float, ...]]) -> list[Point]:
    return [Point(value, value, samples(*rates)) for value, rates in rates_of.items()]


def test_a_fall_of_more_than_a_tenth_is_a_cliff() -> None:
    found = points({1: (100.0,), 2: (90.0,), 4: (80.0,), 8: (80.0,)})
    assert [(step.to, step.ratio) for step in steps(DEPTH, found)] == [(2, 0.9), (4, pytest.approx(8 / 9)), (8, 1.0)]
    assert [step.to for step in cliffs(DEPTH, found)] == [4]


def test_a_step_is_the_median_of_the_rounds() -> None:
    # One round lost half of its rate at 2; that is no cliff.
    assert not cliffs(DEPTH, points({1: (100, 50, 200), 2: (50, 50, 200)}))
    assert cliffs(DEPTH, points({1: (100, 50, 200), 2: (50, 25, 200)}))


def test_payload_is_judged_by_bytes() -> None:
    found = points({0: (900.0,), 64: (100.0,), 128: (46.0,), 256: (20.0,)})
    # Nothing is said of 0: no bytes, and 64 is not its double.
    assert [(step.to, step.ratio) for step in steps(PAYLOAD, found)] == [(128, 0.92), (256, pytest.approx(40 / 46))]
    assert [step.to for step in cliffs(PAYLOAD, found)] == [256]
    lines = list(sweep.table(PAYLOAD, found))
    assert "a cliff" in lines[4] and lines[-1] == "payload: MB/s falls by more than 10 % at 256 (0.87)"


def test_in_each_round_every_point_comes_once() -> None:
    ran: list[int] = []

    def run(case, seconds) -> Sample:
        ran.append(case.in_flight)
        return samples(1.0)[0]

    found = run_sweep(DEPTH, run, 2, 1.0)
    values = [2**n for n in range(11)]
    assert ran == values * 2
    assert [(point.value, len(point.samples)) for point in found] == [(value, 2) for value in values]


def test_sweeps_reach_their_ends() -> None:
    ends = {swept.name: (swept.value(swept.cases[0]), swept.value(swept.cases[-1])) for swept in SWEEPS}
    assert ends == {"depth": (1, 1024), "payload": (0, 16 << 20), "jobs": (1, 64)}


# ---- aims ----


def verdicts(results: Results) -> dict[tuple[str, str], str]:
    """What the table says at the end of each line."""
    rows = list(aims.table(AIMS, results))[1:]
    return {(aim.case, aim.text): row.rsplit("  ", 1)[1] for aim, row in zip(AIMS, rows, strict=True)}


def test_aims_without_figures_are_not_measured() -> None:
    found = verdicts(Results())
    assert len(found) == len(AIMS) and set(found.values()) == {"not measured"}


def test_aims_are_judged_by_their_bounds() -> None:
    results = Results()
    results.cells["4k"] = Cell(by_name("4k"), {"echo": samples(100.0), "pair": samples(53.0), "pair-lossless": samples(40.0)})
    results.cells["64k"] = Cell(
        by_name("64k"), {"floor-crc": samples(50.0), "floor-crc-sleeping": samples(100.0), "pair": samples(60.0)}
    )
    results.least_steps["depth"] = 0.89
    results.crowd = Crowd(10_000, [100.0], [90.0], 20_000.0, 1000, [0.0, 0.01])
    found = verdicts(results)
    assert found["4k", "rate to the C echo's"] == "reached"
    assert found["4k", "client and server CPU, us per operation"] == "reached"
    assert found["4k", "rate to Ceph's"] == "not measured"
    assert found["4k", "lossless: rate to the lossy one"] == "not reached"
    assert found["64k", "rate to the C floor's with crc32c"] == "not reached", "the stronger floor counts"
    assert found["depth", "depth 1 to 1024: ops/s to those at half the depth, least"] == "not reached"
    crowd = [verdict for (case, _), verdict in found.items() if case == "connections"]
    assert crowd == ["reached", "not reached", "not reached"]
    assert [row["spread"] for row in aims.as_json(AIMS, results) if row["case"] == "64k"] == [0, 0]
    assert [row["reached"] for row in aims.as_json(AIMS, results) if row["case"] == "connections"] == [True, False, False]


def test_aims_name_contestants_that_serve_their_case() -> None:
    serving = {contestant.name: contestant for contestant in contestants(None)}
    for aim in AIMS:
        for name in aim.contestants:
            assert serving[name].serves(by_name(aim.case)), (aim, name)
