"""The table of states, and every frame in every one of them."""

from __future__ import annotations

import pytest

from ceph_msgr.auth.base import (
    ConMode,
    Credentials,
)
from ceph_msgr.errors import LocalProtocolError, RemoteProtocolError
from ceph_msgr.policy import Policy
from ceph_msgr.protocol import actions as act
from ceph_msgr.protocol import events as ev
from ceph_msgr.protocol.actions import Notice
from ceph_msgr.protocol.events import Event, Timer
from ceph_msgr.protocol.reconnect import SendWait
from ceph_msgr.protocol.states import ACCEPTING_STATES, DIALLING_STATES, EXPECTED, IDLE_STATES, TRANSITIONS, State
from ceph_msgr.protocol.tags import DATA_TAGS, Tag
from ceph_msgr.wire.entity import EntityType
from tests.session.machine import (
    CLIENT_IDENT,
    DIAL_STEPS,
    EPHEMERAL,
    IN_STATE,
    RECONNECT,
    accepted_to,
    acceptor,
    dialled_to,
    dialler,
)

# ---- the tables ----


def test_every_state_can_be_reached_and_left() -> None:
    assert set(TRANSITIONS) == set(State)
    assert TRANSITIONS[State.CLOSED] == frozenset()
    assert set().union(*TRANSITIONS.values()) == set(State) - {State.NEW}
    for state in set(State) - {State.CLOSED}:
        assert State.CLOSED in TRANSITIONS[state]


def test_whoever_awaits_a_frame_has_a_socket() -> None:
    without_frames = {State.CONNECTING, State.BANNER_CONNECTING, State.BANNER_ACCEPTING} | IDLE_STATES
    assert set(EXPECTED) == (DIALLING_STATES | ACCEPTING_STATES | {State.READY, State.AUTH_ACCEPTING_MORE}) - without_frames


def test_a_transition_that_is_not_in_the_table_is_our_own_error() -> None:
    machine = dialler()
    with pytest.raises(LocalProtocolError, match="from state NEW to READY"):
        machine.session.enter(State.READY, "just so")
    assert machine.state is State.NEW


def test_the_way_to_ready_is_in_the_history() -> None:
    machine = dialled_to(State.READY)
    assert [t.new for t in machine.session.history] == [state for state, _ in DIAL_STEPS]
    assert all(t.reason for t in machine.session.history)


# ---- illegal frames ----
GRID = """
                     1 HELLO            7 AUTH_SIGNATURE         11 SESSION_RECONNECT      17 MESSAGE
                     2 AUTH_REQUEST     8 CLIENT_IDENT           12 SESSION_RESET          18 KEEPALIVE2
                     3 AUTH_BAD_METHOD  9 SERVER_IDENT           13 SESSION_RETRY          19 KEEPALIVE2_ACK
                     4 AUTH_REPLY_MORE  10 IDENT_MISSING_        14 SESSION_RETRY_GLOBAL   20 ACK
                     5 AUTH_REQUEST_MORE   FEATURES              15 SESSION_RECONNECT_OK   21 COMPRESSION_REQUEST
                     6 AUTH_DONE                                 16 WAIT                   22 COMPRESSION_DONE

                      1  2  3  4  5  6  7  8  9 10 11 12 13 14 15 16 17 18 19 20 21 22
NEW
CONNECTING
BANNER_CONNECTING
HELLO_CONNECTING      x  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .
AUTH_CONNECTING       .  .  x  x  .  x  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .
AUTH_CONNECTING_SIGN  .  .  .  .  .  .  x  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .
COMPRESS_CONNECTING   .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  x
SESSION_CONNECTING    .  .  .  .  .  .  .  .  x  x  .  .  .  .  .  x  .  .  .  .  .  .
SESSION_RECONNECTING  .  .  .  .  .  .  .  .  .  .  .  x  x  x  x  x  .  .  .  .  .  .
BANNER_ACCEPTING
HELLO_ACCEPTING       x  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .
AUTH_ACCEPTING        .  x  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .
AUTH_ACCEPTING_MORE   .  .  .  .  x  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .
AUTH_ACCEPTING_SIGN   .  .  .  .  .  .  x  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .
COMPRESS_ACCEPTING    .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  x  .
SESSION_ACCEPTING     .  .  .  .  .  .  .  x  .  .  x  .  .  .  .  .  .  .  .  .  .  .
READY                 .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  .  x  x  x  x  .  .
BACKOFF
STANDBY
WAIT
REPLACING
HANDED_OVER
CLOSED
"""


def read_grid() -> dict[State, dict[Tag, str]]:
    """The signs of each state; none where no frame can come."""
    lines = [line.split() for line in GRID.partition("\n\n")[2].splitlines()]
    tags = [Tag(int(number)) for number in lines.pop(0)]
    return {State[name]: dict(zip(tags, signs, strict=True)) if signs else {} for name, *signs in lines}


AWAITED = read_grid()
#: Of the 256 tags a byte can name, those that cost the socket.
WRONG = {state: [tag for tag in range(256) if signs.get(tag, ".") == "."] for state, signs in AWAITED.items() if signs}


def test_the_grid_is_whole_and_is_the_one_we_go_by() -> None:
    assert list(AWAITED) == list(State)
    assert all(list(signs) == list(Tag) for signs in AWAITED.values() if signs)
    found = {state: {tag for tag, sign in signs.items() if sign == "x"} for state, signs in AWAITED.items() if signs}
    assert found == EXPECTED
    assert sum(map(len, WRONG.values())) == 13 * 256 - sum(map(len, EXPECTED.values()))


def test_there_is_a_way_into_every_state_that_awaits_frames() -> None:
    assert {state: make().state for state, make in IN_STATE.items()} == {state: state for state in EXPECTED}


@pytest.mark.contract("H2")
@pytest.mark.parametrize("state", EXPECTED, ids=str)
def test_a_frame_out_of_place_ends_the_socket(state: State) -> None:
    for tag in WRONG[state]:
        machine = IN_STATE[state]()
        machine.raw(tag, b"")
        assert act.CloseSocket() in machine.actions
        assert act.Continue() not in machine.actions
        assert not machine.sent()
        if state is State.READY:
            # It had nothing wrong but this frame, so it goes on at once.
            assert machine.state is State.CONNECTING
            assert machine.actions[0] == act.Requeue()
        elif state in DIALLING_STATES:
            assert machine.state is State.BACKOFF
            assert machine.only(act.ArmTimer).timer is Timer.BACKOFF
        else:
            assert machine.state is State.CLOSED
            assert machine.kinds()[-1] == "Closed"
            assert not any(isinstance(a, act.Notify) for a in machine.actions)
        error = machine.session.last_error
        assert isinstance(error, RemoteProtocolError)
        name = str(Tag(tag)) if tag in list(Tag) else f"tag {tag}"
        assert str(error).startswith(f"{name} in state {state}: expected ")


@pytest.mark.contract("H2")
@pytest.mark.parametrize(
    ("policy", "rest"), [(Policy.stateful_server(), State.STANDBY), (Policy.stateless_server(), State.CLOSED)]
)
def test_a_frame_out_of_place_in_an_accepted_session(policy: Policy, rest: State) -> None:
    """READY in the other role: a server does not dial, so what is lossless waits for its client."""
    for tag in WRONG[State.READY]:
        machine = accepted_to(State.READY, policy)
        machine.raw(tag, b"")
        assert machine.state is rest
        assert act.CloseSocket() in machine.actions
        assert [a.notice for a in machine.actions if isinstance(a, act.Notify)] == [Notice.RESET] * (rest is State.CLOSED)


def test_the_error_names_state_tag_and_what_was_expected() -> None:
    machine = accepted_to(State.AUTH_ACCEPTING)
    machine.frame(CLIENT_IDENT)
    assert str(machine.session.last_error) == "CLIENT_IDENT in state AUTH_ACCEPTING: expected AUTH_REQUEST"


@pytest.mark.contract("H2")
@pytest.mark.parametrize("state", [s for s in EXPECTED if s is not State.READY], ids=str)
def test_a_truncated_frame_ends_the_socket(state: State) -> None:
    for tag in EXPECTED[state] - {Tag.WAIT}:
        machine = IN_STATE[state]()
        machine.raw(tag, b"")
        assert act.CloseSocket() in machine.actions
        assert str(machine.session.last_error).startswith(f"{tag} in state {state}: payload: ")


@pytest.mark.parametrize("tag", sorted(DATA_TAGS))
def test_a_data_frame_in_ready_is_the_shells_mistake(tag: Tag) -> None:
    with pytest.raises(LocalProtocolError, match="the data plane should have taken it"):
        dialled_to(State.READY).raw(tag, bytes(8))


@pytest.mark.parametrize("event", [ev.SocketConnected(EPHEMERAL), ev.BannerReceived(b""), ev.FrameReceived(1, b"", b"")])
@pytest.mark.parametrize("state", [State.NEW, State.BACKOFF])
def test_an_event_without_a_socket_is_the_shells_mistake(state: State, event: Event) -> None:
    machine = dialler()
    if state is State.BACKOFF:
        machine.on(ev.DialRequested())
        machine.on(ev.SocketLost(OSError("no")))
    assert machine.state is state
    with pytest.raises(LocalProtocolError, match=f"in state {state}"):
        machine.on(event)


@pytest.mark.parametrize(
    "event",
    [
        ev.TakeOverRefused(SendWait()),
        ev.StreamHandedOver(),
        ev.StreamAdopted(ev.Handoff(RECONNECT, EntityType.CLIENT, ConMode.CRC, 0, Credentials(), False), 0),
        ev.Accepted(EPHEMERAL),
    ],
    ids=lambda event: type(event).__name__,
)
def test_an_answer_to_nothing_is_the_shells_mistake(event: Event) -> None:
    with pytest.raises(LocalProtocolError):
        dialled_to(State.READY).on(event)


def test_an_accepted_connection_cannot_be_dialled() -> None:
    with pytest.raises(LocalProtocolError):
        acceptor().on(ev.DialRequested())
