"""Three plain cases: I0a to I0c."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from ceph_msgr import Config, Connection, Dispatcher, EntityType, Message, Messenger, Policy, Stack
from tests.conftest import Deadline
from tests.failover.pair import MESSAGE_TYPE, OPTIONS

ROUNDS = 512
KEEPALIVE_SHARE = 0.1


@pytest.fixture
def ends() -> Iterator[tuple[Messenger, Messenger]]:
    """A server and a client, not started; each with a stack of its own."""
    with ExitStack() as cleanup:

        def make(name: str, policy: Policy) -> Messenger:
            stack = Stack()
            cleanup.callback(stack.stop)
            messenger = Messenger.create(name, nonce=1, config=Config(**OPTIONS), stack=stack)
            messenger.set_default_policy(policy)
            return cleanup.enter_context(messenger)

        server, client = make("osd.0", Policy.stateless_server()), make("osd.1", Policy.lossy_client())
        server.bind("v2:127.0.0.1:0")
        yield server, client


class Echo(Dispatcher):
    def ms_dispatch(self, message: Message) -> bool:
        message.connection.send_message(Message(MESSAGE_TYPE, front=message.front))
        return True


class Pinger(Dispatcher):
    """Sends the next ping when the answer to the last one has come, and keepalives in between."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.answers: list[int] = []
        self.keepalives = 0
        self.is_done = threading.Event()

    def ping(self, connection: Connection) -> None:
        if self.rng.random() < KEEPALIVE_SHARE:
            self.keepalives += 1
            connection.send_keepalive()
        connection.send_message(Message(MESSAGE_TYPE, front=len(self.answers).to_bytes(8, "little")))

    def ms_dispatch(self, message: Message) -> bool:
        self.answers.append(int.from_bytes(message.front, "little"))
        if len(self.answers) < ROUNDS:
            self.ping(message.connection)
        else:
            self.is_done.set()
        return True


@pytest.mark.contract("I0a")
def test_echo(ends: tuple[Messenger, Messenger], deadline: Deadline, rng: random.Random) -> None:
    server, client = ends
    pinger = Pinger(rng)
    server.add_dispatcher_head(Echo())
    client.add_dispatcher_head(pinger)
    server.start()
    client.start()
    connection = client.connect_to(EntityType.OSD, server.myaddrs)
    pinger.ping(connection)
    assert pinger.is_done.wait(deadline.remaining_s("the last answer"))
    assert pinger.answers == list(range(ROUNDS))
    assert pinger.keepalives and connection.last_keepalive_ack


class Patient(Dispatcher):
    """Its queued handler waits until a message was dispatched fast."""

    FAST_TYPE = MESSAGE_TYPE + 1

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self.has_begun = threading.Event()
        self.has_seen_second = threading.Event()
        self.is_done = threading.Event()

    def ms_can_fast_dispatch_any(self) -> bool:
        return True

    def ms_can_fast_dispatch(self, message_type: int) -> bool:
        return message_type == self.FAST_TYPE

    def ms_dispatch(self, message: Message) -> bool:
        self.has_begun.set()
        if self.has_seen_second.wait(self.timeout_s):
            self.is_done.set()
        return True

    def ms_fast_dispatch(self, message: Message) -> None:
        self.has_seen_second.set()


@pytest.mark.contract("I0b")
def test_concurrent_dispatch(ends: tuple[Messenger, Messenger], deadline: Deadline) -> None:
    server, client = ends
    patient = Patient(deadline.timeout_s)
    server.add_dispatcher_head(patient)
    client.add_dispatcher_head(Dispatcher())
    server.start()
    client.start()
    connection = client.connect_to(EntityType.OSD, server.myaddrs)
    connection.send_message(Message(MESSAGE_TYPE))
    assert patient.has_begun.wait(deadline.remaining_s("the first message"))
    connection.send_message(Message(Patient.FAST_TYPE))
    assert patient.is_done.wait(deadline.remaining_s("the second message"))


class Counting(Dispatcher):
    def __init__(self, enough: int) -> None:
        self.enough = enough
        self.count = 0
        self.has_enough = threading.Event()

    def ms_dispatch(self, message: Message) -> bool:
        self.count += 1
        if self.count == self.enough:
            self.has_enough.set()
        return True


@pytest.mark.contract("I0c")
def test_preemptive_shutdown(ends: tuple[Messenger, Messenger], deadline: Deadline) -> None:
    server, client = ends
    counting, stop = Counting(100), threading.Event()
    server.add_dispatcher_head(counting)
    client.add_dispatcher_head(Dispatcher())
    server.start()
    client.start()
    connection = client.connect_to(EntityType.OSD, server.myaddrs)

    def send_without_pause() -> None:
        while not stop.is_set():
            connection.send_message(Message(MESSAGE_TYPE))
            connection.wait_writable(0.1)

    sender = threading.Thread(target=send_without_pause)
    sender.start()
    try:
        assert counting.has_enough.wait(deadline.remaining_s("messages to flow"))
        server.shutdown()
        assert server.wait(deadline.remaining_s("the server's end"))
        client.shutdown()
        assert client.wait(deadline.remaining_s("the client's end"))
    finally:
        stop.set()
        sender.join()
