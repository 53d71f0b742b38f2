"""One machine, its events and its actions: illegal frames, faults, pauses, the order of things."""

from __future__ import annotations

import errno
import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from ceph_msgr.auth.base import (
    AuthBusy,
    AuthMethod,
    AuthRefused,
    ClientAuth,
    ClientExchange,
    ConMode,
    Credentials,
    ServerAuth,
    ServerDone,
    ServerExchange,
    ServerMore,
)
from ceph_msgr.auth.none import DummyClient, DummyServer
from ceph_msgr.auth.registry import AuthRegistry
from ceph_msgr.compression import CompressionRegistry
from ceph_msgr.config import Config
from ceph_msgr.errors import AuthError, LocalProtocolError, RemoteProtocolError
from ceph_msgr.policy import Policy
from ceph_msgr.protocol import actions as act
from ceph_msgr.protocol import events as ev
from ceph_msgr.protocol import frames as f
from ceph_msgr.protocol.actions import Action, Notice
from ceph_msgr.protocol.banner import OUR_BANNER, Banner
from ceph_msgr.protocol.events import Event, Timer
from ceph_msgr.protocol.handshake import MAX_TRANSCRIPT_BYTES
from ceph_msgr.protocol.reconnect import ExistingSession, SendWait
from ceph_msgr.protocol.session import Session
from ceph_msgr.protocol.states import ACCEPTING_STATES, DIALLING_STATES, EXPECTED, IDLE_STATES, TRANSITIONS, State
from ceph_msgr.protocol.tags import DATA_TAGS, Tag
from ceph_msgr.wire.addr import EntityAddr, EntityAddrVec
from ceph_msgr.wire.entity import EntityName, EntityType
from ceph_msgr.wire.features import MSG_ADDR2, SUPPORTED_ALL
from tests.session.reference_codec import assemble_control

SERVER = EntityAddr.parse("v2:10.0.0.1:6800/1")
CLIENT = EntityAddr.parse("any:10.0.0.9:0/7")
EPHEMERAL = EntityAddr.parse("v2:10.0.0.9:40000")

MS = 1_000_000


@dataclass
class Host:
    """Answers as told."""

    my_name: EntityName
    my_addrs: EntityAddrVec
    policy: Policy = field(default_factory=Policy.stateful_server)
    queued: bool = False
    jitters: list[float] = field(default_factory=list)
    global_seq: int = 100
    existing: ExistingSession | None = None
    free_places: int = 10
    cookie: int = 0xC00

    def has_queued(self) -> bool:
        return self.queued

    def new_cookie(self) -> int:
        self.cookie += 1
        return self.cookie

    def jitter(self) -> float:
        return self.jitters.pop(0) if self.jitters else 0.0

    def next_global_seq(self, minimum: int) -> int:
        self.global_seq = max(self.global_seq, minimum) + 1
        return self.global_seq

    def choose_policy(self, peer_type: EntityType) -> Policy:
        return self.policy

    def find_existing(self, addrs: EntityAddrVec) -> ExistingSession | None:
        return self.existing

    def register(self, addrs: EntityAddrVec, *, instead_of: object | None) -> bool:
        self.free_places -= 1
        return self.free_places >= 0


class Machine:
    """A session with a memory: feeds frames as wire bytes and remembers the last actions."""

    def __init__(self, session: Session, host: Host) -> None:
        self.session = session
        self.host = host
        self.actions: list[Action] = []

    @property
    def state(self) -> State:
        return self.session.state

    def on(self, event: Event) -> list[Action]:
        self.actions = self.session.handle(event, 0)
        return self.actions

    def frame(self, frame: f.ControlFrame, in_seq: int = 0) -> list[Action]:
        return self.raw(frame.tag, frame.payload(), in_seq)

    def raw(self, tag: int, payload: bytes, in_seq: int = 0) -> list[Action]:
        return self.on(ev.FrameReceived(tag, payload, assemble_control(tag, payload, 1), in_seq))

    def kinds(self) -> list[str]:
        return [type(action).__name__ for action in self.actions]

    def sent(self) -> list[f.ControlFrame]:
        return [f.FRAMES[a.tag].parse(a.payload) for a in self.actions if isinstance(a, act.SendFrame)]

    def only(self, kind: type) -> Any:
        (action,) = [a for a in self.actions if isinstance(a, kind)]
        return action


def dialler(policy: Policy | None = None, *, config: Config | None = None, clients: list[ClientAuth] | None = None) -> Machine:
    host = Host(EntityName(EntityType.CLIENT, -1), EntityAddrVec([CLIENT]))
    config = config or Config()
    auth = AuthRegistry(EntityType.CLIENT, config, [DummyClient()] if clients is None else clients)
    session = Session.dialling(
        host,
        config,
        auth,
        policy=policy or Policy.lossless_client(),
        peer_type=EntityType.OSD,
        target=SERVER,
        compression=CompressionRegistry(config, ALGORITHMS),
        assemble=assemble_control,
    )
    return Machine(session, host)


def acceptor(
    policy: Policy | None = None, *, config: Config | None = None, servers: list[ServerAuth] | None = None
) -> Machine:
    host = Host(EntityName(EntityType.OSD, 0), EntityAddrVec([SERVER]))
    host.policy = policy or Policy.stateful_server()
    config = config or Config()
    auth = AuthRegistry(EntityType.OSD, config, servers=servers or [DummyServer()])
    compression = CompressionRegistry(config, ALGORITHMS)
    return Machine(Session.accepted(host, config, auth, compression=compression, assemble=assemble_control), host)


#: Those compiled in, if all are.
ALGORITHMS = (1, 2, 3, 4)
#: The options of a machine that compresses, and what its banner says.
COMPRESSING: dict[str, object] = {"ms_osd_compress_mode": "force", "ms_osd_compression_algorithm": "zstd snappy"}
COMPRESSING_BANNER = OUR_BANNER.with_compression().encode()

ZEROS = f.AuthSignatureFrame(bytes(32))
SERVER_HELLO = f.HelloFrame(EntityType.OSD, EPHEMERAL)
CLIENT_HELLO = f.HelloFrame(EntityType.CLIENT, SERVER)
REQUEST = f.AuthRequestFrame(1, (1,), b"")
DONE = f.AuthDoneFrame(0, 1, b"")
SERVER_IDENT = f.ServerIdentFrame(EntityAddrVec([SERVER]), 0, 55, SUPPORTED_ALL, MSG_ADDR2, 0, 0x5EE)
CLIENT_IDENT = f.ClientIdentFrame(EntityAddrVec([CLIENT]), SERVER, -1, 9, SUPPORTED_ALL, MSG_ADDR2, 0, 0xC1)
RECONNECT = f.SessionReconnectFrame(EntityAddrVec([CLIENT]), 0xC1, 0x5EE, 9, 1, 0)

DIAL_STEPS: list[tuple[State, Callable[[Machine], object]]] = [
    (State.CONNECTING, lambda m: m.on(ev.DialRequested())),
    (State.BANNER_CONNECTING, lambda m: m.on(ev.SocketConnected(EPHEMERAL))),
    (State.HELLO_CONNECTING, lambda m: m.on(ev.BannerReceived(OUR_BANNER.encode()))),
    (State.AUTH_CONNECTING, lambda m: m.frame(SERVER_HELLO)),
    (State.AUTH_CONNECTING_SIGN, lambda m: m.frame(DONE)),
    (State.SESSION_CONNECTING, lambda m: m.frame(ZEROS)),
    (State.READY, lambda m: m.frame(SERVER_IDENT)),
]

ACCEPT_STEPS: list[tuple[State, Callable[[Machine], object]]] = [
    (State.BANNER_ACCEPTING, lambda m: m.on(ev.Accepted(EPHEMERAL))),
    (State.HELLO_ACCEPTING, lambda m: m.on(ev.BannerReceived(OUR_BANNER.encode()))),
    (State.AUTH_ACCEPTING, lambda m: m.frame(CLIENT_HELLO)),
    (State.AUTH_ACCEPTING_SIGN, lambda m: m.frame(REQUEST)),
    (State.SESSION_ACCEPTING, lambda m: m.frame(ZEROS)),
    (State.READY, lambda m: m.frame(CLIENT_IDENT)),
]


def walk(machine: Machine, steps: list[tuple[State, Callable[[Machine], object]]], until: State) -> Machine:
    for state, step in steps:
        step(machine)
        assert machine.state is state
        if state is until:
            return machine
    raise AssertionError(f"{until} is not on the way")


def dialled_to(until: State, policy: Policy | None = None, **options: Any) -> Machine:
    return walk(dialler(policy, **options), DIAL_STEPS, until)


def accepted_to(until: State, policy: Policy | None = None, **options: Any) -> Machine:
    return walk(acceptor(policy, **options), ACCEPT_STEPS, until)


def redialled_to(until: State, policy: Policy | None = None) -> Machine:
    """A session that broke and is on its way back."""
    machine = dialled_to(State.READY, policy or Policy.lossless_client())
    machine.host.queued = True
    machine.on(ev.SocketLost(ConnectionResetError("broken")))
    machine.host.queued = False
    steps = [*DIAL_STEPS[1:5], (State.SESSION_RECONNECTING, lambda m: m.frame(ZEROS, 7))]
    return walk(machine, steps, until)


class TwoRounds(ServerAuth):
    """A method with a challenge and keys; ``refuse`` makes it say no in the given round."""

    method = AuthMethod.CEPHX

    def __init__(self, refuse: int = 0, error: AuthError | None = None) -> None:
        self.refuse = refuse
        self.error = error or AuthRefused("wrong proof")

    def start(self, peer_type: EntityType, mode: ConMode) -> ServerExchange:
        return TwoRoundsServer(self)


@dataclass
class TwoRoundsServer(ServerExchange):
    method: TwoRounds

    def request(self, payload: bytes) -> ServerMore | ServerDone:
        if self.method.refuse == 1:
            raise self.method.error
        return ServerMore(b"challenge")

    def request_more(self, payload: bytes) -> ServerMore | ServerDone:
        if self.method.refuse == 2:
            raise self.method.error
        return ServerDone(5, b"welcome", Credentials(session_key=b"k" * 16, connection_secret=b"s" * 64))


class TwoRoundsMethod(ClientAuth):
    method = AuthMethod.CEPHX

    def __init__(self, error: AuthError | None = None) -> None:
        self.error = error

    def start(self, peer_type: EntityType) -> ClientExchange:
        if self.error:
            raise self.error
        return TwoRoundsClient()


class TwoRoundsClient(ClientExchange):
    def request(self) -> bytes:
        return b"hello"

    def reply_more(self, payload: bytes) -> bytes:
        return b"answer to " + payload

    def done(self, global_id: int, mode: ConMode, payload: bytes) -> Credentials:
        return Credentials(session_key=b"k" * 16, connection_secret=b"s" * 64)


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


def accepting_more() -> Machine:
    machine = accepted_to(State.AUTH_ACCEPTING, servers=[TwoRounds()])
    machine.frame(f.AuthRequestFrame(2, (1,), b""))
    return machine


def dialled_compressing() -> Machine:
    """Behind the signatures, where both sides compress."""
    steps = [*DIAL_STEPS[:2], (State.HELLO_CONNECTING, lambda m: m.on(ev.BannerReceived(COMPRESSING_BANNER)))]
    steps += [*DIAL_STEPS[3:5], (State.COMPRESS_CONNECTING, lambda m: m.frame(ZEROS))]
    return walk(dialler(config=Config(**COMPRESSING)), steps, State.COMPRESS_CONNECTING)


def accepted_compressing(hello: f.HelloFrame = CLIENT_HELLO) -> Machine:
    steps = [ACCEPT_STEPS[0], (State.HELLO_ACCEPTING, lambda m: m.on(ev.BannerReceived(COMPRESSING_BANNER)))]
    steps += [(State.AUTH_ACCEPTING, lambda m: m.frame(hello)), ACCEPT_STEPS[3]]
    steps += [(State.COMPRESS_ACCEPTING, lambda m: m.frame(ZEROS))]
    return walk(acceptor(config=Config(**COMPRESSING)), steps, State.COMPRESS_ACCEPTING)


IN_STATE: dict[State, Callable[[], Machine]] = {
    State.HELLO_CONNECTING: lambda: dialled_to(State.HELLO_CONNECTING),
    State.AUTH_CONNECTING: lambda: dialled_to(State.AUTH_CONNECTING),
    State.AUTH_CONNECTING_SIGN: lambda: dialled_to(State.AUTH_CONNECTING_SIGN),
    State.COMPRESS_CONNECTING: dialled_compressing,
    State.SESSION_CONNECTING: lambda: dialled_to(State.SESSION_CONNECTING),
    State.SESSION_RECONNECTING: lambda: redialled_to(State.SESSION_RECONNECTING),
    State.HELLO_ACCEPTING: lambda: accepted_to(State.HELLO_ACCEPTING),
    State.AUTH_ACCEPTING: lambda: accepted_to(State.AUTH_ACCEPTING),
    State.AUTH_ACCEPTING_MORE: accepting_more,
    State.AUTH_ACCEPTING_SIGN: lambda: accepted_to(State.AUTH_ACCEPTING_SIGN),
    State.COMPRESS_ACCEPTING: accepted_compressing,
    State.SESSION_ACCEPTING: lambda: accepted_to(State.SESSION_ACCEPTING),
    State.READY: lambda: dialled_to(State.READY),
}

#: Every state and every tag, written down once more: `x` the frame is awaited, `.` it costs the socket, and no sign at all where
#: no frame can come: there is no socket, its banner is awaited, or it stands still until somebody else has decided.
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


# ---- the dialling side, step by step ----


def test_the_actions_of_a_dial_in_their_order() -> None:
    machine = dialler()
    machine.on(ev.DialRequested())
    assert machine.actions == [act.ArmTimer(Timer.HANDSHAKE, 10_000 * MS), act.Dial(SERVER)]
    machine.on(ev.SocketConnected(EPHEMERAL))
    assert machine.actions == [act.SendBytes(OUR_BANNER.encode())]
    machine.on(ev.BannerReceived(OUR_BANNER.encode()))
    assert machine.kinds() == ["SetRevision", "SendFrame", "Continue"]
    assert machine.sent() == [f.HelloFrame(EntityType.CLIENT, SERVER)]
    machine.frame(SERVER_HELLO)
    assert machine.kinds() == ["LearnAddress", "SendFrame", "Continue"]
    assert machine.only(act.LearnAddress).addr == EPHEMERAL
    assert machine.sent() == [f.AuthRequestFrame(1, (1,), b"")]
    machine.frame(DONE)
    assert machine.kinds() == ["SendFrame", "Continue"]
    assert machine.sent() == [ZEROS]
    machine.frame(ZEROS)
    assert machine.kinds() == ["SendFrame", "Continue"]
    assert machine.sent() == [f.ClientIdentFrame(EntityAddrVec([CLIENT]), SERVER, -1, 101, SUPPORTED_ALL, MSG_ADDR2, 0, 0xC01)]
    machine.frame(SERVER_IDENT)
    assert machine.kinds() == [
        "ResetQueues",
        "SetPeer",
        "CancelTimer",
        "EnterReady",
        "Notify",
        "Notify",
        "Continue",
    ]
    assert machine.only(act.EnterReady) == act.EnterReady(lossless=True, features=SUPPORTED_ALL)
    assert [a.notice for a in machine.actions if isinstance(a, act.Notify)] == [Notice.CONNECT, Notice.FAST_CONNECT]


def test_a_lossy_client_has_no_cookie_and_says_so() -> None:
    machine = dialled_to(State.SESSION_CONNECTING, Policy.lossy_client())
    (ident,) = machine.sent()
    assert isinstance(ident, f.ClientIdentFrame)
    assert (ident.flags, ident.cookie) == (f.FLAG_LOSSY, 0)


def test_features_are_those_both_support() -> None:
    machine = dialled_to(State.SESSION_CONNECTING)
    machine.frame(replace(SERVER_IDENT, features_supported=MSG_ADDR2 | 1 << 62))
    assert machine.only(act.EnterReady).features == MSG_ADDR2


def test_the_own_ip_may_be_learned_from_the_socket() -> None:
    machine = dialled_to(State.HELLO_CONNECTING, config=Config(ms_learn_addr_from_peer=False))
    machine.frame(f.HelloFrame(EntityType.OSD, EntityAddr.parse("v2:192.0.2.1:1")))
    assert machine.only(act.LearnAddress).addr == EPHEMERAL


@pytest.mark.parametrize("banner", [Banner(1, required=2), Banner(3, required=3)])
def test_a_banner_that_requires_too_much_is_for_ever(banner: Banner) -> None:
    machine = dialled_to(State.BANNER_CONNECTING)
    machine.on(ev.BannerReceived(banner.encode()))
    assert machine.kinds() == ["CancelTimer", "CloseSocket", "Notify", "Closed"]
    assert machine.only(act.Notify).notice is Notice.RESET
    machine = accepted_to(State.BANNER_ACCEPTING)
    machine.on(ev.BannerReceived(banner.encode()))
    assert machine.kinds() == ["CancelTimer", "CloseSocket", "Closed"]


@pytest.mark.contract("H2")
@pytest.mark.parametrize("start", [b"ceph v027\0", b"GET / HTTP", b"\x16\x03\x01", b"ceph v2\n\x08\x00" + bytes(8)])
def test_a_stranger_at_the_other_end(start: bytes) -> None:
    machine = dialled_to(State.BANNER_CONNECTING)
    machine.on(ev.BannerReceived(start))
    assert machine.state is State.BACKOFF
    machine = accepted_to(State.BANNER_ACCEPTING)
    machine.on(ev.BannerReceived(start))
    assert machine.state is State.CLOSED


def test_a_peer_without_revision_1_is_spoken_to_in_2_0() -> None:
    machine = dialled_to(State.BANNER_CONNECTING)
    machine.on(ev.BannerReceived(Banner(0).encode()))
    assert machine.only(act.SetRevision).revision == 0


def test_a_peer_of_another_type_is_not_dialled_again() -> None:
    machine = dialled_to(State.HELLO_CONNECTING)
    machine.frame(f.HelloFrame(EntityType.MON, EPHEMERAL))
    assert machine.kinds() == ["CancelTimer", "CloseSocket", "Notify", "Closed"]
    assert machine.only(act.Closed).reason == "the peer is of type mon, expected osd"


def test_the_next_allowed_method_is_tried() -> None:
    machine = dialled_to(State.HELLO_CONNECTING, clients=[TwoRoundsMethod(), DummyClient()])
    machine.frame(SERVER_HELLO)
    assert machine.sent() == [f.AuthRequestFrame(2, (1, 2), b"hello")]
    machine.frame(f.AuthBadMethodFrame(2, -errno.EOPNOTSUPP, (1,), (2, 1)))
    assert machine.state is State.AUTH_CONNECTING
    assert machine.sent() == [f.AuthRequestFrame(1, (1,), b"")]
    machine.frame(f.AuthBadMethodFrame(1, -errno.EACCES, (1, 2), (1,)))
    assert machine.state is State.BACKOFF
    text = str(machine.session.last_error)
    assert "the server refused method 1 (EACCES) and allows methods [1, 2] with modes [1]" in text


def test_a_method_the_server_does_not_allow_is_not_tried() -> None:
    machine = dialled_to(State.AUTH_CONNECTING, clients=[TwoRoundsMethod(), DummyClient()])
    machine.frame(f.AuthBadMethodFrame(2, -errno.EOPNOTSUPP, (4,), (1,)))
    assert machine.state is State.BACKOFF


@pytest.mark.parametrize("clients", [[], [TwoRoundsMethod(AuthError("no ticket"))]])
def test_without_a_request_to_send_the_connection_is_closed(clients: list[ClientAuth]) -> None:
    machine = dialled_to(State.HELLO_CONNECTING, clients=clients)
    machine.frame(SERVER_HELLO)
    assert machine.kinds()[-3:] == ["CloseSocket", "Notify", "Closed"]


def test_a_mode_that_was_not_offered_is_refused() -> None:
    machine = dialled_to(State.AUTH_CONNECTING)
    machine.frame(f.AuthDoneFrame(0, 2, b""))
    assert machine.state is State.BACKOFF
    assert "the server chose mode 2, offered were [1]" in str(machine.session.last_error)


@pytest.mark.parametrize("bit", [0, 100, 255])
def test_a_wrong_signature_is_noticed(bit: int) -> None:
    wrong = bytearray(32)
    wrong[bit // 8] = 1 << bit % 8
    machine = dialled_to(State.AUTH_CONNECTING_SIGN)
    machine.frame(f.AuthSignatureFrame(bytes(wrong)))
    assert machine.state is State.BACKOFF
    machine = accepted_to(State.AUTH_ACCEPTING_SIGN)
    machine.frame(f.AuthSignatureFrame(bytes(wrong)))
    assert machine.state is State.CLOSED


@pytest.mark.parametrize("addr", ["v2:10.0.0.1:6800/2", "v2:10.0.0.1:6801/1", "v2:10.0.0.3:6800/1", "any:10.0.0.1:6800/1"])
def test_a_server_that_is_not_whom_we_dialled_is_refused(addr: str) -> None:
    machine = dialled_to(State.SESSION_CONNECTING)
    machine.frame(replace(SERVER_IDENT, addrs=EntityAddrVec.parse(addr)))
    assert machine.state is State.BACKOFF
    assert machine.session.server_cookie == 0


@pytest.mark.contract("J24")
def test_missing_features_are_named_and_tried_again() -> None:
    machine = dialled_to(State.SESSION_CONNECTING)
    machine.frame(f.IdentMissingFeaturesFrame(1 << 62))
    assert machine.state is State.BACKOFF
    assert str(machine.session.last_error).endswith("the server requires features we do not offer: bit 62")


# ---- reconnecting ----


def test_a_reconnect_tells_what_was_received() -> None:
    machine = redialled_to(State.SESSION_RECONNECTING)
    assert machine.sent() == [
        f.SessionReconnectFrame(EntityAddrVec([CLIENT]), 0xC01, 0x5EE, global_seq=102, connect_seq=1, msg_seq=7)
    ]
    machine.frame(f.SessionReconnectOkFrame(3))
    assert machine.kinds() == ["DropAcked", "SetPeer", "CancelTimer", "EnterReady", "Notify", "Notify", "Continue"]
    assert machine.only(act.DropAcked).seq == 3


@pytest.mark.contract("J21", "J22")
def test_retry_sets_and_retry_global_exceeds() -> None:
    machine = redialled_to(State.SESSION_RECONNECTING)
    machine.frame(f.SessionRetryFrame(41), 7)
    (again,) = machine.sent()
    assert isinstance(again, f.SessionReconnectFrame)
    assert (again.connect_seq, again.global_seq, again.msg_seq) == (42, 102, 7)
    machine.frame(f.SessionRetryGlobalFrame(5000), 7)
    (again,) = machine.sent()
    assert isinstance(again, f.SessionReconnectFrame)
    assert (again.connect_seq, again.global_seq) == (42, 5001)


@pytest.mark.contract("H2")
@pytest.mark.parametrize("value", [2**63, 2**64 - 1])
@pytest.mark.parametrize("kind", [f.SessionRetryFrame, f.SessionRetryGlobalFrame])
def test_a_counter_is_not_driven_to_its_end(kind: type, value: int) -> None:
    machine = redialled_to(State.SESSION_RECONNECTING)
    machine.frame(kind(value))
    assert machine.state is State.BACKOFF
    assert machine.host.global_seq < 1000
    assert machine.session.connect_seq < 1000


@pytest.mark.contract("J20")
def test_a_partial_reset_keeps_queue_and_cookie() -> None:
    machine = redialled_to(State.SESSION_RECONNECTING)
    machine.frame(f.SessionResetFrame(False))
    assert machine.kinds() == ["SendFrame", "Continue"]
    (ident,) = machine.sent()
    assert isinstance(ident, f.ClientIdentFrame)
    assert (ident.cookie, ident.global_seq) == (0xC01, 102)
    assert (machine.session.server_cookie, machine.session.connect_seq) == (0, 0)
    machine.frame(SERVER_IDENT)
    assert machine.only(act.ResetQueues).drop is False


@pytest.mark.contract("J19")
def test_a_full_reset_drops_the_queue_and_tells() -> None:
    machine = redialled_to(State.SESSION_RECONNECTING)
    machine.frame(f.SessionResetFrame(True))
    assert machine.kinds() == ["ResetQueues", "Notify", "SendFrame", "Continue"]
    assert machine.actions[:2] == [act.ResetQueues(drop=True), act.Notify(Notice.REMOTE_RESET)]
    (ident,) = machine.sent()
    assert isinstance(ident, f.ClientIdentFrame)
    assert ident.cookie == 0xC02


@pytest.mark.contract("J23")
@pytest.mark.parametrize("state", [State.SESSION_CONNECTING, State.SESSION_RECONNECTING])
@pytest.mark.parametrize("policy", [Policy.lossless_peer(), Policy.lossy_client(), Policy.lossless_client()])
def test_wait_is_the_longest_pause_even_with_nothing_to_say(state: State, policy: Policy) -> None:
    machine = redialled_to(state, policy) if state is State.SESSION_RECONNECTING else dialled_to(state, policy)
    machine.frame(f.WaitFrame())
    assert machine.actions == [
        act.CancelTimer(Timer.HANDSHAKE),
        act.CloseSocket(),
        act.ArmTimer(Timer.BACKOFF, 15_000 * MS),
    ]
    assert machine.state is State.WAIT
    machine.on(ev.TimerFired(Timer.BACKOFF))
    assert machine.state is State.CONNECTING


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


@pytest.mark.contract("J8", "J10")
def test_a_dial_before_the_last_may_have_been_granted() -> None:
    """The peer may grant what a dial asked for that broke, also after another one that did not come so far. Not for ever: a peer
    that we cannot reach, but that reaches us, must not be told to wait for us again and again. Simulator, seed 1011529."""
    machine = dialled_to(State.SESSION_CONNECTING, Policy.lossless_peer())
    for event in ev.SocketLost(OSError("broken")), ev.SendQueued(), ev.SocketLost(OSError("broken again")):
        machine.on(event)
    assert machine.state is State.STANDBY
    assert machine.session.view("handle").is_ident_unanswered
    machine.session.handle(ev.SendQueued(), int(machine.session.config.ms_accept_handshake_timeout * 1e9))
    assert not machine.session.view("handle").is_ident_unanswered


def test_an_answered_dial_is_forgotten() -> None:
    assert dialled_to(State.SESSION_CONNECTING).session.is_ident_unanswered
    assert not dialled_to(State.READY).session.is_ident_unanswered


EXISTING = ExistingSession("handle", State.READY, False, False, 0xC1, 0x5EE, 0, 5)
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


# ---- keys ----


@pytest.mark.parametrize("mode", [1, 2])
def test_with_a_session_key_both_sides_sign_what_they_received(mode: int) -> None:
    """Two rounds; the machines are fed each other's frames, and the signatures agree with an HMAC made by hand."""
    config = Config(ms_client_mode="secure" if mode == 2 else "crc")
    client = dialled_to(State.BANNER_CONNECTING, clients=[TwoRoundsMethod()], config=config)
    server = accepted_to(State.BANNER_ACCEPTING, servers=[TwoRounds()])
    to_server, to_client = bytearray(), bytearray()

    def carry(source: Machine, stream: bytearray, target: Machine) -> None:
        """One frame at a time, as the data plane does."""
        for action in source.actions:
            if isinstance(action, act.SendFrame):
                if action.tag not in (Tag.AUTH_SIGNATURE, Tag.CLIENT_IDENT):
                    stream += assemble_control(action.tag, action.payload, 1)
                pending.append((target, action.tag, action.payload))

    pending: list[tuple[Machine, Tag, bytes]] = []
    for machine, stream, target in ((client, to_server, server), (server, to_client, client)):
        stream += OUR_BANNER.encode()
        machine.on(ev.BannerReceived(OUR_BANNER.encode()))
        carry(machine, stream, target)
    signatures: dict[str, bytes] = {}
    keys: dict[str, act.SetKeys] = {}
    while pending:
        target, tag, payload = pending.pop(0)
        if tag is Tag.AUTH_SIGNATURE:
            signatures["server" if target is client else "client"] = payload
        if tag is Tag.CLIENT_IDENT:
            continue
        target.raw(tag, payload)
        if any(isinstance(a, act.SetKeys) for a in target.actions):
            keys["client" if target is client else "server"] = target.only(act.SetKeys)
            kinds = target.kinds()
            assert kinds.index("SetKeys") < len(kinds) - 1 - kinds[::-1].index("SendFrame")
        other = client if target is server else server
        carry(target, to_client if target is server else to_server, other)
    assert client.state is State.SESSION_CONNECTING
    assert server.state is State.SESSION_ACCEPTING
    assert signatures["client"] == hmac.digest(b"k" * 16, bytes(to_client), hashlib.sha256)
    assert signatures["server"] == hmac.digest(b"k" * 16, bytes(to_server), hashlib.sha256)
    if mode == 1:
        assert keys == {}
    else:
        assert keys == {"client": act.SetKeys(b"s" * 64, True), "server": act.SetKeys(b"s" * 64, False)}
        assert "sss" not in repr(keys)
