"""The accepting side, step by step."""

from __future__ import annotations

import errno
from dataclasses import replace
from typing import Any

import pytest

from ceph_msgr.auth.base import AuthBusy
from ceph_msgr.policy import Policy
from ceph_msgr.protocol import actions as act
from ceph_msgr.protocol import events as ev
from ceph_msgr.protocol import frames as f
from ceph_msgr.protocol.actions import Notice
from ceph_msgr.protocol.banner import OUR_BANNER
from ceph_msgr.protocol.events import Timer
from ceph_msgr.protocol.handshake import MAX_TRANSCRIPT_BYTES
from ceph_msgr.protocol.states import State
from ceph_msgr.wire.addr import EntityAddr, EntityAddrVec
from ceph_msgr.wire.entity import EntityType
from ceph_msgr.wire.features import MSG_ADDR2, SUPPORTED_ALL
from tests.session.machine import (
    CLIENT_HELLO,
    CLIENT_IDENT,
    DONE,
    EPHEMERAL,
    EXISTING,
    MS,
    RECONNECT,
    REQUEST,
    SERVER,
    SERVER_IDENT,
    ZEROS,
    TwoRounds,
    accepted_to,
    acceptor,
    dialled_to,
)

# ---- the accepting side ----


def test_the_actions_of_an_accept_in_their_order() -> None:
    machine = acceptor()
    machine.on(ev.Accepted(EPHEMERAL))
    assert machine.actions == [act.ArmTimer(Timer.HANDSHAKE, 10_000 * MS), act.SendBytes(OUR_BANNER.encode())]
    machine.on(ev.BannerReceived(OUR_BANNER.encode()))
    assert machine.kinds() == ["SetRevision", "SendFrame", "Continue"]
    assert machine.sent() == [f.HelloFrame(EntityType.OSD, EPHEMERAL)]
    machine.frame(CLIENT_HELLO)
    assert machine.kinds() == ["SetPolicy", "LearnAddress", "Continue"]
    assert machine.session.peer_type is EntityType.CLIENT
    machine.frame(REQUEST)
    assert machine.kinds() == ["SendFrame", "SendFrame", "Continue"]
    assert machine.sent() == [DONE, ZEROS]
    machine.frame(ZEROS)
    assert machine.actions == [act.Continue()]
    machine.frame(CLIENT_IDENT)
    assert machine.kinds() == [
        "ResetQueues",
        "SetPeer",
        "Notify",
        "Notify",
        "SendFrame",
        "CancelTimer",
        "EnterReady",
        "Continue",
    ]
    assert machine.sent() == [f.ServerIdentFrame(EntityAddrVec([SERVER]), 0, 101, SUPPORTED_ALL, MSG_ADDR2, 0, 0xC01)]
    assert [a.notice for a in machine.actions if isinstance(a, act.Notify)] == [Notice.ACCEPT, Notice.FAST_ACCEPT]


@pytest.mark.contract("H2")
@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"addrs": EntityAddrVec()}, "do not start with an address"),
        ({"addrs": EntityAddrVec([EntityAddr()])}, "do not start with an address"),
        ({"target": EntityAddr.parse("v2:10.0.0.1:6800/2")}, "the client dialled v2:10.0.0.1:6800/2, we are v2:10.0.0.1:6800/1"),
    ],
)
def test_an_ident_for_somebody_else_is_closed_without_an_answer(change: dict[str, Any], text: str) -> None:
    machine = accepted_to(State.SESSION_ACCEPTING)
    machine.frame(replace(CLIENT_IDENT, features_supported=0, **change))
    assert machine.kinds() == ["CancelTimer", "CloseSocket", "Closed"]
    assert text in machine.only(act.Closed).reason


def test_missing_features_are_answered_and_may_be_mended() -> None:
    machine = accepted_to(State.SESSION_ACCEPTING, Policy.stateful_server(features_required=1 << 12))
    machine.frame(replace(CLIENT_IDENT, features_supported=1))
    assert machine.sent() == [f.IdentMissingFeaturesFrame(MSG_ADDR2 | 1 << 12)]
    assert machine.state is State.SESSION_ACCEPTING
    machine.frame(CLIENT_IDENT)
    assert machine.state is State.READY


def test_a_lossy_server_gives_no_cookie() -> None:
    machine = accepted_to(State.READY, Policy.stateless_server())
    (ident,) = machine.sent()
    assert isinstance(ident, f.ServerIdentFrame)
    assert (ident.flags, ident.cookie) == (f.FLAG_LOSSY, 0)
    assert machine.host.free_places == 10, "a stateless server registers nobody"


@pytest.mark.parametrize(
    "request_frame",
    [
        f.AuthRequestFrame(2, (1,), b""),
        f.AuthRequestFrame(99, (1,), b""),
        f.AuthRequestFrame(1, (2,), b""),
        f.AuthRequestFrame(1, (), b""),
    ],
)
def test_an_offer_we_cannot_take_is_answered_and_may_be_mended(request_frame: f.AuthRequestFrame) -> None:
    machine = accepted_to(State.AUTH_ACCEPTING)
    machine.frame(request_frame)
    assert machine.sent() == [f.AuthBadMethodFrame(request_frame.method, -errno.EOPNOTSUPP, (1,), (1, 2))]
    assert machine.state is State.AUTH_ACCEPTING
    machine.frame(REQUEST)
    assert machine.state is State.AUTH_ACCEPTING_SIGN


@pytest.mark.parametrize("refuse", [1, 2])
def test_refused_credentials_are_answered(refuse: int) -> None:
    machine = accepted_to(State.AUTH_ACCEPTING, servers=[TwoRounds(refuse)])
    machine.frame(f.AuthRequestFrame(2, (1,), b"hello"))
    if refuse == 2:
        assert machine.sent() == [f.AuthReplyMoreFrame(b"challenge")]
        machine.frame(f.AuthRequestMoreFrame(b"wrong"))
    assert machine.sent() == [f.AuthBadMethodFrame(2, -errno.EACCES, (2,), (1, 2))]
    assert machine.state is (State.AUTH_ACCEPTING if refuse == 1 else State.AUTH_ACCEPTING_MORE)


def test_a_busy_server_closes() -> None:
    machine = accepted_to(State.AUTH_ACCEPTING, servers=[TwoRounds(1, AuthBusy("no quorum"))])
    machine.frame(f.AuthRequestFrame(2, (1,), b"hello"))
    assert machine.state is State.CLOSED
    assert machine.only(act.Closed).reason == "AUTH_REQUEST in state AUTH_ACCEPTING: no quorum"


@pytest.mark.contract("H2")
def test_endless_attempts_are_cut_off() -> None:
    machine = accepted_to(State.AUTH_ACCEPTING, servers=[TwoRounds(1)])
    attempts = 0
    while machine.state is State.AUTH_ACCEPTING:
        machine.frame(f.AuthRequestFrame(2, (1,), bytes(10_000)))
        attempts += 1
    assert attempts <= MAX_TRANSCRIPT_BYTES // 10_000 + 1
    assert "without authenticating" in machine.only(act.Closed).reason


@pytest.mark.contract("H2")
@pytest.mark.parametrize("value", [2**63, 2**64 - 1])
@pytest.mark.parametrize(
    ("frame", "counter"), [(RECONNECT, "connect_seq"), (RECONNECT, "global_seq"), (CLIENT_IDENT, "global_seq")]
)
def test_a_counter_at_its_end_is_not_accepted(frame: Any, counter: str, value: int) -> None:
    """It would be told to the next attempt to be exceeded, and that one refuses to go so far."""
    machine = accepted_to(State.SESSION_ACCEPTING)
    machine.host.existing = EXISTING
    machine.frame(replace(frame, **{counter: value}))
    assert machine.kinds() == ["CancelTimer", "CloseSocket", "Closed"]
    assert f"{counter} {value} is not plausible" in machine.only(act.Closed).reason


@pytest.mark.contract("H2")
def test_a_server_at_the_end_of_its_counter_is_left() -> None:
    machine = dialled_to(State.SESSION_CONNECTING)
    machine.frame(replace(SERVER_IDENT, global_seq=2**64 - 1))
    assert machine.state is State.BACKOFF
    assert machine.session.peer_global_seq == 0


def test_an_unknown_session_is_told_to_start_anew() -> None:
    machine = accepted_to(State.SESSION_ACCEPTING)
    machine.frame(RECONNECT)
    assert machine.sent() == [f.SessionResetFrame(True)]
    machine.frame(CLIENT_IDENT)
    assert machine.state is State.READY


def test_a_place_taken_meanwhile_is_looked_at_again() -> None:
    machine = accepted_to(State.SESSION_ACCEPTING)
    machine.host.free_places = 0
    machine.frame(CLIENT_IDENT)
    assert machine.state is State.CLOSED
    assert "fought over" in machine.only(act.Closed).reason
