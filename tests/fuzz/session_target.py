"""A session and a peer that says anything: frames, events of the socket, timers, take-overs, in any order the shell can report.

Input: a header of 4 bytes (role and authentication, policy, the existing session, chance), then steps: kind, length (2 bytes),
payload. A step that the shell could not report in this state is skipped, so nothing at all may be raised.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from ceph_msgr.auth.base import ConMode, Credentials
from ceph_msgr.auth.cephx.monitor import CephxMonitor
from ceph_msgr.auth.keyring import Keyring
from ceph_msgr.auth.none import DummyClient, DummyServer, NoneClient, NoneServer
from ceph_msgr.auth.registry import AuthRegistry
from ceph_msgr.compression import Algorithm, CompressionRegistry
from ceph_msgr.config import Config
from ceph_msgr.errors import DecodeError
from ceph_msgr.policy import Policy
from ceph_msgr.protocol import actions as act
from ceph_msgr.protocol import events as ev
from ceph_msgr.protocol.frames import ClientIdentFrame, ControlFrame, SessionReconnectFrame
from ceph_msgr.protocol.reconnect import ExistingSession
from ceph_msgr.protocol.session import Session
from ceph_msgr.protocol.states import State
from ceph_msgr.protocol.tags import DATA_TAGS, Tag
from ceph_msgr.wire.addr import EntityAddr, EntityAddrVec
from ceph_msgr.wire.entity import AuthEntityName, EntityName, EntityType

__all__ = ["CLIENT", "HEADER_BYTES", "SERVER", "STEP_BANNER", "STEP_CONNECTED", "fuzz_session", "make_session", "put_step"]

SERVER = EntityAddr.parse("v2:10.0.0.1:6800/1")
CLIENT = EntityAddr.parse("v2:10.0.0.9:6801/7")

HEADER_BYTES = 4

#: Below it a step is a frame, and its kind the tag.
STEP_BANNER = 64
STEP_CONNECTED = 65
_STEP_LOST = 66
_STEP_TIMER = 67
_STEP_QUEUED = 68
_STEP_MARKED_DOWN = 69
_STEP_DISPOSABLE = 70
_STEP_TAKE_OVER = 71
_STEP_HANDED_OVER = 72
_STEP_REFUSED = 73
_STEP_ADOPTED = 74

_POLICIES = (
    Policy.lossless_peer(), Policy.lossless_peer_reuse(), Policy.lossless_client(), Policy.lossy_client(),
    Policy.stateful_server(), Policy.stateless_server(),
)

_STATES = (
    State.READY, State.STANDBY, State.CONNECTING, State.SESSION_CONNECTING, State.SESSION_RECONNECTING, State.REPLACING,
    State.CLOSED,
)

_MAX_ACTIONS = 40


@dataclass
class _Host:
    my_name: EntityName
    my_addrs: EntityAddrVec
    policy: Policy
    existing: ExistingSession | None = None
    queued: bool = False
    global_seq: int = 100
    cookie: int = 0xC00
    places: int = field(default=5)

    def has_queued(self) -> bool:
        return self.queued

    def new_cookie(self) -> int:
        self.cookie += 1
        return self.cookie

    def jitter(self) -> float:
        return 0.5

    def next_global_seq(self, minimum: int) -> int:
        self.global_seq = max(self.global_seq, minimum) + 1
        return self.global_seq

    def choose_policy(self, peer_type: EntityType) -> Policy:
        return self.policy

    def find_existing(self, addrs: EntityAddrVec) -> ExistingSession | None:
        return self.existing

    def register(self, addrs: EntityAddrVec, *, instead_of: object | None) -> bool:
        self.places -= 1
        return self.places >= 0


def _auth(choice: int, own_type: EntityType, config: Config) -> AuthRegistry:
    if choice == 0:
        return AuthRegistry.dummy(own_type, config)
    name = AuthEntityName(EntityType.CLIENT, "admin")
    if choice == 1:
        return AuthRegistry(own_type, config, [NoneClient(name), DummyClient()], [NoneServer(), DummyServer()])
    keyring = Keyring.parse("[client.admin]\nkey = AQAAAAAAAAAAABAAc2l4dGVlbiBieXRlIGtleQ==\n")
    monitor = CephxMonitor(keyring, own_type, random_bytes=bytes, clock_s=lambda: 1e6)
    return AuthRegistry(own_type, config, [DummyClient()], [monitor, DummyServer()])


def make_session(header: bytes) -> tuple[Session, _Host]:
    role, policy_number, existing_number, chance = header
    is_dialling = bool(role & 1)
    own_type, peer_type = (EntityType.CLIENT, EntityType.OSD) if is_dialling else (EntityType.OSD, EntityType.CLIENT)
    config = Config(ms_client_mode="crc secure", ms_service_mode="crc secure", ms_cluster_mode="crc secure")
    if role & 8:
        for option in Config.options():
            if option.name.endswith("compress_mode"):
                config.set(option.name, "force")
    compression = CompressionRegistry(config, tuple(Algorithm))
    policy = _POLICIES[policy_number % len(_POLICIES)]
    host = _Host(EntityName(own_type, 1), EntityAddrVec([CLIENT if is_dialling else SERVER]), policy, queued=bool(chance & 1))
    if existing_number:
        host.existing = ExistingSession(
            handle="existing", state=_STATES[existing_number % len(_STATES)], is_lossy=bool(existing_number & 64),
            is_server=bool(existing_number & 128), client_cookie=chance, server_cookie=chance & 6, connect_seq=chance & 3,
            peer_global_seq=chance, is_ident_unanswered=bool(chance & 8),
        )
    auth = _auth((role >> 1 & 3) % 3, own_type, config)
    if is_dialling:
        return Session.dialling(
            host, config, auth, policy=policy, peer_type=peer_type, target=SERVER, compression=compression, assemble=_no_frames
        ), host
    return Session.accepted(host, config, auth, compression=compression, assemble=_no_frames), host


def _no_frames(tag: int, payload: bytes, revision: int) -> bytes:
    return payload


def put_step(kind: int, payload: bytes) -> bytes:
    return bytes([kind]) + len(payload).to_bytes(2, "little") + payload


def _steps(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = HEADER_BYTES
    while at + 3 <= len(data):
        length = int.from_bytes(data[at + 1 : at + 3], "little")
        yield data[at], data[at + 3 : at + 3 + length]
        at += 3 + length


class _Shell:
    """What a shell knows, and so what it may report."""

    def __init__(self, session: Session, host: _Host) -> None:
        self.session = session
        self.host = host
        self.is_connecting = False
        self.reads = False
        self.is_ready = False
        self.handoff: ev.Handoff | None = None

    def handle(self, event: ev.Event) -> None:
        was_closed = self.session.is_closed
        actions = self.session.handle(event, 0)
        assert len(actions) <= _MAX_ACTIONS, actions
        assert not was_closed or not any(isinstance(action, act.SendFrame | act.Dial | act.Notify) for action in actions)
        for action in actions:
            self._execute(action)
        for number in (self.session.connect_seq, self.session.global_seq, self.session.peer_global_seq, self.host.global_seq):
            assert 0 <= number < 2**64

    def _execute(self, action: act.Action) -> None:
        match action:
            case act.Dial():
                self.is_connecting, self.is_ready = True, False
            case act.CloseSocket():
                self.is_connecting = self.reads = self.is_ready = False
            case act.SendBytes() | act.Continue():
                self.reads = True
            case act.EnterReady():
                self.is_ready = True
            case act.AdoptStream(handoff):
                self.handoff = handoff
            case _:
                pass

    def step(self, kind: int, payload: bytes) -> None:
        state = self.session.state
        awaits_banner = state in (State.BANNER_CONNECTING, State.BANNER_ACCEPTING)
        if kind == STEP_BANNER and awaits_banner and self.reads:
            self.reads = False
            self.handle(ev.BannerReceived(payload))
        elif kind < STEP_BANNER and self.reads and not awaits_banner and not (self.is_ready and kind in DATA_TAGS):
            self.reads = False
            self.handle(ev.FrameReceived(kind, payload, payload, in_seq=len(payload)))
        elif kind == STEP_CONNECTED and self.is_connecting:
            self.is_connecting = False
            self.handle(ev.SocketConnected(CLIENT))
        elif kind == _STEP_LOST:
            self.reads = self.is_connecting = self.is_ready = False
            self.handle(ev.SocketLost(ConnectionRefusedError() if payload else ConnectionResetError()))
        elif kind == _STEP_TIMER:
            self.handle(ev.TimerFired(ev.Timer.BACKOFF if payload else ev.Timer.HANDSHAKE))
        elif kind == _STEP_QUEUED:
            self.handle(ev.SendQueued())
        elif kind == _STEP_MARKED_DOWN:
            if not self.session.is_closed:
                self.handle(ev.MarkedDown(notify=bool(payload)))
        elif kind == _STEP_DISPOSABLE:
            self.handle(ev.MarkedDisposable())
        else:
            self._take_over_step(kind, payload)

    def _take_over_step(self, kind: int, payload: bytes) -> None:
        state = self.session.state
        if kind == _STEP_TAKE_OVER:
            handoff = self._make_handoff(payload)
            # Sessions in these states are found under no address.
            if handoff and not self.session.is_accepting and state not in (State.NEW, State.HANDED_OVER):
                self.handle(ev.TakeOverRequested(handoff))
        elif kind == _STEP_ADOPTED and self.handoff and state in (State.REPLACING, State.CLOSED):
            handoff, self.handoff = self.handoff, None
            self.reads = False
            self.handle(ev.StreamAdopted(handoff, in_seq=len(payload)))
        elif state is State.HANDED_OVER and kind == _STEP_HANDED_OVER:
            self.handle(ev.StreamHandedOver())
        elif state is State.HANDED_OVER and kind == _STEP_REFUSED:
            handoff = self._make_handoff(payload)
            if handoff:
                self.handle(ev.TakeOverRefused(self.session.judge(self.host.existing, handoff)))

    def _make_handoff(self, payload: bytes) -> ev.Handoff | None:
        kind: type[ControlFrame] = ClientIdentFrame if payload[:1] == b"\0" else SessionReconnectFrame
        try:
            frame = kind.parse(payload[1:])
        except DecodeError:
            return None
        assert isinstance(frame, ClientIdentFrame | SessionReconnectFrame)
        if isinstance(frame, SessionReconnectFrame) and not self.session.peer:
            return None  # nobody has the cookies of a session that never was
        return ev.Handoff(frame, EntityType.CLIENT, ConMode.CRC, 1, Credentials(), resetcheck=bool(self.host.cookie & 1))


def fuzz_session(data: bytes) -> None:
    if len(data) < HEADER_BYTES:
        return
    session, host = make_session(data[:HEADER_BYTES])
    shell = _Shell(session, host)
    shell.handle(ev.DialRequested() if data[0] & 1 else ev.Accepted(CLIENT, SERVER))
    for kind, payload in _steps(data):
        shell.step(kind, payload)


assert max(Tag) < STEP_BANNER
