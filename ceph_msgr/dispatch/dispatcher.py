"""``Dispatcher``, which users write, and ``DispatcherChain``, which calls them.

Every callback is called through the chain and nowhere else, with one exception: fast dispatch and preprocessing are
called by the compiled core, which takes the callables from ``resolve()`` and hands what they raise to
``callback_failed()``. So there is one place where a callback's exception ends: it is logged and counted, and the
thread goes on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from ceph_msgr.errors import DecodeError, MessengerError
from ceph_msgr.log import get_logger
from ceph_msgr.metrics import Kind, Metric, PerfCounters

if TYPE_CHECKING:
    from ceph_msgr._core import Message

__all__ = ["PRIORITY_DEFAULT", "PRIORITY_HIGH", "PRIORITY_LOW", "Dispatcher", "DispatcherChain"]

#: Places in the chain: smaller numbers run earlier.
PRIORITY_HIGH, PRIORITY_DEFAULT, PRIORITY_LOW = -100, 0, 100

_log = get_logger("dispatch")

#: A public connection. Not typed further: this room does not import the one that defines it.
Connection = Any
MessageCallback = Callable[["Message"], object]


class Dispatcher:
    """What a messenger calls when something happens. Derive from it and override what you need.

    Threads. *Queued* callbacks run on the messenger's one dispatch thread, one after the other; one that blocks delays
    the queued callbacks of this messenger, and finally, through the dispatch throttle, the reading of all its
    connections. *Fast* callbacks run on the connection's worker thread (on the local thread for the loopback
    connection); one that blocks stalls every connection of that worker. Fast and queued callbacks may run at the same
    time.

    Freedom. No lock is held around a callback: sending, ``mark_down`` and ``connect_to`` are legal in all of them.

    Order. The fast connect or accept of a connection precedes its messages; the queued one may come later than messages
    that are dispatched fast. Messages of one connection reach ``ms_fast_preprocess`` and ``ms_fast_dispatch`` in the
    order they were sent, and ``ms_dispatch`` in that order among equal priorities. After ``ms_handle_reset`` at most
    one message that was already under way may still come.

    Exceptions are logged and counted; the message counts as handled. They never end a thread or a connection.
    """

    # ---- what shall be dispatched fast ----

    def ms_can_fast_dispatch_any(self) -> bool:
        """Shall this dispatcher see messages on worker threads at all? Asked once, when it joins the messenger.

        With False none of the fast callbacks below is ever called, whatever ``ms_can_fast_dispatch`` says.
        """
        return False

    def ms_can_fast_dispatch(self, message_type: int) -> bool:
        """Shall messages of this type go to ``ms_fast_dispatch`` of this dispatcher?

        Asked once per type, and the answer is kept: it must depend on nothing but the type.
        """
        return False

    # ---- messages ----

    def ms_fast_preprocess(self, message: Message) -> None:
        """Fast. Sees every message, also those that will be queued, before the choice between fast and queued."""

    def ms_fast_dispatch(self, message: Message) -> None:
        """Fast. A message of a type this dispatcher claimed. The first claimant of the chain gets it, and nobody
        else."""
        name = type(self).__name__
        raise NotImplementedError(f"{name} claims message type {message.type} but has no ms_fast_dispatch")

    def ms_dispatch(self, message: Message) -> bool:
        """Queued. Any other message. True: handled; False: not mine, ask the next dispatcher of the chain."""
        return False

    # ---- connections ----

    def ms_handle_fast_connect(self, connection: Connection) -> None:
        """Fast. A connection we dialed is established, or is up again after a fault. Also for the loopback
        connection."""

    def ms_handle_fast_accept(self, connection: Connection) -> None:
        """Fast. A connection the peer dialed is about to be established, or to be up again."""

    def ms_handle_connect(self, connection: Connection) -> None:
        """Queued. As the fast variant, without loopback. Comes again, with the same object, on each reconnect."""

    def ms_handle_accept(self, connection: Connection) -> None:
        """Queued. As the fast variant. Comes again, with the same object, on each reconnect."""

    def ms_handle_reset(self, connection: Connection) -> bool:
        """Queued. The connection is gone for good: forget it, drop what you attached to it, resend elsewhere.

        Called if the connection was announced by connect or accept before, or came from ``connect_to``; never for
        the ``mark_down()`` of the connection itself. True ends the round through the chain.
        """
        return False

    def ms_handle_remote_reset(self, connection: Connection) -> None:
        """Queued. The peer has lost or dropped the session: messages under way are lost in both directions, and what
        you know about the session is void. The connection goes on and may be used at once."""

    def ms_handle_refused(self, connection: Connection) -> bool:
        """Queued. A dial met a closed port. For information: dialing goes on. True ends the round through the chain."""
        return False

    def ms_handle_drained(self, connection: Connection) -> None:
        """Queued. A connection whose send queue had been full has room again."""


class _Link(NamedTuple):
    priority: int
    dispatcher: Dispatcher
    is_fast: bool


class DispatcherChain:
    """The dispatchers of one messenger in their order.

    Adding is legal from any thread at any time; calls that are under way keep the chain they began with.
    ``on_change`` is called after each addition: what ``resolve()`` answered before is then out of date.
    ``on_error(subject, exception)`` is called after the exception of a callback was logged and counted; the subject is
    the message or connection, or None. ``on_fatal(exception)`` is told of messages that nobody handled, with
    ``die_on_unhandled``, and of those that cannot be decoded, with ``die_on_bad``.
    """

    def __init__(
        self,
        name: str = "",
        *,
        die_on_unhandled: bool = False,
        die_on_bad: bool = False,
        on_error: Callable[[object, BaseException], object] | None = None,
        on_fatal: Callable[[Exception], object] | None = None,
    ) -> None:
        self.name = name
        self.die_on_unhandled = die_on_unhandled
        self.die_on_bad = die_on_bad
        self.on_error = on_error
        self.on_fatal = on_fatal
        self.on_change: Callable[[], object] | None = None
        self.perf = PerfCounters(
            f"AsyncMessenger::Dispatch-{name}",
            (
                Metric("msgr_callback_exceptions", Kind.COUNTER, "exceptions out of dispatcher callbacks"),
                Metric("msgr_unhandled_messages", Kind.COUNTER, "messages no dispatcher handled"),
            ),
            labels={"messenger": name},
        )
        self._lock = threading.Lock()
        self._links: tuple[_Link, ...] = ()

    # ---- members ----

    def add_head(self, dispatcher: Dispatcher, priority: int = PRIORITY_DEFAULT) -> bool:
        """Adds it before the others of its priority; True if it is the first of all."""
        return self._add(dispatcher, priority, lambda other: other >= priority)

    def add_tail(self, dispatcher: Dispatcher, priority: int = PRIORITY_DEFAULT) -> bool:
        """Adds it after the others of its priority; True if it is the first of all."""
        return self._add(dispatcher, priority, lambda other: other > priority)

    def _add(self, dispatcher: Dispatcher, priority: int, comes_later: Callable[[int], bool]) -> bool:
        # Outside the lock, and not guarded: it is the user who is calling us.
        link = _Link(priority, dispatcher, dispatcher.ms_can_fast_dispatch_any())
        with self._lock:
            before = self._links
            index = next((i for i, other in enumerate(before) if comes_later(other.priority)), len(before))
            self._links = (*before[:index], link, *before[index:])
        if self.on_change:
            self.on_change()
        return not before

    def __len__(self) -> int:
        return len(self._links)

    # ---- messages ----

    def resolve(self, message_type: int) -> tuple[tuple[MessageCallback, ...], MessageCallback | None]:
        """Where messages of this type go: the preprocessors that are not the default one, and the first fast claimant's
        ``ms_fast_dispatch`` (None: the queue). For ``DispatchTable``, which keeps the answer."""
        fast = [link.dispatcher for link in self._links if link.is_fast]
        preprocessors = tuple(
            dispatcher.ms_fast_preprocess
            for dispatcher in fast
            if getattr(dispatcher.ms_fast_preprocess, "__func__", None) is not Dispatcher.ms_fast_preprocess
        )
        claimants = (d.ms_fast_dispatch for d in fast if self._call(d.ms_can_fast_dispatch, message_type))
        return preprocessors, next(claimants, None)

    def ms_dispatch(self, message: Message) -> None:
        """Asks dispatcher after dispatcher until one has handled the message; a dispatcher that raises has."""
        for link in self._links:
            if self._call(link.dispatcher.ms_dispatch, message, if_raised=True):
                return
        self.perf.inc("msgr_unhandled_messages")
        text = f"no dispatcher handled message type {message.type} from {message.src}, priority {message.priority}"
        _log.warning("%s", text)
        if self.die_on_unhandled and self.on_fatal:
            self.on_fatal(MessengerError(f"{text} (ms_die_on_unhandled_msg)"))

    # ---- connections ----

    def ms_handle_fast_connect(self, connection: Connection) -> None:
        for link in self._links:
            if link.is_fast:
                self._call(link.dispatcher.ms_handle_fast_connect, connection)

    def ms_handle_fast_accept(self, connection: Connection) -> None:
        for link in self._links:
            if link.is_fast:
                self._call(link.dispatcher.ms_handle_fast_accept, connection)

    def ms_handle_connect(self, connection: Connection) -> None:
        for link in self._links:
            self._call(link.dispatcher.ms_handle_connect, connection)

    def ms_handle_accept(self, connection: Connection) -> None:
        for link in self._links:
            self._call(link.dispatcher.ms_handle_accept, connection)

    def ms_handle_reset(self, connection: Connection) -> None:
        for link in self._links:
            if self._call(link.dispatcher.ms_handle_reset, connection):
                return

    def ms_handle_remote_reset(self, connection: Connection) -> None:
        for link in self._links:
            self._call(link.dispatcher.ms_handle_remote_reset, connection)

    def ms_handle_refused(self, connection: Connection) -> None:
        for link in self._links:
            if self._call(link.dispatcher.ms_handle_refused, connection):
                return

    def ms_handle_drained(self, connection: Connection) -> None:
        for link in self._links:
            self._call(link.dispatcher.ms_handle_drained, connection)

    # ---- exceptions ----

    def _call(self, callback: Callable[[Any], object], subject: object, *, if_raised: bool = False) -> bool:
        try:
            return bool(callback(subject))
        except BaseException as error:  # SystemExit too: it would end a thread that belongs to us
            self.callback_failed(subject, error)
            return if_raised

    def callback_failed(self, subject: object, error: BaseException) -> None:
        """Where every exception out of a callback ends. Any thread; ``DispatchTable`` takes it as its ``on_error``.

        Ctrl-C goes on its way: it is raised on the main thread only, which is inside a callback when the user steps
        the workers or the loopback connection is announced.
        """
        if isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
            raise error
        self.perf.inc("msgr_callback_exceptions")
        _log.error("exception out of a dispatcher callback for %s", subject, exc_info=error)
        if self.on_error:
            self.on_error(subject, error)
        if self.die_on_bad and self.on_fatal and isinstance(error, DecodeError):
            self.on_fatal(error)
