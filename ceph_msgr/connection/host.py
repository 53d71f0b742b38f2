"""``Host``: what the control plane of a connection may ask of its surroundings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ceph_msgr.policy import Policy
from ceph_msgr.protocol.reconnect import ExistingSession
from ceph_msgr.wire.addr import EntityAddrVec
from ceph_msgr.wire.entity import EntityName, EntityType

if TYPE_CHECKING:
    from ceph_msgr.connection.async_connection import AsyncConnection

__all__ = ["Host"]


class Host:
    """The ``SessionHost`` of one connection: the messenger's names, numbers and table, and the connection's queue."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self._messenger = connection.messenger

    @property
    def my_name(self) -> EntityName:
        return self._messenger.entity_name

    @property
    def my_addrs(self) -> EntityAddrVec:
        return self._messenger.myaddrs

    def has_queued(self) -> bool:
        info = self._connection.session_info()
        return bool(info["queued_messages"] or info["unacked_messages"] or info["keepalive_wanted"])

    def new_cookie(self) -> int:
        return self._messenger.new_cookie()

    def jitter(self) -> float:
        return self._messenger.jitter()

    def next_global_seq(self, minimum: int) -> int:
        return self._messenger.get_global_seq(minimum)

    def choose_policy(self, peer_type: EntityType) -> Policy:
        return self._messenger.get_policy(peer_type)

    def find_existing(self, addrs: EntityAddrVec) -> ExistingSession | None:
        existing = self._messenger.lookup(addrs)
        return existing.view() if existing else None

    def register(self, addrs: EntityAddrVec, *, instead_of: object | None) -> bool:
        return self._messenger.register(self._connection, addrs, instead_of=instead_of)
