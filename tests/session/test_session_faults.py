"""What a session does when its socket breaks, and when it is closed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ceph_msgr.errors import RemoteProtocolError
from ceph_msgr.policy import Policy
from ceph_msgr.protocol import actions as act
from ceph_msgr.protocol import events as ev
from ceph_msgr.protocol import frames as f
from ceph_msgr.protocol.actions import Notice
from ceph_msgr.protocol.events import Event, Timer
from ceph_msgr.protocol.reconnect import ExistingSession
from ceph_msgr.protocol.states import State
from ceph_msgr.wire.addr import EntityAddr, EntityAddrVec
from tests.session.machine import (
    ACCEPT_STEPS,
    CLIENT_IDENT,
    DIAL_STEPS,
    MS,
    SERVER_IDENT,
    Machine,
    accepted_to,
    dialled_to,
    dialler,
    walk,
)

# ---- faults ----


def pauses(machine: Machine, times: int) -> list[float]:
    found = []
    for _ in range(times):
        machine.on(ev.SocketLost(ConnectionResetError("no")))
        found.append(machine.only(act.ArmTimer).delay_ns / 1e9)
        machine.on(ev.TimerFired(Timer.BACKOFF))
    return found


@pytest.mark.contract("H6")
def test_the_pauses_double_up_to_the_longest() -> None:
    machine = dialler()
    machine.on(ev.DialRequested())
    assert pauses(machine, 10) == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 15.0, 15.0, 15.0]


@pytest.mark.contract("H6")
def test_jitter_is_twenty_percent_and_never_above_the_longest() -> None:
    machine = dialler()
    machine.on(ev.DialRequested())
    machine.host.jitters = [1, -1, 1, -1, 0.5, 0, 1, 1, -1]
    assert pauses(machine, 9) == pytest.approx([0.24, 0.32, 0.96, 1.28, 3.52, 6.4, 15.0, 15.0, 12.0])


@pytest.mark.contract("H6")
def test_the_first_dial_after_ready_is_immediate_and_the_next_one_is_not() -> None:
    machine = dialled_to(State.READY)
    machine.host.jitters = [1.0]
    machine.on(ev.SocketLost(ConnectionResetError("no")))
    assert machine.kinds() == ["Requeue", "CloseSocket", "ArmTimer", "Dial"]
    assert machine.host.jitters == [1.0], "no jitter on the immediate one"
    assert machine.session.connect_seq == 1
    machine.on(ev.SocketLost(ConnectionResetError("no")))
    assert machine.only(act.ArmTimer) == act.ArmTimer(Timer.BACKOFF, 240 * MS)
    machine.on(ev.TimerFired(Timer.BACKOFF))
    assert machine.session.connect_seq == 2


@pytest.mark.contract("H6")
def test_success_clears_the_pauses() -> None:
    machine = dialler()
    machine.on(ev.DialRequested())
    assert pauses(machine, 3) == [0.2, 0.4, 0.8]
    walk(machine, DIAL_STEPS[1:], State.READY)
    machine.on(ev.SocketLost(ConnectionResetError("no")))
    assert machine.state is State.CONNECTING
    assert pauses(machine, 2) == [0.2, 0.4]


def test_a_newcomer_is_compared_with_the_attempt_the_server_named() -> None:
    view = dialled_to(State.READY).session.view("handle")
    assert view == ExistingSession("handle", State.READY, False, False, 0xC01, 0x5EE, 0, SERVER_IDENT.global_seq)


def test_a_session_without_a_server_cookie_counts_no_reconnects() -> None:
    machine = dialled_to(State.SESSION_CONNECTING)
    machine.on(ev.SocketLost(ConnectionResetError("no")))
    machine.on(ev.TimerFired(Timer.BACKOFF))
    assert machine.session.connect_seq == 0


@pytest.mark.parametrize("state", [s for s, _ in DIAL_STEPS[:-1]], ids=str)
@pytest.mark.parametrize("error", [OSError("broken"), RemoteProtocolError("bad frame")])
def test_a_lossy_client_that_was_never_ready_keeps_trying(state: State, error: Exception) -> None:
    machine = dialled_to(state, Policy.lossy_client())
    machine.on(ev.SocketLost(error))
    assert machine.state is State.BACKOFF
    assert Notice.RESET not in [a.notice for a in machine.actions if isinstance(a, act.Notify)]


def test_a_lossy_session_is_closed_with_a_reset() -> None:
    machine = dialled_to(State.SESSION_CONNECTING, Policy.lossless_client())
    machine.frame(replace(SERVER_IDENT, flags=f.FLAG_LOSSY, cookie=0))
    assert machine.only(act.EnterReady).lossless is False
    machine.on(ev.SocketLost(ConnectionResetError("gone")))
    assert machine.actions == [act.CloseSocket(), act.Notify(Notice.RESET), act.Closed("gone")]


def test_a_disposable_session_is_lossy_from_then_on() -> None:
    machine = dialled_to(State.READY)
    assert machine.on(ev.MarkedDisposable()) == []
    machine.on(ev.SocketLost(ConnectionResetError("gone")))
    assert machine.state is State.CLOSED


@pytest.mark.parametrize("state", [s for s, _ in DIAL_STEPS], ids=str)
@pytest.mark.parametrize("queued", [True, False])
def test_a_peer_with_nothing_to_send_rests(state: State, queued: bool) -> None:
    machine = dialled_to(state, Policy.lossless_peer())
    machine.host.queued = queued
    machine.on(ev.SocketLost(ConnectionResetError("no")))
    if queued:
        assert machine.state is (State.CONNECTING if state is State.READY else State.BACKOFF)
        return
    assert machine.state is State.STANDBY
    assert machine.actions[-1] == act.WatchQueue()
    machine.on(ev.SendQueued())
    assert machine.state is State.CONNECTING
    assert machine.session.connect_seq == (1 if state is State.READY else 0)


@pytest.mark.parametrize("queued", [True, False])
def test_a_server_never_dials(queued: bool) -> None:
    machine = accepted_to(State.READY, Policy.stateful_server())
    machine.host.queued = queued
    machine.on(ev.SocketLost(ConnectionResetError("no")))
    assert machine.actions == [act.Requeue(), act.CloseSocket()]
    assert machine.state is State.STANDBY
    assert machine.on(ev.SendQueued()) == []


def test_a_client_without_a_port_cannot_be_dialled_back() -> None:
    machine = accepted_to(State.READY, Policy.lossless_client())
    machine.host.queued = True
    machine.on(ev.SocketLost(ConnectionResetError("no")))
    assert machine.state is State.STANDBY


def test_a_peer_with_a_port_is_dialled_back() -> None:
    machine = accepted_to(State.SESSION_ACCEPTING, Policy.lossless_peer())
    own = EntityAddr.parse("v2:10.0.0.9:6801/3")
    machine.frame(replace(CLIENT_IDENT, addrs=EntityAddrVec([own])))
    machine.host.queued = True
    machine.on(ev.SocketLost(ConnectionResetError("no")))
    assert machine.only(act.Dial).addr == own
    assert machine.session.connect_seq == 1


@pytest.mark.contract("H6")
@pytest.mark.parametrize("state", [s for s, _ in DIAL_STEPS[:-1]], ids=str)
def test_a_dial_takes_ten_seconds_at_most(state: State) -> None:
    machine = dialled_to(state)
    machine.on(ev.TimerFired(Timer.HANDSHAKE))
    assert machine.state is State.BACKOFF
    assert machine.kinds() == ["CloseSocket", "ArmTimer"]
    assert f"not READY in time, still {state}" in str(machine.session.last_error)


@pytest.mark.contract("H6")
@pytest.mark.parametrize("state", [s for s, _ in ACCEPT_STEPS[:-1]], ids=str)
def test_a_handshake_is_accepted_for_ten_seconds_at_most(state: State) -> None:
    machine = accepted_to(state)
    machine.on(ev.TimerFired(Timer.HANDSHAKE))
    assert machine.kinds() == ["CloseSocket", "Closed"]


def test_a_refused_dial_is_told() -> None:
    machine = dialled_to(State.CONNECTING)
    machine.on(ev.SocketLost(ConnectionRefusedError("nobody")))
    assert machine.actions[0] == act.Notify(Notice.REFUSED)
    machine.on(ev.TimerFired(Timer.BACKOFF))
    machine.on(ev.SocketLost(TimeoutError("nothing")))
    assert not any(isinstance(a, act.Notify) for a in machine.actions)


@pytest.mark.parametrize("event", [ev.SocketLost(OSError("late")), ev.TimerFired(Timer.HANDSHAKE), ev.TimerFired(Timer.BACKOFF)])
def test_a_late_event_is_only_counted(event: Event) -> None:
    machine = dialled_to(State.READY, Policy.lossless_peer())
    machine.on(ev.SocketLost(OSError("first")))
    assert machine.state is State.STANDBY
    assert machine.on(event) == []
    assert machine.session.late_events == 1


# ---- closing ----


@pytest.mark.parametrize("notify", [True, False])
@pytest.mark.parametrize("state", [s for s, _ in DIAL_STEPS], ids=str)
def test_marking_down_closes_in_every_state(state: State, notify: bool) -> None:
    machine = dialled_to(state)
    machine.on(ev.MarkedDown(notify))
    assert machine.state is State.CLOSED
    expected = ["CloseSocket", "Notify", "Closed"] if notify else ["CloseSocket", "Closed"]
    assert [kind for kind in machine.kinds() if kind != "CancelTimer"] == expected
    assert machine.on(ev.MarkedDown(notify)) == []


def test_marking_down_what_nobody_knows_calls_nobody_back() -> None:
    machine = accepted_to(State.SESSION_ACCEPTING)
    machine.on(ev.MarkedDown(notify=True))
    assert machine.kinds() == ["CancelTimer", "CloseSocket", "Closed"]


@pytest.mark.parametrize("state", [State.NEW, State.BACKOFF, State.STANDBY, State.WAIT], ids=str)
def test_marking_down_without_a_socket(state: State) -> None:
    machine = (
        dialler(Policy.lossless_peer()) if state is State.NEW else dialled_to(State.SESSION_CONNECTING, Policy.lossless_peer())
    )
    if state is State.WAIT:
        machine.frame(f.WaitFrame())
    elif state is not State.NEW:
        machine.host.queued = state is State.BACKOFF
        machine.on(ev.SocketLost(OSError("no")))
    assert machine.state is state
    machine.on(ev.MarkedDown())
    assert act.CloseSocket() not in machine.actions
    assert machine.kinds()[-1] == "Closed"
