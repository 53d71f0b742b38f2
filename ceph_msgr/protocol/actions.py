"""What a session wants done. The shell executes each list in order, without thought.

Two rules. Events that arise while a list is being executed are reported after its end. The exception is ``MarkedDown``,
which a user's callback may cause: it is reported at once, its own list is executed at once, and the rest of the outer list
is void.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TypeAlias

from ceph_msgr.auth.base import ConMode
from ceph_msgr.policy import Policy
from ceph_msgr.protocol.events import Handoff, Timer
from ceph_msgr.protocol.reconnect import Verdict
from ceph_msgr.protocol.tags import Tag
from ceph_msgr.wire.addr import EntityAddr, EntityAddrVec
from ceph_msgr.wire.entity import AuthEntityName, EntityName, EntityType

__all__ = [
    "Action",
    "AdoptStream",
    "ArmTimer",
    "CancelTimer",
    "CloseExisting",
    "CloseSocket",
    "Closed",
    "Continue",
    "Dial",
    "DropAcked",
    "EnterReady",
    "LearnAddress",
    "Notice",
    "Notify",
    "NudgeExisting",
    "PeerInfo",
    "RefuseTakeOver",
    "Requeue",
    "ResetQueues",
    "SendBytes",
    "SendFrame",
    "SetCompression",
    "SetKeys",
    "SetPeer",
    "SetPolicy",
    "SetRevision",
    "TakeOver",
    "WatchQueue",
]


class Notice(Enum):
    """The callbacks of a connection. Those called ``FAST`` are made at once, the others through the dispatch queue."""

    CONNECT = "ms_handle_connect"
    FAST_CONNECT = "ms_handle_fast_connect"
    ACCEPT = "ms_handle_accept"
    FAST_ACCEPT = "ms_handle_fast_accept"
    RESET = "ms_handle_reset"
    REMOTE_RESET = "ms_handle_remote_reset"
    REFUSED = "ms_handle_refused"


@dataclass(frozen=True, slots=True)
class PeerInfo:
    """What a finished handshake knows of the peer."""

    name: EntityName
    addrs: EntityAddrVec
    #: Both sides encode messages for these.
    features: int
    con_mode: ConMode
    global_id: int
    #: Who it authenticated as; on the dialling side, nobody.
    auth_name: AuthEntityName | None = None
    #: Its capabilities, encoded.
    caps: bytes = b""


# ---- the stream ----


@dataclass(frozen=True, slots=True)
class Dial:
    """Make a socket and connect it. Answered by ``SocketConnected`` or ``SocketLost``."""

    addr: EntityAddr


@dataclass(frozen=True, slots=True)
class SendBytes:
    """Send these bytes as they are (the banner)."""

    data: bytes


@dataclass(frozen=True, slots=True)
class SetRevision:
    """Frames in both directions are msgr2.``revision`` from here on."""

    revision: int


@dataclass(frozen=True, slots=True)
class SendFrame:
    tag: Tag
    payload: bytes


@dataclass(frozen=True, slots=True)
class SetKeys:
    """Both directions are encrypted from here on: frames sent after this, frames parsed after ``Continue``."""

    connection_secret: bytes = field(repr=False)
    #: Whether we dialled this socket; tells which nonce is whose.
    is_client: bool


@dataclass(frozen=True, slots=True)
class SetCompression:
    """Compression in both directions from here on, with the same timing."""

    algorithm: int
    #: Frames with less in their segments are sent as they are.
    min_bytes: int


@dataclass(frozen=True, slots=True)
class Continue:
    """The frame is dealt with: parse on."""


@dataclass(frozen=True, slots=True)
class CloseSocket:
    """Close the socket, or give up the dial; nothing of this stream is reported any more."""


# ---- timers ----


@dataclass(frozen=True, slots=True)
class ArmTimer:
    timer: Timer
    delay_ns: int


@dataclass(frozen=True, slots=True)
class CancelTimer:
    timer: Timer


# ---- the queues of the session ----


@dataclass(frozen=True, slots=True)
class Requeue:
    """Unacknowledged messages go back to the front, with their numbers."""


@dataclass(frozen=True, slots=True)
class DropAcked:
    """The peer has received everything up to this number. If no such message was ever sent, the peer lies: report
    ``SocketLost`` with a ``RemoteProtocolError`` and drop the rest of the list."""

    seq: int


@dataclass(frozen=True, slots=True)
class ResetQueues:
    """A new session: both directions number from 1. With ``drop`` everything queued is lost, and what was received but
    not yet dispatched as well."""

    drop: bool


@dataclass(frozen=True, slots=True)
class WatchQueue:
    """Report ``SendQueued`` as soon as a message is queued; at once if one is."""


@dataclass(frozen=True, slots=True)
class EnterReady:
    """Join stream and session: messages flow. The queue is encoded for ``features`` first. Lossless sessions keep what
    they sent until it is acknowledged."""

    lossless: bool
    features: int


# ---- the connection and its user ----


@dataclass(frozen=True, slots=True)
class SetPolicy:
    """The peer's type is known and chose this policy: its throttles hold from here on."""

    peer_type: EntityType
    policy: Policy


@dataclass(frozen=True, slots=True)
class SetPeer:
    """What the connection tells its user about the peer."""

    peer: PeerInfo


@dataclass(frozen=True, slots=True)
class LearnAddress:
    """A peer, or our end of the socket, shows our own ip. Only needed while it is unknown."""

    addr: EntityAddr


@dataclass(frozen=True, slots=True)
class Notify:
    notice: Notice


@dataclass(frozen=True, slots=True)
class Closed:
    """Always the last action ever: unregister the connection, drop its queues and its undelivered messages."""

    reason: str


# ---- other sessions, by the handle of ``ExistingSession`` ----


@dataclass(frozen=True, slots=True)
class CloseExisting:
    """Post ``MarkedDown(notify=True)`` to it. It is no longer the one registered."""

    existing: object


@dataclass(frozen=True, slots=True)
class NudgeExisting:
    """Ask for a keepalive on it, so that its dial goes on even with nothing to say, and post ``SendQueued`` to it: if it rests
    it dials."""

    existing: object


@dataclass(frozen=True, slots=True)
class TakeOver:
    """Post ``TakeOverRequested`` to it, on its worker, with us as the handoff's newcomer. Our stream stands still until the
    answer: ``TakeOverRefused`` or ``StreamHandedOver``."""

    existing: object
    handoff: Handoff


@dataclass(frozen=True, slots=True)
class AdoptStream:
    """The old stream is gone (``CloseSocket`` came before). Read ``in_seq``, move to the worker of the handoff's newcomer, attach
    its stream whole, then report ``StreamHandedOver`` to it and ``StreamAdopted`` to us. If its stream is gone by then:
    ``SocketLost`` to us."""

    handoff: Handoff


@dataclass(frozen=True, slots=True)
class RefuseTakeOver:
    """Post ``TakeOverRefused`` to the handoff's newcomer."""

    handoff: Handoff
    verdict: Verdict


Action: TypeAlias = (
    Dial
    | SendBytes
    | SetRevision
    | SendFrame
    | SetKeys
    | SetCompression
    | Continue
    | CloseSocket
    | ArmTimer
    | CancelTimer
    | Requeue
    | DropAcked
    | ResetQueues
    | WatchQueue
    | EnterReady
    | SetPolicy
    | SetPeer
    | LearnAddress
    | Notify
    | Closed
    | CloseExisting
    | NudgeExisting
    | TakeOver
    | AdoptStream
    | RefuseTakeOver
)
