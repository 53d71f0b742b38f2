"""``CountingDispatcher``: notes every callback, so that a test can wait for it and count it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from ceph_msgr import Connection, Dispatcher, Message
from ceph_msgr.messages import MPing

__all__ = ["RAW", "RAW_FAST", "Call", "CountingDispatcher", "PingSession"]

#: Message types without fields: three segments of bytes. The second is dispatched fast.
RAW, RAW_FAST = 60_000, 60_001


@dataclass(slots=True)
class PingSession:
    """What a program keeps per connection: here, how many messages came."""

    count: int = 0


@dataclass(frozen=True, slots=True)
class Call:
    """One callback. Of a message only its numbers are kept: the message itself would hold throttles."""

    name: str
    connection: Connection
    thread: str
    type: int = 0
    tid: int = 0
    seq: int = 0
    priority: int = 0


class CountingDispatcher(Dispatcher):
    """Counts messages on the ``PingSession`` it attaches to each connection; with ``answers`` it sends every ping back.

    ``hooks[name]`` is run inside that callback, with the callback's argument, after it was noted. Every callback notifies
    ``changed``.
    """

    def __init__(
        self, changed: threading.Condition, *, answers: bool = False, fast: Collection[int] = (MPing.TYPE, RAW_FAST)
    ) -> None:
        self.calls: list[Call] = []
        self.hooks: dict[str, Callable[[Any], object]] = {}
        self.last_accepted: Connection | None = None
        self._changed = changed
        self._answers = answers
        self._fast = frozenset(fast)

    # ---- what happened ----

    def count(self, *names: str) -> int:
        return sum(call.name in names for call in self.calls)

    @property
    def messages(self) -> list[Call]:
        return [call for call in self.calls if call.name in ("ms_fast_dispatch", "ms_dispatch")]

    def names(self, connection: Connection) -> list[str]:
        """The callbacks for one connection, in order."""
        return [call.name for call in self.calls if call.connection is connection]

    def _note(self, name: str, connection: Connection, message: Message | None = None) -> None:
        self._record(name, connection, message)
        self._run_hook(name, message or connection)

    def _record(self, name: str, connection: Connection, message: Message | None) -> None:
        of_message = (message.type, message.tid, message.seq, message.priority) if message else ()
        self.calls.append(Call(name, connection, threading.current_thread().name, *of_message))
        with self._changed:
            self._changed.notify_all()

    def _run_hook(self, name: str, subject: Any) -> None:
        if hook := self.hooks.get(name):
            hook(subject)

    # ---- messages ----

    def ms_can_fast_dispatch_any(self) -> bool:
        return True

    def ms_can_fast_dispatch(self, message_type: int) -> bool:
        return message_type in self._fast

    def ms_fast_dispatch(self, message: Message) -> None:
        self._take("ms_fast_dispatch", message)

    def ms_dispatch(self, message: Message) -> bool:
        self._take("ms_dispatch", message)
        return True

    def _take(self, name: str, message: Message) -> None:
        connection = message.connection
        if connection.priv is not None:  # None: one message may come after the reset
            connection.priv.count += 1
        self._record(name, connection, message)  # before the answer: whoever has it finds the ping noted
        if self._answers and isinstance(message, MPing):
            connection.send_message(MPing(tid=message.tid))
        self._run_hook(name, message)

    # ---- connections ----

    def ms_handle_fast_connect(self, connection: Connection) -> None:
        self._attach(connection)
        self._note("ms_handle_fast_connect", connection)

    def ms_handle_fast_accept(self, connection: Connection) -> None:
        self._attach(connection)
        self.last_accepted = connection
        self._note("ms_handle_fast_accept", connection)

    @staticmethod
    def _attach(connection: Connection) -> None:
        if connection.priv is None:
            connection.priv = PingSession()

    def ms_handle_connect(self, connection: Connection) -> None:
        self._note("ms_handle_connect", connection)

    def ms_handle_accept(self, connection: Connection) -> None:
        self._note("ms_handle_accept", connection)

    def ms_handle_reset(self, connection: Connection) -> bool:
        connection.priv = None
        self._note("ms_handle_reset", connection)
        return True

    def ms_handle_remote_reset(self, connection: Connection) -> None:
        # As Ceph's tests do it: what the old session had is void, the new one begins at once.
        connection.priv = PingSession()
        self._note("ms_handle_remote_reset", connection)

    def ms_handle_refused(self, connection: Connection) -> bool:
        self._note("ms_handle_refused", connection)
        return True

    def ms_handle_drained(self, connection: Connection) -> None:
        self._note("ms_handle_drained", connection)
