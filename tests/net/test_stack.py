"""Stack and Worker: threads, load, life."""

from __future__ import annotations

import logging
import os
import select
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from ceph_msgr.metrics import render_prometheus, snapshot
from ceph_msgr.net import Stack, Worker

DEADLINE_S = 30


@pytest.fixture
def stack() -> Iterator[Stack]:
    stack = Stack(workers=3)
    stack.start()
    yield stack
    stack.stop()


def stepped_stack(workers: int = 1) -> Stack:
    stack = Stack(workers=workers, thread_starter=lambda name, run: None)
    stack.start()
    return stack


# ---- threads ----


def test_start_waits_until_every_worker_runs_on_its_named_thread(stack: Stack) -> None:
    names: list[str] = []
    for worker in stack.workers:
        worker.submit_to(lambda: names.append(threading.current_thread().name))
    assert names == ["msgr-worker-0", "msgr-worker-1", "msgr-worker-2"] == [worker.name for worker in stack.workers]


def test_start_is_idempotent(stack: Stack) -> None:
    before = threading.active_count()
    stack.start()
    assert threading.active_count() == before


def test_stop_ends_the_threads_is_idempotent_and_final() -> None:
    before = threading.active_count()
    stack = Stack(workers=2)
    stack.start()
    assert threading.active_count() == before + 2
    assert stack.is_usable
    stack.stop()
    stack.stop()
    stack.drain()
    assert not stack.is_usable
    assert threading.active_count() == before
    with pytest.raises(RuntimeError, match="cannot be started again"):
        stack.start()


def test_stop_before_start() -> None:
    Stack().stop()


def test_what_was_queued_before_stop_still_runs() -> None:
    ran: list[int] = []
    stack = Stack()
    stack.start()
    gate = threading.Event()
    stack.workers[0].submit_to(lambda: gate.wait(DEADLINE_S), nowait=True)
    for number in range(1000):
        stack.workers[0].submit_to(partial(ran.append, number), nowait=True)
    stack.workers[0].stop()
    gate.set()
    stack.stop()
    assert ran == list(range(1000))


@pytest.mark.parametrize("workers", [0, 25])
def test_number_of_workers_is_bounded(workers: int) -> None:
    with pytest.raises(ValueError, match="1 to 24"):
        Stack(workers=workers)


def test_there_is_one_kind() -> None:
    with pytest.raises(ValueError, match="rdma"):
        Stack("rdma")


def test_the_default_stack_is_shared_and_replaced_once_stopped() -> None:
    stack = Stack.default()
    assert Stack.default(workers=5) is stack
    stack.stop()
    another = Stack.default()
    assert another is not stack
    another.drain()
    another.stop()


# ---- load ----


def test_get_worker_is_the_least_loaded_the_first_on_a_tie(stack: Stack) -> None:
    taken = [stack.get_worker().id for _ in range(4)]
    assert taken == [0, 1, 2, 0]
    stack.workers[1].release()
    assert stack.get_worker().id == 1
    assert [worker.references for worker in stack.workers] == [2, 1, 1]


def test_more_releases_than_gets_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="msgr-worker-0: released more often than taken"):
        Stack().workers[0].release()


def test_concurrent_gets_are_spread_evenly(stack: Stack) -> None:
    threads = [threading.Thread(target=lambda: [stack.get_worker() for _ in range(100)]) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_S)
    assert [worker.references for worker in stack.workers] == [200, 200, 200]


# ---- running things on workers ----


def test_drain_waits_for_what_was_queued_before(stack: Stack) -> None:
    ran: list[int] = []
    for worker in stack.workers:
        for number in range(100):
            worker.submit_to(partial(ran.append, number), nowait=True)
    stack.drain()
    assert len(ran) == 300


@pytest.mark.parametrize("name", ["stop", "drain"])
def test_what_would_wait_for_itself_is_refused_on_a_worker(stack: Stack, name: str) -> None:
    with pytest.raises(RuntimeError, match="on a worker thread would wait for itself"):
        stack.workers[1].submit_to(getattr(stack, name))
    assert not stack.in_worker_thread()


def test_an_exception_out_of_a_posted_event_does_not_end_the_worker(stack: Stack, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, "ceph_msgr"):
        stack.workers[0].submit_to(lambda: 1 // 0, nowait=True)
        stack.drain()
    assert "ZeroDivisionError" in caplog.text
    stack.drain()


@pytest.mark.parametrize("error", [OSError("the poller is broken"), SystemExit(3)], ids=["error", "sys.exit"])
def test_an_exception_out_of_the_turn_is_logged_counted_and_the_loop_goes_on(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    worker = Worker(0)
    real, failures = worker.core, [error, error]

    class FailingCore:
        center = real.center
        stats = real.stats
        close = real.close

        def turn(self, max_wait_ns: int) -> int:
            if failures:
                raise failures.pop()
            return real.turn(max_wait_ns)

    worker.core = FailingCore()  # type: ignore[assignment]
    thread: Any = threading.Thread(target=worker._run, daemon=True)
    worker.start(lambda name, run: thread)
    with caplog.at_level(logging.ERROR, "ceph_msgr"):
        thread.start()
        ran = threading.Event()
        worker.submit_to(ran.set, nowait=True)
        assert ran.wait(DEADLINE_S)
    assert worker.perf.get("msgr_turn_exceptions") == 2
    assert "msgr-worker-0: exception out of the loop" in caplog.text
    worker.stop()
    worker.join()
    assert not thread.is_alive()


# ---- stepping by hand ----


def test_a_stepped_stack_starts_no_threads_and_runs_what_it_is_stepped() -> None:
    before = threading.active_count()
    stack = stepped_stack(2)
    assert threading.active_count() == before
    first, second = stack.workers
    journal: list[str] = []
    second.submit_to(lambda: journal.append("second"), nowait=True)
    first.submit_to(lambda: journal.append("first"), nowait=True)
    assert journal == []
    first.step()
    assert journal == ["first"]
    second.step()
    assert journal == ["first", "second"]
    stack.stop()


def test_a_stepped_worker_is_owned_only_while_it_is_stepped() -> None:
    stack = stepped_stack(2)
    first, second = stack.workers
    owned: list[tuple[bool, bool]] = []
    first.submit_to(lambda: owned.append((first.in_thread(), second.in_thread())), nowait=True)
    assert not first.in_thread()
    first.step()
    assert owned == [(True, False)]
    assert not first.in_thread()
    stack.stop()


def test_waiting_for_a_stepped_worker_steps_it() -> None:
    stack = stepped_stack(2)
    journal: list[str] = []
    stack.workers[0].submit_to(lambda: journal.append("before"), nowait=True)
    stack.workers[0].submit_to(lambda: journal.append("waited for"))
    assert journal == ["before", "waited for"]
    stack.workers[1].submit_to(lambda: journal.append("drained"), nowait=True)
    stack.drain()
    assert journal[-1] == "drained"
    stack.stop()


# ---- counters ----


def test_counters_of_each_worker_also_after_the_end(stack: Stack) -> None:
    stack.drain()
    groups = snapshot(stack.perf_counters())
    assert list(groups) == [f"AsyncMessenger::Worker-{id}" for id in range(3)]
    stack.stop()
    after = snapshot(stack.perf_counters())["AsyncMessenger::Worker-0"]
    assert 0 < after["msgr_running_total_time"] < DEADLINE_S  # type: ignore[operator]
    assert 'ceph_msgr_recv_messages_total{worker="2"} 0\n' in render_prometheus(stack.perf_counters())


def test_counters_before_the_start() -> None:
    assert Stack().perf_counters()[0].snapshot()["msgr_running_total_time"] == 0


# ---- process events ----


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


@pytest.mark.contract("H4")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # fork in a process with threads: that is the point
@pytest.mark.parametrize("name", ["start", "get_worker", "drain"])
def test_a_forked_child_is_refused_and_the_parent_goes_on(stack: Stack, name: str) -> None:
    assert in_child(lambda: stack.is_usable) == "False"
    answer = in_child(getattr(stack, name))
    assert answer.startswith(f"RuntimeError: this stack belongs to process {os.getpid()}")
    stack.drain()


@pytest.mark.contract("H4")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_gets_a_default_stack_of_its_own() -> None:
    parents = Stack.default()

    def child() -> str:
        own = Stack.default()
        own.drain()
        own.stop()
        parents.stop()  # does nothing, and above all waits for nobody
        return f"own {own is not parents}"

    assert in_child(child) == "own True"
    parents.drain()
    parents.stop()


@pytest.mark.contract("H4")
def test_the_interpreter_exits_with_workers_running() -> None:
    """Also from a thread, while events are being posted, and although nobody called stop()."""
    program = """
import atexit, threading
# Registered before the stack's own hook, so it runs after it.
atexit.register(lambda: print([thread.name for thread in threading.enumerate() if "worker" in thread.name]))
from ceph_msgr.net import Stack
stack = Stack.default(workers=2)
def post():
    while True:
        for worker in stack.workers:
            try:
                worker.submit_to(lambda: None, nowait=True)
            except RuntimeError:
                return
threading.Thread(target=post, daemon=True).start()
stack.drain()
print("leaving")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=DEADLINE_S)
    assert (done.returncode, done.stdout, done.stderr) == (0, "leaving\n[]\n", "")
