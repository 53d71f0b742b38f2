"""Which session wins when a peer identifies itself and a session with it may exist already.

Two pure functions, one for each question a peer can ask, and the answers they give. The tables are "Accepting side:
SESSION_RECONNECT", "Accepting side: CLIENT_IDENT with an existing session" and "Connection races"; each row is one ``if``,
in the tables' order. Nothing is changed here: the caller carries the verdict out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from ceph_msgr.protocol.frames import ClientIdentFrame, SessionReconnectFrame
from ceph_msgr.protocol.states import IDLE_STATES, State
from ceph_msgr.wire.addr import EntityAddr

__all__ = [
    "AcceptNew",
    "ExistingSession",
    "RefuseEarly",
    "RefuseStale",
    "ReplaceLossy",
    "SendReset",
    "SendRetry",
    "SendRetryGlobal",
    "SendWait",
    "TakeOverExisting",
    "Verdict",
    "judge_client_ident",
    "judge_session_reconnect",
]


@dataclass(frozen=True, slots=True)
class ExistingSession:
    """What is known of the session registered for the peer's address vector, at one moment."""

    #: Whatever the shell knows the session by; passed back in actions, never looked into.
    handle: object
    state: State
    is_lossy: bool
    #: Its policy forbids it to dial.
    is_server: bool
    client_cookie: int
    server_cookie: int
    connect_seq: int
    peer_global_seq: int
    #: A dial of its own asked for a session and broke before the answer: the peer may have granted it, or may yet.
    is_ident_unanswered: bool = False


# ---- verdicts ----


@dataclass(frozen=True, slots=True)
class AcceptNew:
    """Nobody is there: the newcomer becomes the session."""


@dataclass(frozen=True, slots=True)
class ReplaceLossy:
    """A lossy session gives way: close it with a reset, then accept the newcomer."""


@dataclass(frozen=True, slots=True)
class TakeOverExisting:
    """The existing session lives on, on the newcomer's socket."""

    #: The peer has restarted: first drop what is queued and report a remote reset.
    reset: bool = False


@dataclass(frozen=True, slots=True)
class SendWait:
    """The existing session's own dial is the one that counts; it must go on, even with nothing to say."""


@dataclass(frozen=True, slots=True)
class SendReset:
    """The peer's session is not ours."""

    full: bool


@dataclass(frozen=True, slots=True)
class SendRetry:
    """The peer's count of reconnects is behind ours."""

    connect_seq: int


@dataclass(frozen=True, slots=True)
class SendRetryGlobal:
    """The peer's attempt is older than one we have seen, or comes too early."""

    global_seq: int


@dataclass(frozen=True, slots=True)
class RefuseEarly:
    """An earlier attempt of the peer's is taking the session over: close this one without an answer."""


@dataclass(frozen=True, slots=True)
class RefuseStale:
    """The attempt was overtaken by a later one: close it without an answer."""

    #: The later attempt we know of.
    peer_global_seq: int


Verdict: TypeAlias = (
    AcceptNew | ReplaceLossy | TakeOverExisting | SendWait | SendReset | SendRetry | SendRetryGlobal | RefuseEarly | RefuseStale
)


# ---- the tables ----


def judge_client_ident(
    existing: ExistingSession | None,
    frame: ClientIdentFrame,
    *,
    resetcheck: bool,
    own_addr: EntityAddr,
    peer_addr: EntityAddr,
) -> Verdict:
    """A peer wants a new session. ``resetcheck`` is the newcomer's policy; the addresses are the msgr2 ones."""
    if existing is None or existing.state is State.CLOSED:
        return AcceptNew()
    if existing.state is State.REPLACING:
        # Ceph answers WAIT. But that says that our own dial goes on, while this session is about to find itself on a socket that
        # the peer may have left; and a peer that waits takes what we dialled before for that dial: two sessions again.
        return RefuseEarly()
    if existing.peer_global_seq > frame.global_seq:
        return RefuseStale(existing.peer_global_seq)
    if existing.is_lossy:
        return ReplaceLossy()
    if existing.client_cookie and existing.server_cookie and existing.client_cookie != frame.cookie:
        return TakeOverExisting(reset=resetcheck)
    if existing.client_cookie == frame.cookie:
        # The previous SERVER_IDENT was lost.
        return TakeOverExisting()
    if existing.state is State.READY or (existing.state in IDLE_STATES and not existing.is_ident_unanswered):
        # A session that merely waits to dial again races with nobody. Were it to win, a peer that we cannot reach but
        # that can reach us would be told to wait for ever. But if the peer may be granting what our last dial asked for, then
        # to grant what it asks for would make two sessions, each of which only one side knows.
        return TakeOverExisting()
    return _judge_race(existing, own_addr, peer_addr)


def judge_session_reconnect(
    existing: ExistingSession | None,
    frame: SessionReconnectFrame,
    *,
    resetcheck: bool,
    own_addr: EntityAddr,
    peer_addr: EntityAddr,
) -> Verdict:
    """A peer wants its session back. The frame's server cookie is not compared, as in Ceph."""
    if existing is None or existing.state is State.CLOSED:
        return SendReset(full=True)
    if existing.state is State.REPLACING:
        return SendRetryGlobal(existing.peer_global_seq)
    if existing.client_cookie != frame.client_cookie:
        return SendReset(full=resetcheck)
    if not existing.server_cookie:
        # We were a client that never got the SERVER_IDENT.
        return SendReset(full=False)
    if existing.peer_global_seq > frame.global_seq:
        return SendRetryGlobal(existing.peer_global_seq)
    if existing.connect_seq > frame.connect_seq:
        if existing.state is State.SESSION_RECONNECTING and own_addr <= peer_addr:
            # Ceph answers RETRY here, too. But if both sides ask, and questions take longer than answers, each answer comes
            # just before the other side's next question, and the counts overtake each other for ever.
            return SendWait()
        return SendRetry(existing.connect_seq)
    if existing.connect_seq == frame.connect_seq and existing.state not in IDLE_STATES:
        # Both sides are reconnecting.
        return _judge_race(existing, own_addr, peer_addr)
    return TakeOverExisting()


def _judge_race(existing: ExistingSession, own_addr: EntityAddr, peer_addr: EntityAddr) -> Verdict:
    """Both sides dial: the dial of the smaller address survives. An equal address counts as greater."""
    if peer_addr < own_addr or existing.is_server:
        return TakeOverExisting()
    return SendWait()
