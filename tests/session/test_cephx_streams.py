"""Recorded cephx streams, played to our machines in both roles.

In crc mode to the end of the stream. In secure mode up to the signatures, which are compared in the clear: the cipher is the
data plane's.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from ceph_msgr.auth.base import ClientAuth, ConMode, ServerAuth
from ceph_msgr.auth.cephx.client import CephxClient
from ceph_msgr.auth.cephx.keys import CryptoKey
from ceph_msgr.auth.none import NoneClient
from ceph_msgr.auth.registry import AuthRegistry
from ceph_msgr.config import Config
from ceph_msgr.policy import Policy
from ceph_msgr.protocol.actions import SetKeys
from ceph_msgr.protocol.banner import Banner
from ceph_msgr.protocol.frames import (
    AuthDoneFrame,
    AuthReplyMoreFrame,
    AuthRequestFrame,
    AuthRequestMoreFrame,
    AuthSignatureFrame,
    ClientIdentFrame,
    HelloFrame,
    ServerIdentFrame,
)
from ceph_msgr.protocol.states import State
from ceph_msgr.protocol.tags import Tag
from ceph_msgr.wire.addr import EntityAddrVec
from ceph_msgr.wire.entity import AuthEntityName, EntityName
from tests.session.cephx_recordings import ADMIN, Login, Presented, rotating_secrets
from tests.session.reference_codec import assemble_control, split_banner
from tests.session.simulation import Connection, World
from tests.session.test_streams import CHUNKS, RecordedPeer, Recording, Side, expect_answer, load, make_client, make_server, play

LOGINS = "crc-cephx-ping", "secure-cephx-ping", "rev0-crc-cephx-ping", "rev0-secure-cephx-ping"
AUTHORIZERS = "osd-crc-cephx-read", "osd-secure-cephx-write"
CRC = [name for name in (*LOGINS, *AUTHORIZERS) if "-crc-" in f"-{name}"]
SECURE = [name for name in (*LOGINS, *AUTHORIZERS) if "secure" in name]


@dataclass(frozen=True)
class Exchange:
    """The authentication of a recording, and the methods that repeat it."""

    recording: Recording

    @property
    def mode(self) -> ConMode:
        return ConMode(self.recording.keys["connection_mode"])

    @property
    def secret(self) -> bytes:
        return bytes.fromhex(str(self.recording.keys["connection_secret"]))

    @property
    def payloads(self) -> tuple[bytes, bytes, bytes, bytes]:
        client, server = self.recording.client, self.recording.server
        request, answer = client.first(AuthRequestFrame), client.first(AuthRequestMoreFrame)
        challenge, done = server.first(AuthReplyMoreFrame), server.first(AuthDoneFrame)
        return request.auth_payload, challenge.auth_payload, answer.auth_payload, done.auth_payload  # type: ignore[attr-defined]

    @property
    def modes(self) -> str:
        """Those the client offered, as the options have them."""
        request = self.recording.client.first(AuthRequestFrame)
        assert isinstance(request, AuthRequestFrame)
        return ",".join(str(ConMode(mode)) for mode in request.modes)

    def config(self) -> Config:
        modes = self.modes
        return Config(ms_mon_client_mode=modes, ms_client_mode=modes, ms_mon_service_mode=modes, ms_service_mode=modes)

    def _parts(self) -> Login | Presented:
        keys = self.recording.keys
        if self.recording.name in LOGINS:
            principal_key, global_id = keys["principal_key"], keys["global_id"]
            assert isinstance(principal_key, str)
            assert isinstance(global_id, int)
            return Login(CryptoKey(bytes.fromhex(principal_key)), global_id, self.mode, *self.payloads)
        secrets = keys["osd_rotating_secrets"]
        assert isinstance(secrets, dict)
        return Presented(rotating_secrets(secrets), self.mode, *self.payloads, self.secret)

    def client(self) -> CephxClient:
        return self._parts().client()

    def server(self) -> ServerAuth:
        parts = self._parts()
        return parts.monitor() if isinstance(parts, Login) else parts.service()


@pytest.fixture(autouse=True)
def _no_cipher(monkeypatch: pytest.MonkeyPatch) -> None:
    """The simulated stream has none: what follows is sent in the clear."""
    monkeypatch.setattr(Connection, "_do_setkeys", lambda self, action: None, raising=False)


def speak_the_revision_of(recording: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    """We always announce msgr2.1; the client of some recordings did not."""
    banner = Banner.parse(recording.client.banner)
    monkeypatch.setattr("ceph_msgr.protocol.handshake.OUR_BANNER", banner)


def connection_secrets(connection: Connection) -> list[SetKeys]:
    return [action for action in connection.actions if isinstance(action, SetKeys)]


# ---- crc: the whole stream ----


@CHUNKS
@pytest.mark.contract("H7")
@pytest.mark.parametrize("name", CRC)
def test_we_dial_a_recorded_server(name: str, chunk_bytes: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    recording = load(name)
    exchange = Exchange(recording)
    speak_the_revision_of(recording, monkeypatch)
    world = World(chunk_bytes=chunk_bytes)
    peer = RecordedPeer(world, recording)
    ident = recording.client.first(ClientIdentFrame)
    assert isinstance(ident, ClientIdentFrame)
    policy = Policy.lossy_client() if ident.flags else Policy.lossless_client()
    method = exchange.client()
    messenger, connection = make_client(world, recording, policy=policy, auth=[method])
    for option in ("ms_mon_client_mode", "ms_client_mode"):
        messenger.config.set(option, exchange.modes)
    messenger.cookies = iter([ident.cookie])  # type: ignore[assignment]
    messenger.global_seq = ident.global_seq - 1
    world.run()
    assert connection.session.state is State.READY
    assert peer.ends[0].written == recording.client.control_bytes()
    assert len(connection.queue.received) == sum(frame.tag == Tag.MESSAGE for frame in recording.server.frames)
    assert connection.peer
    assert connection.peer.global_id == recording.keys["global_id"]
    assert connection.peer.con_mode is ConMode.CRC
    assert not connection_secrets(connection)
    if name in LOGINS:
        assert method.global_id == recording.keys["global_id"]


@CHUNKS
@pytest.mark.contract("H7")
@pytest.mark.parametrize("name", CRC)
def test_a_recorded_client_dials_us(name: str, chunk_bytes: int | None) -> None:
    recording = load(name)
    exchange = Exchange(recording)
    ident = recording.server.first(ServerIdentFrame)
    assert isinstance(ident, ServerIdentFrame)
    world = World(chunk_bytes=chunk_bytes)
    messenger = make_server(world, recording, policy=Policy.stateless_server(), config=exchange.config())
    messenger.auth = AuthRegistry(messenger.name.type, messenger.config, servers=[exchange.server()])
    messenger.global_seq = ident.global_seq - 1
    end, connection = play(messenger, recording)
    assert connection.session.state is State.READY
    expect_answer(end, recording)
    assert connection.peer
    assert connection.peer.global_id == recording.keys["global_id"]
    assert connection.peer.auth_name == ADMIN
    assert connection.peer.con_mode is ConMode.CRC


# ---- secure: up to the signatures ----


def expect_signed(written: bytes, side: Side, recording: Recording, signature: str) -> None:
    """Up to AUTH_DONE the recorded bytes, then the recorded signature, and then whatever."""
    revision = 1 if recording.revision else 0
    assert split_banner(written)
    signed = b"".join(side.units)
    frame = assemble_control(Tag.AUTH_SIGNATURE, AuthSignatureFrame(bytes.fromhex(signature)).payload(), revision)
    assert written.startswith(signed + frame)


@CHUNKS
@pytest.mark.contract("H7")
@pytest.mark.parametrize("name", SECURE)
def test_we_dial_a_recorded_server_in_secure_mode(
    name: str, chunk_bytes: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = load(name)
    exchange = Exchange(recording)
    speak_the_revision_of(recording, monkeypatch)
    hello, server_hello = recording.client.first(HelloFrame), recording.server.first(HelloFrame)
    assert isinstance(hello, HelloFrame)
    assert isinstance(server_hello, HelloFrame)
    world = World(chunk_bytes=chunk_bytes)
    peer = RecordedPeer(world, recording)
    messenger = world.messenger("client.-1", "any:127.0.0.1:0/7", policy=Policy.lossy_client(), config=exchange.config())
    messenger.auth = AuthRegistry(hello.entity_type, messenger.config, [exchange.client()])
    connection = messenger.connect_to(EntityAddrVec([hello.peer_addr]), server_hello.entity_type)
    world.run()
    assert connection.session.state is State.AUTH_CONNECTING_SIGN
    expect_signed(peer.ends[0].written, recording.client, recording, str(recording.keys["client_signature"]))
    assert connection_secrets(connection) == [SetKeys(exchange.secret, is_client=True)]


@CHUNKS
@pytest.mark.contract("H7")
@pytest.mark.parametrize("name", SECURE)
def test_a_recorded_client_dials_us_in_secure_mode(name: str, chunk_bytes: int | None) -> None:
    recording = load(name)
    exchange = Exchange(recording)
    hello, server_hello = recording.client.first(HelloFrame), recording.server.first(HelloFrame)
    assert isinstance(hello, HelloFrame)
    assert isinstance(server_hello, HelloFrame)
    world = World(chunk_bytes=chunk_bytes)
    addr = EntityAddrVec([hello.peer_addr])
    messenger = world.messenger("osd.0", str(addr), policy=Policy.stateless_server(), config=exchange.config())
    messenger.name = EntityName(server_hello.entity_type, 0)
    messenger.auth = AuthRegistry(messenger.name.type, messenger.config, servers=[exchange.server()])
    end, connection = play(messenger, recording)
    assert connection.session.state is State.AUTH_ACCEPTING_SIGN
    expect_signed(end.peer.written, recording.server, recording, str(recording.keys["server_signature"]))
    assert connection_secrets(connection) == [SetKeys(exchange.secret, is_client=False)]


# ---- fall-back ----


@pytest.mark.contract("A15", "H7")
def test_a_refused_cephx_falls_back_to_none() -> None:
    """The recorded server allows only none; our client tries cephx first, as the real one did."""
    recording = load("auth-bad-method")
    world = World()
    peer = RecordedPeer(world, recording)
    methods: list[ClientAuth] = [CephxClient(ADMIN, CryptoKey.generate()), NoneClient(AuthEntityName.parse("client.admin"))]
    messenger, connection = make_client(world, recording, policy=Policy.lossless_client(), auth=methods)
    ident = recording.client.first(ClientIdentFrame)
    assert isinstance(ident, ClientIdentFrame)
    messenger.cookies = iter([ident.cookie])  # type: ignore[assignment]
    messenger.global_seq = ident.global_seq - 1
    world.run()
    assert connection.session.state is State.READY
    assert peer.ends[0].written == recording.client.control_bytes()


def test_every_cephx_stream_is_here() -> None:
    assert {*CRC, *SECURE} == {*LOGINS, *AUTHORIZERS}
    assert len(CRC) == len(SECURE) == 3
