"""The decision tables, row by row: "Accepting side: SESSION_RECONNECT", "CLIENT_IDENT with an existing session", "Connection
races". Each row is tested with everything below it also true, so that the order counts."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from ceph_msgr.protocol.frames import ClientIdentFrame, SessionReconnectFrame
from ceph_msgr.protocol.reconnect import (
    AcceptNew,
    ExistingSession,
    RefuseEarly,
    RefuseStale,
    ReplaceLossy,
    SendReset,
    SendRetry,
    SendRetryGlobal,
    SendWait,
    TakeOverExisting,
    Verdict,
    judge_client_ident,
    judge_session_reconnect,
)
from ceph_msgr.protocol.states import DIALLING_STATES, IDLE_STATES, State
from ceph_msgr.wire.addr import EntityAddr, EntityAddrVec

LOW, HIGH = EntityAddr.parse("v2:10.0.0.1:6800/1"), EntityAddr.parse("v2:10.0.0.2:6800/1")

#: A dial of ours waits for its SERVER_IDENT.
DIALLING = ExistingSession(
    handle=None,
    state=State.SESSION_CONNECTING,
    is_lossy=False,
    is_server=False,
    client_cookie=0xC,
    server_cookie=0,
    connect_seq=0,
    peer_global_seq=5,
)
#: A session that was established.
SESSION = replace(DIALLING, state=State.READY, server_cookie=0x5, connect_seq=3)
#: The same, and we are trying to get it back.
RECONNECTING = replace(SESSION, state=State.SESSION_RECONNECTING)

IDENT = ClientIdentFrame(EntityAddrVec([LOW]), HIGH, 0, 6, 0, 0, 0, 0xF)
RECONNECT = SessionReconnectFrame(EntityAddrVec([LOW]), 0xC, 0x5, global_seq=6, connect_seq=4, msg_seq=0)

BUSY_DIALLING = sorted(DIALLING_STATES - {State.BACKOFF}, key=str)
IDLE = sorted(IDLE_STATES, key=str)


def ident(
    existing: ExistingSession | None, frame: ClientIdentFrame = IDENT, *, resetcheck: bool = True, wins: bool = False
) -> Verdict:
    own, peer = (HIGH, LOW) if wins else (LOW, HIGH)
    return judge_client_ident(existing, frame, resetcheck=resetcheck, own_addr=own, peer_addr=peer)


def reconnect(
    existing: ExistingSession | None,
    frame: SessionReconnectFrame = RECONNECT,
    *,
    resetcheck: bool = True,
    wins: bool = False,
) -> Verdict:
    own, peer = (HIGH, LOW) if wins else (LOW, HIGH)
    return judge_session_reconnect(existing, frame, resetcheck=resetcheck, own_addr=own, peer_addr=peer)


# ---- CLIENT_IDENT ----


@pytest.mark.contract("J9", "J10")
@pytest.mark.parametrize("state", IDLE)
def test_a_dial_that_may_have_been_granted_still_races(state: State) -> None:
    """A's dial breaks behind its CLIENT_IDENT, which B is about to grant; A must not grant B's own meanwhile: there would be two
    sessions, each known to one side only, and what is queued in them would be lost. Simulator, seed 20029."""
    resting = replace(DIALLING, state=state, is_ident_unanswered=True)
    assert ident(resting) == SendWait()
    assert ident(resting, wins=True) == TakeOverExisting()
    assert ident(replace(resting, is_ident_unanswered=False)) == TakeOverExisting()


@pytest.mark.contract("J2")
@pytest.mark.parametrize("existing", [None, replace(SESSION, state=State.CLOSED, is_lossy=True, peer_global_seq=9)])
def test_ident_1_nobody_is_there(existing: ExistingSession | None) -> None:
    assert ident(existing) == AcceptNew()


@pytest.mark.contract("J3")
def test_ident_2_the_session_is_being_taken_over() -> None:
    """By a socket that the peer may have left: it must not believe that our own dial goes on. Simulator, seed 1011529."""
    existing = replace(SESSION, state=State.REPLACING, peer_global_seq=9, is_lossy=True)
    assert ident(existing) == RefuseEarly()


@pytest.mark.contract("J4")
@pytest.mark.parametrize(("peer_global_seq", "is_stale"), [(5, False), (6, False), (7, True)])
def test_ident_3_the_attempt_is_stale(peer_global_seq: int, is_stale: bool) -> None:
    existing = replace(SESSION, is_lossy=True, peer_global_seq=peer_global_seq)
    assert ident(existing) == (RefuseStale(7) if is_stale else ReplaceLossy())


@pytest.mark.contract("J5")
def test_ident_4_a_lossy_session_gives_way() -> None:
    assert ident(replace(SESSION, is_lossy=True)) == ReplaceLossy()


@pytest.mark.contract("J6")
@pytest.mark.parametrize("state", [State.READY, State.STANDBY, *BUSY_DIALLING])
@pytest.mark.parametrize("resetcheck", [True, False])
def test_ident_5_the_peer_restarted(state: State, resetcheck: bool) -> None:
    assert ident(replace(SESSION, state=state), resetcheck=resetcheck) == TakeOverExisting(reset=resetcheck)


@pytest.mark.contract("J6")
@pytest.mark.parametrize("missing", ["client_cookie", "server_cookie"])
def test_ident_5_needs_both_cookies(missing: str) -> None:
    assert ident(replace(SESSION, **{missing: 0})) == TakeOverExisting(reset=False)


@pytest.mark.contract("J7")
@pytest.mark.parametrize("state", [State.READY, *IDLE, *BUSY_DIALLING])
@pytest.mark.parametrize("cookie", [0xC, 0])
def test_ident_6_the_server_ident_was_lost(state: State, cookie: int) -> None:
    existing = replace(SESSION, state=state, client_cookie=cookie)
    assert ident(existing, replace(IDENT, cookie=cookie)) == TakeOverExisting()


@pytest.mark.contract("J8")
@pytest.mark.parametrize("state", [State.READY, *IDLE])
def test_ident_7_the_session_does_not_dial(state: State) -> None:
    assert ident(replace(DIALLING, state=state)) == TakeOverExisting()


@pytest.mark.contract("J9", "J10")
@pytest.mark.parametrize("state", [State.NEW, *BUSY_DIALLING])
def test_ident_8_both_dial(state: State) -> None:
    existing = replace(DIALLING, state=state)
    assert ident(existing, wins=True) == TakeOverExisting()
    assert ident(existing, wins=False) == SendWait()
    assert ident(replace(existing, is_server=True), wins=False) == TakeOverExisting()


def test_an_equal_address_counts_as_greater() -> None:
    assert judge_client_ident(DIALLING, IDENT, resetcheck=True, own_addr=LOW, peer_addr=LOW) == SendWait()


def test_the_nonce_is_compared_before_the_port_and_by_its_bytes() -> None:
    low, high = EntityAddr.parse("v2:10.0.0.9:9999/256"), EntityAddr.parse("v2:10.0.0.1:1/1")
    assert judge_client_ident(DIALLING, IDENT, resetcheck=True, own_addr=high, peer_addr=low) == TakeOverExisting()


# ---- SESSION_RECONNECT ----


@pytest.mark.contract("J11")
@pytest.mark.parametrize("existing", [None, replace(SESSION, state=State.CLOSED)])
@pytest.mark.parametrize("resetcheck", [True, False])
def test_reconnect_1_no_session(existing: ExistingSession | None, resetcheck: bool) -> None:
    assert reconnect(existing, resetcheck=resetcheck) == SendReset(full=True)


@pytest.mark.contract("J12")
def test_reconnect_2_the_session_is_being_taken_over() -> None:
    existing = replace(SESSION, state=State.REPLACING, client_cookie=1, peer_global_seq=2)
    assert reconnect(existing) == SendRetryGlobal(2)


@pytest.mark.contract("J13")
@pytest.mark.parametrize("resetcheck", [True, False])
def test_reconnect_3_another_client_cookie(resetcheck: bool) -> None:
    existing = replace(SESSION, client_cookie=1, server_cookie=0, peer_global_seq=9)
    assert reconnect(existing, resetcheck=resetcheck) == SendReset(full=resetcheck)


@pytest.mark.contract("J14")
def test_reconnect_4_we_never_got_the_server_ident() -> None:
    assert reconnect(replace(SESSION, server_cookie=0, peer_global_seq=9)) == SendReset(full=False)


@pytest.mark.contract("J15")
@pytest.mark.parametrize(("peer_global_seq", "is_stale"), [(6, False), (7, True)])
def test_reconnect_5_global_seq_is_behind(peer_global_seq: int, is_stale: bool) -> None:
    existing = replace(SESSION, peer_global_seq=peer_global_seq, connect_seq=9)
    assert reconnect(existing) == (SendRetryGlobal(7) if is_stale else SendRetry(9))


@pytest.mark.contract("J16")
@pytest.mark.parametrize("state", [State.READY, State.STANDBY, *BUSY_DIALLING])
def test_reconnect_6_connect_seq_is_behind(state: State) -> None:
    existing = replace(SESSION, state=state, connect_seq=5)
    assert reconnect(existing, wins=True) == SendRetry(5)
    assert reconnect(existing, wins=False) == (SendWait() if state is State.SESSION_RECONNECTING else SendRetry(5))


@pytest.mark.contract("J17")
@pytest.mark.parametrize("state", [State.READY, *BUSY_DIALLING])
def test_reconnect_7_both_reconnect(state: State) -> None:
    existing = replace(RECONNECTING, state=state, connect_seq=4)
    assert reconnect(existing, wins=True) == TakeOverExisting()
    assert reconnect(existing, wins=False) == SendWait()
    assert reconnect(replace(existing, is_server=True), wins=False) == TakeOverExisting()


@pytest.mark.contract("J17")
@pytest.mark.parametrize("state", IDLE)
def test_reconnect_7_nobody_races_with_a_session_at_rest(state: State) -> None:
    assert reconnect(replace(RECONNECTING, state=state, connect_seq=4)) == TakeOverExisting()


@pytest.mark.contract("J18")
@pytest.mark.parametrize("state", [State.READY, *IDLE, *BUSY_DIALLING])
def test_reconnect_8_take_over(state: State) -> None:
    assert reconnect(replace(SESSION, state=state)) == TakeOverExisting()


def test_the_server_cookie_is_not_compared() -> None:
    assert reconnect(SESSION, replace(RECONNECT, server_cookie=0xBAD)) == TakeOverExisting()


# ---- both tables as a whole ----


def test_a_race_never_ends_with_two_winners_or_none() -> None:
    """Two sessions in the same situation judge each other's frame: exactly one of the two dials survives."""
    for state, wins in itertools.product(BUSY_DIALLING, (True, False)):
        verdicts = [ident(replace(DIALLING, state=state), wins=w) for w in (wins, not wins)]
        assert sorted(isinstance(v, TakeOverExisting) for v in verdicts) == [False, True]
        equal = replace(RECONNECTING, state=state, connect_seq=4)
        verdicts = [reconnect(equal, wins=w) for w in (wins, not wins)]
        assert sorted(isinstance(v, TakeOverExisting) for v in verdicts) == [False, True]


def test_every_situation_has_a_verdict() -> None:
    cookies, seqs = (0, 0xC, 0xF), (3, 4, 5)
    for state, lossy, client, server, seq in itertools.product(State, (True, False), cookies, (0, 5), seqs):
        existing = ExistingSession(None, state, lossy, False, client, server, seq, 5)
        for wins, resetcheck in itertools.product((True, False), repeat=2):
            assert ident(existing, wins=wins, resetcheck=resetcheck) is not None
            assert reconnect(existing, wins=wins, resetcheck=resetcheck) is not None
