"""The lab itself: the monitor is a real one and speaks msgr2, and the real client reaches the address it is given.

Nothing of ceph_msgr is used here, so a failure in this file is never the messenger's.
"""

from __future__ import annotations

import json
import os
import socket
import struct
from collections.abc import Callable

import pytest

from tests.conftest import Deadline
from tests.interop.lab import CephClient, LabError, MonLab, reserve_port, run

PREFIX = b"ceph v2\n"
#: Supported: REVISION_1. Required: nothing.
BANNER = PREFIX + struct.pack("<HQQ", 16, 1, 0)

HELLO = 1
ENTITY_TYPE_MON = 1
ENTITY_TYPE_CLIENT = 8
ADDRESS_TYPE_MSGR2 = 2


def crc32c(seed: int, data: bytes) -> int:
    """CRC-32C as msgr2 uses it: the register starts at `seed` and is not inverted at the end."""
    for byte in data:
        seed ^= byte
        for _ in range(8):
            seed = seed >> 1 ^ (0x82F63B78 if seed & 1 else 0)
    return seed


def encoded_address(port: int) -> bytes:
    """entity_addr_t of v2:127.0.0.1:PORT/0."""
    sockaddr = struct.pack("<H", socket.AF_INET) + struct.pack(">H", port) + bytes([127, 0, 0, 1]) + bytes(8)
    body = struct.pack("<III", ADDRESS_TYPE_MSGR2, 0, len(sockaddr)) + sockaddr
    return b"\x01" + struct.pack("<BBI", 1, 1, len(body)) + body


def control_frame(tag: int, payload: bytes) -> bytes:
    """A msgr2.1 frame of one segment in crc mode."""
    preamble = struct.pack("<BBIH", tag, 1, len(payload), 8) + bytes(18) + bytes(2)
    return preamble + struct.pack("<I", crc32c(0, preamble)) + payload + struct.pack("<I", crc32c(0xFFFFFFFF, payload))


def receive(peer: socket.socket, size: int, deadline: Deadline) -> bytes:
    data = b""
    while len(data) < size:
        peer.settimeout(deadline.remaining_s(f"{size} bytes, have {data.hex()}"))
        piece = peer.recv(size - len(data))
        if not piece:
            pytest.fail(f"the peer closed after {len(data)} of {size} bytes: {data.hex()}")
        data += piece
    return data


def test_monitor_exchanges_banner_and_hello(mon: MonLab, deadline: Deadline) -> None:
    with socket.create_connection((mon.host, mon.port), timeout=deadline.remaining_s()) as peer:
        peer.sendall(BANNER)
        assert receive(peer, len(BANNER), deadline) == BANNER
        peer.sendall(control_frame(HELLO, bytes([ENTITY_TYPE_CLIENT]) + encoded_address(mon.port)))
        our_port = peer.getsockname()[1]
        # The monitor tells us who it is and where it sees us: the whole frame is known beforehand.
        expected = control_frame(HELLO, bytes([ENTITY_TYPE_MON]) + encoded_address(our_port))
        assert receive(peer, len(expected), deadline) == expected


def test_monitor_closes_on_a_strange_banner(mon_none: MonLab, deadline: Deadline) -> None:
    with socket.create_connection((mon_none.host, mon_none.port), timeout=deadline.remaining_s()) as peer:
        peer.sendall(b"GET / HTTP/1.1\r\nHost: mon.a\r\n\r\n")
        received = b""
        try:
            while piece := peer.recv(4096):
                received += piece
                peer.settimeout(deadline.remaining_s("the end of the stream"))
        except ConnectionResetError:
            pass  # as good an end as any: our request was still unread
        assert received in (b"", BANNER)


def test_real_client_pings_the_monitor(mon: MonLab) -> None:
    answer = json.loads(mon.client.ping(mon.name).check().stdout)
    assert answer["mon_status"]["name"] == mon.name
    assert answer["mon_status"]["state"] == "leader"


def test_real_client_asks_the_monitor_for_its_fsid(mon: MonLab) -> None:
    assert mon.client.fsid().check().stdout.strip() == mon.fsid


def test_monitor_keeps_its_port_over_a_restart(own_mon: MonLab) -> None:
    own_mon.start()
    first_pid, port = own_mon.pid, own_mon.port
    own_mon.stop()
    own_mon.start()
    last_pid = own_mon.pid
    assert own_mon.port == port
    assert last_pid not in (None, first_pid)
    assert own_mon.client.fsid().check().stdout.strip() == own_mon.fsid
    own_mon.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(last_pid or 0, 0)


def test_monitor_that_cannot_start_says_why(own_mon: MonLab) -> None:
    own_mon._port_holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)  # holds the port against everybody
    with pytest.raises(LabError, match="in use"):
        own_mon.start()


def test_monitor_dials_the_other_monitor_of_its_map(own_mon: MonLab, deadline: Deadline) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        own_mon.other_mons["b"] = listener.getsockname()[1]
        own_mon.start(wait_for_quorum=False)
        listener.settimeout(deadline.remaining_s("mon.a to dial mon.b"))
        peer, _ = listener.accept()
        with peer:
            assert receive(peer, len(BANNER), deadline) == BANNER


def test_real_client_reaches_a_server_of_ours(ceph_client: Callable[[int], CephClient], deadline: Deadline) -> None:
    """A server that takes the connection and says nothing: `ceph fsid` gives up by itself, and we hear about it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        result = ceph_client(listener.getsockname()[1]).fsid(connect_timeout_s=1)
        assert result.status == 1, result
        assert "timed out" in result.stderr
        listener.settimeout(deadline.remaining_s("the connection in the backlog"))
        peer, _ = listener.accept()
        with peer:
            assert receive(peer, len(BANNER), deadline) == BANNER


def test_a_program_that_hangs_is_killed_at_its_time_out() -> None:
    result = run("/bin/sh", "-c", "echo before; kill -STOP $$", timeout_s=2.0)
    assert (result.status, result.stdout) == (None, "before\n")
    with pytest.raises(LabError, match="killed at its time-out"):
        result.check()


def test_a_reserved_port_is_given_to_nobody_else() -> None:
    with reserve_port() as holder:
        port = holder.getsockname()[1]
        with pytest.raises(OSError, match="in use"), socket.socket() as other:
            other.bind(("127.0.0.1", port))
        with socket.socket() as reusing:
            reusing.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            reusing.bind(("127.0.0.1", port))
            reusing.listen()
