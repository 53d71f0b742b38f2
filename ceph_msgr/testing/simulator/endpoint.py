"""``Endpoint``: the user of one simulated messenger. It sends, answers, and tells the model everything it hears."""

from __future__ import annotations

import random
from collections.abc import Callable

from ceph_msgr._core import Message
from ceph_msgr.connection.connection import Connection
from ceph_msgr.dispatch.dispatcher import Dispatcher
from ceph_msgr.errors import SendQueueFull
from ceph_msgr.policy import Policy
from ceph_msgr.testing.simulator.host import Host
from ceph_msgr.testing.simulator.model import FAST_TYPE, QUEUED_TYPE, Channel, ConnectionBook, Model, Violation

__all__ = ["Endpoint"]

_PRIORITIES = (63, 127, 127, 127, 196)
#: Bodies: mostly small, sometimes around the sizes at which the core changes its way of handling them.
_LENGTHS = (0, 1, 100, 1_000, 4_096, 17_000, 70_000, 150_000)
_LENGTH_WEIGHTS = (2, 2, 10, 6, 4, 1, 0.2, 0)
#: Some users send so much that a fault meets the middle of what has to be sent again.
_HEAVY_WEIGHTS = (0, 0, 1, 1, 1, 1, 2, 3)
_HEAVY_SHARE = 0.1
_ANSWER_SHARE = 0.3
#: Who marks the connection down on which a message came, in the callback.
_MARK_DOWN_SHARE = 0.002


class Endpoint(Dispatcher):
    """Added to its host's messenger before it starts."""

    def __init__(self, host: Host, model: Model, chance: random.Random, policy: Policy, note: Callable[[str], None]) -> None:
        self.host = host
        self.policy = policy
        #: Of the connections it holds.
        self.books: list[ConnectionBook] = []
        #: Of a process that has been killed: nobody listens any more.
        self.is_dead = False
        self.on_loss: Callable[[ConnectionBook], object] = lambda book: None
        self._model = model
        self._chance = chance
        self._weights = _HEAVY_WEIGHTS if chance.random() < _HEAVY_SHARE else _LENGTH_WEIGHTS
        self._note = note
        self._mark_down_share = _MARK_DOWN_SHARE

    def calm_down(self) -> None:
        """No further harm from this side."""
        self._mark_down_share = 0

    def retire(self) -> None:
        """Its process is about to be killed."""
        self.is_dead = True
        for book in self.books:
            book.connection = None
        self.books.clear()

    # ---- sending ----

    def send(self, book: ConnectionBook, count: int = 1) -> None:
        """So many messages of any kind."""
        chance = self._chance
        for _ in range(count):
            channel = FAST_TYPE if chance.random() < 0.6 else QUEUED_TYPE, chance.choice(_PRIORITIES)
            self.send_one(book, channel, chance.choices(_LENGTHS, self._weights)[0])

    def send_one(self, book: ConnectionBook, channel: Channel, len_bytes: int) -> None:
        if book.is_silenced or book.is_marked or book.connection is None:
            return
        message = self._model.make(book, channel, len_bytes)
        try:
            taken = book.connection.send_message(message)
        except SendQueueFull:
            return
        except MemoryError:
            if not self._model.lacks_memory:
                raise
            return
        # A connection that is closed already drops it: nothing is lost that was ever due.
        if taken is not False:
            self._model.was_sent(book, channel)

    # ---- books ----

    def dialled(self, connection: Connection, peer_host: int, peer_process: int) -> ConnectionBook:
        """The book of what ``connect_to`` has given."""
        if isinstance(connection.priv, ConnectionBook):
            return connection.priv
        return self._open(connection, peer_host, peer_process, is_dialled=True)

    def _open(self, connection: Connection, peer_host: int, peer_process: int, *, is_dialled: bool) -> ConnectionBook:
        book = self._model.open(
            process=self.host.messenger.myaddrs[0].nonce, host=self.host.number, peer_host=peer_host,
            peer_process=peer_process, policy=self.policy, is_dialled=is_dialled, connection=connection,
        )
        self.books.append(book)
        return book

    def _book(self, connection: Connection) -> ConnectionBook | None:
        """None: the connection is not worth a word, such as the loopback one."""
        if self.is_dead or connection.is_loopback:
            return None
        if isinstance(connection.priv, ConnectionBook):
            return connection.priv
        addr = connection.peer_addrs[0]
        return self._open(connection, int(addr.ip.rpartition(".")[2]), addr.nonce, is_dialled=False)

    def _told(self, what: str, connection: Connection) -> ConnectionBook | None:
        book = self._book(connection)
        if book:
            self._note(f"host {self.host.number} {what} {book.number}")
        return book

    # ---- Dispatcher ----

    def ms_can_fast_dispatch_any(self) -> bool:
        return True

    def ms_can_fast_dispatch(self, message_type: int) -> bool:
        return message_type == FAST_TYPE

    def ms_fast_dispatch(self, message: Message) -> None:
        self._receive(message)

    def ms_dispatch(self, message: Message) -> bool:
        self._receive(message)
        return True

    def _receive(self, message: Message) -> None:
        if self.is_dead:
            return
        book = message.connection.priv
        if not isinstance(book, ConnectionBook):
            raise Violation(f"host {self.host.number}: a message on a connection nobody has announced")
        self._note(f"host {self.host.number} receives {message.tid} {message.type} {message.priority} on {book.number}")
        self._model.receive(book, message)
        if self._chance.random() < _ANSWER_SHARE:
            self.send(book)
        if self._chance.random() < self._mark_down_share:
            self.silence(book)

    def ms_handle_fast_connect(self, connection: Connection) -> None:
        if book := self._told("fast connect", connection):
            self._model.up(book)

    def ms_handle_fast_accept(self, connection: Connection) -> None:
        if book := self._told("fast accept", connection):
            self._model.up(book)

    def ms_handle_connect(self, connection: Connection) -> None:
        if book := self._told("connect", connection):
            self._model.queued_up(book)

    def ms_handle_accept(self, connection: Connection) -> None:
        if book := self._told("accept", connection):
            self._model.queued_up(book)

    def ms_handle_reset(self, connection: Connection) -> bool:
        if book := self._told("reset", connection):
            self._model.reset(book)
            self._forget(book)
            self.on_loss(book)
        return True

    def ms_handle_remote_reset(self, connection: Connection) -> None:
        if book := self._told("remote reset", connection):
            self._model.remote_reset(book)
            self.on_loss(book)

    def ms_handle_refused(self, connection: Connection) -> bool:
        if book := self._told("refused", connection):
            self._model.refused(book)
        return True

    def _forget(self, book: ConnectionBook) -> None:
        """The user's reference to a connection that is gone."""
        if book in self.books:
            self.books.remove(book)
        book.connection = None

    def silence(self, book: ConnectionBook) -> None:
        """``Connection.mark_down``: not a word is heard of it from here on."""
        connection = book.connection
        self._model.silence(book)
        self._forget(book)
        if connection:
            connection.mark_down()
