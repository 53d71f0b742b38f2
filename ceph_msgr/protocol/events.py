"""What happens to a session. The shell reports each of these, on the connection's worker thread, to ``Session.handle``.

Events are in the past tense and carry all that was seen; frames of an open session (MESSAGE, ACK, KEEPALIVE2 and its ack)
never come, the data plane deals with them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from ceph_msgr.auth.base import ConMode, Credentials
from ceph_msgr.protocol.frames import ClientIdentFrame, SessionReconnectFrame
from ceph_msgr.protocol.reconnect import Verdict
from ceph_msgr.wire.addr import EntityAddr
from ceph_msgr.wire.entity import EntityType

__all__ = [
    "Accepted",
    "BannerReceived",
    "DialRequested",
    "Event",
    "FrameReceived",
    "Handoff",
    "MarkedDisposable",
    "MarkedDown",
    "SendQueued",
    "SocketConnected",
    "SocketLost",
    "StreamAdopted",
    "StreamHandedOver",
    "TakeOverRefused",
    "TakeOverRequested",
    "Timer",
    "TimerFired",
]


class Timer(Enum):
    """The timers of a session; at most one of each is pending."""

    #: From dialling or accepting until READY.
    HANDSHAKE = "handshake"
    #: Until the next dial.
    BACKOFF = "backoff"


@dataclass(frozen=True, slots=True)
class Handoff:
    """What a newcomer's handshake found out, for the existing session that takes its socket over."""

    frame: ClientIdentFrame | SessionReconnectFrame
    peer_type: EntityType
    con_mode: ConMode
    global_id: int
    credentials: Credentials
    #: The newcomer's policy: whether a restarted peer costs the session its queue.
    resetcheck: bool
    #: Whose socket it is; put in by whoever carries out ``TakeOver``. Several newcomers may be on their way to one session.
    newcomer: object = None


# ---- the life of a socket ----


@dataclass(frozen=True, slots=True)
class DialRequested:
    """The user wants this connection; for a new session, once."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """A peer's socket was accepted; for a new session, once."""

    #: As accept() tells it, of type msgr2 and with nonce 0: the peer learns its own ip from it.
    peer_addr: EntityAddr
    #: Our end of the socket, from which we learn our own ip: what a stranger says of it is not believed.
    local_addr: EntityAddr = EntityAddr()


@dataclass(frozen=True, slots=True)
class SocketConnected:
    """The dial succeeded."""

    #: Our end of the socket.
    local_addr: EntityAddr


@dataclass(frozen=True, slots=True)
class BannerReceived:
    """The peer's banner is complete, or its first bytes show that it is none."""

    wire: bytes


@dataclass(frozen=True, slots=True)
class FrameReceived:
    """A frame that is not the data plane's. The stream stands still until ``Continue``."""

    tag: int
    payload: bytes
    #: The frame as it came over the wire.
    wire: bytes
    #: The last message this session received.
    in_seq: int = 0


@dataclass(frozen=True, slots=True)
class SocketLost:
    """The dial failed, the socket broke, the peer closed it, it was idle for too long, or a frame was bad."""

    error: Exception


@dataclass(frozen=True, slots=True)
class TimerFired:
    timer: Timer


# ---- the user ----


@dataclass(frozen=True, slots=True)
class SendQueued:
    """A message was queued after ``WatchQueue``."""


@dataclass(frozen=True, slots=True)
class MarkedDown:
    """The user closes the connection. ``notify``: through the messenger, which calls back, rather than silently."""

    notify: bool = False


@dataclass(frozen=True, slots=True)
class MarkedDisposable:
    """The user makes the session lossy: its next fault ends it. Until then the data plane keeps to what was agreed with
    the peer, which goes on waiting for acknowledgements."""


# ---- take-over, in the order they happen ----


@dataclass(frozen=True, slots=True)
class TakeOverRequested:
    """To the existing session, on its own worker: a newcomer's ``TakeOver`` action. Answered by ``AdoptStream`` or
    ``RefuseTakeOver``."""

    handoff: Handoff


@dataclass(frozen=True, slots=True)
class TakeOverRefused:
    """To the newcomer, on its worker: the existing session has moved on since and judges otherwise."""

    verdict: Verdict


@dataclass(frozen=True, slots=True)
class StreamHandedOver:
    """To the newcomer: its stream belongs to the existing session now."""


@dataclass(frozen=True, slots=True)
class StreamAdopted:
    """To the existing session, on the newcomer's worker: the stream is attached, standing still behind the frame of the
    handoff. ``in_seq`` was read after the old stream was gone."""

    handoff: Handoff
    in_seq: int


Event: TypeAlias = (
    DialRequested
    | Accepted
    | SocketConnected
    | BannerReceived
    | FrameReceived
    | SocketLost
    | TimerFired
    | SendQueued
    | MarkedDown
    | MarkedDisposable
    | TakeOverRequested
    | TakeOverRefused
    | StreamHandedOver
    | StreamAdopted
)
