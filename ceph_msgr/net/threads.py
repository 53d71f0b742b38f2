"""How threads come to be: the one place that starts them, so that a simulation can start none."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol

__all__ = ["Deadline", "Joinable", "ThreadStarter", "join_within", "start_daemon_thread"]


class Joinable(Protocol):
    def join(self, timeout: float | None = None) -> None: ...

    def is_alive(self) -> bool: ...


#: ``start(name, run)`` has ``run`` called on a thread of that name. It may return None without ever calling ``run``:
#: the caller then steps by hand what the thread would have done (``Worker.step``, ``DispatchQueue.step``).
ThreadStarter = Callable[[str, Callable[[], None]], Joinable | None]


def join_within(thread: Joinable, timeout: float | None) -> bool:
    """False if the thread is still running after so many seconds (None: wait for ever)."""
    thread.join(timeout)
    return not thread.is_alive()


class Deadline:
    """How much of a time-out is left for the next of several waits."""

    def __init__(self, timeout: float | None) -> None:
        self._end = None if timeout is None else time.monotonic() + timeout

    def left(self) -> float | None:
        """Seconds, at least 0; None if there is no end."""
        return None if self._end is None else max(self._end - time.monotonic(), 0.0)


def start_daemon_thread(name: str, run: Callable[[], None]) -> Joinable:
    # Daemons, because the interpreter joins all others before it runs atexit hooks, and it is such a hook that ends
    # these.
    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    return thread
