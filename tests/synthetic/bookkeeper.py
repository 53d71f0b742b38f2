"""``Bookkeeper``: the one dispatcher of a synthetic run, which answers pings and knows what must come back."""

from __future__ import annotations

import itertools
import struct
import threading
from collections import Counter, deque
from typing import Any

from ceph_msgr import Connection, Dispatcher, Message
from ceph_msgr.messages import MPing

__all__ = ["Bookkeeper"]

#: Of no class of ours, and more urgent than pings, so that it disturbs their order in the queues.
_COMMAND_TYPE, _COMMAND_PRIORITY = 97, 200

_PING, _PONG = 1, 2
_HEAD = struct.Struct("<BQ")


class Bookkeeper(Dispatcher):
    """Sends numbered payloads, and checks that they come back whole and in order on the connection on which they were sent.

    Every connect and reset voids what is expected of its connection: messages may be lost then, never mixed up. What is
    wrong is noted in ``failures``, because an exception would end in the log.
    """

    def __init__(self, pool: list[bytes]) -> None:
        self.changed = threading.Condition()
        self.failures: list[str] = []
        self.counts: Counter[str] = Counter()
        self._pool = pool
        self._numbers = itertools.count(1)
        self._sent: dict[Connection, deque[int]] = {}
        self._payloads: dict[int, int] = {}
        self._gone: list[Connection] = []

    # ---- the test's side ----

    @property
    def pending(self) -> int:
        return len(self._payloads)

    def pending_on(self, connection: Connection) -> int:
        return len(self._sent.get(connection, ()))

    def wait_pending(self, limit: int, timeout_s: float) -> bool:
        """Until so few pings are unanswered, or something is wrong. False if that takes too long."""
        with self.changed:
            return self.changed.wait_for(lambda: len(self._payloads) <= limit or self.failures, timeout_s)

    def take_gone(self) -> list[Connection]:
        """Connections that were reset since the last call."""
        with self.changed:
            gone, self._gone = self._gone, []
        return gone

    def send_ping(self, connection: Any, index: int) -> None:
        number = next(self._numbers)
        with self.changed:
            self._sent.setdefault(connection, deque()).append(number)
            self._payloads[number] = index
        connection.send_message(_make_message(_PING, number, self._pool[index]))
        if connection.is_closed:
            self.forget(connection)  # its reset may have been told before we noted anything

    def send_command(self, connection: Connection) -> None:
        connection.send_message(Message(_COMMAND_TYPE, priority=_COMMAND_PRIORITY))

    def forget(self, connection: Connection) -> None:
        with self.changed:
            for number in self._sent.pop(connection, ()):
                del self._payloads[number]
            self.changed.notify_all()

    def fail(self, text: str) -> None:
        with self.changed:
            self.failures.append(text)
            self.changed.notify_all()

    # ---- callbacks ----

    def ms_can_fast_dispatch_any(self) -> bool:
        return True

    def ms_can_fast_dispatch(self, message_type: int) -> bool:
        return message_type in (MPing.TYPE, _COMMAND_TYPE)

    def ms_fast_dispatch(self, message: Message) -> None:
        if message.type == _COMMAND_TYPE:
            self.counts["commands"] += 1
            return
        data = memoryview(message.data)
        kind, number = _HEAD.unpack_from(data)
        payload = data[_HEAD.size :]
        if kind == _PING:
            self.counts["pings"] += 1
            message.connection.send_message(_make_message(_PONG, number, payload))
        else:
            self.counts["pongs"] += 1
            self._check_pong(message.connection, number, bytes(payload))

    def _check_pong(self, connection: Connection, number: int, payload: bytes) -> None:
        with self.changed:
            index = self._payloads.get(number)
            if index is None:
                return  # void since
            expected = self._sent.get(connection)
            if not expected or expected[0] != number:
                front = list(itertools.islice(expected or (), 5))
                self.failures.append(f"answer {number} came over {connection!r}, where {front} were to come")
            elif payload != self._pool[index]:
                self.failures.append(f"answer {number} over {connection!r} is not payload {index}")
            else:
                expected.popleft()
                del self._payloads[number]
            self.changed.notify_all()

    def ms_dispatch(self, message: Message) -> bool:
        self.fail(f"{message!r} was queued")
        return True

    def ms_handle_fast_connect(self, connection: Any) -> None:
        if not connection.is_loopback:
            self.counts["connects"] += 1
            self.forget(connection)

    def ms_handle_fast_accept(self, connection: Connection) -> None:
        self.counts["accepts"] += 1
        self.forget(connection)

    def ms_handle_remote_reset(self, connection: Connection) -> None:
        self.counts["remote resets"] += 1
        self.forget(connection)

    def ms_handle_reset(self, connection: Connection) -> bool:
        self.counts["resets"] += 1
        self.forget(connection)
        with self.changed:
            self._gone.append(connection)
        return True


def _make_message(kind: int, number: int, payload: bytes | memoryview) -> Message:
    message = MPing()
    message.data = b"".join((_HEAD.pack(kind, number), payload))
    return message
