"""Events from other threads: the price of waking a loop, and of not waking it because it is about to look anyway."""

from __future__ import annotations

import threading

import pytest

from ceph_msgr._core import EventCenter

TIMEOUT_NS = 10_000_000_000


@pytest.fixture
def other():
    """A center that another thread turns."""
    center = EventCenter()
    done = threading.Event()

    def turn() -> None:
        center.owner = threading.get_ident()
        while not done.is_set():
            center.process_events(TIMEOUT_NS)
        center.owner = 0

    thread = threading.Thread(target=turn, name="other-center")
    thread.start()
    yield center
    done.set()
    center.wakeup()
    thread.join(TIMEOUT_NS / 1e9)
    assert not thread.is_alive()
    center.close()


def test_wakeup_round_trip(benchmark, other) -> None:
    """There and back: two threads, each asleep until the other posts."""
    own = EventCenter()
    own.owner = threading.get_ident()
    answers = []

    def round_trip() -> None:
        answers.clear()
        other.dispatch_event_external(lambda: own.dispatch_event_external(lambda: answers.append(1)))
        while not answers:
            own.process_events(TIMEOUT_NS)

    benchmark(round_trip)
    assert answers == [1]
    own.close()


def test_post_coalesced(benchmark, batch: int) -> None:
    """The same callback again, while it is queued: one event, one wakeup, however often it is posted."""
    center = EventCenter()
    ran = []

    def callback() -> None:
        ran.append(1)

    def post() -> None:
        dispatch = center.dispatch_event_external
        for _ in range(batch):
            dispatch(callback)

    def check_and_empty(*_) -> None:
        ran.clear()
        center.owner = threading.get_ident()
        center.process_events(0)
        center.owner = 0
        assert ran == [1]

    benchmark.pedantic(post, rounds=50, teardown=check_and_empty, warmup_rounds=2)
    center.owner = threading.get_ident()
    center.close()
