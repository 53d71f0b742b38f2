"""``Connection.send_message`` through two messengers of this process, from a user's thread and over a real socket."""

from __future__ import annotations

import threading

import pytest

from ceph_msgr import Config, Dispatcher, EntityType, Message, Messenger, Policy
from ceph_msgr.messages import register

TYPE = 0xFF00
TIMEOUT_S = 30.0

register(TYPE, Message)


class Receiver(Dispatcher):
    """Counts on the worker; ``complete`` is set once as many have come as are expected."""

    def __init__(self) -> None:
        self.received = 0
        self.bytes = 0
        self.complete = threading.Event()
        self.expected = -1

    def expect(self, count: int) -> None:
        self.complete.clear()
        self.received = self.bytes = 0
        self.expected = count

    def ms_can_fast_dispatch_any(self) -> bool:
        return True

    def ms_can_fast_dispatch(self, message_type: int) -> bool:
        return message_type == TYPE

    def ms_fast_dispatch(self, message: Message) -> None:
        self.received += 1
        self.bytes += len(message.data)
        if self.received == self.expected:
            self.complete.set()


@pytest.fixture
def receiver():
    return Receiver()


@pytest.fixture
def connection(receiver):
    """To a messenger whose dispatcher is ``receiver``; connected."""
    config = Config(ms_send_queue_max_bytes=0)
    server = Messenger.create("osd.0", nonce=0, config=config)
    client = Messenger.create("client.1", config=config)
    with server, client:
        server.set_default_policy(Policy.stateless_server())
        server.bind("127.0.0.1:0")
        server.add_dispatcher_head(receiver)
        server.start()
        client.set_default_policy(Policy.lossy_client())
        client.add_dispatcher_head(Dispatcher())
        client.start()
        connection = client.connect_to(EntityType.OSD, server.myaddrs)
        receiver.expect(1)
        connection.send_message(Message(TYPE))
        assert receiver.complete.wait(TIMEOUT_S), "not connected"
        yield connection


def sender(connection, message: Message, count: int):
    def send() -> None:
        send_message = connection.send_message
        for _ in range(count):
            send_message(message)

    return send


@pytest.mark.parametrize("data_bytes", [64, 4096])
def test_send_message(benchmark, connection, receiver, batch: int, data_bytes: int) -> None:
    """Only the calls: how long a user's thread is held up, while the worker writes what it can."""

    def delivered(*_) -> None:
        assert receiver.complete.wait(TIMEOUT_S), f"{receiver.received} of {batch} arrived"
        assert (receiver.received, receiver.bytes) == (batch, batch * data_bytes)

    benchmark.pedantic(
        sender(connection, Message(TYPE, data=bytes(data_bytes)), batch),
        setup=lambda: receiver.expect(batch),
        teardown=delivered,
        rounds=30,
        warmup_rounds=2,
    )


@pytest.mark.parametrize("data_bytes", [64, 4096])
def test_send_and_dispatch(benchmark, connection, receiver, batch: int, data_bytes: int) -> None:
    """The calls, the way over the socket, and the callbacks of the receiver."""
    send = sender(connection, Message(TYPE, data=bytes(data_bytes)), batch)

    def send_and_wait() -> None:
        receiver.expect(batch)
        send()
        assert receiver.complete.wait(TIMEOUT_S), f"{receiver.received} of {batch} arrived"

    benchmark.pedantic(send_and_wait, rounds=30, warmup_rounds=2)
    assert (receiver.received, receiver.bytes) == (batch, batch * data_bytes)
