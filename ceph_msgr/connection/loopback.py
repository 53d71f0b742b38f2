"""``LoopbackConnection``: a messenger's connection to itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ceph_msgr._core import Message
from ceph_msgr.auth.base import ConMode
from ceph_msgr.connection.connection import Connection
from ceph_msgr.dispatch.local import LocalDelivery
from ceph_msgr.wire.addr import EntityAddrVec
from ceph_msgr.wire.entity import EntityName

if TYPE_CHECKING:
    from ceph_msgr.messenger import Messenger

__all__ = ["LoopbackConnection"]

_ALL_FEATURES = (1 << 64) - 1


class LoopbackConnection(Connection):
    """Delivers the very same objects, in the order sent, neither encoded nor throttled."""

    def __init__(self, messenger: Messenger, delivery: LocalDelivery) -> None:
        super().__init__(messenger)
        self._delivery = delivery
        self._is_closed = False

    def __repr__(self) -> str:
        return f"<LoopbackConnection of {self.messenger.name}>"

    def send_message(self, message: Message, *, borrow: bool = False) -> None:
        if not self._is_closed:
            self._delivery.send(message, self)

    def send_keepalive(self) -> None:
        """We are alive."""

    def flush(self, timeout: float | None = None) -> bool:
        return not self._is_closed

    def wait_writable(self, timeout: float | None = None) -> bool:
        return not self._is_closed

    def mark_down(self) -> None:
        """The loopback connection ends with its messenger only."""

    def mark_disposable(self) -> None:
        """Nothing can be lost here."""

    def open(self) -> None:
        self._is_closed = False

    def close(self) -> None:
        self._is_closed = True
        self.priv = None

    @property
    def is_connected(self) -> bool:
        return not self._is_closed

    @property
    def peer_addrs(self) -> EntityAddrVec:
        return self.messenger.myaddrs

    @property
    def peer_name(self) -> EntityName:
        return self.messenger.entity_name

    @property
    def features(self) -> int:
        return _ALL_FEATURES

    @property
    def con_mode(self) -> ConMode | None:
        return None

    @property
    def last_keepalive(self) -> float | None:
        return None

    @property
    def last_keepalive_ack(self) -> float | None:
        return None

    @property
    def is_loopback(self) -> bool:
        return True
