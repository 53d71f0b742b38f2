"""Rows of the test contract that need no reconnect: A7 to A10, A12, A13, A16."""

from __future__ import annotations

import struct
import time

import pytest

from ceph_msgr import EntityAddr, EntityAddrVec, EntityType, Message, Policy
from ceph_msgr.errors import RemoteProtocolError
from ceph_msgr.messages import MPing
from tests.messenger.dispatchers import RAW
from tests.messenger.lab import Lab
from tests.messenger.raw_peer import needs_ipv6

BOTH_FAMILIES = "[v2:127.0.0.1:0,v2:[::1]:0]"

#: A7 runs over one address, A8 over a vector.
BINDS = pytest.mark.parametrize(
    "bind",
    [
        pytest.param("v2:127.0.0.1", marks=pytest.mark.contract("A7")),
        pytest.param(BOTH_FAMILIES, marks=[pytest.mark.contract("A8"), needs_ipv6]),
    ],
    ids=["one address", "vector"],
)


# ---- A7 and A8: SimpleTest ----


@BINDS
def test_round_trip(lab: Lab, bind: str) -> None:
    server = lab.server(bind=bind)
    client = lab.client()
    connection = client.connect(server)
    assert connection.peer_name.type == EntityType.OSD
    lab.round_trip(client, connection)
    assert connection.is_connected
    assert connection.priv.count == 1
    assert connection.peer_type == EntityType.OSD
    assert connection.peer_addrs == server.addrs
    assert server.seen.last_accepted.priv.count == 1
    assert server.seen.last_accepted.peer_type == EntityType.CLIENT


@BINDS
def test_rebind_avoids_ports_and_is_another_entity(lab: Lab, bind: str) -> None:
    server, client, old = lab.connected_pair(lab.server(bind=bind))
    old_addrs = server.addrs
    avoid = {addr.port + i for addr in old_addrs for i in range(10)}
    server.messenger.rebind(avoid)
    assert len(server.addrs) == len(old_addrs)
    assert not avoid & {addr.port for addr in server.addrs}
    assert {addr.nonce for addr in server.addrs} == {old_addrs[0].nonce + 1_000_000}
    lab.wait_count(client, "ms_handle_reset")
    assert not old.is_connected
    lab.wait_count(server, "ms_handle_reset")

    connection = client.connect(server)
    lab.round_trip(client, connection)
    assert connection is not old
    assert connection.is_connected
    assert connection.priv.count == 1


@pytest.mark.contract("A7")
def test_rebind_without_ports_avoids_those_just_given_up(lab: Lab) -> None:
    server = lab.server()
    old_port = server.port
    server.messenger.rebind()
    assert server.port != old_port


@BINDS
def test_mark_down_disconnects(lab: Lab, bind: str) -> None:
    _, _, connection = lab.connected_pair(lab.server(bind=bind))
    connection.mark_down()
    assert not connection.is_connected


@BINDS
def test_send_after_the_server_has_shut_down(lab: Lab, bind: str) -> None:
    server, client, connection = lab.connected_pair(lab.server(bind=bind))
    server.messenger.shutdown()
    server.messenger.wait()
    lab.wait_count(client, "ms_handle_reset")
    connection.send_message(MPing())
    assert not connection.is_connected
    # The callback may come before the worker has closed the queue.
    lab.wait_until(lambda: len(connection.out_q) == 0, "the message to be dropped")


@BINDS
def test_loopback(lab: Lab, bind: str) -> None:
    server = lab.server(bind=bind, seen=lab.dispatcher())
    connection = server.connect(server)
    assert connection.is_loopback
    assert connection is server.messenger.get_loopback_connection()
    assert [server.messenger.connect_to(EntityType.OSD, addr) for addr in server.addrs] == [connection] * len(server.addrs)
    arrived: list[tuple[Message, object]] = []
    server.seen.hooks["ms_fast_dispatch"] = lambda message: arrived.append((message, message.src))
    ping = MPing()
    connection.send_message(ping)
    lab.wait_until(lambda: arrived, "the ping to ourselves")
    [(message, source)] = arrived
    assert message is ping
    assert source == server.messenger.entity_name
    assert connection.priv.count == 1
    assert connection.is_connected


@pytest.mark.contract("A8")
@needs_ipv6
def test_each_address_of_a_vector_is_served(lab: Lab) -> None:
    server, client = lab.server(bind=BOTH_FAMILIES), lab.client()
    for addr in server.addrs:
        connection = client.messenger.connect_to(EntityType.OSD, addr)
        lab.round_trip(client, connection)
        assert connection.peer_addrs == server.addrs
    assert server.seen.count("ms_handle_fast_accept") == 2


@pytest.mark.contract("A8")
def test_msgr1_is_refused_cleanly(lab: Lab) -> None:
    server = lab.server()
    for addrs in "v1:127.0.0.1:0", "[v2:127.0.0.1:0,v1:127.0.0.1:0]":
        node = lab.client(start=False)
        with pytest.raises(ValueError, match=r"cannot listen on v1:127\.0\.0\.1:0/0: msgr1 is not supported"):
            node.messenger.bind(addrs)
    client = lab.client()
    with pytest.raises(ValueError, match=r"v1:127\.0\.0\.1:6789/0 has no msgr2 address to dial"):
        client.messenger.connect_to(EntityType.OSD, "v1:127.0.0.1:6789/0")
    # Beside a v2 address, one of v1 does no harm: daemons that speak both announce both.
    both = EntityAddrVec([*server.addrs, EntityAddr.parse("v1:127.0.0.1:6789/0")])
    lab.round_trip(client, client.messenger.connect_to(EntityType.OSD, both))


# ---- A9: FeatureTest ----


@pytest.mark.contract("A9")
def test_missing_features_never_connect_until_they_are_supported(lab: Lab) -> None:
    wanted = 1 << 62 | 1 << 17
    server = lab.server(Policy.stateless_server(features_required=wanted))
    client = lab.client()
    connection = client.connect(server)
    connection.send_message(MPing())
    lab.wait_until(lambda: connection._protocol.faults >= 3, "the third refused attempt")
    assert not connection.is_connected
    assert client.seen.count("ms_handle_fast_connect") == 1, "of the loopback connection"
    assert server.seen.count("ms_handle_fast_accept") == 0
    assert isinstance(connection._protocol.last_error, RemoteProtocolError)
    assert "IDENT_MISSING_FEATURES" in str(connection._protocol.last_error)
    assert "bit 17, bit 62" in str(connection._protocol.last_error)

    client.messenger.shutdown()
    client.messenger.wait()
    assert client.seen.names(connection) == ["ms_handle_reset"], "the user holds it, so its end is told"
    policy = Policy.lossy_client()
    client.messenger.set_default_policy(policy.replace(features_supported=policy.features_supported | wanted))
    client.messenger.start()
    again = client.connect(server)
    lab.round_trip(client, again)
    assert again is not connection
    assert not again.has_feature(wanted), "the server itself does not support them"


# ---- A10: TimeoutTest ----


@pytest.mark.contract("A10", "H6")
def test_idle_time_out(lab: Lab) -> None:
    idle_s = 0.4
    begin_s = time.monotonic()  # before the last sign of life
    server, client, connection = lab.connected_pair(client=lab.client(ms_connection_idle_timeout=idle_s))
    lab.wait_count(client, "ms_handle_reset")
    assert time.monotonic() - begin_s >= idle_s
    assert not connection.is_connected
    assert client.counter("msgr_connection_idle_timeouts") == 1
    assert client.counter("msgr_faults", label="idle") == 1
    assert connection._protocol.last_error.cause == "idle"
    lab.wait_count(server, "ms_handle_reset")


@pytest.mark.contract("A10", "H6")
def test_traffic_keeps_the_idle_time_out_away(lab: Lab) -> None:
    idle_s = 1.5  # so long that a busy machine does not make the traffic pause for it
    _server, client, connection = lab.connected_pair(client=lab.client(ms_connection_idle_timeout=idle_s))
    end_s = time.monotonic() + 1.5 * idle_s
    while time.monotonic() < end_s:
        lab.round_trip(client, connection)
    assert connection.is_connected
    assert client.seen.count("ms_handle_reset") == 0


# ---- A12: StatelessTest ----


@pytest.mark.contract("A12")
def test_stateless_server_forgets_a_client_that_marked_down(lab: Lab) -> None:
    server, client, connection = lab.connected_pair()
    first = server.seen.last_accepted
    connection.mark_down()
    assert not connection.is_connected
    again = client.connect(server)
    assert again is not connection
    lab.round_trip(client, again)
    assert again.priv.count == 1
    assert server.seen.last_accepted is not first
    assert server.seen.last_accepted.priv.count == 1
    assert client.seen.count("ms_handle_reset") == 0


@pytest.mark.contract("A12")
def test_client_notices_that_a_stateless_server_marked_down(lab: Lab) -> None:
    server, client, connection = lab.connected_pair()
    first = server.seen.last_accepted
    first.mark_down()
    assert not first.is_connected
    connection.send_keepalive()
    lab.wait_until(lambda: not connection.is_connected, "the client to notice")
    lab.wait_count(client, "ms_handle_reset")
    again = client.connect(server)
    assert again is not connection
    lab.round_trip(client, again)
    assert again.priv.count == 1
    assert server.seen.last_accepted is not first
    assert server.seen.count("ms_handle_reset") == 0


# ---- A13: AnonTest ----


@pytest.mark.contract("A13")
def test_anonymous_dials_are_separate_connections(lab: Lab) -> None:
    server, client = lab.server(), lab.client()
    connections, accepted = [], []
    for _ in range(2):
        connections.append(client.connect(server, anon=True))
        lab.round_trip(client, connections[-1])
        accepted.append(server.seen.last_accepted)
    assert connections[0] is not connections[1]
    assert accepted[0] is not accepted[1]
    assert all(connection.is_connected and connection.is_anon for connection in connections)
    assert [connection.priv.count for connection in connections + accepted] == [1, 1, 1, 1]
    assert client.messenger.lookup(server.addrs) is None, "no look-up finds them"

    for index, connection in enumerate(connections):
        connection.mark_down()
        assert not connection.is_connected
        lab.wait_until(lambda index=index: not accepted[index].is_connected, "the server to notice")
        assert connections[1].is_connected == (index == 0)


@pytest.mark.contract("A13")
def test_mark_down_all_closes_anonymous_connections_too(lab: Lab) -> None:
    server, client = lab.server(), lab.client()
    connection = client.connect(server, anon=True)
    lab.round_trip(client, connection)
    client.messenger.mark_down(server.addrs)  # does not find it
    assert connection.is_connected
    client.messenger.mark_down_all()
    lab.wait_count(client, "ms_handle_reset")
    assert not connection.is_connected


# ---- A16: MessageTest ----

LETTERS = b"abcdefghijklmnopqrstuvwxyz"
HUGE = struct.pack("<I", 30 * 1024) + (struct.pack("<I", len(LETTERS)) + LETTERS) * (30 * 1024)


def _send_back(message: Message) -> None:
    answer = Message(message.type, message.front, message.middle, message.data, tid=message.tid)
    message.connection.send_message(answer)


@pytest.mark.contract("A16")
@pytest.mark.parametrize("segment", ["front", "middle", "data"])
def test_huge_segments_arrive_and_are_answered(lab: Lab, segment: str) -> None:
    server = lab.server(Policy.stateful_server(), seen=lab.dispatcher())
    client = lab.client(Policy.lossless_peer(), bind="v2:127.0.0.1:0")
    server.seen.hooks["ms_dispatch"] = _send_back
    answers: list[dict[str, bytes]] = []
    client.seen.hooks["ms_dispatch"] = lambda message: answers.append(
        {name: bytes(getattr(message, name)) for name in ("front", "middle", "data")}
    )
    client.connect(server).send_message(Message(RAW, **{segment: HUGE}))
    lab.wait_until(lambda: answers, "the answer")
    assert answers == [{"front": b"", "middle": b"", "data": b""} | {segment: HUGE}]

