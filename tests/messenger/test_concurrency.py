"""Many threads at once: all public calls at random; new ports, and other policies, in the middle of traffic.

``CEPH_MSGR_STORM_SECONDS`` says for how long the storm blows, 2 if it does not.
"""

from __future__ import annotations

import os
import random
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Self

import pytest

from ceph_msgr import (
    ConnectionFault,
    EntityAddrVec,
    EntityType,
    Message,
    Policy,
    Processor,
    SendQueueFull,
    Throttle,
)
from tests.messenger.dispatchers import RAW_FAST
from tests.messenger.lab import Lab, Node
from tests.messenger.storm import Listener, Storm

STORM_S = float(os.environ.get("CEPH_MSGR_STORM_SECONDS") or 2.0)

two_workers = pytest.mark.parametrize("lab", [2], indirect=True)


@pytest.mark.slow
@pytest.mark.timeout(STORM_S + 120)
@pytest.mark.contract("H5")
@two_workers
def test_all_calls_from_eight_threads(lab: Lab, rng: random.Random) -> None:
    """Of two peers, a client, and a peer that is shut down and started again and again."""
    listeners = [Listener(random.Random(rng.random())) for _ in range(4)]
    options = {"ms_send_queue_max_bytes": 256 << 10, "ms_max_backoff": 0.05, "ms_connection_ready_timeout": 5.0}
    bound = [
        lab.node(f"osd.{number}", Policy.lossless_peer(), bind="v2:127.0.0.1:0", dispatcher=listeners[number], **options)
        for number in range(3)
    ]
    client = lab.client(Policy.lossless_client(), dispatcher=listeners[3], **options)
    seed = rng.randrange(1 << 32)
    storm = Storm([bound[0].messenger, client.messenger, bound[1].messenger, bound[2].messenger], lab.stack, seed)
    storm.run(STORM_S)
    print(seed, dict(storm.calls), dict(storm.refused), [(each.received, dict(each.callbacks)) for each in listeners])
    storm.loosen()
    assert [failure for listener in listeners for failure in listener.failures] == []
    assert sum(listener.received for listener in listeners) > 0
    lab.close()
    storm.forget()
    lab.stack.drain()


# ---- what the storm has found ----


def test_a_shutdown_in_the_middle_of_rebind_leaves_no_listener(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    server = lab.server()
    bind = Processor.bind

    def bind_late(processor: Processor, *args: object) -> EntityAddrVec:
        server.messenger.shutdown()
        return bind(processor, *args)

    monkeypatch.setattr(Processor, "bind", bind_late)
    server.messenger.rebind()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port), lab.deadline.remaining_s())


def test_two_rebinds_at_once_leave_one_listener(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second waits for the first: else both would listen, and the messenger knew of one."""
    server = lab.server()
    both = threading.Barrier(2)
    bind = Processor.bind

    def bind_together(processor: Processor, *args: object) -> EntityAddrVec:
        with suppress(threading.BrokenBarrierError):
            both.wait(0.2)
            pytest.fail("both threads bind")
        return bind(processor, *args)

    monkeypatch.setattr(Processor, "bind", bind_together)
    with ThreadPoolExecutor(2) as pool:
        for rebound in [pool.submit(server.messenger.rebind) for _ in range(2)]:
            rebound.result(lab.deadline.remaining_s())
    client = lab.client()
    lab.round_trip(client, client.connect(server))


def test_an_address_without_ip_cannot_be_dialled(lab: Lab) -> None:
    client, other = lab.client(), lab.client()
    with pytest.raises(ValueError, match="has no msgr2 address to dial"):
        client.connect(other)


# ---- under load ----


class Load:
    """A thread that sends numbered messages over the connection to wherever the server is, as fast as the queue takes them."""

    def __init__(self, lab: Lab, client: Node, server: Node) -> None:
        #: Of each connection that was used, in their order: the first number sent over it.
        self.starts: list[int] = []
        self.sent = 0
        self._lab = lab
        self._client = client
        self._server = server
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._error: BaseException | None = None

    def _run(self) -> None:
        try:
            connection = None
            while not self._is_over.is_set():
                found = self._client.connect(self._server)
                if found is not connection:
                    connection = found
                    self.starts.append(self.sent)
                try:
                    connection.send_message(Message(RAW_FAST, bytes(100), tid=self.sent))
                    self.sent += 1
                except SendQueueFull:
                    connection.wait_writable(0.05)
        except Exception as error:
            self._error = error

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._is_over.set()
        self._thread.join(self._lab.deadline.remaining_s("the load"))
        assert self._error is None

    def arrived(self) -> list[int]:
        return [call.tid for call in self._server.seen.messages]

    def wait_arrived(self) -> None:
        self._lab.wait_until(lambda: self.arrived()[-1] == self.sent - 1, "the last message")


@pytest.mark.slow
@pytest.mark.contract("H5")
@two_workers
def test_rebind_under_load(lab: Lab) -> None:
    """Each time the server is another entity: what it had not answered for is lost, nothing is doubled, and the load goes on."""
    server = lab.server(Policy.stateful_server())
    client = lab.client(Policy.lossless_client(), ms_send_queue_max_bytes=32 << 10)
    with Load(lab, client, server) as load:
        for _ in range(10):
            before = len(load.arrived())
            lab.wait_until(lambda before=before: len(load.arrived()) >= before + 100, "messages")
            old = server.addrs
            server.messenger.rebind()
            client.messenger.mark_down(old)
            assert server.addrs != old
        before = len(load.arrived())
        lab.wait_until(lambda: len(load.arrived()) >= before + 100, "messages after the last rebind")
    load.wait_arrived()
    arrived = load.arrived()
    assert arrived == sorted(set(arrived)), "doubled or out of order"
    assert len(load.starts) >= 10
    last = load.starts[-1]
    assert [number for number in arrived if number >= last] == list(range(last, load.sent))


@pytest.mark.slow
@pytest.mark.contract("H5")
@two_workers
def test_policies_change_under_load(lab: Lab) -> None:
    """A connection keeps the policy it began with: what was lossless stays so while others are set again and again."""
    server = lab.server(Policy.stateful_server())
    client = lab.client(Policy.lossless_client(), ms_send_queue_max_bytes=32 << 10)
    other = lab.client(Policy.lossy_client())
    throttle = Throttle("messages", 1)
    with Load(lab, client, server) as load:
        lab.wait_until(load.arrived, "the session to begin, with the policies there are now")
        for number in range(30):
            lossy = number % 2 == 0
            for node, policies in (
                (server, (Policy.stateless_server, Policy.stateful_server)),
                (client, (Policy.lossy_client, Policy.lossless_client)),
            ):
                policy = policies[0 if lossy else 1]()
                node.messenger.set_default_policy(policy)
                node.messenger.set_policy(EntityType.CLIENT, policy)
                node.messenger.set_policy_throttlers(EntityType.CLIENT, throttle if lossy else None, None)
            newcomer = other.connect(server, anon=True)
            lab.wait_connected(newcomer)
            newcomer.mark_down()
            before = len(load.arrived())
            lab.wait_until(lambda before=before: len(load.arrived()) > before, "a message")
            for connection in client.connections():
                connection.worker.submit_to(partial(connection.fault, ConnectionFault("broken by the test", "test")))
    load.wait_arrived()
    assert load.starts == [0]
    assert load.arrived() == list(range(load.sent))
    assert client.counter("msgr_reconnects") > 0
