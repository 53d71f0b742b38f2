"""The window against a plain dict, in every order of replies."""

from __future__ import annotations

import random

import pytest

from ceph_msgr.tools.window import DRAINED, NOTHING, Window


class Clock:
    def __init__(self) -> None:
        self.now_ns = 5_000

    def __call__(self) -> int:
        return self.now_ns


@pytest.mark.parametrize("concurrency", [1, 2, 7, 8, 33])
@pytest.mark.parametrize("laziness", [1, 50])
def test_whatever_the_order_of_replies(concurrency: int, laziness: int, rng: random.Random) -> None:
    """With laziness some requests stay unanswered while thousands of later ones come and go."""
    clock = Clock()
    window = Window(concurrency, 5_000, clock=clock)
    sent_ns = dict.fromkeys(window.open(), clock.now_ns)
    latencies_ns = []
    while sent_ns:
        clock.now_ns += rng.randrange(64, 20_000) // 64 * 64
        tid = max(rng.choices(sorted(sent_ns), k=laziness))
        latencies_ns.append(clock.now_ns - sent_ns.pop(tid))
        unknown = rng.choice([tid + 5_000, 2**64 - 1])
        assert window.answered(unknown) == NOTHING
        following = window.answered(tid)
        if following >= 0:
            sent_ns[following] = clock.now_ns
        else:
            assert following == (NOTHING if sent_ns else DRAINED)
        assert window.outstanding == len(sent_ns)
        assert window.answered(tid) == NOTHING, "answered twice"
    assert (window.replies, window.errors) == (5_000, 2 * 5_000)
    latency = window.latency
    assert len(latency) == 5_000
    assert latency.mean_ns() == pytest.approx(sum(latencies_ns) / 5_000, rel=0.01)
    assert (window.started_ns, window.last_reply_ns) == (5_000, clock.now_ns)


def test_a_latency_beyond_the_fine_buckets_counts_too() -> None:
    clock = Clock()
    window = Window(1, clock=clock)
    window.open()
    clock.now_ns += 10**9
    window.answered(0)
    assert window.latency.quantile_ns(500) == pytest.approx(1e9, rel=0.01)


def test_what_is_sent_later_is_timed_from_then() -> None:
    clock = Clock()
    window = Window(1, clock=clock)
    window.open()
    assert window.answered(0) == 1
    clock.now_ns += 1_000_000
    window.sent(1)
    clock.now_ns += 640
    assert window.answered(1) == 2
    assert window.outstanding == 1
    assert window.latency.quantile_ns(1000) == pytest.approx(640, abs=32)


def test_closed_it_asks_for_no_more() -> None:
    window = Window(2)
    assert list(window.open()) == [0, 1]
    window.close()
    assert [window.answered(1), window.answered(0)] == [NOTHING, DRAINED]


def test_a_window_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="a window of 0 requests"):
        Window(0)


def test_a_failing_clock_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        Window(1, clock=lambda: 1 // 0).open()
