"""How threads come to be: the one place that starts them, so that a simulation can start none."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

__all__ = ["Joinable", "ThreadStarter", "start_daemon_thread"]


class Joinable(Protocol):
    def join(self, timeout: float | None = None) -> None: ...


#: ``start(name, run)`` has ``run`` called on a thread of that name. It may return None without ever calling ``run``:
#: the caller then steps by hand what the thread would have done (``Worker.step``, ``DispatchQueue.step``).
ThreadStarter = Callable[[str, Callable[[], None]], Joinable | None]


def start_daemon_thread(name: str, run: Callable[[], None]) -> Joinable:
    # Daemons, because the interpreter joins all others before it runs atexit hooks, and it is such a hook that ends
    # these.
    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    return thread
