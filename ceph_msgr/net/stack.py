"""``Stack``: the fixed pool of workers that the messengers of a process share."""

from __future__ import annotations

import atexit
import os
import threading
from typing import ClassVar

from ceph_msgr.log import get_logger
from ceph_msgr.metrics import PerfCounters
from ceph_msgr.net.threads import Deadline, ThreadStarter, start_daemon_thread
from ceph_msgr.net.worker import Worker

__all__ = ["Stack"]

MAX_WORKERS = 24

#: How long the exit of the program waits for callbacks that do not return. Their threads are daemons and end with it.
_EXIT_TIMEOUT_S = 5.0

_log = get_logger("net")


class Stack:
    """1 to 24 event loops, each on a thread named ``msgr-worker-N``. Its methods may be called from any thread.

    Most programs use the shared one of ``Stack.default()``; it lives until the process exits. After ``stop()`` a stack
    cannot be started again. In a forked child the parent's stack is refused with ``RuntimeError``: its threads do not
    exist there. The child makes its own, as ``Stack.default()`` does by itself.

    ``thread_starter`` may start no threads at all: then ``workers[i].step()`` turns the loops.
    """

    #: The shared stacks of this process by kind.
    _defaults: ClassVar[dict[str, Stack]] = {}
    #: Kept alive until they are stopped, at the latest by the atexit hook.
    _running: ClassVar[set[Stack]] = set()
    _class_lock: ClassVar[threading.Lock] = threading.Lock()

    def __init__(
        self, kind: str = "posix", *, workers: int = 1, poll_us: int = -1, thread_starter: ThreadStarter = start_daemon_thread
    ) -> None:
        if kind != "posix":
            raise ValueError(f'there is no stack of kind "{kind}", only "posix"')
        if not 1 <= workers <= MAX_WORKERS:
            raise ValueError(f"a stack has 1 to {MAX_WORKERS} workers, not {workers}")
        self.kind = kind
        self.thread_starter = thread_starter
        self.workers = tuple(_make_workers(workers, poll_us))
        self._process_id = os.getpid()
        self._lock = threading.Lock()
        self._started = False
        self._stopped = False

    @classmethod
    def default(cls, kind: str = "posix", *, workers: int = 1, poll_us: int = -1) -> Stack:
        """The stack all messengers of this process share, started. ``workers`` and ``poll_us`` (``ms_async_poll_us``) count for
        the first caller only."""
        with cls._class_lock:
            stack = cls._defaults.get(kind)
            if stack is None or stack._stopped:
                stack = cls._defaults[kind] = cls(kind, workers=workers, poll_us=poll_us)
        stack.start()
        return stack

    def __repr__(self) -> str:
        state = "stopped" if self._stopped else "running" if self._started else "created"
        return f"<Stack {self.kind} workers={len(self.workers)} {state}>"

    @property
    def is_usable(self) -> bool:
        """False once it was stopped, and in a forked child."""
        return not self._stopped and os.getpid() == self._process_id

    def start(self) -> None:
        """Starts the workers and returns when all of them run. Idempotent."""
        self._check_process()
        with self._lock:
            if self._stopped:
                raise RuntimeError(f"{self!r} cannot be started again")
            if not self._started:
                self._started = True
                for worker in self.workers:
                    worker.start(self.thread_starter)
                with self._class_lock:
                    self._running.add(self)
        for worker in self.workers:
            worker.wait_until_running()

    def stop(self, timeout: float | None = None) -> bool:
        """Ends the workers after their current turn and joins them. Idempotent; not on a worker. False if a callback keeps one
        of them for longer than ``timeout`` seconds.

        Connections are not told: shut their messengers down before. In a forked child it does nothing.
        """
        if os.getpid() != self._process_id:
            return True
        self._check_not_on_a_worker("stop()")
        deadline = Deadline(timeout)
        with self._lock:
            self._stopped = True
        for worker in self.workers:
            worker.stop()
        stuck = [worker.name for worker in self.workers if not worker.join(deadline.left())]
        if stuck:
            _log.error("a callback does not return: %s cannot be stopped", ", ".join(stuck))
        with self._class_lock:
            self._running.discard(self)
        return not stuck

    def get_worker(self) -> Worker:
        """The worker with the fewest references, the first one on a tie; its count is raised: ``release()`` it one
        day."""
        self._check_process()
        with self._lock:
            worker = min(self.workers, key=lambda worker: worker.references)
            worker.get()
        return worker

    def drain(self, timeout: float | None = None) -> bool:
        """Returns when every worker has run what was queued on it before; False if that takes longer than ``timeout`` seconds.
        Not on a worker. After ``stop()`` nothing is queued."""
        self._check_process()
        self._check_not_on_a_worker("drain()")
        deadline = Deadline(timeout)
        return all(worker.drain(deadline.left()) for worker in (() if self._stopped else self.workers))

    def in_worker_thread(self) -> bool:
        """Is the caller one of the workers?"""
        return any(worker.in_thread() for worker in self.workers)

    def perf_counters(self) -> list[PerfCounters]:
        """The counters of each worker."""
        return [worker.perf for worker in self.workers]

    def _check_process(self) -> None:
        if os.getpid() != self._process_id:
            raise RuntimeError(
                f"this stack belongs to process {self._process_id}; process {os.getpid()}, forked from it, has none of "
                "its threads and must create its own stack and messengers"
            )

    def _check_not_on_a_worker(self, what: str) -> None:
        if self.in_worker_thread():
            raise RuntimeError(f"{what} on a worker thread would wait for itself")


def _make_workers(count: int, poll_us: int) -> list[Worker]:
    """All of them, or none: each holds descriptors."""
    made: list[Worker] = []
    try:
        for id in range(count):
            made.append(Worker(id, poll_us))
    except BaseException:
        for worker in made:
            worker.stop()
            worker.join()
        raise
    return made


@atexit.register
def _stop_all() -> None:
    """Threads that outlived the interpreter would crash it when they next called into Python."""
    for stack in list(Stack._running):
        stack.stop(_EXIT_TIMEOUT_S)


def _forget_all() -> None:
    """In a forked child: the lock may have been held by a thread that does not exist here."""
    Stack._class_lock = threading.Lock()
    Stack._defaults.clear()
    Stack._running.clear()


os.register_at_fork(after_in_child=_forget_all)
