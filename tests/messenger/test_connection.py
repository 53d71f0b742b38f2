"""What a Connection promises its user: sending, closing, who decides what, keepalives."""

from __future__ import annotations

import socket
import threading
import time
from typing import Any

import pytest

from ceph_msgr import EntityType, Message, Policy
from ceph_msgr.auth.base import ConMode
from ceph_msgr.messages import MPing
from ceph_msgr.protocol.states import State
from tests.messenger.dispatchers import RAW, RAW_FAST
from tests.messenger.lab import Lab
from tests.messenger.raw_peer import RawListener


def closed_port() -> tuple[socket.socket, int]:
    """A port that refuses, held so that nobody else gets it: bound, and not listened on."""
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind(("127.0.0.1", 0))
    return holder, holder.getsockname()[1]


# ---- closing ----


def test_send_on_a_dead_connection_is_dropped_without_a_word(lab: Lab) -> None:
    server, client, connection = lab.connected_pair()
    connection.mark_down()
    for _ in range(3):
        connection.send_message(MPing())
        connection.send_keepalive()
    assert not connection.is_connected
    assert len(connection.out_q) == 0
    lab.round_trip(client, client.connect(server))
    assert [call.connection for call in client.seen.messages].count(connection) == 1, "the one before"


def test_mark_down_of_the_connection_is_silent_and_idempotent(lab: Lab) -> None:
    server, client, connection = lab.connected_pair()
    lab.wait_count(client, "ms_handle_connect")
    before = client.seen.names(connection)
    connection.mark_down()
    connection.mark_down()
    client.messenger.mark_down(server.addrs)  # nobody is there any more
    lab.round_trip(client, client.connect(server))
    assert client.seen.names(connection) == before
    assert client.messenger.lookup(server.addrs) is not connection


def test_mark_down_of_the_messenger_calls_back(lab: Lab) -> None:
    server, client, connection = lab.connected_pair()
    client.messenger.mark_down(server.addrs)
    client.messenger.mark_down(server.addrs)
    assert not connection.is_connected
    lab.wait_count(client, "ms_handle_reset")
    lab.round_trip(client, client.connect(server))
    assert client.seen.names(connection)[-1] == "ms_handle_reset"
    assert client.seen.count("ms_handle_reset") == 1


def test_mark_down_of_an_unknown_address_does_nothing(lab: Lab) -> None:
    _, client, connection = lab.connected_pair()
    client.messenger.mark_down("v2:127.0.0.1:1/1")
    assert connection.is_connected


def test_mark_down_all_and_shutdown_call_back_once_each(lab: Lab) -> None:
    server, client = lab.server(), lab.client()
    connections = [client.connect(server, anon=True) for _ in range(3)]
    lab.wait_connected(*connections)
    client.messenger.mark_down_all()
    lab.wait_count(client, "ms_handle_reset", 3)
    client.messenger.shutdown()
    client.messenger.wait()
    assert client.seen.count("ms_handle_reset") == 3


def test_a_connection_marked_down_before_it_was_dialled_stays_down(lab: Lab) -> None:
    server, client = lab.server(), lab.client()
    with lab.stopped():
        connection = client.connect(server)
        connection.mark_down()
    lab.round_trip(client, client.connect(server))
    assert client.seen.names(connection) == []
    assert connection._protocol.state is State.CLOSED


def test_a_live_connection_is_found_again_and_a_closed_one_never(lab: Lab) -> None:
    server, client, connection = lab.connected_pair()
    assert client.connect(server) is connection
    connection.mark_down()
    assert client.connect(server) is not connection


def test_received_messages_are_discarded_by_mark_down(lab: Lab) -> None:
    """What is queued for dispatch when the connection is marked down is not delivered, and its throttle is given back."""
    server, client = lab.server(seen=lab.dispatcher()), lab.client()
    busy, release = threading.Event(), threading.Event()

    def hold(message: Message) -> None:
        busy.set()
        release.wait(lab.deadline.timeout_s)

    server.seen.hooks["ms_dispatch"] = hold
    connection = client.connect(server)
    for tid in range(10):
        connection.send_message(Message(RAW, b"x" * 100, tid=tid))
    lab.wait_until(busy.is_set, "the first message in the dispatcher's hands")
    lab.wait_until(lambda: server.messenger.get_dispatch_queue_len() == 9, "nine messages behind it")
    assert server.messenger.dispatch_throttle.current == 1000
    assert server.messenger.get_dispatch_queue_max_age() > 0
    server.seen.last_accepted.mark_down()
    assert server.messenger.get_dispatch_queue_len() == 0
    assert server.messenger.dispatch_throttle.current == 100
    release.set()
    lab.wait_until(lambda: server.messenger.dispatch_throttle.current == 0, "the end of the first callback")
    assert [call.tid for call in server.seen.messages] == [0]


# ---- dialling ----


def test_refused_dials_are_told_and_go_on_until_the_server_starts(lab: Lab) -> None:
    """A lossy connection never gives up before it was established once."""
    holder, port = closed_port()
    server = lab.server(start=False, bind="")
    client = lab.client(ms_max_backoff=0.05)
    connection = client.messenger.connect_to(EntityType.OSD, f"v2:127.0.0.1:{port}/{server.messenger._nonce}")
    for tid in range(3):
        connection.send_message(MPing(tid=tid))
    lab.wait_count(client, "ms_handle_refused", 3)
    assert not connection.is_connected
    assert len(connection.out_q) == 3
    assert client.seen.count("ms_handle_reset") == 0

    server.messenger.bind(f"v2:127.0.0.1:{port}")
    holder.close()
    server.messenger.start()
    lab.wait_until(lambda: len(client.seen.messages) == 3, "the answers to what was queued meanwhile")
    assert [call.tid for call in client.seen.messages] == [0, 1, 2]

    server.messenger.shutdown()  # established once: now lossy is lossy
    lab.wait_count(client, "ms_handle_reset")


@pytest.mark.contract("H6")
def test_a_host_that_does_not_answer_costs_the_connection_time_out(lab: Lab) -> None:
    """It accepts the socket and says nothing; each dial is given up after its time, and tried again."""
    client = lab.client(ms_connection_ready_timeout=0.1)
    with RawListener(lab.deadline) as listener:
        begin_s = time.monotonic()
        connection: Any = client.messenger.connect_to(EntityType.OSD, listener.addrs)
        lab.wait_until(lambda: client.counter("msgr_connection_ready_timeouts") >= 2, "two dials given up")
        assert time.monotonic() - begin_s >= 0.2
        assert connection._protocol.faults >= 2
        assert "not READY in time, still BANNER_CONNECTING" in str(connection._protocol.last_error)
        connection.mark_down()


@pytest.mark.parametrize("server_is_lossy", [True, False])
@pytest.mark.parametrize("client_policy", [Policy.lossy_client(), Policy.lossless_client()], ids=["lossy", "lossless"])
def test_the_server_decides_lossiness(lab: Lab, server_is_lossy: bool, client_policy: Policy) -> None:
    policy = Policy.stateless_server() if server_is_lossy else Policy.stateful_server()
    server, client, connection = lab.connected_pair(lab.server(policy), lab.client(client_policy))
    lossless = lab.on_worker(connection, lambda: connection.session_info())["lossless"]
    assert bool(lossless) is not server_is_lossy
    server.seen.last_accepted.mark_down()
    if server_is_lossy:
        lab.wait_count(client, "ms_handle_reset")
        assert not connection.is_connected
    else:
        lab.wait_count(client, "ms_handle_remote_reset")
        lab.wait_connected(connection)


def test_mark_disposable_makes_the_next_fault_final(lab: Lab) -> None:
    server, client, connection = lab.connected_pair(lab.server(Policy.stateful_server()), lab.client(Policy.lossless_client()))
    connection.mark_disposable()
    lab.round_trip(client, connection)
    assert connection.is_connected
    server.seen.last_accepted.mark_down()
    lab.wait_count(client, "ms_handle_reset")
    assert client.seen.count("ms_handle_remote_reset") == 0


# ---- order ----


def test_queued_messages_go_by_priority_and_numbers_are_given_when_they_are_written(lab: Lab) -> None:
    server, client = lab.server(seen=lab.dispatcher()), lab.client()
    priorities = [127, 196, 64, 255, 127, 63, 196, 255]
    with lab.stopped():
        connection = client.connect(server)
        for tid, priority in enumerate(priorities):
            connection.send_message(Message(RAW_FAST, priority=priority, tid=tid))
        assert connection.out_q.priorities() == {255: 2, 196: 2, 127: 2, 64: 1, 63: 1}
    lab.wait_until(lambda: len(server.seen.messages) == len(priorities), "all messages")
    by_priority = sorted(range(len(priorities)), key=lambda tid: -priorities[tid])  # stable: in order inside a priority
    assert [call.tid for call in server.seen.messages] == by_priority
    assert [call.seq for call in server.seen.messages] == list(range(1, len(priorities) + 1))


def test_priority_0_becomes_the_default(lab: Lab) -> None:
    server, client = lab.server(seen=lab.dispatcher()), lab.client()
    message = Message(RAW_FAST, priority=0)
    client.connect(server).send_message(message)
    lab.wait_until(lambda: server.seen.messages, "the message")
    assert server.seen.messages[0].priority == 127
    assert message.priority == 0, "sending does not change a message"


def test_sends_from_eight_threads_keep_the_order_of_each(lab: Lab) -> None:
    server, client = lab.server(seen=lab.dispatcher()), lab.client()
    connection = client.connect(server)
    threads, each = 8, 200
    start = threading.Barrier(threads)

    def send(number: int) -> None:
        start.wait(lab.deadline.timeout_s)
        for i in range(each):
            connection.send_message(Message(RAW_FAST, tid=number << 32 | i))

    senders = [threading.Thread(target=send, args=(number,)) for number in range(threads)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join(lab.deadline.remaining_s("the senders"))
    lab.wait_until(lambda: len(server.seen.messages) == threads * each, "all messages")
    for number in range(threads):
        assert [call.tid & 0xFFFFFFFF for call in server.seen.messages if call.tid >> 32 == number] == list(range(each))
    assert [call.seq for call in server.seen.messages] == list(range(1, threads * each + 1))


# ---- the peer, and signs of life ----


def test_what_a_connection_knows_of_its_peer(lab: Lab) -> None:
    server, client = lab.server(name="osd.7"), lab.client(name="client.4711")
    with lab.stopped():
        connection = client.connect(server)
        assert (connection.features, connection.con_mode, connection.peer_name.num) == (0, None, -1)
        assert connection.peer_type == EntityType.OSD
    lab.round_trip(client, connection)
    accepted = server.seen.last_accepted
    assert str(connection.peer_name) == "osd.7"
    assert str(accepted.peer_name) == "client.4711"
    assert connection.peer_addrs == server.addrs
    assert accepted.peer_addrs == client.addrs
    assert connection.con_mode is accepted.con_mode is ConMode.CRC
    assert connection.features == accepted.features != 0
    assert connection.has_feature(1 << 59)
    assert connection.messenger is client.messenger
    assert not connection.is_loopback
    assert not connection.is_anon


def test_keepalive_stamps(lab: Lab) -> None:
    server, _client, connection = lab.connected_pair()
    accepted = server.seen.last_accepted
    assert connection.last_keepalive_ack is None
    assert accepted.last_keepalive is None
    before_s = time.time()
    connection.send_keepalive()
    lab.wait_until(lambda: connection.last_keepalive_ack, "the acknowledgement")
    after_s = time.time()
    sent_s, arrived_s = connection.last_keepalive_ack, accepted.last_keepalive
    assert sent_s and arrived_s
    assert before_s - 0.001 <= sent_s <= arrived_s + 0.001 <= after_s + 0.002
    assert connection.last_keepalive is None, "the peer did not ask"
    assert accepted.last_keepalive_ack is None

    connection.send_keepalive()
    lab.wait_until(lambda: connection.last_keepalive_ack > sent_s, "the second acknowledgement")


def test_keepalives_coalesce_until_one_is_sent(lab: Lab) -> None:
    _server, client, connection = lab.connected_pair(lab.server(stack=lab.make_stack()))
    before = client.core_stat("keepalives_sent")
    with lab.stopped():
        for _ in range(5):
            connection.send_keepalive()
    lab.wait_until(lambda: connection.last_keepalive_ack, "the acknowledgement")
    lab.round_trip(client, connection)
    assert client.core_stat("keepalives_sent") == before + 1


def test_built_in_keepalive_faults_a_silent_peer(lab: Lab) -> None:
    client = lab.client(ms_keepalive_interval=0.05, ms_keepalive_timeout=0.15)
    with RawListener(lab.deadline) as listener:
        connection: Any = client.messenger.connect_to(EntityType.OSD, listener.addrs)
        with listener.accept() as peer:
            peer.become_server(listener.addrs)  # and never answers anything
            lab.wait_count(client, "ms_handle_reset")
    assert connection._protocol.last_error.cause == "keepalive"
    assert not connection.is_connected
