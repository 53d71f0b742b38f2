"""``LocalDelivery``: the thread ``ms_local``, on which a messenger's messages to itself arrive."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from ceph_msgr._core import fork_count
from ceph_msgr.dispatch.dispatcher import Connection
from ceph_msgr.log import get_logger
from ceph_msgr.net.threads import Joinable, ThreadStarter, join_within, start_daemon_thread

if TYPE_CHECKING:
    from ceph_msgr._core import Message

__all__ = ["LocalDelivery"]

_log = get_logger("dispatch")


class LocalDelivery:
    """Hands messages over in the order they were sent: the very same objects, not encoded, not throttled.

    ``deliver(message, connection)`` makes the same choice between fast and queued as for messages from the wire; it is
    ``DispatchTable.deliver``. Any thread may send; the life cycle is that of ``DispatchQueue``, but nothing
    is delivered after ``shutdown()``.
    """

    def __init__(
        self, deliver: Callable[[Message, Connection], object], *, start_thread: ThreadStarter = start_daemon_thread
    ) -> None:
        self._deliver = deliver
        self._start_thread = start_thread
        self._queue: queue.SimpleQueue[tuple[Message, Connection] | None] = queue.SimpleQueue()
        self._thread: Joinable | None = None
        self._thread_id = 0
        self._started = False
        self._stopping = False

    def send(self, message: Message, connection: Connection) -> None:
        """Queues it; dropped after ``shutdown()``."""
        if not self._stopping:
            self._queue.put((message, connection))

    def step(self) -> bool:
        """Delivers the next message, if there is one. For whoever stands in for the thread."""
        return self._step(wait=False)

    def _step(self, *, wait: bool) -> bool:
        try:
            item = self._queue.get(block=wait)
        except queue.Empty:
            return False
        if item is None:
            return False
        if not self._stopping:
            try:
                self._deliver(*item)
            except Exception:
                # Not a callback's: those end in the chain of dispatchers.
                _log.exception("local delivery failed")
        return True

    def _run(self) -> None:
        self._thread_id, forks = threading.get_ident(), fork_count()
        while fork_count() == forks and self._step(wait=True):
            pass
        self._thread_id = 0

    def start(self) -> None:
        """Starts the thread. Idempotent."""
        if not self._started:
            self._started = True
            self._stopping = False
            self._thread = self._start_thread("ms_local", self._run)

    def shutdown(self) -> None:
        """Marks the end and returns at once; what was not delivered yet is dropped. Idempotent; legal inside
        callbacks."""
        if not self._stopping:
            self._stopping = True
            self._queue.put(None)

    def wait(self, timeout: float | None = None) -> bool:
        """After ``shutdown()``: returns when the thread has ended; False if a callback keeps it for longer than ``timeout``
        seconds. ``RuntimeError`` on that thread, or without shutdown."""
        if self.in_thread():
            raise RuntimeError("wait() on the local delivery thread would wait for itself")
        if not self._stopping:
            raise RuntimeError("wait() before shutdown() would wait for ever")
        if self._thread and not join_within(self._thread, timeout):
            return False
        self._thread = None
        # Also drops what a sender put in while shutdown() ran, so that a later start() begins with nothing.
        self._queue = queue.SimpleQueue()
        self._started = False
        return True

    def in_thread(self) -> bool:
        """Is the caller the local delivery thread?"""
        return self._thread_id == threading.get_ident()
