"""``Worker``: one event loop on one thread."""

from __future__ import annotations

import threading
from collections.abc import Callable

from ceph_msgr._core import EventCenter, WorkerCore, fork_count, monotonic_ns
from ceph_msgr.log import get_logger
from ceph_msgr.metrics import Value, worker_counters, worker_values
from ceph_msgr.net import posix
from ceph_msgr.net.threads import Joinable, ThreadStarter, join_within
from ceph_msgr.wire.addr import EntityAddr

__all__ = ["Worker"]

#: The longest sleep of a loop that has nothing to do.
_MAX_WAIT_NS = 30_000_000_000
#: A loop that fails at once, again and again, must not eat the processor.
_FIRST_RETRY_S, _LAST_RETRY_S = 0.01, 1.0

_log = get_logger("net")


class Worker:
    """An EventCenter, the sockets pinned to it, and the thread that turns it.

    Only that thread may touch the sockets and register events; others go through ``submit_to``. ``perf`` holds Ceph's
    perf counters. A worker belongs to its ``Stack``, which starts and stops it.
    """

    def __init__(self, id: int, poll_us: int = -1) -> None:
        self.id = id
        self.name = f"msgr-worker-{id}"
        self.core = WorkerCore()
        self.core.center.set_polling(poll_us * 1000)
        self.perf = worker_counters(id, self._read_stats)
        self._lock = threading.Lock()
        self._references = 0
        self._thread: Joinable | None = None
        self._is_stepped = False
        self._running = threading.Event()
        self._done = threading.Event()
        self._is_closed = False
        self._started_ns = 0
        self._last_stats: dict[str, Value] = {}

    @property
    def center(self) -> EventCenter:
        return self.core.center

    def __repr__(self) -> str:
        return f"<Worker {self.name} references={self._references}>"

    # ---- load ----

    @property
    def references(self) -> int:
        """Connections pinned to this worker. Any thread."""
        return self._references

    def get(self) -> None:
        """One connection more. Any thread."""
        with self._lock:
            self._references += 1

    def release(self) -> None:
        """One connection less. Any thread."""
        with self._lock:
            if not self._references:
                raise RuntimeError(f"{self.name}: released more often than taken")
            self._references -= 1

    # ---- sockets ----

    def connect(
        self, addr: EntityAddr, options: posix.SocketOptions, *, bind_to: EntityAddr | None = None
    ) -> posix.ConnectedSocket:
        """Begins a non-blocking connect. ``OSError`` if it fails at once."""
        return posix.connect(addr, options, bind_to=bind_to)

    def listen(self, addr: EntityAddr, options: posix.SocketOptions) -> posix.ServerSocket:
        return posix.listen(addr, options)

    # ---- the loop ----

    def start(self, start_thread: ThreadStarter) -> None:
        """Once. Does not wait; see ``wait_until_running``."""
        self._started_ns = monotonic_ns()
        self._thread = start_thread(self.name, self._run)
        self._is_stepped = self._thread is None

    def wait_until_running(self) -> None:
        if not self._is_stepped:
            self._running.wait()

    def stop(self) -> None:
        """Tells the loop to end after this turn. Any thread; idempotent."""
        self._done.set()
        with self._lock:
            if not self._is_closed:
                self.center.wakeup()

    def join(self, timeout: float | None = None) -> bool:
        """After ``stop()``: waits for the end of the thread, runs what was still queued, and closes the core. False, and nothing
        is closed, if a callback keeps the thread for longer than ``timeout`` seconds. Idempotent; not on the worker."""
        if self._thread and not join_within(self._thread, timeout):
            return False
        with self._lock:
            if self._is_closed:
                return True
            self._last_stats = self._read_stats()
            self._is_closed = True
        self.center.owner = threading.get_ident()
        self.core.close()
        return True

    def step(self, max_wait_ns: int = 0) -> int:
        """One turn by hand, for a stack whose thread starter starts none; the caller is the owner meanwhile."""
        return self.core.turn(max_wait_ns)

    @property
    def is_closed(self) -> bool:
        """The stack is stopped: nothing can be submitted any more."""
        return self._is_closed

    def in_thread(self) -> bool:
        """Is the caller this worker's thread?"""
        return not self._is_closed and self.center.in_thread()

    def submit_to(self, callback: Callable[[], object], *, nowait: bool = False) -> None:
        """Runs the callback on this worker. Any thread.

        On the worker itself at once; elsewhere it waits until the callback has run, which is forbidden on other
        workers, as two that wait for each other never wake up. With ``nowait`` it is only queued, on the worker itself
        too.
        """
        if nowait or not self._is_stepped or self.in_thread():
            self.center.submit_to(callback, nowait=nowait)
            return
        ran: list[bool] = []
        self.center.submit_to(callback, nowait=True)
        self.center.submit_to(lambda: ran.append(True), nowait=True)
        while not ran:
            self.step()

    def drain(self, timeout: float | None = None) -> bool:
        """Returns when what was queued here before has run; False if that takes longer than ``timeout`` seconds."""
        if self._is_stepped:
            self.submit_to(lambda: None)
            return True
        ran = threading.Event()
        self.submit_to(ran.set, nowait=True)
        return ran.wait(timeout)

    def _run(self) -> None:
        self.center.owner = threading.get_ident()
        self._running.set()
        retry_s, forks = _FIRST_RETRY_S, fork_count()
        while not self._done.is_set():
            try:
                self.core.turn(_MAX_WAIT_NS)
                retry_s = _FIRST_RETRY_S
            except BaseException:  # nothing may end this loop but stop(), and a callback that forked, in the child
                if fork_count() != forks:
                    return
                _log.exception("%s: exception out of the loop", self.name)
                self.perf.inc("msgr_turn_exceptions")
                self._done.wait(retry_s)
                retry_s = min(2 * retry_s, _LAST_RETRY_S)
        self.center.owner = 0

    def _read_stats(self) -> dict[str, Value]:
        if self._is_closed or not self._started_ns:
            return self._last_stats
        running_ns = monotonic_ns() - self._started_ns - self.center.stats()["slept_ns"]
        return worker_values(self.core.stats() | self.center.stats(), running_ns)
