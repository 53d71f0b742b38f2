"""``Machine``: one session, its events and its actions; and the ways into each of its states."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ceph_msgr.auth.base import (
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
from ceph_msgr.errors import AuthError
from ceph_msgr.policy import Policy
from ceph_msgr.protocol import actions as act
from ceph_msgr.protocol import events as ev
from ceph_msgr.protocol import frames as f
from ceph_msgr.protocol.actions import Action
from ceph_msgr.protocol.banner import OUR_BANNER
from ceph_msgr.protocol.events import Event
from ceph_msgr.protocol.reconnect import ExistingSession
from ceph_msgr.protocol.session import Session
from ceph_msgr.protocol.states import State
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
#: Who is there when a newcomer comes.
EXISTING = ExistingSession("handle", State.READY, False, False, 0xC1, 0x5EE, 0, 5)

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
