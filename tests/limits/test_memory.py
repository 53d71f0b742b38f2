"""Memory: peers that never read, and an address space that is full."""

from __future__ import annotations

from contextlib import suppress

import pytest

from ceph_msgr import _core
from ceph_msgr.protocol.tags import Tag
from tests.conftest import Deadline
from tests.limits.setting import Process
from tests.messenger.dispatchers import RAW_FAST
from tests.messenger.raw_peer import RawPeer, message_segments, preamble
from tests.session.reference_codec import crc32c

MIB = 1 << 20
WATER_MARK_BYTES, MAX_MORE_BYTES = 64 * MIB, 16 * MIB

pytestmark = [pytest.mark.slow, pytest.mark.contract("H3")]


@pytest.mark.contract("H2")
@pytest.mark.parametrize(("policy", "message_bytes"), [("stateless_server", MIB), ("stateful_server", 4096)])
def test_a_peer_that_never_reads(policy: str, message_bytes: int, deadline: Deadline) -> None:
    """It is sent to without end: the queue takes what the water mark allows, and memory not much more."""
    with Process(policy, ms_send_queue_max_bytes=WATER_MARK_BYTES) as server, RawPeer.dial(server.addr, deadline) as peer:
        peer.become_client(server.addr, cookie=0 if policy == "stateless_server" else 4711)
        before = server.stats()
        queued_bytes = server.ask(do="pour", message_bytes=message_bytes, refusals=1000)["queued_bytes"]
        grown_bytes = server.stats()["resident_bytes"] - before["resident_bytes"]
        print(f"{queued_bytes / MIB:.1f} MiB queued, {grown_bytes / MIB:.1f} MiB taken")
        assert WATER_MARK_BYTES - 2 * message_bytes < queued_bytes <= WATER_MARK_BYTES
        assert grown_bytes <= WATER_MARK_BYTES + MAX_MORE_BYTES


def test_a_peer_that_asks_and_never_reads(deadline: Deadline) -> None:
    """Its requests are read, and their answers dropped once the queue is full."""
    with Process(ms_send_queue_max_bytes=8 * MIB) as server, RawPeer.dial(server.addr, deadline) as peer:
        peer.become_client(server.addr)
        before = server.stats()
        payload = bytes(MIB)
        for seq in range(1, 101):
            peer.send(_core.frame_assemble(Tag.MESSAGE, message_segments(RAW_FAST, seq, payload)))
        server.wait_until(deadline, lambda now: now["throttled_bytes"] == 0, "the requests to be read")
        assert server.stats()["resident_bytes"] - before["resident_bytes"] <= 8 * MIB + MAX_MORE_BYTES


def test_no_memory_for_a_message(friend: Process, deadline: Deadline) -> None:
    """It costs the connection that wanted it; others go on, and when there is memory again, so does everybody."""
    header = message_segments(RAW_FAST, 1)[0]
    large = preamble(Tag.MESSAGE, [len(header), 0, 0, 256 * MIB]) + header + crc32c(0xFFFFFFFF, header).to_bytes(4, "little")
    with Process() as server:
        friend.ask(do="dial", addr=str(server.addr))
        friend.ask(do="wait_answers")
        for number in 1, 2:
            server.ask(do="limit_memory", spare_bytes=64 * MIB)
            with RawPeer.dial(server.addr, deadline) as peer:
                peer.become_client(server.addr)
                with suppress(ConnectionError):
                    peer.send(large)
                    for _ in range(255):
                        peer.send(bytes(MIB))
                server.wait_until(deadline, lambda now, number=number: now["resets"] == number, "that connection to be closed")
            friend.ask(do="ask")
            server.ask(do="limit_memory", spare_bytes=None)
        assert server.stats()["throttled_bytes"] == 0
        with RawPeer.dial(server.addr, deadline) as peer:
            peer.become_client(server.addr)
            peer.send_message(RAW_FAST, 1, b"small")
            assert peer.recv_raw_frame("its echo").tag == Tag.MESSAGE
