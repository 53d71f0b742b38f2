"""Compression on the wire between two messengers, and with a peer that compresses by itself."""

from __future__ import annotations

import random
from typing import Any

import pytest

from ceph_msgr import Connection, EntityType, Message, Policy, _core
from ceph_msgr.auth import AuthRegistry, Keyring
from ceph_msgr.auth.base import ConMode
from ceph_msgr.protocol.banner import OUR_BANNER
from ceph_msgr.protocol.frames import CompressionDoneFrame, CompressionRequestFrame, HelloFrame
from ceph_msgr.protocol.tags import Tag
from tests.messenger.dispatchers import RAW_FAST
from tests.messenger.lab import LOOPBACK, Lab, Node
from tests.messenger.raw_peer import RawPeer, message_segments
from tests.wire import reference_compression as reference

NAMES = {1: "snappy", 2: "zlib", 3: "zstd", 4: "lz4"}
TEXT = b"all work and no play makes jack a dull boy " * 2000

algorithms = pytest.mark.parametrize("algorithm", [1, 2, 3, 4], ids=NAMES.get)

pytestmark = pytest.mark.contract("E11")


def need(algorithm: int) -> str:
    if algorithm not in _core.compression_algorithms():
        pytest.skip(f"{NAMES[algorithm]} was not there when the core was built")
    return NAMES[algorithm]


def any_algorithm() -> str:
    names = list(_core.compression_algorithms().values())
    return names[0] if names else pytest.skip("no compression library was there when the core was built")


class Osds:
    """osd.0 and osd.1, lossless peers; each on a stack of its own, so that their bytes can be told apart."""

    def __init__(self, lab: Lab, *, secure: bool = False, kinds: tuple[str, str] = ("osd.0", "osd.1"), **options: Any) -> None:
        self.lab = lab
        self.keyring = Keyring.generate(*kinds)
        self.options = {"ms_osd_compress_mode": "force", "ms_cluster_mode": "secure" if secure else "crc", **options}
        self.near, self.far = (self._osd(name) for name in kinds)
        self.taken: list[tuple[bytes, bytes, bytes]] = []
        self.far.seen.hooks["ms_fast_dispatch"] = self._take
        self.connection = self.near.connect(self.far)
        if "ms_inject_socket_failures" not in options:  # a dial that fails with nothing to send ends in standby
            lab.wait_connected(self.connection)

    def _osd(self, name: str) -> Node:
        return self.lab.node(
            name, Policy.lossless_peer(), bind=LOOPBACK, stack=self.lab.make_stack(), seen=self.lab.dispatcher(),
            auth=lambda config: AuthRegistry.standalone(name, config, self.keyring), **self.options,
        )

    def _take(self, message: Message) -> None:
        self.taken.append((bytes(message.front), bytes(message.middle), bytes(message.data)))

    def carry(self, front: bytes = b"", middle: bytes = b"", data: bytes = b"", *, over: Connection | None = None) -> int:
        """One message from near to far; returns what it took on the wire, give or take an acknowledgement."""
        connection, before, count = over or self.connection, self.near.core_stat("send_bytes"), len(self.taken)
        connection.send_message(Message(RAW_FAST, front, middle, data))
        self.lab.wait_until(lambda: len(self.taken) > count, "the message")
        assert self.taken[count:] == [(front, middle, data)]
        assert connection.flush(self.lab.deadline.remaining_s("its acknowledgement"))
        return self.near.core_stat("send_bytes") - before


@algorithms
@pytest.mark.parametrize("secure", [False, True], ids=["crc", "secure"])
def test_messages_arrive_as_they_were_and_take_less(lab: Lab, algorithm: int, secure: bool, rng: random.Random) -> None:
    osds = Osds(lab, secure=secure, ms_osd_compression_algorithm=need(algorithm), ms_compress_secure=True)
    assert osds.connection.con_mode is (ConMode.SECURE if secure else ConMode.CRC)
    noise = rng.randbytes(50_000)
    assert osds.carry(TEXT) < len(TEXT) // 8
    assert osds.carry(TEXT[:3000], TEXT[:2000], TEXT) < len(TEXT) // 8
    assert osds.carry(data=TEXT * 20) < len(TEXT) * 20 // 8
    assert osds.carry(b"small") > 5
    assert osds.carry(TEXT[:900]) > 900, "below the least size"
    assert osds.carry(noise) > len(noise), "gains nothing"
    assert osds.carry(TEXT, b"", noise) < len(TEXT) // 8 + len(noise)


def test_both_directions(lab: Lab) -> None:
    osds = Osds(lab, ms_osd_compression_algorithm=any_algorithm())
    osds.carry(TEXT)
    seen: list[bytes] = []
    osds.near.seen.hooks["ms_fast_dispatch"] = lambda message: seen.append(bytes(message.front))
    before = osds.far.core_stat("send_bytes")
    assert osds.far.seen.last_accepted
    osds.far.seen.last_accepted.send_message(Message(RAW_FAST, TEXT))
    lab.wait_until(lambda: seen, "the answer")
    assert seen == [TEXT]
    assert osds.far.core_stat("send_bytes") - before < len(TEXT) // 8


def test_an_encrypted_connection_is_not_compressed_unless_told(lab: Lab) -> None:
    osds = Osds(lab, secure=True, ms_osd_compression_algorithm=any_algorithm())
    assert osds.carry(TEXT) > len(TEXT)


@pytest.mark.parametrize("kinds", [("osd.0", "mgr.1"), ("mgr.0", "osd.1")], ids=" to ".join)
def test_other_peers_are_not_compressed_to(lab: Lab, kinds: tuple[str, str]) -> None:
    """Both must be willing, and neither is with a manager."""
    osds = Osds(lab, kinds=kinds, ms_osd_compression_algorithm=any_algorithm())
    assert osds.carry(TEXT) > len(TEXT)


def test_options_act_on_later_connections(lab: Lab) -> None:
    osds = Osds(lab, ms_osd_compress_mode="none", ms_osd_compression_algorithm=any_algorithm())
    assert osds.carry(TEXT) > len(TEXT)
    for node in (osds.near, osds.far):
        node.messenger.config.ms_osd_compress_mode = "force"
    assert osds.carry(TEXT) > len(TEXT), "what was agreed on stays"
    osds.connection.mark_down()
    again = osds.near.connect(osds.far)
    lab.wait_connected(again)
    assert osds.carry(TEXT, over=again) < len(TEXT) // 8


def test_nothing_is_lost_where_sockets_break(lab: Lab) -> None:
    osds = Osds(
        lab, ms_osd_compression_algorithm=any_algorithm(), ms_inject_socket_failures=30, ms_initial_backoff=0.01,
        ms_max_backoff=0.05,
    )
    for number in range(100):
        osds.connection.send_message(Message(RAW_FAST, TEXT[: number * 100], tid=number))
        lab.wait_until(lambda number=number: len(osds.taken) > number, f"message {number}")
    assert [front for front, _, _ in osds.taken] == [TEXT[: number * 100] for number in range(100)]
    assert osds.near.counter("msgr_reconnects") + osds.far.counter("msgr_reconnects") > 0


# ---- a peer of another make ----


def become_compressing_osd(peer: RawPeer, server: Node, algorithm: int) -> None:
    """The handshake of an OSD that dials and compresses."""
    addr = server.addrs[0]
    peer.send(OUR_BANNER.with_compression().encode())
    assert peer.recv_banner() == OUR_BANNER.with_compression().encode()
    peer.send_frame(HelloFrame(EntityType.OSD, addr))
    peer.recv_frame(HelloFrame)
    peer.log_in()
    peer.sign()
    peer.send_frame(CompressionRequestFrame(True, (5, algorithm)))
    assert peer.recv_frame(CompressionDoneFrame) == CompressionDoneFrame(True, algorithm)
    peer.identify(addr)


def send_compressed(peer: RawPeer, algorithm: int, seq: int, front: bytes) -> None:
    segments = [reference.ENCODERS[algorithm](segment) for segment in message_segments(RAW_FAST, seq, front)]
    peer.send(_core.frame_assemble(Tag.MESSAGE, segments, compressed=True))


def compressing_server(lab: Lab, algorithm: int, **options: Any) -> tuple[Node, list[bytes]]:
    server = lab.server(ms_osd_compress_mode="force", ms_osd_compression_algorithm=need(algorithm), **options)
    fronts: list[bytes] = []
    server.seen.hooks["ms_fast_dispatch"] = lambda message: fronts.append(bytes(message.front))
    return server, fronts


@algorithms
def test_an_independent_encoder_is_understood(lab: Lab, algorithm: int) -> None:
    server, fronts = compressing_server(lab, algorithm)
    with RawPeer.dial(server.addrs[0], lab.deadline) as peer:
        become_compressing_osd(peer, server, algorithm)
        send_compressed(peer, algorithm, 1, TEXT)
        peer.send_message(RAW_FAST, 2, b"as it is")
        send_compressed(peer, algorithm, 3, b"")
        send_compressed(peer, algorithm, 4, b"short")
        lab.wait_until(lambda: len(fronts) == 4, "four messages")
    assert fronts == [TEXT, b"as it is", b"", b"short"]


@algorithms
def test_a_bomb_costs_its_sender_the_connection(lab: Lab, algorithm: int, caplog: pytest.LogCaptureFixture) -> None:
    server, fronts = compressing_server(lab, algorithm, ms_max_front_bytes=100_000)
    with RawPeer.dial(server.addrs[0], lab.deadline) as peer:
        become_compressing_osd(peer, server, algorithm)
        send_compressed(peer, algorithm, 1, bytes(100_001))
        peer.wait_closed()
    lab.wait_until(lambda: "a segment is longer than its limit: got 100" in caplog.text, "the fault")
    assert fronts == []


@algorithms
def test_a_damaged_segment_costs_its_sender_the_connection(
    lab: Lab, algorithm: int, caplog: pytest.LogCaptureFixture
) -> None:
    server, fronts = compressing_server(lab, algorithm)
    with RawPeer.dial(server.addrs[0], lab.deadline) as peer:
        become_compressing_osd(peer, server, algorithm)
        peer.send(_core.frame_assemble(Tag.MESSAGE, [b"\5\0\0\0 is no header"], compressed=True))
        peer.wait_closed()
    lab.wait_until(lambda: "MESSAGE in state READY: a compressed segment is damaged" in caplog.text, "the fault")
    assert fronts == []
