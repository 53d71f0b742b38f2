"""``ConnectionTable``: the connections of one messenger, by the peer's address vector."""

from __future__ import annotations

import threading

from ceph_msgr.connection.async_connection import AsyncConnection
from ceph_msgr.wire.addr import EntityAddrVec

__all__ = ["ConnectionTable"]


class ConnectionTable:
    """Registered connections are found by the peer's whole vector; the others (anonymous, not identified yet, clients of a
    stateless server) are only kept alive and counted. Any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._registered: dict[EntityAddrVec, AsyncConnection] = {}
        #: Where each of these, and of those that had to give way, was entered: thousands may leave at once.
        self._entered: dict[AsyncConnection, EntityAddrVec] = {}
        #: A set in the order of entry: the order in which they are marked down shall not hang on addresses in memory.
        self._others: dict[AsyncConnection, None] = {}

    def find(self, addrs: EntityAddrVec) -> AsyncConnection | None:
        """The live connection registered there; one that is closed, or about to be, is never found."""
        with self._lock:
            connection = self._registered.get(addrs)
        return None if connection is None or connection.is_closed else connection

    def add(self, connection: AsyncConnection) -> None:
        """Keep it without registering it."""
        with self._lock:
            self._others[connection] = None

    def register(self, connection: AsyncConnection, addrs: EntityAddrVec, *, instead_of: object | None) -> bool:
        """Enter it under the vector. False if a live connection other than ``instead_of`` is there."""
        with self._lock:
            present = self._registered.get(addrs)
            if present is not None and present is not instead_of and not present.is_closed:
                return False
            if present is not None:
                self._others[present] = None  # until it has said good-bye
            self._registered[addrs] = connection
            self._entered[connection] = addrs
            self._others.pop(connection, None)
            return True

    def forget(self, connection: AsyncConnection) -> None:
        with self._lock:
            self._others.pop(connection, None)
            addrs = self._entered.pop(connection, None)
            # By identity: another one may have taken its place.
            if addrs is not None and self._registered.get(addrs) is connection:
                del self._registered[addrs]

    def all(self) -> list[AsyncConnection]:
        with self._lock:
            return [*self._registered.values(), *self._others]
