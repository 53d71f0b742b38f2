"""A newcomer and the session that is there: each row of who wins, and the taking over."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ceph_msgr.policy import Policy
from ceph_msgr.protocol import actions as act
from ceph_msgr.protocol import events as ev
from ceph_msgr.protocol import frames as f
from ceph_msgr.protocol.actions import Notice
from ceph_msgr.protocol.reconnect import ExistingSession, SendWait
from ceph_msgr.protocol.states import State
from ceph_msgr.wire.addr import EntityAddr, EntityAddrVec
from tests.session.machine import (
    CLIENT_IDENT,
    EXISTING,
    RECONNECT,
    SERVER,
    Machine,
    accepted_to,
    dialler,
)

#: Our own dial to that peer, whose address is greater than ours, and less than ours.
OUR_DIAL = replace(EXISTING, state=State.CONNECTING, client_cookie=1, server_cookie=0)
FROM_HIGH, FROM_LOW = (EntityAddrVec.parse(f"v2:10.0.0.9:6800/{nonce}") for nonce in (2, 0))


def row(id_: str, existing: ExistingSession | None, frame: f.ControlFrame, *answer: object) -> Any:
    return pytest.param(existing, frame, answer, marks=pytest.mark.contract(id_), id=id_)


IDENT_ROWS = [
    row("J2", None, CLIENT_IDENT, f.ServerIdentFrame),
    row("J2", replace(EXISTING, state=State.CLOSED), CLIENT_IDENT, f.ServerIdentFrame),
    row("J3", replace(EXISTING, state=State.REPLACING), CLIENT_IDENT, act.CloseSocket),
    row("J4", replace(EXISTING, peer_global_seq=99), CLIENT_IDENT, act.CloseSocket),
    row("J5", replace(EXISTING, is_lossy=True), CLIENT_IDENT, act.CloseExisting, f.ServerIdentFrame),
    row("J6", EXISTING, replace(CLIENT_IDENT, cookie=0xC2), act.TakeOver),
    row("J7", replace(EXISTING, server_cookie=0), CLIENT_IDENT, act.TakeOver),
    row("J8", replace(EXISTING, server_cookie=0, client_cookie=2), CLIENT_IDENT, act.TakeOver),
    row("J9", OUR_DIAL, replace(CLIENT_IDENT, addrs=FROM_LOW), act.TakeOver),
    row("J9", replace(OUR_DIAL, is_server=True), replace(CLIENT_IDENT, addrs=FROM_HIGH), act.TakeOver),
    row("J10", OUR_DIAL, replace(CLIENT_IDENT, addrs=FROM_HIGH), act.NudgeExisting, f.WaitFrame()),
]
BUSY = replace(EXISTING, state=State.CONNECTING, connect_seq=1)
RECONNECT_ROWS = [
    row("J11", None, RECONNECT, f.SessionResetFrame(True)),
    row("J11", replace(EXISTING, state=State.CLOSED), RECONNECT, f.SessionResetFrame(True)),
    row("J12", replace(EXISTING, state=State.REPLACING), RECONNECT, f.SessionRetryGlobalFrame(5)),
    row("J13", replace(EXISTING, client_cookie=2), RECONNECT, f.SessionResetFrame(True)),
    row("J14", replace(EXISTING, server_cookie=0), RECONNECT, f.SessionResetFrame(False)),
    row("J15", replace(EXISTING, peer_global_seq=99), RECONNECT, f.SessionRetryGlobalFrame(99)),
    row("J16", replace(EXISTING, connect_seq=9), RECONNECT, f.SessionRetryFrame(9)),
    row("J17", BUSY, replace(RECONNECT, addrs=FROM_LOW), act.TakeOver),
    row("J17", BUSY, replace(RECONNECT, addrs=FROM_HIGH), act.NudgeExisting, f.WaitFrame()),
    row("J18", EXISTING, RECONNECT, act.TakeOver),
]


@pytest.mark.parametrize(("existing", "frame", "answer"), IDENT_ROWS + RECONNECT_ROWS)
def test_what_becomes_of_a_newcomer(
    existing: ExistingSession | None, frame: f.ControlFrame, answer: tuple[object, ...]
) -> None:
    """From the frame to what is done: each row of the two tables. What is sent is given whole, or by its class."""
    machine = accepted_to(State.SESSION_ACCEPTING)
    machine.host.existing = existing
    machine.frame(frame)
    done = [action for action in machine.actions if isinstance(action, act.CloseExisting | act.NudgeExisting | act.TakeOver)]
    assert all(action.existing == "handle" for action in done)
    done += [action for action in machine.actions if isinstance(action, act.CloseSocket)]
    found = [*done, *machine.sent()]
    assert [each if type(each) is not wanted else wanted for each, wanted in zip(found, answer, strict=True)] == list(answer)
    in_place = {f.ServerIdentFrame: State.READY, act.TakeOver: State.HANDED_OVER, act.CloseSocket: State.CLOSED}
    assert machine.state is in_place.get(answer[-1], State.SESSION_ACCEPTING)  # type: ignore[call-overload]


@pytest.mark.contract("J1")
def test_a_stateless_server_looks_for_nobody() -> None:
    machine = accepted_to(State.SESSION_ACCEPTING, Policy.stateless_server())
    machine.host.existing = EXISTING
    machine.frame(CLIENT_IDENT)
    assert machine.state is State.READY
    assert not any(isinstance(action, act.CloseExisting | act.TakeOver) for action in machine.actions)


def test_every_row_is_there() -> None:
    assert {param.id for param in IDENT_ROWS} == {f"J{number}" for number in range(2, 11)}
    assert {param.id for param in RECONNECT_ROWS} == {f"J{number}" for number in range(11, 19)}


# ---- take-over, one machine at a time ----


def newcomer(frame: f.ControlFrame = RECONNECT) -> Machine:
    machine = accepted_to(State.SESSION_ACCEPTING)
    machine.host.existing = EXISTING
    machine.frame(frame)
    assert machine.state is State.HANDED_OVER
    return machine


def test_a_newcomer_that_hands_over_ends_silently() -> None:
    machine = newcomer()
    machine.on(ev.StreamHandedOver())
    assert machine.kinds() == ["CancelTimer", "Closed"]


def test_a_newcomer_that_is_refused_answers_its_peer() -> None:
    machine = newcomer()
    machine.on(ev.TakeOverRefused(SendWait()))
    assert machine.kinds() == ["NudgeExisting", "SendFrame", "Continue"]
    assert machine.state is State.SESSION_ACCEPTING


def test_a_newcomer_that_breaks_meanwhile_is_closed() -> None:
    machine = newcomer()
    machine.on(ev.SocketLost(OSError("broken")))
    assert machine.state is State.CLOSED


def test_the_existing_session_gives_up_its_socket_and_answers_on_the_new_one() -> None:
    machine = accepted_to(State.READY)
    handoff = newcomer().only(act.TakeOver).handoff
    machine.on(ev.TakeOverRequested(handoff))
    assert machine.actions == [act.Requeue(), act.CloseSocket(), act.AdoptStream(handoff)]
    machine.on(ev.StreamAdopted(handoff, in_seq=17))
    assert machine.kinds() == ["DropAcked", "SetPeer", "Notify", "Notify", "SendFrame", "EnterReady", "Continue"]
    assert machine.sent() == [f.SessionReconnectOkFrame(17)]
    assert machine.session.connect_seq == RECONNECT.connect_seq


def test_a_restarted_peer_costs_the_queue_only_with_resetcheck() -> None:
    for resetcheck in (True, False):
        machine = accepted_to(State.READY)
        handoff = newcomer(replace(CLIENT_IDENT, cookie=0xC1)).only(act.TakeOver).handoff
        handoff = replace(handoff, frame=replace(CLIENT_IDENT, cookie=0xC2, global_seq=10), resetcheck=resetcheck)
        machine.on(ev.TakeOverRequested(handoff))
        assert (act.ResetQueues(drop=True) in machine.actions) == resetcheck
        assert (act.Notify(Notice.REMOTE_RESET) in machine.actions) == resetcheck
        machine.on(ev.StreamAdopted(handoff, 17))
        assert machine.only(act.ResetQueues).drop is False
        assert machine.session.client_cookie == 0xC2
        assert machine.session.server_cookie == 0xC02


def test_a_closed_session_refuses_and_closes_what_it_gets() -> None:
    machine = accepted_to(State.READY)
    handoff = newcomer().only(act.TakeOver).handoff
    machine.on(ev.TakeOverRequested(handoff))
    machine.on(ev.MarkedDown())
    assert machine.on(ev.StreamAdopted(handoff, 0)) == [act.CloseSocket()]
    assert machine.kinds() == ["CloseSocket"]
    machine.on(ev.TakeOverRequested(handoff))
    assert machine.kinds() == ["RefuseTakeOver"]


def test_a_session_may_be_taken_over_before_its_own_dial_began() -> None:
    machine = dialler(Policy.lossless_peer())
    machine.host.my_addrs = EntityAddrVec([EntityAddr.parse("v2:10.0.0.9:6800/7")])
    handoff = newcomer(replace(CLIENT_IDENT, addrs=EntityAddrVec([SERVER]))).only(act.TakeOver).handoff
    machine.on(ev.TakeOverRequested(handoff))
    assert machine.actions == [act.AdoptStream(handoff)]
    assert machine.on(ev.DialRequested()) == []
    machine.on(ev.StreamAdopted(handoff, 0))
    assert machine.state is State.READY
