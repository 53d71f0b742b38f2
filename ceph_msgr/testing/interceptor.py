"""``Interceptor``: counts what connections do, and makes chosen steps fail or wait."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

from ceph_msgr.connection.gate import Answer, Breakpoint, Moment
from ceph_msgr.dispatch.dispatcher import Dispatcher
from ceph_msgr.protocol.tags import Tag
from ceph_msgr.testing.record import Record

__all__ = ["Interceptor"]

#: As in ``record``.
Connection = Any

#: What is counted where, before the answer is looked at.
_COUNTED = {
    Breakpoint(Moment.SOCKET_CONNECTING): ("dials", "sockets"),
    Breakpoint.write(Tag.CLIENT_IDENT): ("dials", "idents_sent"),
    Breakpoint.write(Tag.SESSION_RECONNECT): ("dials", "reconnects_sent"),
    Breakpoint(Moment.SOCKET_ACCEPTED): ("accepts", "sockets"),
    Breakpoint.read(Tag.CLIENT_IDENT): ("accepts", "idents_read"),
    Breakpoint.read(Tag.SESSION_RECONNECT): ("accepts", "reconnects_read"),
}


class Interceptor(Dispatcher):
    """For one messenger: its ``interceptor``, and one of its dispatchers, which counts callbacks and handles no message.

    ``set`` says what shall happen, best before the messenger starts. All methods may be called from any thread; ``wait_until``
    not on a worker or dispatch thread.
    """

    def __init__(self, changed: threading.Condition | None = None) -> None:
        #: Notified of everything that is counted, and of every connection that has settled.
        self.changed = changed or threading.Condition()
        self._answers: dict[tuple[Breakpoint, int], Answer] = {}
        self._seen: Counter[Breakpoint] = Counter()
        self._records: dict[int, Record] = {}

    # ---- what shall happen ----

    def set(self, breakpoint: Breakpoint, answer: Answer, *, occurrence: int = 1) -> None:
        """Answer the n-th time that any connection comes there; at all other times it continues."""
        if occurrence < 1:
            raise ValueError(f"occurrence {occurrence}: the first one is 1")
        with self.changed:
            self._answers[breakpoint, occurrence] = answer

    @property
    def not_hit(self) -> list[str]:
        """What was set and has not been reached."""
        with self.changed:
            return [f"{place}, occurrence {n}" for place, n in self._answers if self._seen[place] < n]

    def release(self) -> None:
        """Let everything go on that is blocked now."""
        for record in self.records:
            if gate := record.connection.gate:
                gate.release()

    def forget(self) -> None:
        """Start anew: no records, which keep their connections alive, no answers, nothing seen."""
        with self.changed:
            self._records.clear()
            self._answers.clear()
            self._seen.clear()

    # ---- what has happened ----

    @property
    def records(self) -> list[Record]:
        """Of all connections, in the order in which they were made."""
        with self.changed:
            return list(self._records.values())

    def record_of(self, connection: Connection) -> Record:
        """``KeyError`` if it has come to no breakpoint yet."""
        with self.changed:
            return self._records[id(connection)]

    def seen(self, breakpoint: Breakpoint) -> int:
        """How often connections have come there."""
        with self.changed:
            return self._seen[breakpoint]

    def wait_until(self, condition: Callable[[], bool], timeout: float) -> bool:
        """False if it does not hold within so many seconds. Looked at whenever ``changed`` is notified, which it holds."""
        with self.changed:
            return self.changed.wait_for(condition, timeout)

    # ---- asked by gates ----

    def intercept(self, connection: Connection, breakpoint: Breakpoint) -> Answer:
        with self.changed:
            record = self._record(connection)
            record.path.append(breakpoint)
            if breakpoint in _COUNTED:
                record.count(*_COUNTED[breakpoint])
            self._seen[breakpoint] += 1
            return self._answers.get((breakpoint, self._seen[breakpoint]), Answer.CONTINUE)

    def settled(self, connection: Connection) -> None:
        with self.changed:
            self.changed.notify_all()

    # ---- called as a dispatcher ----

    def ms_handle_connect(self, connection: Connection) -> None:
        self._count(connection, "dials", "connect_callbacks")

    def ms_handle_accept(self, connection: Connection) -> None:
        self._count(connection, "accepts", "accept_callbacks")

    def ms_handle_reset(self, connection: Connection) -> bool:
        self._count(connection, "resets", "resets")
        return False

    def ms_handle_remote_reset(self, connection: Connection) -> None:
        self._count(connection, "resets", "remote_resets")

    def _record(self, connection: Connection) -> Record:
        return self._records.setdefault(id(connection), Record(connection))

    def _count(self, connection: Connection, group: str, what: str) -> None:
        with self.changed:
            self._record(connection).count(group, what)
            self.changed.notify_all()
