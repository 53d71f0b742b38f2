"""Bad input against a messenger that listens: that connection faults with a cause, all others go on."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import Any

import pytest

from ceph_msgr import Config, EntityType, Policy
from ceph_msgr.auth import AuthRegistry
from ceph_msgr.auth.base import ServerDone, ServerExchange, ServerMore
from ceph_msgr.auth.none import DummyClient, DummyServer
from ceph_msgr.protocol.banner import OUR_BANNER
from ceph_msgr.protocol.frames import (
    AuthReplyMoreFrame,
    AuthRequestFrame,
    AuthRequestMoreFrame,
    ServerIdentFrame,
    SessionReconnectFrame,
)
from ceph_msgr.protocol.states import ACCEPTING_STATES, EXPECTED, State
from ceph_msgr.protocol.tags import Tag, describe_tag
from ceph_msgr.wire.addr import EntityAddr, EntityAddrVec
from tests.messenger.dispatchers import RAW_FAST
from tests.messenger.lab import Lab, resident_bytes
from tests.messenger.raw_peer import BANNER, RawPeer, message_segments, preamble
from tests.session.reference_codec import assemble, crc32c

pytestmark = pytest.mark.contract("H2")

#: The longest control frame of a peer that is not ready yet, bytes.
STRANGER_CONTROL = 256 << 10
#: Far more than the server may take for anything below, and far less than what is claimed to come.
MAX_GROWTH_BYTES = 64 << 20


class Victim:
    """A server, and an honest client whose connection must not suffer."""

    def __init__(self, lab: Lab, caplog: pytest.LogCaptureFixture, **options: Any) -> None:
        self.lab = lab
        self.node, self._client, self._connection = lab.connected_pair(lab.server(**options))
        self._caplog = caplog
        self._honest = self.node.seen.last_accepted
        self._rss_bytes = resident_bytes()

    @property
    def addr(self) -> EntityAddr:
        return self.node.addrs[0]

    def dial(self) -> RawPeer:
        return RawPeer.dial(self.addr, self.lab.deadline)

    def faults(self) -> list[str]:
        return [record.getMessage() for record in self._fault_records()]

    def _fault_records(self) -> list[logging.LogRecord]:
        return [record for record in self._caplog.records if "fault: " in record.getMessage()]

    def check_fault(self, *parts: str) -> None:
        """One more fault was logged, as a warning, and its line has these parts; nobody else was hurt."""
        self.lab.wait_until(lambda: len(self.faults()) == 1, f"one fault with {parts}, there are {self.faults()}")
        [record] = self._fault_records()
        assert record.levelno == logging.WARNING
        for part in parts:
            assert part in record.getMessage()
        self._caplog.clear()
        self.check_unharmed()

    def check_left(self) -> None:
        """The peer just left, which is nobody's fault: logged, but not as a warning."""
        self.lab.wait_until(self.faults, "the end of the stream to be noticed")
        assert "the peer closed the connection" in self.faults()[0] or "reset" in self.faults()[0].lower()
        assert [record.levelno for record in self._fault_records()] == [logging.INFO]
        self._caplog.clear()
        self.check_unharmed()

    def check_unharmed(self) -> None:
        self.lab.wait_until(lambda: self.node.connections() == [self._honest], "the hostile connection to be gone")
        self.lab.wait_until(lambda: self.node.messenger._processor._handshakes == 0, "no handshake to be unfinished")
        self.lab.round_trip(self._client, self._connection)
        assert self._connection.is_connected
        assert {call.connection for call in self.node.seen.messages} == {self._honest}
        assert self.node.seen.count("ms_handle_reset") == 0, "nobody was told of that connection"
        assert resident_bytes() - self._rss_bytes < MAX_GROWTH_BYTES


@pytest.fixture
def victim(lab: Lab, caplog: pytest.LogCaptureFixture) -> Iterator[Victim]:
    victim = Victim(lab, caplog)
    caplog.clear()
    yield victim
    vars(victim).clear()  # pytest keeps it longer than the lab lives


# ---- not a banner ----

NOT_A_BANNER = {
    "msgr1": (b"ceph v027" + bytes(300), "the peer speaks msgr1 (ceph v027)"),
    "HTTP": (b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", "the peer sends an HTTP request"),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(64)), "the peer starts a TLS handshake"),
    "SSH": (b"SSH-2.0-OpenSSH_9.2\r\n", "the peer speaks SSH"),
    "zeros": (bytes(64), "are not a banner"),
    "almost": (b"ceph v3\n" + bytes(20), "are not a banner"),
    "payload of 0 bytes": (b"ceph v2\n\0\0", "the banner's payload is shorter than 16 bytes: got 0, expected 16"),
    "payload of 15 bytes": (b"ceph v2\n\x0f\0" + bytes(15), "shorter than 16 bytes: got 15, expected 16"),
}


@pytest.mark.parametrize("name", NOT_A_BANNER)
def test_what_is_not_a_banner_is_named(victim: Victim, name: str) -> None:
    data, cause = NOT_A_BANNER[name]
    with victim.dial() as peer:
        peer.recv_banner()
        peer.send(data)
        peer.wait_closed()
    victim.check_fault("(was BANNER_ACCEPTING) fault: ", cause)


@pytest.mark.parametrize("name", NOT_A_BANNER)
def test_what_is_not_a_banner_comes_byte_by_byte(victim: Victim, name: str) -> None:
    """It is refused at the first byte that differs, when there may be too little to tell what it is."""
    with victim.dial() as peer, suppress(ConnectionError):
        peer.recv_banner()
        for byte in NOT_A_BANNER[name][0]:
            peer.send(bytes([byte]))
        peer.wait_closed()
    victim.check_fault("(was BANNER_ACCEPTING) fault: ")


def test_random_bytes(victim: Victim, rng: random.Random) -> None:
    for _ in range(20):
        noise = rng.randbytes(rng.randrange(10, 2000))
        with victim.dial() as peer:
            peer.send(noise)
            peer.wait_closed()
        victim.check_fault(f"the peer's first bytes {noise[:8]!r} are not a banner, expected b'ceph v2\\n'")


def test_random_bytes_behind_a_right_banner(victim: Victim, rng: random.Random) -> None:
    for _ in range(20):
        with victim.dial() as peer:
            peer.send(BANNER + rng.randbytes(rng.randrange(32, 2000)))
            peer.wait_closed()
        victim.check_fault("HELLO_ACCEPTING", "the crc of a frame's preamble does not match: got 0x", "expected 0x")


def test_a_huge_banner_payload_is_bounded_by_its_two_bytes_of_length(victim: Victim) -> None:
    """65535 bytes are legal: later releases may add to it. The session goes on behind them."""
    with victim.dial() as peer:
        peer.send(b"ceph v2\n\xff\xff" + BANNER[10:] + bytes(65535 - 16))
        peer.recv_banner()
        peer.say_hello_to(victim.addr)
    victim.check_left()


def test_a_banner_that_requires_what_we_lack(victim: Victim) -> None:
    with victim.dial() as peer:
        peer.send(BANNER[:18] + (1 << 40).to_bytes(8, "little"))
        peer.wait_closed()
    victim.check_unharmed()


def test_leaving_after_each_byte_of_the_banner(victim: Victim) -> None:
    for length in range(len(BANNER) + 1):
        with victim.dial() as peer:
            peer.send(BANNER[:length])
            peer.recv_banner()
        victim.check_left()


# ---- lengths that are not true, and crcs that are wrong ----


GIB_4 = 0xFFFFFFFF

HOSTILE_PREAMBLES = {
    "HELLO of 4 GiB": (preamble(Tag.HELLO, [GIB_4]), f"got {GIB_4}, expected {STRANGER_CONTROL}"),
    "HELLO above the limit": (
        preamble(Tag.HELLO, [STRANGER_CONTROL + 1]),
        f"got {STRANGER_CONTROL + 1}, expected {STRANGER_CONTROL}",
    ),
    "no segments": (preamble(Tag.HELLO, [], count=0), "a frame must have 1 to 4 segments: got 0, expected "),
    "five segments": (preamble(Tag.HELLO, [36], count=5), "a frame must have 1 to 4 segments: got 5, expected "),
    "255 segments": (preamble(Tag.HELLO, [36], count=255), "a frame must have 1 to 4 segments: got 255, expected "),
    "empty last segment": (preamble(Tag.HELLO, [36, 0]), "the last of several segments is empty"),
    "compressed": (preamble(Tag.HELLO, [36], flags=1), "a compressed frame, but no compression was agreed on"),
    "wrong preamble crc": (preamble(Tag.HELLO, [36])[:-1] + b"\0", "the crc of a frame's preamble does not match: got 0x"),
    "wrong segment crc": (
        assemble(Tag.HELLO, [bytes(36)])[:-1] + b"\0",
        "HELLO in state HELLO_ACCEPTING: the crc of a segment does not match: got 0x",
    ),
    "HELLO of 1 byte": (assemble(Tag.HELLO, [b"\x08"]), "HELLO in state HELLO_ACCEPTING: "),
    "unknown tag": (assemble(99, [bytes(4)]), "tag 99"),
}


@pytest.mark.parametrize("name", HOSTILE_PREAMBLES)
def test_hostile_frames_are_refused_before_memory_is_taken(victim: Victim, name: str) -> None:
    data, cause = HOSTILE_PREAMBLES[name]
    with victim.dial() as peer:
        peer.exchange_banners()
        peer.send(data)
        peer.wait_closed()
    victim.check_fault("HELLO_ACCEPTING", cause)


@pytest.mark.parametrize(
    ("segment", "limit"), [(1, 64 << 20), (2, 64 << 20), (3, 256 << 20), (0, 4096)], ids=["front", "middle", "data", "header"]
)
def test_hostile_lengths_of_a_message(lab: Lab, caplog: pytest.LogCaptureFixture, segment: int, limit: int) -> None:
    victim = Victim(lab, caplog)
    caplog.clear()
    for claimed in limit + 1, GIB_4:
        lengths = [41, 1, 1, 1]
        lengths[segment] = claimed
        with victim.dial() as peer:
            peer.become_client(victim.addr)
            peer.send(preamble(Tag.MESSAGE, lengths))
            peer.wait_closed()
        lab.wait_count(victim.node, "ms_handle_reset")
        victim.node.seen.calls.clear()
        victim.check_fault("MESSAGE in state READY: a segment is longer than", f"got {claimed}, expected {limit}")


def test_a_large_claim_within_the_limits_takes_memory_only_as_it_arrives(victim: Victim) -> None:
    """256 MiB of data announced, 1 MiB sent."""
    with victim.dial() as peer:
        peer.become_client(victim.addr)
        before = resident_bytes()
        header = message_segments(RAW_FAST, 1)[0]
        wire = preamble(Tag.MESSAGE, [41, 0, 0, 256 << 20]) + header + crc32c(0xFFFFFFFF, header).to_bytes(4, "little")
        throttle = victim.node.messenger.dispatch_throttle
        peer.send(wire + b"x" * (1 << 20))
        victim.lab.wait_until(lambda: throttle.current == 256 << 20, "the claim")
        received = victim.node.core_stat
        victim.lab.wait_until(lambda: received("recv_bytes") > 1 << 20, "1 MiB to arrive")
        assert resident_bytes() - before < MAX_GROWTH_BYTES
    victim.lab.wait_until(lambda: throttle.current == 0, "the claim to be given back")


# ---- the wrong frame for the state ----


def to_banner(peer: RawPeer, addr: EntityAddr) -> None:
    """Ours has come, and we have sent nothing."""
    peer.recv_banner()


def to_hello(peer: RawPeer, addr: EntityAddr) -> None:
    peer.exchange_banners()


def to_auth(peer: RawPeer, addr: EntityAddr) -> None:
    to_hello(peer, addr)
    peer.say_hello_to(addr)


def to_auth_more(peer: RawPeer, addr: EntityAddr) -> None:
    to_auth(peer, addr)
    peer.send_frame(AuthRequestFrame(1, (1,), b"more"))
    peer.recv_frame(AuthReplyMoreFrame)


def to_signature(peer: RawPeer, addr: EntityAddr) -> None:
    to_auth(peer, addr)
    peer.log_in()


def to_compression(peer: RawPeer, addr: EntityAddr) -> None:
    """Where both sides offer it, as the server here does."""
    peer.send(OUR_BANNER.with_compression().encode())
    peer.recv_banner()
    peer.say_hello_to(addr)
    peer.log_in()
    peer.sign()


def to_session(peer: RawPeer, addr: EntityAddr) -> None:
    to_signature(peer, addr)
    peer.sign()


def to_ready(peer: RawPeer, addr: EntityAddr) -> None:
    to_session(peer, addr)
    peer.identify(addr)


WALK: dict[State, Callable[[RawPeer, EntityAddr], None]] = {
    State.BANNER_ACCEPTING: to_banner,
    State.HELLO_ACCEPTING: to_hello,
    State.AUTH_ACCEPTING: to_auth,
    State.AUTH_ACCEPTING_MORE: to_auth_more,
    State.AUTH_ACCEPTING_SIGN: to_signature,
    State.COMPRESS_ACCEPTING: to_compression,
    State.SESSION_ACCEPTING: to_session,
    State.READY: to_ready,
}

#: Every tag there is, and some that are none.
TAGS = [0, *map(int, Tag), 23, 31, 32, 99, 255]


class _TwoRounds(ServerExchange):
    def request(self, payload: bytes) -> ServerMore | ServerDone:
        return ServerMore(b"go on") if payload == b"more" else DummyServer().start(EntityType.CLIENT, 1).request(payload)  # type: ignore[arg-type]


    def request_more(self, payload: bytes) -> ServerMore:
        return ServerMore(b"go on")


class TwoRounds(DummyServer):
    """Asks for more if told to."""

    def start(self, peer_type: Any, mode: Any) -> ServerExchange:
        return _TwoRounds()


def two_rounds(config: Config) -> AuthRegistry:
    return AuthRegistry(EntityType.OSD, config, [DummyClient()], [TwoRounds()])


#: A server in which every state can be reached.
EVERY_STATE: dict[str, Any] = {"auth": two_rounds, "ms_osd_compress_mode": "force"}


def test_there_is_a_way_into_every_state() -> None:
    assert set(WALK) == ACCEPTING_STATES | {State.READY}


@pytest.mark.parametrize("state", WALK, ids=str)
def test_every_frame_of_the_wrong_state(lab: Lab, caplog: pytest.LogCaptureFixture, state: State) -> None:
    victim = Victim(lab, caplog, **EVERY_STATE)
    wrong = [tag for tag in TAGS if tag not in EXPECTED.get(state, ())]
    assert len(wrong) >= len(TAGS) - 4
    for tag in wrong:
        caplog.clear()
        with victim.dial() as peer:
            WALK[state](peer, victim.addr)
            peer.send(assemble(tag, [bytes(8)]))
            peer.wait_closed()
        lab.wait_until(lambda: victim.faults(), f"the fault at {describe_tag(tag)} in {state}")
        what = "the peer's first bytes" if state is State.BANNER_ACCEPTING else f"{describe_tag(tag)} in state {state}"
        assert f"(was {state}) fault: {what}" in victim.faults()[0]
        assert len(victim.faults()) == 1
    if state is State.READY:  # these were announced to the user
        lab.wait_count(victim.node, "ms_handle_reset", len(wrong))
        victim.node.seen.calls.clear()
    victim.check_unharmed()


def test_a_message_before_ready(victim: Victim) -> None:
    with victim.dial() as peer:
        to_session(peer, victim.addr)
        peer.send_message(RAW_FAST, 1, b"too early")
        peer.wait_closed()
    victim.check_fault("MESSAGE in state SESSION_ACCEPTING: expected CLIENT_IDENT or SESSION_RECONNECT")


# ---- right frames with wrong contents ----


def test_a_wrong_signature(victim: Victim) -> None:
    with victim.dial() as peer:
        to_signature(peer, victim.addr)
        peer.send_tag(Tag.AUTH_SIGNATURE, b"\1" * 32)
        peer.wait_closed()
    victim.check_fault("AUTH_SIGNATURE in state AUTH_ACCEPTING_SIGN: wrong signature, expected 32 zero bytes")


def test_an_auth_payload_that_claims_4_gib(victim: Victim) -> None:
    with victim.dial() as peer:
        to_auth(peer, victim.addr)
        numbers = [1, 1, 1, GIB_4]
        peer.send_tag(Tag.AUTH_REQUEST, b"".join(number.to_bytes(4, "little") for number in numbers) + b"short")
        peer.wait_closed()
    victim.check_fault("AUTH_REQUEST in state AUTH_ACCEPTING: ", str(GIB_4))


def test_auth_requests_without_end_are_bounded(victim: Victim) -> None:
    """Each is refused and the next one is welcome, until the peer has said too much without being somebody."""
    request = assemble(Tag.AUTH_REQUEST, [AuthRequestFrame(77, (1,), bytes(100_000)).payload()])
    with victim.dial() as peer:
        to_auth(peer, victim.addr)
        answers = 0
        try:
            for _ in range(50):
                peer.send(request)
                frame = peer.recv_raw_frame()
                assert frame.tag == Tag.AUTH_BAD_METHOD
                answers += 1
        except (AssertionError, OSError):
            assert answers == 10
        else:
            pytest.fail("5 MB were accepted")
    victim.check_fault("AUTH_REQUEST in state AUTH_ACCEPTING: the peer sent more than 1048576 bytes without authenticating")


def test_ten_thousand_refused_requests_and_then_a_right_one(victim: Victim) -> None:
    """As long as they are small, it may try for as long as it is given time."""
    request = assemble(Tag.AUTH_REQUEST, [AuthRequestFrame(77, (1,), b"").payload()])
    with victim.dial() as peer:
        to_auth(peer, victim.addr)
        for _ in range(100):
            peer.send(request * 100)
            for _ in range(100):
                assert peer.recv_raw_frame().tag == Tag.AUTH_BAD_METHOD
        peer.log_in()
        peer.sign()
        peer.identify(victim.addr)
    victim.lab.wait_count(victim.node, "ms_handle_reset")
    victim.node.seen.calls.clear()
    victim.check_left()


def test_floods_that_are_never_read(lab: Lab, caplog: pytest.LogCaptureFixture, rng: random.Random) -> None:
    """The server is asked for more and asks for more, the other is told again and again that its session is gone: our answers are
    kept for as long as a handshake may take, and no longer."""
    victim = Victim(lab, caplog, auth=two_rounds)
    victim.node.messenger.config.ms_accept_handshake_timeout = 2.0
    caplog.clear()
    with victim.dial() as asker, victim.dial() as guesser:
        to_auth_more(asker, victim.addr)
        to_session(guesser, victim.addr)
        asker.send(assemble(Tag.AUTH_REQUEST_MORE, [AuthRequestMoreFrame(b"more").payload()]) * 10_000)
        guesses = [rng.getrandbits(62) for _ in range(5)]
        wish = SessionReconnectFrame(guesser.client_ident(victim.addr).addrs, *guesses)
        with suppress(ConnectionError):
            while True:
                guesser.send(assemble(Tag.SESSION_RECONNECT, [wish.payload()]) * 100)
        asker.wait_closed()
    lab.wait_until(lambda: len(victim.faults()) == 2, "both to be given up")
    reasons = {fault.partition(" fault: ")[2].partition(":")[0] for fault in victim.faults()}
    assert reasons == {f"not READY in time, still {state}" for state in ("AUTH_ACCEPTING_MORE", "SESSION_ACCEPTING")}
    victim.check_unharmed()


WRONG_IDENTS: dict[str, tuple[dict[str, Any], str]] = {
    "no address": ({"addrs": EntityAddrVec()}, "do not start with an address"),
    "a blank address": ({"addrs": EntityAddrVec([EntityAddr()])}, "do not start with an address"),
    "a global_seq at its end": ({"global_seq": (1 << 64) - 1}, f"global_seq {(1 << 64) - 1} is not plausible"),
    "another target": ({"target": EntityAddr.parse("v2:127.0.0.1:1/1")}, "the client dialled v2:127.0.0.1:1/1, we are v2:"),
}


@pytest.mark.parametrize("name", WRONG_IDENTS)
def test_wrong_idents(victim: Victim, name: str) -> None:
    changes, cause = WRONG_IDENTS[name]
    with victim.dial() as peer:
        to_session(peer, victim.addr)
        peer.send_frame(replace(peer.client_ident(victim.addr), **changes))
        peer.wait_closed()
    victim.check_fault("CLIENT_IDENT in state SESSION_ACCEPTING: ", cause)


@pytest.mark.parametrize("whose", ["ours", "another's"])
def test_an_ident_under_a_false_name(victim: Victim, whose: str) -> None:
    """Nothing proves an address. A server that registers nobody cannot be confused; it just serves one more."""
    theirs = victim.node.seen.last_accepted
    assert theirs
    false = victim.node.addrs if whose == "ours" else theirs.peer_addrs
    with victim.dial() as peer:
        to_session(peer, victim.addr)
        peer.send_frame(replace(peer.client_ident(victim.addr), addrs=false, global_seq=(1 << 63) - 1))
        peer.recv_frame(ServerIdentFrame)
        messenger = victim.node.messenger
        assert messenger.connect_to(EntityType.OSD, messenger.myaddrs) is messenger.get_loopback_connection()
    victim.lab.wait_count(victim.node, "ms_handle_reset")
    victim.node.seen.calls.clear()
    victim.check_left()


@pytest.mark.parametrize("counter", ["connect_seq", "global_seq"])
def test_a_reconnect_at_the_end_of_a_counter(victim: Victim, counter: str) -> None:
    with victim.dial() as peer:
        to_session(peer, victim.addr)
        wish = SessionReconnectFrame(peer.client_ident(victim.addr).addrs, 1, 2, 3, 4, 5)
        peer.send_frame(replace(wish, **{counter: (1 << 64) - 1}))
        peer.wait_closed()
    victim.check_fault("SESSION_RECONNECT in state SESSION_ACCEPTING: ", f"{counter} {(1 << 64) - 1} is not plausible")


def test_a_guessed_session_is_answered_with_a_reset(victim: Victim, rng: random.Random) -> None:
    with victim.dial() as peer:
        to_session(peer, victim.addr)
        for _ in range(20):
            guesses = [rng.getrandbits(63) for _ in range(5)]
            peer.send_frame(SessionReconnectFrame(peer.client_ident(victim.addr).addrs, *guesses))
            assert peer.recv_raw_frame().payload == b"\1", "full"
        peer.identify(victim.addr)


# ---- in an open session ----


def check_faults_when_ready(victim: Victim, data: bytes, *parts: str) -> None:
    with victim.dial() as peer:
        peer.become_client(victim.addr)
        peer.send(data)
        peer.wait_closed()
    victim.lab.wait_count(victim.node, "ms_handle_reset")
    victim.node.seen.calls.clear()
    victim.check_fault(*parts)


def test_wrong_crcs_of_a_message(victim: Victim) -> None:
    frame = bytearray(assemble(Tag.MESSAGE, message_segments(RAW_FAST, 1, b"front")))
    for at, cause in (5, "a frame's preamble"), (40, "a segment"), (80, "a segment"):
        broken = frame.copy()
        broken[at] ^= 1
        check_faults_when_ready(victim, bytes(broken), "in state READY", f"the crc of {cause} does not match: got 0x")


def test_a_message_header_that_is_too_short(victim: Victim) -> None:
    check_faults_when_ready(victim, assemble(Tag.MESSAGE, [bytes(40)]), "a message header is shorter than 41 bytes")


def test_an_acknowledgement_of_what_was_never_sent(victim: Victim) -> None:
    """Only a lossless session counts acknowledgements; there the fault leads to standby."""
    victim.node.messenger.set_default_policy(Policy.stateful_server())
    with victim.dial() as peer:
        peer.become_client(victim.addr, cookie=4711)
        peer.send_tag(Tag.ACK, (1 << 63).to_bytes(8, "little"))
        peer.wait_closed()
    victim.lab.wait_until(victim.faults, "the fault")
    assert "(was READY) fault: ACK in state READY: the peer acknowledged a sequence number" in victim.faults()[0]
    assert f"got {1 << 63}, expected 0" in victim.faults()[0]


def test_a_keepalive_of_the_wrong_length(victim: Victim) -> None:
    check_faults_when_ready(victim, assemble(Tag.KEEPALIVE2, [bytes(7)]), "KEEPALIVE2 in state READY", "wrong length")


def test_a_flood_of_keepalives_is_answered_with_bounded_memory(victim: Victim) -> None:
    """The peer never reads: what it could have read is not kept in memory for ever."""
    keepalives = assemble(Tag.KEEPALIVE2, [bytes(8)]) * 1000
    with victim.dial() as peer:
        peer.become_client(victim.addr)
        for _ in range(100):
            peer.send(keepalives)
        peer.sock.shutdown(1)
        peer.wait_closed()
    victim.lab.wait_count(victim.node, "ms_handle_reset")
    victim.node.seen.calls.clear()
    victim.check_unharmed()


def test_repeated_and_skipped_sequence_numbers(victim: Victim) -> None:
    """Repeats are dropped in silence, gaps are accepted, both are counted."""
    lab, node = victim.lab, victim.node
    before = {name: node.core_stat(name) for name in ("duplicates_dropped", "sequence_gaps")}
    with victim.dial() as peer:
        peer.become_client(victim.addr)
        for seq in 1, 2, 2, 1, 5, 4, 6:
            peer.send_message(RAW_FAST, seq, tid=1000 + seq)
        lab.wait_until(lambda: any(call.tid == 1006 for call in node.seen.messages), "the last message")
        assert [call.seq for call in node.seen.messages if call.tid > 1000] == [1, 2, 5, 6]
    lab.wait_count(node, "ms_handle_reset")
    changed = {name: node.core_stat(name) - count for name, count in before.items()}
    assert changed == {"duplicates_dropped": 3, "sequence_gaps": 1}


def test_a_sequence_number_at_its_end(victim: Victim) -> None:
    """A peer that gets there has nothing more to say: what follows is not new."""
    lab, node, last = victim.lab, victim.node, (1 << 64) - 1
    before = node.core_stat("duplicates_dropped")
    with victim.dial() as peer:
        peer.become_client(victim.addr)
        for seq in last - 1, last, 0, 1, last:
            peer.send_message(RAW_FAST, seq, tid=1000)
        lab.wait_until(lambda: node.core_stat("duplicates_dropped") == before + 3, "three to be dropped")
        # Counted when it was read, dispatched a little later.
        lab.wait_until(
            lambda: [call.seq for call in node.seen.messages if call.tid == 1000] == [last - 1, last], "what is new"
        )
    lab.wait_count(node, "ms_handle_reset")
    node.seen.calls.clear()
    victim.check_left()


# ---- silence, and too many at once ----


@pytest.mark.contract("H2", "H6")
def test_silent_peers_are_dropped_in_time(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    """One in each state, all at once, as each must come there in time."""
    victim = Victim(lab, caplog, **EVERY_STATE)
    victim.node.messenger.config.ms_accept_handshake_timeout = 2.0
    caplog.clear()
    states = [state for state in WALK if state is not State.READY]
    with ExitStack() as cleanup:
        peers = []
        for state in states:
            peers.append(cleanup.enter_context(victim.dial()))
            WALK[state](peers[-1], victim.addr)
        for peer in peers:
            peer.wait_closed()
    lab.wait_until(lambda: len(victim.faults()) == len(states), "the faults")
    reasons = {fault.partition(" fault: ")[2].partition(":")[0] for fault in victim.faults()}
    assert reasons == {f"not READY in time, still {state}" for state in states}
    assert victim.node.counter("msgr_connection_ready_timeouts") == len(states)
    victim.check_unharmed()


def test_unfinished_handshakes_are_bounded(lab: Lab) -> None:
    server = lab.server(ms_accept_max_handshakes=4)
    silent = [RawPeer.dial(server.addrs[0], lab.deadline) for _ in range(4)]
    for peer in silent:
        peer.recv_banner()
    client = lab.client()
    connection = client.connect(server)
    lab.wait_until(lambda: server.counter("msgr_accept_stalls") == 1, "accepting to stop")
    lab.stack.drain()
    assert not connection.is_connected
    assert len(server.connections()) == 4
    silent.pop().sock.close()
    lab.round_trip(client, connection)
    for peer in silent:
        peer.sock.close()
    lab.wait_until(lambda: len(server.connections()) == 1, "the silent ones to be gone")


@pytest.mark.slow
def test_many_who_come_and_go(victim: Victim, rng: random.Random) -> None:
    """300 peers, each of which leaves at some byte of a handshake."""
    whole = BANNER + assemble(Tag.HELLO, [bytes(36)])
    for _ in range(300):
        with victim.dial() as peer:
            peer.send(whole[: rng.randrange(len(whole))])
    victim.check_unharmed()


def test_a_stateful_server_survives_it_too(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    """The fault of a lossless session leaves it in standby, to be found again by its client alone."""
    server = lab.server(Policy.stateful_server())
    with RawPeer.dial(server.addrs[0], lab.deadline) as peer:
        answer = peer.become_client(server.addrs[0], cookie=4711)
        assert isinstance(answer, ServerIdentFrame)
        assert answer.cookie
        peer.send(b"\1" * 64)
        peer.wait_closed()
    accepted: Any = server.seen.last_accepted
    lab.wait_until(lambda: accepted._protocol.state is State.STANDBY, "standby")
    assert server.seen.count("ms_handle_reset") == 0
    lab.wait_until(
        lambda: any("preamble" in record.getMessage() for record in caplog.records if record.levelno == logging.WARNING),
        "the fault in the log",
    )
    lab.connected_pair(server)


def test_a_false_name_costs_a_lossless_session_a_reset(lab: Lab) -> None:
    """A server that keeps sessions takes whoever comes under a client's address for that client, restarted. The real one is told
    that its session is gone, and has a new one at once."""
    server, client, connection = lab.connected_pair(
        lab.server(Policy.stateful_server()), lab.client(Policy.lossless_client(), ms_initial_backoff=0.001)
    )
    theirs = server.seen.last_accepted
    assert theirs
    with RawPeer.dial(server.addrs[0], lab.deadline) as peer:
        to_session(peer, server.addrs[0])
        peer.send_frame(replace(peer.client_ident(server.addrs[0], cookie=4711), addrs=theirs.peer_addrs, global_seq=1))
        peer.recv_frame(ServerIdentFrame)
        lab.wait_count(client, "ms_handle_remote_reset")
        peer.wait_closed()
    lab.round_trip(client, connection)
    assert server.connections() == [theirs], "one session, as before"
