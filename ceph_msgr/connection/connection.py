"""``Connection``: what a user holds to talk to one peer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from ceph_msgr._core import Message
from ceph_msgr.auth.base import ConMode
from ceph_msgr.wire.addr import EntityAddrVec
from ceph_msgr.wire.entity import EntityName, EntityType

if TYPE_CHECKING:
    from ceph_msgr.messenger import Messenger

__all__ = ["Connection"]


class Connection(ABC):
    """A session with one peer, which outlives the sockets below it. Made by a Messenger; every method from any thread.

    What is sent with one priority arrives in the order in which it was sent; a higher priority overtakes. Dropping the last
    reference does not close a connection: the messenger holds one until it is marked down or gone for good.
    """

    def __init__(self, messenger: Messenger) -> None:
        self.messenger = messenger
        #: The user's own; survives reconnects. Set it to None in ``ms_handle_reset`` if it refers back to the connection.
        self.priv: Any = None

    # ---- sending ----

    @abstractmethod
    def send_message(self, message: Message, *, borrow: bool = False) -> None:
        """Queue a message; returns at once. Success means queued, not delivered.

        The message is not changed and may be sent again. ``bytes`` segments are referred to, other buffers are copied now;
        with ``borrow`` they are referred to as well, and must not change until the message has left. On a closed
        connection it is dropped without a word. ``SendQueueFull`` if more than ``ms_send_queue_max_bytes`` would be unsent or
        unacknowledged; ``ms_handle_drained`` and ``wait_writable`` tell when there is room again.
        """

    @abstractmethod
    def send_keepalive(self) -> None:
        """Ask the peer for a sign of life; see ``last_keepalive_ack``. Requests coalesce until one has been sent."""

    @abstractmethod
    def flush(self, timeout: float | None = None) -> bool:
        """Wait until everything queued has reached the peer: acknowledged on a lossless connection, taken by the kernel on a
        lossy one. False after ``timeout`` seconds, or if the connection was closed before. ``RuntimeError`` on the
        connection's own worker, which would wait for itself."""

    @abstractmethod
    def wait_writable(self, timeout: float | None = None) -> bool:
        """Wait until the send queue is at most half full. Returns and raises as ``flush``."""

    # ---- closing ----

    @abstractmethod
    def mark_down(self) -> None:
        """Close at once and for good, without any callback: queued and unacknowledged messages are dropped, and so is what was
        received but not dispatched yet. Idempotent; legal in every callback."""

    @abstractmethod
    def mark_disposable(self) -> None:
        """Make the connection lossy from now on: its next fault ends it. Nothing is closed."""

    # ---- the peer ----

    @property
    @abstractmethod
    def is_connected(self) -> bool:
        """True exactly while messages flow: the handshake is finished and no fault has happened since."""

    @property
    @abstractmethod
    def peer_addrs(self) -> EntityAddrVec:
        """On an accepted connection only the socket's remote address until the peer has identified itself."""

    @property
    @abstractmethod
    def peer_name(self) -> EntityName:
        """Number -1 until the peer has identified itself."""

    @property
    def peer_type(self) -> EntityType:
        return self.peer_name.type

    @property
    @abstractmethod
    def features(self) -> int:
        """What both sides support; messages are encoded for it. 0 before the first handshake."""

    def has_feature(self, feature: int) -> bool:
        return self.features & feature == feature

    @property
    @abstractmethod
    def con_mode(self) -> ConMode | None:
        """As agreed in the last handshake; None before the first."""

    @property
    @abstractmethod
    def last_keepalive(self) -> float | None:
        """When the peer last asked for a sign of life, in seconds since the epoch."""

    @property
    @abstractmethod
    def last_keepalive_ack(self) -> float | None:
        """When we sent the request that was answered last, in seconds since the epoch: its age bounds the peer's silence."""

    @property
    def is_anon(self) -> bool:
        """Made with ``anon=True``: no look-up finds it."""
        return False

    @property
    def is_loopback(self) -> bool:
        return False
