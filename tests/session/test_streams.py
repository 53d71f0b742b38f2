"""Recorded streams of real Ceph peers, played to our machines: what we answer must be the recorded bytes.

Our machine takes the place of one side; the other side's bytes come from the recording. Names, addresses, cookies and
counters are set to those of the side that is replaced.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from ceph_msgr.auth.base import AuthMethod, ClientAuth, ClientExchange, ConMode, Credentials
from ceph_msgr.auth.none import DummyClient, DummyServer, NoneClient, NoneServer
from ceph_msgr.auth.registry import AuthRegistry
from ceph_msgr.config import Config
from ceph_msgr.policy import Policy
from ceph_msgr.protocol.actions import DropAcked, Notice, ResetQueues
from ceph_msgr.protocol.banner import Banner
from ceph_msgr.protocol.events import SocketConnected, SocketLost
from ceph_msgr.protocol.frames import (
    FRAMES,
    AuthRequestFrame,
    ClientIdentFrame,
    HelloFrame,
    ServerIdentFrame,
    SessionReconnectFrame,
)
from ceph_msgr.protocol.handshake import Transcript
from ceph_msgr.protocol.states import State
from ceph_msgr.protocol.tags import DATA_TAGS, Tag
from ceph_msgr.wire.addr import EntityAddr, EntityAddrVec
from ceph_msgr.wire.entity import AuthEntityName, EntityName, EntityType
from tests.session.reference_codec import Parser, RefFrame, assemble_control, split_banner
from tests.session.simulation import Connection, End, Messenger, Stream, World, raw_peer

STREAMS = Path(__file__).parent.parent / "vectors" / "streams"

SECURE = 2

CHUNKS = pytest.mark.parametrize("chunk_bytes", [None, 1], ids=["whole", "byte by byte"])


@dataclass(frozen=True)
class Side:
    """One direction of a recording, taken apart."""

    banner: bytes
    frames: tuple[RefFrame, ...]

    @property
    def units(self) -> list[bytes]:
        return [self.banner, *[frame.wire for frame in self.frames]]

    def control(self) -> list[RefFrame]:
        return [frame for frame in self.frames if frame.tag not in DATA_TAGS]

    def control_bytes(self) -> bytes:
        return self.banner + b"".join(frame.wire for frame in self.control())

    def first(self, kind: type) -> object:
        return next(kind.parse(frame.payload) for frame in self.frames if frame.tag == kind.tag)  # type: ignore[attr-defined]

    def has(self, tag: Tag) -> bool:
        return any(frame.tag == tag for frame in self.frames)


@dataclass(frozen=True)
class Recording:
    name: str
    keys: dict[str, object]
    client: Side
    server: Side

    @property
    def revision(self) -> int:
        return 1 if self.keys["revision"] == "2.1" else 0


@cache
def load(name: str) -> Recording:
    """Streams in secure mode are read up to the signatures."""
    folder = STREAMS / name
    keys = json.loads((folder / "keys.json").read_text())

    def side(direction: str, signed_bytes: str) -> Side:
        stream = (folder / f"{direction}.bin").read_bytes()
        if keys["connection_mode"] == SECURE:
            stream = stream[: keys[signed_bytes]]
        split = split_banner(stream)
        assert split
        parser = Parser(1 if keys["revision"] == "2.1" else 0)
        parser.add(split[1])
        frames = tuple(parser)
        assert parser.pending_bytes == 0, f"{name}: half a frame at the end"
        return Side(split[0], frames)

    return Recording(
        name,
        keys,
        side("client_to_server", "c2s_bytes_before_signature"),
        side("server_to_client", "s2c_bytes_before_signature"),
    )


ALL = sorted(folder.name for folder in STREAMS.iterdir())


def test_all_streams_are_there() -> None:
    assert len(ALL) >= 36


# ---- every control frame, both directions ----


@pytest.mark.contract("H7", "E10")
@pytest.mark.parametrize("name", ALL)
def test_every_control_frame_is_decoded_and_encoded_alike(name: str) -> None:
    recording = load(name)
    seen = 0
    for side in (recording.client, recording.server):
        assert Banner.parse(side.banner).encode() == side.banner
        for frame in side.control():
            tag = Tag(frame.tag)
            if name == "redial-after-ack" and tag is Tag.SERVER_IDENT:
                continue  # deliberately empty
            parsed = FRAMES[tag].parse(frame.payload)
            assert parsed.payload() == frame.payload
            assert assemble_control(tag, parsed.payload(), recording.revision) == frame.wire
            seen += 1
    assert seen >= 4


@pytest.mark.contract("H7")
@pytest.mark.parametrize("name", ALL)
def test_every_signature_is_the_one_we_compute(name: str) -> None:
    """Both roles: our transcript of what one side received and sent yields its signature and the other's."""
    recording = load(name)
    key = bytes.fromhex(str(recording.keys.get("session_key", "")))
    client, server = str(recording.keys["client_signature"]), str(recording.keys["server_signature"])
    for own, other, expected in (
        (recording.client, recording.server, (client, server)),
        (recording.server, recording.client, (server, client)),
    ):
        transcript = Transcript(assemble_control)
        transcript.add_sent_banner(own.banner)
        transcript.add_received(other.banner)
        for frame in _before_signature(own):
            transcript.add_sent_frame(Tag(frame.tag), frame.payload)
        for frame in _before_signature(other):
            transcript.add_received(frame.wire)
        assert tuple(s.hex() for s in transcript.signatures(key, recording.revision)) == expected


def _before_signature(side: Side) -> list[RefFrame]:
    tags = [frame.tag for frame in side.frames]
    return list(side.frames[: tags.index(Tag.AUTH_SIGNATURE)] if Tag.AUTH_SIGNATURE in tags else side.frames)


# ---- our machine dials ----


class CephxRequest(ClientAuth):
    """The first payload of a cephx login; the servers of these recordings refuse it."""

    method = AuthMethod.CEPHX

    def start(self, peer_type: EntityType) -> ClientExchange:
        return CephxRequestExchange()


class CephxRequestExchange(ClientExchange):
    def request(self) -> bytes:
        return bytes.fromhex("0a080000000500000061646d696e0000000000000000")

    def done(self, global_id: int, mode: ConMode, payload: bytes) -> Credentials:
        raise AssertionError("cephx was to be refused")


class RecordedPeer:
    """Accepts our dials and plays one recorded server after the other. While there is none, dials hang."""

    def __init__(self, world: World, recording: Recording) -> None:
        self._world = world
        self._next: Recording | None = recording
        self._hanging: Connection | None = None
        self.ends: list[End] = []
        world.dial = self._dial  # type: ignore[method-assign]

    @property
    def was_dialled(self) -> bool:
        return self._next is None

    def play(self, recording: Recording) -> None:
        self._next = recording
        if self._hanging:
            self._serve(self._hanging, recording)

    def _dial(self, connection: Connection, addr: EntityAddr) -> None:
        if self._next:
            self._serve(connection, self._next)
        else:
            self._hanging = connection

    def _serve(self, connection: Connection, recording: Recording) -> None:
        self._next = self._hanging = None
        end = self._world.link("127.0.0.1")
        connection.stream = Stream(end, connection)
        self.ends.append(end)
        end.inbox.extend(recording.server.units)
        self._world.post(lambda: connection.report(SocketConnected(end.addr)))


def make_client(world: World, recording: Recording, *, policy: Policy, auth: list[ClientAuth]) -> tuple[Messenger, Connection]:
    hello, server_hello = recording.client.first(HelloFrame), recording.server.first(HelloFrame)
    ident_kind = ClientIdentFrame if recording.client.has(Tag.CLIENT_IDENT) else SessionReconnectFrame
    ident = recording.client.first(ident_kind)
    assert isinstance(hello, HelloFrame)
    assert isinstance(server_hello, HelloFrame)
    assert isinstance(ident, ClientIdentFrame | SessionReconnectFrame)
    number = ident.number if isinstance(ident, ClientIdentFrame) else 0
    if isinstance(ident, ClientIdentFrame):
        policy = policy.replace(features_supported=ident.features_supported, features_required=ident.features_required)
    messenger = world.messenger("client.0", str(ident.addrs), policy=policy)
    messenger.name = EntityName(hello.entity_type, number)
    messenger.auth = AuthRegistry(hello.entity_type, messenger.config, auth)
    connection = messenger.connect_to(EntityAddrVec([hello.peer_addr]), server_hello.entity_type)
    return messenger, connection


def admin(global_id: int = 0) -> NoneClient:
    return NoneClient(AuthEntityName.parse("client.admin"), global_id)


def dummy() -> list[ClientAuth]:
    return [DummyClient()]


def fall_back() -> list[ClientAuth]:
    return [CephxRequest(), admin()]


#: Our policy, our methods (made anew for each test, as they remember things), and the global_seq.
CLIENT_CASES: dict[str, tuple[Policy, Callable[[], list[ClientAuth]], int]] = {
    "perf-pair-0": (Policy.lossless_client(), dummy, 1),
    "perf-pair-16": (Policy.lossless_client(), dummy, 1),
    "perf-pair-4096": (Policy.lossless_client(), dummy, 1),
    "crc-none-ping": (Policy.lossless_client(), lambda: [admin()], 1),
    "osd-crc-none-write": (Policy.lossy_client(), lambda: [admin(4129)], 2),
    "osd-crc-none-read": (Policy.lossy_client(), lambda: [admin(4132)], 2),
    "osd-crc-none-stat": (Policy.lossy_client(), lambda: [admin(4135)], 2),
    "osd-crc-none-stat-enoent": (Policy.lossy_client(), lambda: [admin(4138)], 2),
    "auth-bad-method": (Policy.lossless_client(), fall_back, 1),
}


@pytest.mark.contract("H7")
@CHUNKS
@pytest.mark.parametrize("name", CLIENT_CASES)
def test_we_dial_a_recorded_server(name: str, chunk_bytes: int | None) -> None:
    recording = load(name)
    policy, auth, global_seq = CLIENT_CASES[name]
    world = World(chunk_bytes=chunk_bytes)
    peer = RecordedPeer(world, recording)
    messenger, connection = make_client(world, recording, policy=policy, auth=auth())
    ident = recording.client.first(ClientIdentFrame)
    assert isinstance(ident, ClientIdentFrame)
    messenger.cookies = iter([ident.cookie])  # type: ignore[assignment]
    messenger.global_seq = global_seq - 1
    world.run()
    assert connection.session.state is State.READY
    assert connection.session.is_lossy
    assert peer.ends[0].written == recording.client.control_bytes()
    assert len(connection.queue.received) == sum(frame.tag == Tag.MESSAGE for frame in recording.server.frames)


def test_a_login_gives_us_our_global_id() -> None:
    recording = load("crc-none-ping")
    world = World()
    RecordedPeer(world, recording)
    method = admin()
    _, connection = make_client(world, recording, policy=Policy.lossy_client(), auth=[method])
    world.run()
    assert method.global_id == recording.keys["global_id"] == 4134
    assert connection.peer
    assert connection.peer.global_id == 4134


#: A monitor dialling again and again, in this order, with the global_seq of each socket and what ended it.
REDIALS = (
    ("redial-first-contact", [1]),
    ("redial-reconnect-replay", [3]),
    ("redial-retry-retryglobal-reset", [5, 5001]),
    ("redial-reconnect-no-replay", [5003]),
    ("redial-reset-full", [5005]),
    ("redial-after-ack", [5006]),
    ("redial-wait", [5008]),
)


@pytest.mark.contract("H7")
@CHUNKS
def test_we_redial_as_a_real_monitor_does(chunk_bytes: int | None) -> None:
    """One lossless session over seven sockets: replay, RETRY, RETRY_GLOBAL, both RESETs, a peer error, WAIT."""
    recordings = [load(name) for name, _ in REDIALS]
    world = World(chunk_bytes=chunk_bytes)
    peer = RecordedPeer(world, recordings[0])
    messenger, connection = make_client(
        world,
        recordings[0],
        policy=Policy.lossless_peer_reuse(),
        auth=[NoneClient(AuthEntityName(EntityType.MON, "a"))],
    )
    first, later = recordings[0].client.first(ClientIdentFrame), recordings[4].client.first(ClientIdentFrame)
    assert isinstance(first, ClientIdentFrame)
    assert isinstance(later, ClientIdentFrame)
    messenger.cookies = iter([first.cookie, later.cookie])  # type: ignore[assignment]
    numbers = iter([number for _, numbers in REDIALS for number in numbers])

    def next_global_seq(minimum: int) -> int:
        number = next(numbers)
        assert number > minimum
        return number

    messenger.next_global_seq = next_global_seq  # type: ignore[method-assign]

    def say_something_else(notice: Notice) -> None:
        if notice is Notice.REMOTE_RESET:
            connection.queue.unsent.append("after the reset")

    connection.on_notice = say_something_else
    for index, recording in enumerate(recordings):
        # What the monitor had to say keeps the session wanted.
        connection.queue.unsent.append(f"message {index}")
        if index:
            peer.play(recording)
        if connection.session.state is State.READY:
            connection.report(SocketLost(ConnectionResetError("dropped")))
        world.run()
        assert peer.was_dialled, f"{recording.name} was not dialled"
        # KEEPALIVE2_ACK and messages belong to the data plane.
        sent = _control_units(peer.ends[index].written, recording.revision)
        assert sent == recording.client.control_bytes(), recording.name
    assert connection.session.state is State.WAIT
    assert connection.notices.count(Notice.REMOTE_RESET) == 1
    assert connection.notices.count(Notice.CONNECT) == 6
    assert [a.seq for a in connection.actions if isinstance(a, DropAcked)] == [0, 1, 1]
    assert [a.drop for a in connection.actions if isinstance(a, ResetQueues)] == [False, False, True, False]


def _control_units(written: bytes, revision: int) -> bytes:
    split = split_banner(written)
    assert split
    parser = Parser(revision)
    parser.add(split[1])
    return split[0] + b"".join(frame.wire for frame in parser if frame.tag not in DATA_TAGS)


# ---- our machine is dialled ----


def make_server(world: World, recording: Recording, *, policy: Policy, config: Config | None = None) -> Messenger:
    """A messenger as the one that was recorded, or as the client thought it to be if it never answered."""
    hello = recording.server.first(HelloFrame)
    assert isinstance(hello, HelloFrame)
    number = 0
    if recording.server.has(Tag.SERVER_IDENT):
        ident = recording.server.first(ServerIdentFrame)
        assert isinstance(ident, ServerIdentFrame)
        addrs, number = ident.addrs, ident.number
        policy = policy.replace(features_supported=ident.features_supported, features_required=ident.features_required)
    else:
        target = recording.client.first(HelloFrame)
        assert isinstance(target, HelloFrame)
        addrs = EntityAddrVec([target.peer_addr])
    messenger = world.messenger("osd.0", str(addrs), policy=policy, config=config)
    messenger.name = EntityName(hello.entity_type, number)
    return messenger


def play(messenger: Messenger, recording: Recording) -> tuple[End, Connection]:
    """The recorded client's bytes arrive on a new socket. What we answered is ``end.peer.written``."""
    hello = recording.server.first(HelloFrame)
    assert isinstance(hello, HelloFrame)
    end, connection = raw_peer(messenger, hello.peer_addr)
    end.peer.inbox.extend(recording.client.units)
    messenger.world.run()
    return end, connection


def expect_answer(end: End, recording: Recording) -> None:
    assert _control_units(end.peer.written, recording.revision) == recording.server.control_bytes(), recording.name


SERVER_CASES = {
    "perf-pair-0": (Policy.stateless_server(), DummyServer(), 1),
    "perf-pair-16": (Policy.stateless_server(), DummyServer(), 1),
    "perf-pair-4096": (Policy.stateless_server(), DummyServer(), 1),
    "crc-none-ping": (Policy.stateless_server(), NoneServer(lambda: 4134), 37),
    "rev0-crc-none-ping": (Policy.stateless_server(), NoneServer(lambda: 4135), None),
    "osd-crc-none-write": (Policy.stateless_registered_server(), NoneServer(), 3),
    "osd-crc-none-read": (Policy.stateless_registered_server(), NoneServer(), None),
    "osd-crc-none-stat": (Policy.stateless_registered_server(), NoneServer(), None),
    "osd-crc-none-stat-enoent": (Policy.stateless_registered_server(), NoneServer(), None),
    "perf-op": (Policy.stateless_registered_server(), NoneServer(), None),
    "auth-bad-method": (Policy.stateless_server(), NoneServer(lambda: 4242), 1),
    "redial-first-contact": (Policy.lossless_peer_reuse(), NoneServer(), None),
    "race-incoming-loses-outgoing": (Policy.lossless_peer_reuse(), NoneServer(), None),
}


@pytest.mark.contract("H7")
@CHUNKS
@pytest.mark.parametrize("name", SERVER_CASES)
def test_a_recorded_client_dials_us(name: str, chunk_bytes: int | None) -> None:
    recording = load(name)
    policy, method, global_seq = SERVER_CASES[name]
    ident = recording.server.first(ServerIdentFrame)
    assert isinstance(ident, ServerIdentFrame)
    world = World(chunk_bytes=chunk_bytes)
    # The recorded server told its own configuration in AUTH_BAD_METHOD.
    messenger = make_server(world, recording, policy=policy, config=Config(ms_mon_service_mode="crc"))
    messenger.auth = AuthRegistry(messenger.name.type, messenger.config, servers=[method])
    messenger.global_seq = (global_seq or ident.global_seq) - 1
    messenger.cookies = iter([ident.cookie])  # type: ignore[assignment]
    end, connection = play(messenger, recording)
    assert connection.session.state is State.READY
    expect_answer(end, recording)
    assert connection.notices == [Notice.ACCEPT, Notice.FAST_ACCEPT]
    request = recording.client.first(AuthRequestFrame)
    assert isinstance(request, AuthRequestFrame)
    assert connection.peer
    assert connection.peer.global_id == recording.keys["global_id"]
    assert (connection.peer.auth_name is not None) == bool(request.auth_payload)


@pytest.mark.contract("H7")
@CHUNKS
def test_a_recorded_client_tries_everything_on_our_sessions(chunk_bytes: int | None) -> None:
    """The proof client that probed a real OSD, in its order, with us as the OSD: one table of sessions through all."""
    first = load("session-ident-acks")
    world = World(chunk_bytes=chunk_bytes)
    osd = make_server(world, first, policy=Policy.lossless_peer())
    osd.auth = AuthRegistry(EntityType.OSD, osd.config, servers=[NoneServer()])
    # The OSD answered SERVER_IDENT five times, with these cookies.
    idents = ("session-ident-acks", "session-unknown", "session-peer-restarted", "session-ident-repeated")
    idents += ("ident-missing-features",)
    osd.cookies = iter([load(name).server.first(ServerIdentFrame).cookie for name in idents])  # type: ignore[assignment, attr-defined]

    end, session = play(osd, first)
    assert end.peer.written == b"".join(first.server.units), "ACK by ACK"
    world.break_link()

    def next_socket(name: str) -> Connection:
        """The next socket, whose old one is broken or still open as it was then."""
        end, connection = play(osd, load(name))
        expect_answer(end, load(name))
        return connection

    vehicle = next_socket("session-reconnect-ok")
    assert vehicle.session.is_closed
    assert vehicle.notices == []
    assert session.queue.in_seq == 3

    next_socket("session-retry-global-retry-ok")
    # The real OSD went deaf at a repeated number and never saw what followed; we read on.
    assert session.queue.duplicates == 1
    assert session.queue.in_seq == 4
    session.queue.in_seq = 3

    next_socket("session-skipped-seq")
    assert session.queue.in_seq == 7
    next_socket("session-cookie-mismatch")

    stranger = next_socket("session-unknown")
    assert stranger.session.is_ready

    stale = next_socket("session-stale-ident")
    assert stale.session.is_closed
    assert "stale" in str(stale.closed_reason)

    next_socket("session-peer-restarted")
    assert session.queue.in_seq == 1
    assert session.notices.count(Notice.REMOTE_RESET) == 0
    next_socket("session-ident-repeated")
    too_early = next_socket("session-retry-first")
    assert too_early.session.state is State.SESSION_ACCEPTING
    next_socket("ident-missing-features")
    assert session.session.is_ready
    assert session.session.server_cookie == load("ident-missing-features").server.first(ServerIdentFrame).cookie  # type: ignore[attr-defined]


# ---- races, as the real monitor judged them ----


def make_monitor(world: World, recording: Recording, *, global_seq: int) -> Messenger:
    monitor = make_server(world, recording, policy=Policy.lossless_peer_reuse())
    monitor.auth = AuthRegistry(EntityType.MON, monitor.config, [NoneClient(AuthEntityName(EntityType.MON, "a"))], [NoneServer()])
    monitor.global_seq = global_seq
    return monitor


@pytest.mark.contract("H7")
def test_the_recorded_monitor_gives_way_to_a_lower_address() -> None:
    recording = load("race-incoming-wins-incoming")
    ident = recording.server.first(ServerIdentFrame)
    peer_ident = recording.client.first(ClientIdentFrame)
    assert isinstance(ident, ServerIdentFrame)
    assert isinstance(peer_ident, ClientIdentFrame)
    world = World()
    monitor = make_monitor(world, recording, global_seq=ident.global_seq - 2)
    outgoing = load("race-incoming-wins-outgoing")
    ours = outgoing.client.first(ClientIdentFrame)
    assert isinstance(ours, ClientIdentFrame)
    monitor.cookies = iter([ours.cookie, ident.cookie])  # type: ignore[assignment]
    peer = RecordedPeer(world, outgoing)
    own = monitor.connect_to(peer_ident.addrs, EntityType.MON)
    world.run()
    assert own.session.state is State.SESSION_CONNECTING
    assert peer.ends[0].written == outgoing.client.control_bytes()
    end, _ = play(monitor, recording)
    expect_answer(end, recording)
    assert own.session.is_ready
    assert peer.ends[0].is_broken


@pytest.mark.contract("H7")
def test_the_recorded_monitor_makes_a_higher_address_wait() -> None:
    recording = load("race-incoming-loses-incoming")
    peer_ident = recording.client.first(ClientIdentFrame)
    assert isinstance(peer_ident, ClientIdentFrame)
    world = World()
    monitor = make_monitor(world, recording, global_seq=0)
    world.dial = lambda connection, addr: None  # type: ignore[method-assign]
    own = monitor.connect_to(peer_ident.addrs, EntityType.MON)
    world.run()
    end, newcomer = play(monitor, recording)
    expect_answer(end, recording)
    assert own.session.state is State.CONNECTING
    assert own.queue.keepalive_wanted
    assert newcomer.session.state is State.SESSION_ACCEPTING


@pytest.mark.contract("H7")
def test_the_recorded_monitor_makes_an_equal_reconnect_wait() -> None:
    recording = load("race-reconnect-loses")
    theirs = recording.client.first(SessionReconnectFrame)
    assert isinstance(theirs, SessionReconnectFrame)
    world = World()
    monitor = make_monitor(world, recording, global_seq=0)
    world.dial = lambda connection, addr: None  # type: ignore[method-assign]
    own = monitor.connect_to(theirs.addrs, EntityType.MON)
    own.session.client_cookie = theirs.client_cookie
    own.session.server_cookie = theirs.server_cookie
    own.session.connect_seq = theirs.connect_seq - 1
    world.run()
    assert own.session.connect_seq == theirs.connect_seq
    end, _ = play(monitor, recording)
    expect_answer(end, recording)
    assert own.session.state is State.CONNECTING
