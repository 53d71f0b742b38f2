"""EventCenter: files, timers, events from other threads. One driver exists, epoll: C1 and C2 run on it."""

from __future__ import annotations

import os
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from ceph_msgr._core import EVENT_READABLE, EVENT_WRITABLE, EventCenter

DEADLINE_S = 30
LOOK_NS = 1_000


@pytest.fixture
def center() -> Iterator[EventCenter]:
    center = EventCenter()
    yield center
    center.close()


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    yield reader, writer
    os.close(reader)
    os.close(writer)


def process_until(center: EventCenter, condition: Callable[[], object]) -> None:
    end = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end, "the deadline has passed"
        center.process_events(10_000_000)


class Loop:
    """A center turned by a thread of its own, which waits for ever if nobody wakes it."""

    def __init__(self) -> None:
        self.center = EventCenter()
        self.done = False
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        self.center.owner = threading.get_ident()
        while not self.done:
            self.center.process_events(-1)
        self.center.owner = 0

    def stop(self) -> None:
        self.done = True
        self.center.wakeup()
        self.thread.join(DEADLINE_S)
        assert not self.thread.is_alive(), "the loop did not wake up"
        self.center.close()


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.stop()


# ---- files ----


@pytest.mark.contract("C1")
def test_pipe(center: EventCenter, pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    fired: list[tuple[int, int]] = []
    center.create_file_event(reader, EVENT_READABLE, lambda fd, mask: fired.append((fd, mask)))
    center.process_events(LOOK_NS)
    assert fired == []
    os.write(writer, b"a")
    center.process_events(LOOK_NS)
    assert fired == [(reader, EVENT_READABLE)]
    center.process_events(LOOK_NS)
    assert len(fired) == 1, "edge-triggered: an event that was told is not told again"
    os.write(writer, b"b")
    center.process_events(LOOK_NS)
    assert len(fired) == 2, "new data is a new edge although the old was not read"
    center.delete_file_event(reader, EVENT_READABLE)
    os.write(writer, b"c")
    center.process_events(LOOK_NS)
    assert len(fired) == 2


@pytest.mark.contract("C2")
def test_network_socket(center: EventCenter) -> None:
    rounds = 30
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)

    def talk() -> None:
        with socket.create_connection(listener.getsockname(), timeout=DEADLINE_S) as client:
            for _ in range(rounds):
                client.sendall(b"banner!")
                assert client.recv(1) == b"k"

    fired: list[tuple[int, int]] = []

    def note(fd: int, mask: int) -> None:
        fired.append((fd, mask))

    center.create_file_event(listener.fileno(), EVENT_READABLE, note)
    peer = threading.Thread(target=talk)
    peer.start()
    process_until(center, lambda: fired)
    assert fired == [(listener.fileno(), EVENT_READABLE)]
    accepted, _ = listener.accept()
    accepted.setblocking(False)
    fd = accepted.fileno()
    center.create_file_event(fd, EVENT_READABLE, note)
    for _ in range(rounds):
        fired.clear()
        process_until(center, lambda: fired)
        assert fired == [(fd, EVENT_READABLE)]
        assert accepted.recv(100) == b"banner!"
        fired.clear()
        center.create_file_event(fd, EVENT_WRITABLE, note)
        process_until(center, lambda: fired)
        assert fired == [(fd, EVENT_WRITABLE)]
        center.delete_file_event(fd, EVENT_WRITABLE)
        assert center.file_event_mask(fd) == EVENT_READABLE
        accepted.send(b"k")
    fired.clear()
    process_until(center, lambda: fired)
    assert accepted.recv(100) == b""
    center.delete_file_event(fd, EVENT_READABLE)
    center.delete_file_event(listener.fileno(), EVENT_READABLE)
    accepted.close()
    listener.close()
    peer.join(DEADLINE_S)


@pytest.mark.contract("C3")
def test_more_files_than_there_was_room_for() -> None:
    center = EventCenter(num_files=100)
    sockets = [socket.socket() for _ in range(300)]
    assert max(s.fileno() for s in sockets) > 100
    for s in sockets:
        center.create_file_event(s.fileno(), EVENT_READABLE, lambda fd, mask: None)
    assert all(center.file_event_mask(s.fileno()) == EVENT_READABLE for s in sockets)
    for s in sockets:
        center.delete_file_event(s.fileno(), EVENT_READABLE)
        assert center.file_event_mask(s.fileno()) == 0
        s.close()
    center.close()


def test_the_same_mask_does_not_replace_the_callback(center: EventCenter, pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    fired: list[str] = []
    center.create_file_event(reader, EVENT_READABLE, lambda fd, mask: fired.append("first"))
    center.create_file_event(reader, EVENT_READABLE, lambda fd, mask: fired.append("second"))
    os.write(writer, b"a")
    center.process_events(LOOK_NS)
    assert fired == ["first"]
    center.delete_file_event(reader, EVENT_READABLE)


@pytest.mark.contract("C7")
@pytest.mark.parametrize("first", [0, 1])
def test_a_callback_that_removes_another_watch_suppresses_its_pending_event(center: EventCenter, first: int) -> None:
    pairs = [socket.socketpair() for _ in range(2)]
    fds = [near.fileno() for near, _ in pairs]
    fired: list[int] = []

    def remove_the_other(fd: int, mask: int) -> None:
        fired.append(fd)
        center.delete_file_event(fds[1 - fds.index(fd)], EVENT_READABLE)

    for index in first, 1 - first:
        center.create_file_event(fds[index], EVENT_READABLE, remove_the_other)
    for _, far in pairs:
        far.send(b"x")
    center.process_events(LOOK_NS)
    center.process_events(LOOK_NS)
    assert len(fired) == 1
    center.delete_file_event(fired[0], EVENT_READABLE)
    for near, far in pairs:
        near.close()
        far.close()


def test_files_belong_to_the_owner(loop: Loop, pipe: tuple[int, int]) -> None:
    with pytest.raises(RuntimeError, match="owns this EventCenter"):
        loop.center.create_file_event(pipe[0], EVENT_READABLE, lambda fd, mask: None)
    with pytest.raises(RuntimeError, match="owns this EventCenter"):
        loop.center.create_time_event(0, lambda: None)


# ---- timers ----


@pytest.mark.contract("C6")
def test_timers_fire_in_time_order_once_and_never_early(center: EventCenter) -> None:
    delays_ms = [7, 3, 11, 3, 1, 5]
    fired: list[tuple[int, int]] = []
    begun_ns = center.now_ns()
    for number, delay_ms in enumerate(delays_ms):
        center.create_time_event(delay_ms * 1_000_000, partial(lambda n: fired.append((n, center.now_ns())), number))
    process_until(center, lambda: len(fired) == len(delays_ms))
    center.process_events(20_000_000)
    assert [number for number, _ in fired] == [4, 1, 3, 5, 0, 2]
    for number, at_ns in fired:
        assert at_ns - begun_ns >= delays_ms[number] * 1_000_000


@pytest.mark.contract("C6")
def test_a_timer_may_delete_others_and_itself(center: EventCenter) -> None:
    fired: list[str] = []
    ids: dict[str, int] = {}

    def first() -> None:
        fired.append("first")
        assert center.delete_time_event(ids["second"]) is True
        assert center.delete_time_event(ids["first"]) is False, "it is gone before its callback runs"

    ids["first"] = center.create_time_event(0, first)
    ids["second"] = center.create_time_event(0, lambda: fired.append("second"))
    ids["third"] = center.create_time_event(0, lambda: fired.append("third"))
    process_until(center, lambda: "third" in fired)
    assert fired == ["first", "third"]
    assert len(set(ids.values())) == 3 and min(ids.values()) > 0
    assert center.delete_time_event(ids["third"]) is False
    assert center.delete_time_event(10**9) is False


@pytest.mark.contract("C6")
def test_a_timer_may_set_another_and_external_events_do_not_starve_it(center: EventCenter) -> None:
    fired: list[str] = []

    def flood() -> None:
        if len(fired) < 2:
            center.dispatch_event_external(flood)

    center.dispatch_event_external(flood)
    center.create_time_event(
        1_000_000, lambda: (fired.append("first"), center.create_time_event(0, lambda: fired.append("second")))
    )
    process_until(center, lambda: len(fired) == 2)
    assert fired == ["first", "second"]


# ---- events from other threads ----


@pytest.mark.contract("C4")
@pytest.mark.slow
def test_no_wakeup_is_lost_between_two_loops() -> None:
    """Both loops wait for ever: one lost wake-up, and the semaphore's deadline passes."""
    loops = [Loop(), Loop()]
    ran = threading.Semaphore(0)
    counts = [0, 0]

    def count(index: int) -> None:
        counts[index] += 1
        ran.release()

    for _ in range(10_000):
        for index, loop in enumerate(loops):
            loop.center.dispatch_event_external(partial(count, index))
        for _ in loops:
            assert ran.acquire(timeout=DEADLINE_S), f"lost a wake-up after {counts}"
    for loop in loops:
        loop.stop()
    assert counts == [10_000, 10_000]


@pytest.mark.contract("C8")
def test_submit_to_runs_at_once_on_the_owner_and_waits_elsewhere(loop: Loop) -> None:
    journal: list[str] = []

    def inner() -> None:
        journal.append("inner" if loop.center.in_thread() else "inner on the wrong thread")

    def outer() -> None:
        loop.center.submit_to(inner)
        journal.append("outer")

    assert not loop.center.in_thread()
    loop.center.submit_to(outer)
    assert journal == ["inner", "outer"]


@pytest.mark.contract("C8")
def test_submit_to_nowait_is_never_inline(loop: Loop) -> None:
    journal: list[str] = []
    done = threading.Event()

    def inner() -> None:
        journal.append("inner")
        done.set()

    def outer() -> None:
        loop.center.submit_to(inner, nowait=True)
        journal.append("outer")

    loop.center.submit_to(outer)
    assert done.wait(DEADLINE_S)
    assert journal == ["outer", "inner"]


@pytest.mark.contract("C8")
def test_submit_to_nowait_does_not_wait(center: EventCenter) -> None:
    journal: list[str] = []
    center.owner = threading.get_ident() + 1  # somebody else, who does not come
    center.submit_to(lambda: journal.append("ran"), nowait=True)
    assert journal == []
    center.owner = 0
    process_until(center, lambda: journal)


@pytest.mark.contract("C8")
def test_submit_to_hands_back_what_the_callback_raised(loop: Loop) -> None:
    with pytest.raises(ZeroDivisionError):
        loop.center.submit_to(lambda: 1 // 0)


@pytest.mark.contract("C9")
def test_an_external_event_queued_by_another_runs_in_the_next_round(center: EventCenter) -> None:
    journal: list[str] = []

    def first() -> None:
        journal.append("first")
        center.dispatch_event_external(lambda: journal.append("second"))

    center.dispatch_event_external(first)
    center.process_events(LOOK_NS)
    assert journal == ["first"]
    center.process_events(LOOK_NS)
    assert journal == ["first", "second"]


@pytest.mark.contract("C10")
@pytest.mark.parametrize(("posted", "expected"), [("aa", "a"), ("aba", "aba"), ("aabbba", "aba"), ("abab", "abab")])
def test_an_event_equal_to_the_last_one_queued_is_not_queued_again(center: EventCenter, posted: str, expected: str) -> None:
    journal: list[str] = []
    events = {name: partial(journal.append, name) for name in "ab"}
    for name in posted:
        center.dispatch_event_external(events[name])
    process_until(center, lambda: len(journal) >= len(expected))
    center.process_events(LOOK_NS)
    assert "".join(journal) == expected


def test_pending_external_events_run_when_the_center_is_closed() -> None:
    journal: list[str] = []
    center = EventCenter()
    center.dispatch_event_external(lambda: journal.append("ran"))
    center.close()
    assert journal == ["ran"]
    with pytest.raises(RuntimeError, match="closed"):
        center.wakeup()


# ---- fork ----


def in_child(what: Callable[[], object]) -> str:
    """Runs ``what`` in a forked child; its result or its exception in words."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            answer = str(what())
        except BaseException as error:
            answer = f"{type(error).__name__}: {error}"
        os.write(writer, answer.encode())
        os._exit(0)
    os.close(writer)
    try:
        assert select.select([reader], [], [], DEADLINE_S)[0], "the child says nothing"
        return os.read(reader, 10_000).decode()
    finally:
        os.close(reader)
        os.waitpid(child, 0)


@pytest.mark.contract("C11")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # fork in a process with threads: that is the point
def test_fork_with_an_open_loop(center: EventCenter, pipe: tuple[int, int]) -> None:
    """The child is refused, may make its own, and whatever it does leaves the parent's loop as it was."""
    reader, writer = pipe
    fired: list[int] = []
    center.create_file_event(reader, EVENT_READABLE, lambda fd, mask: fired.append(fd))

    def child() -> Any:
        refused = 0
        for use in (
            lambda: center.process_events(0),
            lambda: center.delete_file_event(reader, EVENT_READABLE),
            lambda: center.dispatch_event_external(lambda: None),
            center.wakeup,
        ):
            try:
                use()
            except RuntimeError as error:
                refused += "fork" in str(error)
        own = EventCenter()
        mine: list[int] = []
        near, far = os.pipe()
        own.create_file_event(near, EVENT_READABLE, lambda fd, mask: mine.append(fd))
        os.write(far, b"x")
        own.process_events(1_000_000_000)
        own.close()
        return f"refused {refused}, own loop fired {len(mine)}"

    assert in_child(child) == "refused 4, own loop fired 1"
    os.write(writer, b"x")
    process_until(center, lambda: fired)
    center.delete_file_event(reader, EVENT_READABLE)
