"""Bad answers to a messenger that dials: that dial fails with a cause and is tried again; all other connections go on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import pytest

from ceph_msgr import Config, EntityType, Message, Policy
from ceph_msgr.auth import AuthRegistry
from ceph_msgr.auth.base import ClientExchange
from ceph_msgr.auth.none import DummyClient
from ceph_msgr.protocol.banner import OUR_BANNER
from ceph_msgr.protocol.frames import (
    AuthDoneFrame,
    AuthReplyMoreFrame,
    AuthRequestFrame,
    AuthRequestMoreFrame,
    AuthSignatureFrame,
    ClientIdentFrame,
    CompressionRequestFrame,
    ControlFrame,
    HelloFrame,
    ServerIdentFrame,
    SessionReconnectFrame,
    SessionReconnectOkFrame,
    SessionResetFrame,
    SessionRetryFrame,
    WaitFrame,
)
from ceph_msgr.protocol.states import DIALLING_STATES, EXPECTED, State
from ceph_msgr.protocol.tags import Tag, describe_tag
from ceph_msgr.wire.addr import EntityAddrVec
from ceph_msgr.wire.features import REQUIRED_ALWAYS, SUPPORTED_ALL
from tests.messenger.dispatchers import RAW_FAST
from tests.messenger.lab import Lab, resident_bytes
from tests.messenger.raw_peer import NO_SIGNATURE, RawListener, RawPeer, preamble
from tests.session.reference_codec import assemble

pytestmark = pytest.mark.contract("H2")

TAGS = [0, *map(int, Tag), 23, 31, 32, 99, 255]
COOKIE = 4711


class Victim:
    """A client with a connection to an honest server, and one to ``listener``, on which a message is queued."""

    def __init__(
        self, lab: Lab, caplog: pytest.LogCaptureFixture, cleanup: ExitStack, policy: Policy | None = None, **options: Any
    ) -> None:
        self.lab = lab
        quick = {"ms_initial_backoff": 0.001, "ms_max_backoff": 0.002, "ms_osd_compress_mode": "force"}
        client = lab.client(policy or Policy.lossless_client(), **{**quick, **options})
        _, self.node, self._honest = lab.connected_pair(client=client)
        self._caplog = caplog
        self.listener = cleanup.enter_context(RawListener(lab.deadline))
        caplog.clear()
        self.connection: Any = client.messenger.connect_to(EntityType.OSD, self.listener.addrs)
        self.connection.send_message(Message(RAW_FAST, b"what was queued"))

    @contextmanager
    def dial(self) -> Iterator[HostilePeer]:
        with self.listener.accept() as raw:
            yield HostilePeer(raw, self.listener.addrs)

    def faults(self) -> list[str]:
        return [record.getMessage() for record in self._caplog.records if "fault: " in record.getMessage()]

    def check_fault(self, *parts: str) -> None:
        self.lab.wait_until(self.faults, f"a fault with {parts}")
        fault = self.faults()[0]
        for part in parts:
            assert part in fault
        self._caplog.clear()

    def check_unharmed(self) -> None:
        """The honest connection has heard nothing of it, and the hostile one was never ended."""
        self.lab.round_trip(self.node, self._honest)
        assert self.node.seen.names(self._honest).count("ms_handle_reset") == 0
        assert self.node.seen.names(self.connection).count("ms_handle_reset") == 0
        assert not self.connection.is_closed

    def check_mended(self) -> None:
        """The server comes to its senses: what was queued arrives."""
        with self.dial() as peer:
            peer.to_ready()
            self.lab.wait_connected(self.connection)
            frame = peer.raw.recv_raw_frame("the message")
            assert (frame.tag, frame.segments[1]) == (Tag.MESSAGE, b"what was queued")
        self.check_unharmed()


class HostilePeer:
    """Walks up to a state of whoever dialled."""

    def __init__(self, raw: RawPeer, addrs: EntityAddrVec) -> None:
        self.raw = raw
        self._addrs = addrs

    def to_banner(self) -> None:
        self.raw.recv_banner()

    def to_hello(self) -> None:
        self.raw.exchange_banners()

    def to_auth(self) -> None:
        self.to_hello()
        self._greet()

    def _greet(self) -> None:
        self.raw.send_frame(HelloFrame(EntityType.OSD, self.raw.addr))
        self.raw.recv_frame(HelloFrame)
        self.raw.recv_frame(AuthRequestFrame)

    def to_signature(self) -> None:
        self.to_auth()
        self._let_in()

    def _let_in(self) -> None:
        self.raw.send_frame(AuthDoneFrame(0, 1, b""))
        self.raw.recv_frame(AuthSignatureFrame)

    def to_compression(self) -> None:
        self.raw.send(OUR_BANNER.with_compression().encode())
        self.raw.recv_banner()
        self._greet()
        self._let_in()
        self.raw.send_frame(NO_SIGNATURE)
        self.raw.recv_frame(CompressionRequestFrame)

    def to_session(self) -> ControlFrame:
        """A new one or an old one: returns what the client wants."""
        self.to_signature()
        self.raw.send_frame(NO_SIGNATURE)
        return self.recv_wish()

    def recv_wish(self) -> ControlFrame:
        frame = self.raw.recv_raw_frame("a wish")
        kind = ClientIdentFrame if frame.tag == Tag.CLIENT_IDENT else SessionReconnectFrame
        return kind.parse(frame.payload)

    def to_ready(self) -> None:
        wish = self.to_session()
        if isinstance(wish, ClientIdentFrame):
            self.send_server_ident()
        else:
            self.raw.send_frame(SessionReconnectOkFrame(0))

    def send_server_ident(self) -> None:
        self.raw.send_frame(ServerIdentFrame(self._addrs, 0, 1, SUPPORTED_ALL, REQUIRED_ALWAYS, 0, COOKIE))

    def has_left(self) -> None:
        self.raw.wait_closed()


@pytest.fixture
def victim(lab: Lab, caplog: pytest.LogCaptureFixture) -> Iterator[Victim]:
    with ExitStack() as cleanup:
        victim = Victim(lab, caplog, cleanup)
        yield victim
        vars(victim).clear()  # pytest keeps it longer than the lab lives


# ---- the wrong frame for the state ----

WALK: dict[State, Callable[[HostilePeer], object]] = {
    State.BANNER_CONNECTING: HostilePeer.to_banner,
    State.HELLO_CONNECTING: HostilePeer.to_hello,
    State.AUTH_CONNECTING: HostilePeer.to_auth,
    State.AUTH_CONNECTING_SIGN: HostilePeer.to_signature,
    State.COMPRESS_CONNECTING: HostilePeer.to_compression,
    State.SESSION_CONNECTING: HostilePeer.to_session,
    State.SESSION_RECONNECTING: HostilePeer.to_session,
    State.READY: HostilePeer.to_ready,
}


def test_there_is_a_way_into_every_state() -> None:
    assert set(WALK) == (DIALLING_STATES - {State.CONNECTING, State.BACKOFF}) | {State.READY}


@pytest.mark.parametrize("state", WALK, ids=str)
def test_every_frame_of_the_wrong_state(victim: Victim, state: State) -> None:
    if state is State.SESSION_RECONNECTING:  # there is a session to come back to
        with victim.dial() as peer:
            peer.to_ready()
            victim.lab.wait_connected(victim.connection)
        victim.check_fault("(was READY)")
    expected = EXPECTED.get(state, frozenset())
    for tag in (tag for tag in TAGS if tag not in expected):
        with victim.dial() as peer:
            WALK[state](peer)
            peer.raw.send(assemble(tag, [bytes(40)]))
            peer.has_left()
        if state is State.BANNER_CONNECTING:
            victim.check_fault(f"(was {state}) fault: ", "are not a banner")
        else:
            victim.check_fault(f"(was {state}) fault: {describe_tag(tag)} in state {state}")
    victim.check_mended()


NOT_A_BANNER = {
    "msgr1": b"ceph v027" + bytes(300),
    "HTTP": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(64)),
    "zeros": bytes(64),
    "a short payload": b"ceph v2\n\x0f\0" + bytes(15),
    "garbage behind it": OUR_BANNER.encode() + bytes(64),
}


@pytest.mark.parametrize("name", NOT_A_BANNER)
def test_no_server_of_ours(victim: Victim, name: str) -> None:
    """As a whole, and byte by byte."""
    data = NOT_A_BANNER[name]
    for size in len(data), 1:
        with victim.dial() as peer, suppress(ConnectionError):
            for first in range(0, len(data), size):
                peer.raw.send(data[first : first + size])
            peer.has_left()
        victim.check_fault("CONNECTING) fault: ")
    victim.check_mended()


# ---- right frames with wrong contents ----


BAD_ANSWERS: dict[str, tuple[Callable[[HostilePeer], object], bytes, str]] = {
    "HELLO of 4 GiB": (HostilePeer.to_hello, preamble(Tag.HELLO, [0xFFFFFFFF]), "a segment is longer than its limit"),
    "AUTH_DONE of 4 GiB": (HostilePeer.to_auth, preamble(Tag.AUTH_DONE, [0xFFFFFFFF]), "a segment is longer than its limit"),
    "AUTH_DONE that claims 4 GiB": (
        HostilePeer.to_auth, assemble(Tag.AUTH_DONE, [bytes(8) + b"\1\0\0\0" + b"\xff" * 4 + b"short"]), "4294967295",
    ),
    "AUTH_BAD_METHOD that claims 4 Gi methods": (
        HostilePeer.to_auth, assemble(Tag.AUTH_BAD_METHOD, [bytes(8) + b"\xff" * 4 + b"short"]), "4294967295",
    ),
    "another mode": (HostilePeer.to_auth, assemble(Tag.AUTH_DONE, [AuthDoneFrame(0, 2, b"").payload()]), "chose mode 2"),
    "a wrong signature": (
        HostilePeer.to_signature, assemble(Tag.AUTH_SIGNATURE, [b"\1" * 32]), "wrong signature, expected 32 zero bytes",
    ),
    "another server": (
        HostilePeer.to_session,
        assemble(Tag.SERVER_IDENT, [ServerIdentFrame(EntityAddrVec.parse("v2:127.0.0.1:1/1"), 0, 1, 0, 0, 0, 1).payload()]),
        "the server is v2:127.0.0.1:1/1, dialled was",
    ),
    "no server": (
        HostilePeer.to_session,
        assemble(Tag.SERVER_IDENT, [ServerIdentFrame(EntityAddrVec(), 0, 1, 0, 0, 0, 1).payload()]),
        "the server is [], dialled was",
    ),
    "missing features": (HostilePeer.to_session, assemble(Tag.IDENT_MISSING_FEATURES, [b"\xff" * 8]), "requires features"),
    "an acknowledgement of what was never sent": (
        HostilePeer.to_ready, assemble(Tag.ACK, [b"\xff" * 8]), "acknowledged a sequence number",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_ANSWERS)
def test_bad_answers(victim: Victim, name: str) -> None:
    walk, data, cause = BAD_ANSWERS[name]
    for _ in range(2):
        with victim.dial() as peer:
            walk(peer)
            peer.raw.send(data)
            peer.has_left()
        victim.check_fault("fault: ", cause)
    victim.check_mended()


def test_a_huge_banner_payload(victim: Victim) -> None:
    """Later releases may add to it."""
    with victim.dial() as peer:
        peer.raw.send(b"ceph v2\n\xff\xff" + OUR_BANNER.encode()[10:] + bytes(65535 - 16))
        peer.raw.recv_banner()
        peer._greet()
    victim.check_fault("closed the connection")
    victim.check_mended()


def test_a_reconnect_that_acknowledges_what_was_never_sent(victim: Victim) -> None:
    with victim.dial() as peer:
        peer.to_ready()
    victim.check_fault("(was READY)")
    with victim.dial() as peer:
        assert isinstance(peer.to_session(), SessionReconnectFrame)
        peer.raw.send_frame(SessionReconnectOkFrame(1 << 40))
        peer.has_left()
    victim.check_fault(f"the peer acknowledges message {1 << 40}, sent were ")
    victim.check_mended()


# ---- floods ----


def test_a_flood_of_waits(victim: Victim) -> None:
    for _ in range(50):
        with victim.dial() as peer:
            peer.to_session()
            peer.raw.send(assemble(Tag.WAIT, [WaitFrame().payload()]) * 1000)
            peer.has_left()
    assert victim.faults() == []
    victim.check_mended()


def test_a_flood_of_resets(victim: Victim) -> None:
    """Each tells the user, and costs what was queued: that is what a reset says."""
    with victim.dial() as peer:
        peer.to_ready()
    for _ in range(50):
        with victim.dial() as peer:
            assert isinstance(peer.to_session(), SessionReconnectFrame)
            peer.raw.send_frame(SessionResetFrame(True))
            assert isinstance(peer.recv_wish(), ClientIdentFrame)
            peer.send_server_ident()
    victim.lab.wait_until(
        lambda: victim.node.seen.names(victim.connection).count("ms_handle_remote_reset") == 50, "all resets to be told"
    )
    with victim.dial() as peer:
        peer.to_session()
        peer.raw.send(assemble(Tag.SESSION_RESET, [SessionResetFrame(True).payload()]) * 1000)
        peer.has_left()
    victim.connection.send_message(Message(RAW_FAST, b"what was queued"))
    victim.check_mended()


def test_a_flood_of_retries(victim: Victim) -> None:
    """Each is answered on the same socket."""
    with victim.dial() as peer:
        peer.to_ready()
    with victim.dial() as peer:
        peer.to_session()
        for number in range(1000):
            peer.raw.send_frame(SessionRetryFrame(number))
            wish = peer.recv_wish()
            assert isinstance(wish, SessionReconnectFrame)
            assert wish.connect_seq == number + 1
    victim.check_mended()


def flood_until_left(peer: HostilePeer, data: bytes) -> int:
    """Sends it again and again and never reads, until the client leaves; returns how many bytes it took."""
    sent_bytes = 0
    try:
        while True:
            peer.raw.send(data)
            sent_bytes += len(data)
    except ConnectionError:
        return sent_bytes


def test_retries_without_end_are_bounded_in_time(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    before_bytes = resident_bytes()
    with ExitStack() as cleanup:
        victim = Victim(lab, caplog, cleanup, ms_connection_ready_timeout=2.0)
        with victim.dial() as peer:
            peer.to_ready()
        victim.check_fault("(was READY)")
        with victim.dial() as peer:
            peer.to_session()
            assert flood_until_left(peer, assemble(Tag.SESSION_RETRY, [SessionRetryFrame(1).payload()]) * 100)
        victim.check_fault("not READY in time, still SESSION_RECONNECTING")
        assert resident_bytes() - before_bytes < 64 << 20
        victim.check_mended()


class _Talkative(ClientExchange):
    def request(self) -> bytes:
        return b""

    def reply_more(self, payload: bytes) -> bytes:
        return payload

    def done(self, global_id: int, mode: Any, payload: bytes) -> Any:
        return DummyClient().start(EntityType.OSD).done(global_id, mode, payload)


class Talkative(DummyClient):
    """Goes on for as many rounds as the server likes."""

    def start(self, peer_type: Any) -> ClientExchange:
        return _Talkative()


def talkative(config: Config) -> AuthRegistry:
    return AuthRegistry(EntityType.CLIENT, config, [Talkative()])


def test_ten_thousand_rounds_of_authentication(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    with ExitStack() as cleanup:
        victim = Victim(lab, caplog, cleanup, auth=talkative)
        with victim.dial() as peer:
            peer.to_auth()
            for _ in range(100):
                peer.raw.send(assemble(Tag.AUTH_REPLY_MORE, [AuthReplyMoreFrame(b"more").payload()]) * 100)
                for _ in range(100):
                    peer.raw.recv_frame(AuthRequestMoreFrame)
        victim.check_fault("(was AUTH_CONNECTING) fault: the peer closed the connection")
        with victim.dial() as peer:
            peer.to_auth()
            more = assemble(Tag.AUTH_REPLY_MORE, [AuthReplyMoreFrame(bytes(100_000)).payload()])
            flood_until_left(peer, more)
        victim.check_fault("AUTH_REPLY_MORE in state AUTH_CONNECTING: the peer sent more than 1048576 bytes")
        assert [record.levelno for record in caplog.records if record.levelno > logging.WARNING] == []
        victim.check_mended()
