"""The bound on what is unsent or unacknowledged, and waiting for it to shrink."""

from __future__ import annotations

import socket
import threading
from typing import Any

import pytest

from ceph_msgr import EntityType, Message, Policy, SendQueueFull
from ceph_msgr.errors import Throttled
from ceph_msgr.messages import MOSDOp
from ceph_msgr.protocol.tags import Tag
from tests.messenger.dispatchers import RAW, RAW_FAST
from tests.messenger.lab import Lab
from tests.messenger.raw_peer import RawListener

HEADER_BYTES = 41


def fill(connection: Any, payload: bytes) -> int:
    """Sends until the queue is full; returns how many were taken."""
    for sent in range(1000):
        try:
            connection.send_message(Message(RAW_FAST, payload))
        except SendQueueFull:
            return sent
    pytest.fail("the queue has no bound")


@pytest.mark.contract("H3")
def test_a_full_queue_raises_and_tells_when_it_has_drained(lab: Lab) -> None:
    server, client = lab.server(seen=lab.dispatcher()), lab.client(ms_send_queue_max_bytes=1000)
    with lab.stopped():
        connection = client.connect(server)
        taken = fill(connection, b"x" * 100)
        assert taken == 1000 // (100 + HEADER_BYTES)
        assert connection.out_q.len_bytes == taken * (100 + HEADER_BYTES)
        with pytest.raises(SendQueueFull, match=r"a message of 100 bytes does not fit: 987 bytes .* at most 1000"):
            connection.send_message(Message(RAW_FAST, b"x" * 100))
        assert issubclass(SendQueueFull, Throttled)
        assert not connection.wait_writable(0.02)
        assert not connection.flush(0.02)
        assert client.seen.count("ms_handle_drained") == 0
    assert connection.wait_writable(lab.deadline.remaining_s("room"))
    assert connection.flush(lab.deadline.remaining_s("an empty queue"))
    lab.wait_count(client, "ms_handle_drained")
    connection.send_message(Message(RAW_FAST, b"x" * 100))
    lab.wait_until(lambda: len(server.seen.messages) == taken + 1, "all that was taken")
    assert client.seen.count("ms_handle_drained") == 1, "once for each time it was full"


def test_an_empty_queue_takes_any_one_message(lab: Lab) -> None:
    server, client = lab.server(seen=lab.dispatcher()), lab.client(ms_send_queue_max_bytes=1000)
    with lab.stopped():
        connection = client.connect(server)
        connection.send_message(Message(RAW_FAST, bytes(100_000)))
        with pytest.raises(SendQueueFull):
            connection.send_message(Message(RAW_FAST))
    assert connection.flush(lab.deadline.remaining_s("an empty queue"))
    lab.wait_until(lambda: len(server.seen.messages) == 1, "the message")


@pytest.mark.contract("H3")
def test_0_is_unbounded(lab: Lab) -> None:
    server, client = lab.server(seen=lab.dispatcher()), lab.client(ms_send_queue_max_bytes=0)
    payload = bytes(1 << 20)
    with lab.stopped():
        connection = client.connect(server)
        for _ in range(100):  # one object: this costs no memory
            connection.send_message(Message(RAW_FAST, data=payload))
        assert connection.out_q.len_bytes > 64 << 20
        assert connection.wait_writable(0), "without a bound there is always room"
        connection.mark_down()


@pytest.mark.contract("H3")
def test_a_lossless_queue_is_drained_by_acknowledgements(lab: Lab) -> None:
    client = lab.client(Policy.lossless_client(), ms_send_queue_max_bytes=1000)
    with RawListener(lab.deadline) as listener:
        connection: Any = client.messenger.connect_to(EntityType.OSD, listener.addrs)
        with listener.accept() as peer:
            peer.become_server(listener.addrs, lossy=False, cookie=4711)
            taken = fill(connection, b"x" * 100)
            for _ in range(taken):
                assert peer.recv_raw_frame().tag == Tag.MESSAGE
            # The peer may have read a message before the worker has noted that it is written.
            lab.wait_until(lambda: connection.out_q.unacked == taken, "all to count as sent")
            assert len(connection.out_q) == 0
            assert not connection.flush(0.02), "sent is not acknowledged"
            assert not connection.wait_writable(0.02)
            with pytest.raises(SendQueueFull):
                connection.send_message(Message(RAW_FAST, b"x" * 100))

            peer.send_tag(Tag.ACK, (taken - 1).to_bytes(8, "little"))
            assert connection.wait_writable(lab.deadline.remaining_s("room"))
            assert not connection.flush(0.02)
            assert connection.out_q.unacked == 1
            lab.wait_count(client, "ms_handle_drained")
            peer.send_tag(Tag.ACK, taken.to_bytes(8, "little"))
            assert connection.flush(lab.deadline.remaining_s("the last acknowledgement"))
            assert connection.out_q.len_bytes == 0
            connection.mark_down()


def test_flush_between_two_messengers(lab: Lab) -> None:
    server = lab.server(Policy.stateful_server(), seen=lab.dispatcher())
    client = lab.client(Policy.lossless_client())
    connection = client.connect(server)
    for _ in range(200):
        connection.send_message(Message(RAW_FAST, bytes(1000)))
    assert connection.flush(lab.deadline.remaining_s("all acknowledgements"))
    assert not connection.out_q.has_queued_messages
    assert len(server.seen.messages) == 200, "acknowledged is received"


@pytest.mark.parametrize("how", ["connection", "messenger", "shutdown"])
def test_closing_wakes_those_who_wait(lab: Lab, how: str) -> None:
    client = lab.client(ms_send_queue_max_bytes=1000)
    with RawListener(lab.deadline) as listener:  # nobody accepts
        connection = client.messenger.connect_to(EntityType.OSD, listener.addrs)
        fill(connection, b"x" * 100)
        results: list[bool] = []
        # They wait without a time limit: that they return at all is because they were woken.
        waiting = [
            threading.Thread(target=lambda wait=wait: results.append(wait()), daemon=True)
            for wait in (connection.flush, connection.wait_writable)
        ]
        for thread in waiting:
            thread.start()
        if how == "connection":
            connection.mark_down()
        elif how == "messenger":
            client.messenger.mark_down(listener.addrs)
        else:
            client.messenger.shutdown()
        for thread in waiting:
            thread.join(lab.deadline.remaining_s("the waiting threads"))
        assert results == [False, False]
    assert not connection.flush(0.1)
    assert not connection.wait_writable(0.1)


def test_several_threads_wait_for_room_and_all_get_it(lab: Lab) -> None:
    server, client = lab.server(seen=lab.dispatcher()), lab.client(ms_send_queue_max_bytes=2000)
    connection = client.connect(server)
    each = 100

    def send() -> None:
        for _ in range(each):
            while True:
                try:
                    connection.send_message(Message(RAW_FAST, b"x" * 100))
                    break
                except SendQueueFull:
                    assert connection.wait_writable(lab.deadline.remaining_s("room"))

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(lab.deadline.remaining_s("the senders"))
    lab.wait_until(lambda: len(server.seen.messages) == 4 * each, "all messages")


def test_a_typed_message_counts_in_full_before_the_peer_is_known(lab: Lab) -> None:
    """Its front cannot be encoded yet; what it carries is bounded and copied all the same."""
    client = lab.client(ms_send_queue_max_bytes=100_000)
    with socket.create_server(("127.0.0.1", 0)) as listener:  # accepts, and says nothing
        port = listener.getsockname()[1]
        connection = client.messenger.connect_to(EntityType.OSD, f"v2:127.0.0.1:{port}/0")
        data = bytearray(b"a" * 40_000)
        connection.send_message(MOSDOp("x", data=data))
        data[:] = b"b" * len(data)
        assert connection.out_q.len_bytes == HEADER_BYTES + 40_000
        connection.send_message(MOSDOp("x", data=data))
        with pytest.raises(SendQueueFull):
            connection.send_message(MOSDOp("x", data=data))
        connection.mark_down()


def test_a_typed_message_is_copied_when_it_is_sent(lab: Lab) -> None:
    server, client = lab.server(seen=lab.dispatcher()), lab.client()
    received: list[bytes] = []
    server.seen.hooks["ms_dispatch"] = lambda message: received.append(bytes(message.data))
    connection = client.messenger.connect_to(EntityType.OSD, server.addrs)
    data = bytearray(b"a" * 2000)
    with lab.stopped():
        connection.send_message(MOSDOp("x", data=data))
        data[:] = b"b" * len(data)
    lab.wait_until(lambda: received, "the message")
    assert received == [b"a" * 2000]


def test_messages_without_a_byte_are_bounded_too(lab: Lab) -> None:
    server = lab.server(seen=lab.dispatcher(), ms_dispatch_throttle_messages=10)
    client = lab.client()
    busy, release = threading.Event(), threading.Event()

    def hold(message: Message) -> None:
        busy.set()
        release.wait(lab.deadline.timeout_s)

    server.seen.hooks["ms_dispatch"] = hold
    connection = client.connect(server)
    for tid in range(50):
        connection.send_message(Message(RAW, tid=tid))
    lab.wait_until(lambda: server.core_stat("throttle_stalls"), "reading to stop")
    assert busy.wait(lab.deadline.remaining_s("the callback"))
    assert server.messenger.get_dispatch_queue_len() <= 10
    release.set()
    lab.wait_until(lambda: len(server.seen.messages) == 50, "all messages")
