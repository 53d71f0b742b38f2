"""Two of our own machines with one keyring and no cluster: cephx from the first byte to READY."""

from __future__ import annotations

import base64
import logging
from dataclasses import dataclass

import pytest

from ceph_msgr.auth import (
    AuthCaps,
    AuthRegistry,
    CephxClient,
    CephxMonitor,
    CryptoKey,
    Keyring,
    KeyringEntry,
    NoneClient,
    NoneServer,
)
from ceph_msgr.auth.base import ClientAuth, ServerAuth
from ceph_msgr.auth.cephx.payloads import LoginDone
from ceph_msgr.config import Config
from ceph_msgr.policy import Policy
from ceph_msgr.protocol.actions import SetKeys
from ceph_msgr.protocol.frames import AuthDoneFrame
from ceph_msgr.protocol.states import State
from ceph_msgr.protocol.tags import Tag
from ceph_msgr.wire.encoding import Decoder
from ceph_msgr.wire.entity import AuthEntityName
from tests.session.cephx_recordings import ADMIN
from tests.session.reference_codec import Parser, assemble_control
from tests.session.simulation import Connection, End, World
from tests.session.test_cephx_authorizer import Cluster

KEYRING = Keyring({ADMIN: KeyringEntry(CryptoKey(bytes(range(0x40, 0x50))), {"osd": "allow *"})})
SERVER = "v2:10.0.0.1:6800/1"


@pytest.fixture(autouse=True)
def _no_cipher(monkeypatch: pytest.MonkeyPatch) -> None:
    """The simulated stream has none: what follows is sent in the clear."""
    monkeypatch.setattr(Connection, "_do_setkeys", lambda self, action: None, raising=False)


@dataclass
class Pair:
    world: World
    connection: Connection

    @property
    def accepted(self) -> Connection:
        return self.world.messengers[1].connections[-1]

    def secrets(self) -> list[bytes]:
        """Of both sides, as far as they came to secure mode."""
        connections = (self.connection, self.accepted)
        return [a.connection_secret for c in connections for a in c.actions if isinstance(a, SetKeys)]


def make_pair(
    *,
    mode: str = "crc",
    client: list[ClientAuth] | None = None,
    server: list[ServerAuth] | None = None,
    client_mode: str | None = None,
    policy: Policy | None = None,
    chunk_bytes: int | None = None,
) -> Pair:
    """``mode`` is what the server allows, and the client offers unless ``client_mode`` says otherwise."""
    world = World(chunk_bytes=chunk_bytes)
    client_config = Config(ms_client_mode=client_mode or mode)
    dialler = world.messenger("client.-1", "any:-:0/7", policy=policy or Policy.lossy_client(), config=client_config)
    listener = world.messenger("osd.0", SERVER, policy=Policy.stateful_server(), config=Config(ms_service_mode=mode))
    dialler.auth = AuthRegistry.standalone("client.admin", dialler.config, KEYRING)
    if client is not None:
        dialler.auth = AuthRegistry(dialler.name.type, dialler.config, client)
    listener.auth = AuthRegistry.standalone("osd.0", listener.config, KEYRING)
    if server is not None:
        listener.auth = AuthRegistry(listener.name.type, listener.config, servers=server)
    return Pair(world, dialler.connect_to(listener))


# ---- it works ----


@pytest.mark.parametrize("chunk_bytes", [None, 1])
@pytest.mark.parametrize("mode", ["crc", "secure"])
def test_one_keyring_is_enough(mode: str, chunk_bytes: int | None) -> None:
    pair = make_pair(mode=mode, chunk_bytes=chunk_bytes)
    pair.connection.send("hello")
    pair.world.run()
    accepted = pair.accepted
    assert pair.connection.session.state is accepted.session.state is State.READY
    assert accepted.queue.received == ["hello"]
    assert pair.connection.peer and accepted.peer
    assert str(accepted.peer.auth_name) == "client.admin"
    assert AuthCaps.decode(Decoder(accepted.peer.caps)) == AuthCaps(text="allow *")
    assert accepted.peer.global_id == pair.connection.peer.global_id != 0
    assert str(accepted.peer.con_mode) == str(pair.connection.peer.con_mode) == mode
    secrets = pair.secrets()
    if mode == "secure":
        assert len(secrets) == 2
        assert secrets[0] == secrets[1]
        assert len(secrets[0]) == 64
    else:
        assert secrets == []


def test_signatures_are_made_with_the_session_key() -> None:
    pair = make_pair()
    pair.world.run()
    signatures = [_payload(end.written, Tag.AUTH_SIGNATURE) for end in (pair.world.links[0], pair.world.links[0].peer)]
    assert len(set(signatures)) == 2
    assert bytes(32) not in signatures


def _payload(written: bytes, tag: Tag) -> bytes:
    parser = Parser()
    parser.add(written[26:])
    return next(frame.payload for frame in parser if frame.tag == tag)


def test_a_session_comes_back_with_a_login_of_its_own() -> None:
    pair = make_pair(mode="secure", policy=Policy.lossless_client())
    pair.world.run()
    pair.world.break_link()
    pair.connection.send("again")
    pair.world.run()
    assert pair.connection.session.is_ready
    first, second = (a.connection_secret for a in pair.connection.actions if isinstance(a, SetKeys))
    assert first != second
    assert Tag.SESSION_RECONNECT in pair.connection.frames_sent


# ---- it refuses ----


def expect_nothing_but_refusal(pair: Pair, reason: str) -> None:
    pair.world.run()
    assert not pair.connection.session.is_ready
    assert not pair.accepted.session.is_ready
    assert pair.accepted.peer is None
    assert pair.secrets() == []
    assert reason in str(pair.connection.session.last_error)


@pytest.mark.parametrize("mode", ["crc", "secure"])
def test_a_wrong_key(mode: str) -> None:
    stranger = CephxClient("client.admin", CryptoKey.generate(), standalone=True)
    pair = make_pair(mode=mode, client=[stranger])
    expect_nothing_but_refusal(pair, "the server refused method 2 (EACCES)")
    assert "wrong proof for client.admin" in " ".join(step.reason for step in pair.accepted.session.history)


def test_an_unknown_name() -> None:
    stranger = CephxClient("client.nobody", KEYRING.entry(ADMIN).key, standalone=True)
    pair = make_pair(client=[stranger])
    expect_nothing_but_refusal(pair, "the server refused method 2 (EACCES)")
    assert Tag.AUTH_REPLY_MORE in pair.accepted.frames_sent


def test_a_client_that_would_take_less_than_secure_mode() -> None:
    expect_nothing_but_refusal(make_pair(mode="secure", client_mode="crc"), "the server refused method 2 (ENOTSUP)")


def test_a_server_that_would_take_less_than_secure_mode() -> None:
    expect_nothing_but_refusal(make_pair(mode="crc", client_mode="secure"), "the server refused method 2 (ENOTSUP)")


def test_a_client_without_keys() -> None:
    pair = make_pair(client=[NoneClient(ADMIN)])
    expect_nothing_but_refusal(pair, "the server refused method 1 (ENOTSUP) and allows methods [2]")


def test_a_server_without_keys_gets_no_lesser_method() -> None:
    """A registry with cephx alone cannot be talked down."""
    pair = make_pair(server=[NoneServer(lambda: 1)])
    expect_nothing_but_refusal(pair, "the server refused method 2 (ENOTSUP) and allows methods [1]")


@pytest.mark.contract("A15")
def test_whoever_allows_both_methods_falls_back() -> None:
    cephx = CephxClient.from_keyring(KEYRING, ADMIN, standalone=True)
    pair = make_pair(client=[cephx, NoneClient(AuthEntityName.parse("client.other"))], server=[NoneServer()])
    pair.world.run()
    assert pair.connection.session.is_ready
    assert str(pair.accepted.peer and pair.accepted.peer.auth_name) == "client.other"
    assert pair.accepted.frames_sent.count(Tag.AUTH_BAD_METHOD) == 1


@pytest.mark.contract("A15")
def test_the_clients_order_of_methods_decides() -> None:
    cephx = CephxClient.from_keyring(KEYRING, ADMIN, standalone=True)
    pair = make_pair(client=[NoneClient(ADMIN), cephx], server=[CephxMonitor(KEYRING), NoneServer()])
    pair.world.run()
    assert pair.connection.session.is_ready
    assert Tag.AUTH_REPLY_MORE not in pair.accepted.frames_sent


def test_a_client_that_should_have_logged_in_first() -> None:
    """Towards a cluster's OSD there is no login; dialling again would not help."""
    pair = make_pair(client=[CephxClient.from_keyring(KEYRING, ADMIN)])
    pair.world.run()
    assert pair.connection.session.is_closed
    assert "log in at a monitor first" in (pair.connection.closed_reason or "")


def test_an_expired_ticket_is_dialled_with_again_later() -> None:
    """A lossless session must not end because a ticket was renewed late."""
    client = CephxClient.from_keyring(KEYRING, ADMIN)
    renewed = CephxClient.from_keyring(KEYRING, ADMIN, standalone=True)
    pair = make_pair(client=[client], policy=Policy.lossless_client())
    client._tickets.update(Cluster().client._tickets)
    client._clock_s = lambda: 2e9
    pair.connection.send("wait for it")
    pair.world.run()
    assert pair.connection.session.state is State.BACKOFF
    assert "expired" in str(pair.connection.session.last_error)
    client.start = renewed.start  # type: ignore[method-assign]
    pair.world.advance(1)
    assert pair.accepted.queue.received == ["wait for it"]


# ---- somebody in between ----


class Meddler:
    """Turns one bit of one frame on its way, and makes its checksums right again."""

    def __init__(self, tag: Tag, position: int, bit: int) -> None:
        self.tag, self.position, self.bit = tag, position, bit
        self.has_met_it = False
        self._write = End.write

    def write(self, end: End, unit: bytes, tag: int) -> bool:
        if tag == self.tag and not self.has_met_it:
            self.has_met_it = True
            payload = bytearray(_first_payload(unit))
            payload[self.position] ^= 1 << self.bit
            unit = assemble_control(tag, bytes(payload), 1)
        return self._write(end, unit, tag)


def _first_payload(unit: bytes) -> bytes:
    parser = Parser()
    parser.add(unit)
    (frame,) = parser
    return frame.payload


#: Lengths of the payloads of a standalone handshake in secure mode.
LENGTHS = {
    Tag.HELLO: 36,
    Tag.AUTH_REQUEST: 4 + 8 + 4 + 22,
    Tag.AUTH_REPLY_MORE: 4 + 9,
    Tag.AUTH_REQUEST_MORE: 4 + 36,
    Tag.AUTH_DONE: 290,
    Tag.AUTH_SIGNATURE: 32,
}


@pytest.mark.contract("H2")
@pytest.mark.parametrize("tag", LENGTHS)
def test_no_bit_of_the_handshake_can_be_turned(tag: Tag, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every byte before the signatures is under them, with one bit of each byte turned in turn, checksums repaired."""
    for position in range(LENGTHS[tag]):
        pair = make_pair(mode="secure")
        meddler = Meddler(tag, position, position % 8)
        with monkeypatch.context() as patch:
            patch.setattr(End, "write", lambda end, unit, tag, meddler=meddler: meddler.write(end, unit, tag))
            pair.world.run()
        assert meddler.has_met_it
        assert not pair.connection.session.is_ready, f"{tag}, byte {position}"
        assert not pair.accepted.session.is_ready, f"{tag}, byte {position}"


# ---- secrets ----


@pytest.mark.parametrize("mode", ["crc", "secure"])
def test_nothing_that_is_logged_or_shown_holds_a_secret(mode: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    good = make_pair(mode=mode)
    bad = make_pair(mode=mode, client=[CephxClient("client.admin", CryptoKey(b"s" * 16), standalone=True)])
    shown = ""
    for pair in (good, bad):
        pair.world.run()
        for connection in (pair.connection, pair.accepted):
            session = connection.session
            shown += repr([connection.actions, connection.peer, session.history, session.last_error, session.auth])
            shown += "".join(repr(vars(method)) for method in session.auth.clients(session.peer_type))
    done = _payload(good.world.links[0].peer.written, Tag.AUTH_DONE)
    own_key = KEYRING.entry(ADMIN).key
    session_key = LoginDone.unseal(AuthDoneFrame.parse(done).auth_payload, own_key, {}).auth.session_key
    secrets = good.secrets()
    assert len(secrets) == (2 if mode == "secure" else 0)
    for key in (own_key.secret, b"s" * 16, session_key.secret, *secrets):
        for form in (repr(key)[2:-1], key.hex(), base64.b64encode(key).decode()):
            assert form not in caplog.text
            assert form not in shown
