"""``DispatchQueue``: the ordered queue of one messenger, and the thread ``ms_dispatch`` that empties it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from ceph_msgr._core import fork_count, monotonic_ns
from ceph_msgr.dispatch.dispatcher import Connection, DispatcherChain
from ceph_msgr.dispatch.prioritized import PrioritizedQueue
from ceph_msgr.log import get_logger
from ceph_msgr.metrics import Kind, Metric, PerfCounters
from ceph_msgr.net.threads import Joinable, ThreadStarter, join_within, start_daemon_thread

if TYPE_CHECKING:
    from ceph_msgr._core import Message

__all__ = ["EVENT_PRIORITY", "PRIORITY_LOW", "DispatchQueue"]

#: From this message priority on the order is strict; below, priorities share by tokens.
PRIORITY_LOW = 64
EVENT_PRIORITY = 255
#: All events are one class, so they are delivered in the order in which they were queued, whatever their connection.
EVENT_CLASS = 0

_log = get_logger("dispatch")


class _Entry(NamedTuple):
    deliver: Callable[[Any], object]
    subject: Any
    is_message: bool  # else an event
    queued_ns: int


class DispatchQueue:
    """Delivers queued messages and events to the chain of dispatchers, one at a time.

    Order: events first, then messages of priority 64 and above strictly by priority, then the rest by tokens.
    Connections of one priority take turns; what one connection sent with one priority stays in order.

    Anything may be queued before ``start()``; it waits. ``shutdown()`` ends it: queued messages are dropped, queued
    events are still delivered, and what comes afterwards is dropped. After ``wait()`` the queue may be started again.

    Every method may be called from any thread except where it says otherwise. No lock is held while a callback runs.
    ``clock`` returns monotonic nanoseconds. With a ``start_thread`` that starts none (see ``ThreadStarter``), the
    caller empties the queue with ``step()``.
    """

    def __init__(
        self,
        chain: DispatcherChain,
        *,
        pq_max_tokens_per_priority: int = 16 << 20,
        pq_min_cost: int = 64 << 10,
        clock: Callable[[], int] = monotonic_ns,
        start_thread: ThreadStarter = start_daemon_thread,
    ) -> None:
        self.chain = chain
        self.perf = PerfCounters(
            f"AsyncMessenger::DispatchQueue-{chain.name}",
            (
                Metric("msgr_dispatch_queue_len", Kind.GAUGE, "messages and events queued for the dispatch thread"),
                Metric("msgr_dispatch_queue_max_age_seconds", Kind.GAUGE, "how long the oldest queued message has waited"),
            ),
            labels={"messenger": chain.name},
            read=lambda: {
                "msgr_dispatch_queue_len": self.get_dispatch_queue_len(),
                "msgr_dispatch_queue_max_age_seconds": self.get_dispatch_queue_max_age(),
            },
        )
        self._clock = clock
        self._start_thread = start_thread
        self._queue: PrioritizedQueue[_Entry] = PrioritizedQueue(pq_max_tokens_per_priority, pq_min_cost)
        self._changed = threading.Condition(threading.Lock())
        self._idle = False  # the thread waits for _changed: only then is notifying worth its price
        self._stopping = False
        self._started = False
        self._thread: Joinable | None = None
        self._thread_id = 0

    # ---- what comes in ----

    def enqueue(self, message: Message) -> None:
        """Queues a message for ``ms_dispatch``. ``DispatchTable`` calls it; ``message.connection`` must be set."""
        connection = message.connection
        entry = _Entry(self._deliver_message, message, True, self._clock())
        with self._changed:
            if not self._stopping:
                if message.priority >= PRIORITY_LOW:
                    self._queue.enqueue_strict(connection, message.priority, entry)
                else:
                    self._queue.enqueue(connection, message.priority, _cost(message), entry)
                self._notify()
                return
        message.dispatched()

    def queue_connect(self, connection: Connection) -> None:
        self._queue_event(self.chain.ms_handle_connect, connection)

    def queue_accept(self, connection: Connection) -> None:
        self._queue_event(self.chain.ms_handle_accept, connection)

    def queue_reset(self, connection: Connection) -> None:
        self._queue_event(self.chain.ms_handle_reset, connection)

    def queue_remote_reset(self, connection: Connection) -> None:
        self._queue_event(self.chain.ms_handle_remote_reset, connection)

    def queue_refused(self, connection: Connection) -> None:
        self._queue_event(self.chain.ms_handle_refused, connection)

    def queue_drained(self, connection: Connection) -> None:
        self._queue_event(self.chain.ms_handle_drained, connection)

    def _queue_event(self, deliver: Callable[[Connection], object], connection: Connection) -> None:
        with self._changed:
            if not self._stopping:
                entry = _Entry(deliver, connection, False, self._clock())
                self._queue.enqueue_strict(EVENT_CLASS, EVENT_PRIORITY, entry)
                self._notify()

    def _notify(self) -> None:
        if self._idle:
            self._idle = False
            self._changed.notify()

    def discard(self, connection: Connection) -> None:
        """Drops the connection's queued messages and gives back their dispatch throttle. Its events stay."""
        with self._changed:
            dropped = self._queue.remove_by_class(connection)
        for entry in dropped:
            entry.subject.dispatched()

    # ---- what goes out ----

    def step(self) -> bool:
        """Delivers the next item, if there is one. For whoever stands in for the thread."""
        with self._changed:
            if not self._queue:
                return False
            entry = self._queue.dequeue()
            dropped = self._stopping and entry.is_message
        if dropped:
            entry.subject.dispatched()
        else:
            entry.deliver(entry.subject)
        return True

    def _deliver_message(self, message: Message) -> None:
        try:
            self.chain.ms_dispatch(message)
        finally:
            message.dispatched()

    def _run(self) -> None:
        self._thread_id, forks = threading.get_ident(), fork_count()
        while fork_count() == forks and self._wait_for_work():
            try:
                # Item by item: between two of them nothing here refers to the message, whose owner may want it
                # destroyed.
                self.step()
            except Exception:
                # Not a callback's: those end in the chain. A defect of ours or of an error hook shall not end delivery.
                _log.exception("dispatch thread: delivery failed")
        self._thread_id = 0

    def _wait_for_work(self) -> bool:
        with self._changed:
            while not self._queue:
                if self._stopping:
                    return False
                self._idle = True
                self._changed.wait()
            return True

    # ---- life ----

    def start(self) -> None:
        """Starts the thread. Idempotent."""
        with self._changed:
            if self._started:
                return
            self._started = True
            self._stopping = False
        self._thread = self._start_thread("ms_dispatch", self._run)

    def shutdown(self) -> None:
        """Marks the end and returns at once. Idempotent; legal inside callbacks."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def wait(self, timeout: float | None = None) -> bool:
        """After ``shutdown()``: returns when the queue is empty and the thread has ended; False if a callback keeps it for longer
        than ``timeout`` seconds.

        ``RuntimeError`` on the dispatch thread itself, and when ``shutdown()`` was not called.
        """
        if self.in_thread():
            raise RuntimeError("wait() on the dispatch thread would wait for itself")
        if not self._stopping:
            raise RuntimeError("wait() before shutdown() would wait for ever")
        if self._thread and not join_within(self._thread, timeout):
            return False
        self._thread = None
        while self.step():  # no thread, or a thread that never was
            pass
        self._started = False
        return True

    def in_thread(self) -> bool:
        """Is the caller the dispatch thread?"""
        return self._thread_id == threading.get_ident()

    # ---- how it is ----

    def get_dispatch_queue_len(self) -> int:
        """Queued messages and events; the one being delivered is not counted."""
        return len(self._queue)

    def get_dispatch_queue_max_age(self) -> float:
        """Seconds the oldest queued message has waited, 0 if there is none."""
        with self._changed:
            stamps = [entry.queued_ns for entry in self._queue.heads() if entry.is_message]
        return (self._clock() - min(stamps)) / 1e9 if stamps else 0.0


def _cost(message: Message) -> int:
    return sum(memoryview(segment).nbytes for segment in (message.front, message.middle, message.data))
