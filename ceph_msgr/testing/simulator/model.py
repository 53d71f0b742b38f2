"""``Model``: what must hold, whatever happens, and the books in which it is checked.

Every message says who sent it, on which connection, and the how-manieth it is among those of its priority and way of dispatch:
its *channel*. Every connection's callbacks are checked against the grammar of docs/behaviour.md. What may be lost is what the
contract lets be lost, and only if somebody was told: each gap in a lossless channel needs a reset of its own that explains it,
and each reset a cause.
"""

from __future__ import annotations

import errno
import struct
from dataclasses import dataclass, field

from ceph_msgr._core import Message
from ceph_msgr.connection.connection import Connection
from ceph_msgr.policy import Policy

__all__ = ["Arrival", "Channel", "ConnectionBook", "Model", "Pair", "Violation", "is_want_of_memory"]

#: Process, connection, number within the channel, length of the body.
_STAMP = struct.Struct("<IIIQ")

#: Messages of the one type are dispatched fast, those of the other are queued.
FAST_TYPE, QUEUED_TYPE = 1000, 1001

#: (message type, priority).
Channel = tuple[int, int]


class Violation(AssertionError):
    """Something happened that must not."""


def is_want_of_memory(error: BaseException) -> bool:
    """The core says it in two ways."""
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM)


@dataclass
class Pair:
    """Two hosts, for the whole run."""

    #: Of what their users or processes did to the sessions between them: each may cost one session, told to whoever is left.
    disturbances: int = 0


@dataclass(eq=False)
class ConnectionBook:
    """One connection object, at its own process; its ``priv``."""

    number: int
    process: int
    host: int
    peer_host: int
    pair: Pair
    policy: Policy
    is_dialled: bool
    connection: Connection | None
    #: The process at the other end, 0 until it is known. It never becomes another one: its address has its nonce.
    peer_process: int = 0
    sent: dict[Channel, int] = field(default_factory=dict)
    ups: int = 0
    queued_ups: int = 0
    remote_resets: int = 0
    resets: int = 0
    #: By its user, and by its messenger.
    is_silenced: bool = False
    is_marked: bool = False

    def __str__(self) -> str:
        kind = "dialled" if self.is_dialled else "accepted"
        return f"connection {self.number} ({kind}, host {self.host} to {self.peer_host})"

    @property
    def is_over(self) -> bool:
        return bool(self.resets) or self.is_silenced or self.is_marked

    @property
    def is_lossless(self) -> bool:
        return not self.policy.lossy


@dataclass
class Arrival:
    """What one process has got of one channel of one connection."""

    last: int = -1
    #: The connection object it came on last.
    book: ConnectionBook | None = None
    gaps: int = 0
    received: int = 0


class Model:
    """Of one run."""

    def __init__(self, block: bytes) -> None:
        self._block = block
        self.books: dict[int, ConnectionBook] = {}
        self._pairs: dict[tuple[int, int], Pair] = {}
        #: (receiving process, sending connection) to channels.
        self._arrivals: dict[tuple[int, int], dict[Channel, Arrival]] = {}
        #: Told resets and marks at a process, by the process at the other end: what may explain a gap there.
        self._losses: dict[tuple[int, int], int] = {}
        #: An allocation has failed: it may cost a connection, which is told.
        self.lacks_memory = False
        self.ups = 0
        self.sent = 0
        self.received = 0

    def forget(self) -> None:
        """Lets everything go that belongs to the core."""
        self.books.clear()
        self._arrivals.clear()

    def pair(self, a: int, b: int) -> Pair:
        return self._pairs.setdefault((min(a, b), max(a, b)), Pair())

    def open(
        self, *, process: int, host: int, peer_host: int, peer_process: int, policy: Policy, is_dialled: bool,
        connection: Connection,
    ) -> ConnectionBook:
        pair = self.pair(host, peer_host)
        book = ConnectionBook(
            len(self.books) + 1, process, host, peer_host, pair, policy, is_dialled, connection, peer_process
        )
        self.books[book.number] = book
        connection.priv = book
        return book

    # ---- messages ----

    def make(self, book: ConnectionBook, channel: Channel, len_bytes: int) -> Message:
        """The next message of the channel; ``sent`` counts it if it was taken."""
        number = book.sent.get(channel, 0)
        type_, priority = channel
        body = self._body(book.number, number, len_bytes)
        cut = len_bytes // 3
        stamp = _STAMP.pack(book.process, book.number, number, len_bytes)
        return Message(type_, stamp, body[:cut], body[cut:], priority=priority, tid=number)

    def was_sent(self, book: ConnectionBook, channel: Channel) -> None:
        book.sent[channel] = book.sent.get(channel, 0) + 1
        self.sent += 1

    def _body(self, connection: int, number: int, len_bytes: int) -> bytes:
        at = (connection * 7919 + number * 104729) % (len(self._block) - len_bytes)
        return self._block[at : at + len_bytes]

    def receive(self, book: ConnectionBook, message: Message) -> None:
        """A message has come to the process of ``book``, on its connection."""
        process, sender_number, number, len_bytes = _STAMP.unpack(message.front)
        channel = message.type, message.priority
        self.received += 1
        what = f"message {number} of {sender_number}, {channel}, at {book}"
        cut = len_bytes // 3
        body = self._body(sender_number, number, len_bytes)
        if bytes(message.middle) != body[:cut] or bytes(message.data) != body[cut:] or message.tid != number:
            raise Violation(f"{what}: altered")
        sender = self.books[sender_number]
        if sender.process != process or sender.peer_host != book.host or sender.host != book.peer_host:
            raise Violation(f"{what}: was for host {sender.peer_host}, from host {sender.host}")
        if number >= sender.sent.get(channel, 0):
            raise Violation(f"{what}: was never sent")
        if not book.ups:
            raise Violation(f"{what}: before connect and accept")
        if book.resets:
            raise Violation(f"{what}: after reset")
        if book.is_silenced or book.is_marked:
            raise Violation(f"{what}: after mark_down")
        if book.peer_process and book.peer_process != process:
            raise Violation(f"{what}: from process {process}, the connection is with {book.peer_process}")
        book.peer_process = process
        self._count(book, sender, channel, number, what)

    def _count(self, book: ConnectionBook, sender: ConnectionBook, channel: Channel, number: int, what: str) -> None:
        arrivals = self._arrivals.setdefault((book.process, sender.number), {})
        arrival = arrivals.get(channel)
        if arrival is None:
            arrival = arrivals[channel] = Arrival()
        if number <= arrival.last and not self._may_repeat(arrival, book):
            raise Violation(f"{what}: comes again, or late: {arrival.last} was there before")
        if number > arrival.last + 1:
            if not sender.is_lossless:
                raise Violation(f"{what}: skips {arrival.last + 1} to {number - 1}, and the connection is lossy")
            arrival.gaps += 1
        arrival.last = number
        arrival.book = book
        arrival.received += 1

    @staticmethod
    def _may_repeat(arrival: Arrival, book: ConnectionBook) -> bool:
        """Without reset check, what was not acknowledged is sent again to a peer that has forgotten the session."""
        former = arrival.book
        return former is not None and former is not book and former.is_over and not book.policy.resetcheck

    def arrival(self, process: int, sender: ConnectionBook, channel: Channel) -> Arrival:
        return self._arrivals.get((process, sender.number), {}).get(channel, Arrival())

    # ---- callbacks ----

    def up(self, book: ConnectionBook) -> None:
        """Fast connect or accept."""
        if book.resets or book.is_silenced or book.is_marked:
            raise Violation(f"{book}: up again after its end")
        book.ups += 1
        self.ups += 1

    def queued_up(self, book: ConnectionBook) -> None:
        book.queued_ups += 1
        if book.resets:
            raise Violation(f"{book}: connect or accept after reset")
        if book.queued_ups > book.ups:
            raise Violation(f"{book}: connect or accept without the fast one")

    def reset(self, book: ConnectionBook) -> None:
        book.resets += 1
        if book.resets > 1:
            raise Violation(f"{book}: reset twice")
        if not book.is_dialled and not book.ups:
            raise Violation(f"{book}: reset of a connection nobody has heard of")
        if book.is_lossless and not book.is_marked and not self.lacks_memory:
            raise Violation(f"{book}: reset, though it is lossless and nobody has marked it down")
        self._lost(book)

    def remote_reset(self, book: ConnectionBook) -> None:
        book.remote_resets += 1
        if book.resets:
            raise Violation(f"{book}: remote reset after reset")
        if not book.is_lossless:
            raise Violation(f"{book}: remote reset of a lossy connection")
        if book.remote_resets > book.pair.disturbances and not self.lacks_memory:
            raise Violation(
                f"{book}: {book.remote_resets} remote resets, but only {book.pair.disturbances} times anybody gave up a session"
            )
        self._lost(book)

    def refused(self, book: ConnectionBook) -> None:
        if book.resets:
            raise Violation(f"{book}: refused after reset")

    # ---- what the user does ----

    def disturb(self, a: int, b: int) -> None:
        self.pair(a, b).disturbances += 1

    def silence(self, book: ConnectionBook) -> None:
        """``Connection.mark_down``."""
        if not book.is_over:
            self.disturb(book.host, book.peer_host)
            self._lost(book)
        book.is_silenced = True

    def mark(self, book: ConnectionBook) -> None:
        """``Messenger.mark_down`` and the like: a reset is due."""
        if not book.is_over:
            self.disturb(book.host, book.peer_host)
            self._lost(book)
        book.is_marked = True

    def _lost(self, book: ConnectionBook) -> None:
        key = book.process, book.peer_process
        self._losses[key] = self._losses.get(key, 0) + 1

    # ---- at rest ----

    def check_gaps(self) -> None:
        """When every callback has run: each gap needs a reset."""
        for (process, sender_number), arrivals in self._arrivals.items():
            sender = self.books[sender_number]
            told = sender.remote_resets + sender.resets + self._losses.get((process, sender.process), 0)
            for channel, arrival in arrivals.items():
                if arrival.gaps > told:
                    raise Violation(
                        f"{sender}, {channel}: process {process} misses messages {arrival.gaps} times (last {arrival.last}, "
                        f"{arrival.received} received), told were {told} resets"
                    )

    def check_callbacks(self, processes: set[int]) -> None:
        """When every callback of these processes has run."""
        for book in self.books.values():
            if book.process not in processes:
                continue
            if not book.is_over and book.queued_ups != book.ups:
                raise Violation(f"{book}: {book.ups} fast connects or accepts, {book.queued_ups} queued ones")
            if book.is_marked and not book.is_silenced and not book.resets and (book.is_dialled or book.ups):
                raise Violation(f"{book}: marked down by its messenger, and no reset")

    def undelivered(self, book: ConnectionBook) -> list[tuple[Channel, int, int]]:
        """(channel, last that arrived, last that was sent), where the last has not arrived."""
        return [
            (channel, last, sent - 1)
            for channel, sent in book.sent.items()
            if (last := self.arrival(book.peer_process, book, channel).last) != sent - 1
        ]
