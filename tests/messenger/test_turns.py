"""One turn of a worker, one entry into Python; and EVENT_WRITABLE only while bytes are unsent."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate
from types import FrameType

import pytest

from ceph_msgr import Connection, Dispatcher, EntityType, Message, Policy
from ceph_msgr._core import EVENT_READABLE, EVENT_WRITABLE
from ceph_msgr.net import Worker
from ceph_msgr.protocol.tags import Tag
from tests.messenger.dispatchers import RAW_FAST
from tests.messenger.lab import Lab, Node
from tests.messenger.raw_peer import RawListener, RawPeer, message_segments
from tests.session.reference_codec import assemble


class Taking(Dispatcher):
    """Does nothing with a message but count it."""

    def __init__(self) -> None:
        self.count = 0

    def ms_can_fast_dispatch_any(self) -> bool:
        return True

    def ms_can_fast_dispatch(self, message_type: int) -> bool:
        return True

    def ms_fast_dispatch(self, message: Message) -> None:
        self.count += 1


@contextmanager
def python_calls(worker: Worker) -> Iterator[Counter[str]]:
    """Counts the Python functions that run on the worker's thread meanwhile, but for the loop's own ``is_set``, by which it
    asks before each turn whether to end."""
    calls: Counter[str] = Counter()

    def note(frame: FrameType, event: str, arg: object) -> None:
        if event == "call" and frame.f_code is not threading.Event.is_set.__code__:
            calls[frame.f_code.co_name] += 1

    worker.submit_to(lambda: sys.setprofile(note))
    calls.clear()
    try:
        yield calls
    finally:
        worker.submit_to(lambda: sys.setprofile(None))


def changes(node: Node, before: dict[str, int]) -> Counter[str]:
    after = node.messenger.stack.workers[0].core.stats()
    return Counter({name: after[name] - before[name] for name in after})


def changes_at_rest(lab: Lab, node: Node, before: dict[str, int]) -> Counter[str]:
    """When every turn has come up to Python. C counts it as a turn a moment before."""
    seen: list[Counter[str]] = []

    def is_at_rest() -> bool:
        seen.append(changes(node, before))
        return seen[-1]["python_entries"] == seen[-1]["turns"]

    lab.wait_until(is_at_rest, "as many entries into Python as turns")
    return seen[-1]


# ---- one turn, one entry ----


def receive(lab: Lab) -> tuple[Node, Taking, Worker]:
    """A server on a worker of its own that takes whatever comes."""
    taking = Taking()
    node = lab.server(dispatcher=taking, stack=lab.make_stack())
    return node, taking, node.messenger.stack.workers[0]


def test_python_is_entered_once_per_turn_and_once_per_message(lab: Lab) -> None:
    node, taking, worker = receive(lab)
    burst = [assemble(Tag.MESSAGE, message_segments(RAW_FAST, seq, b"x" * 10)) for seq in range(1, 201)]
    with RawPeer.dial(node.addrs[0], lab.deadline) as peer:
        peer.become_client(node.addrs[0])
        peer.send(burst[0])  # the route of this type is looked up once
        lab.wait_until(lambda: taking.count == 1, "the first message")
        with python_calls(worker) as calls:
            before = worker.core.stats()
            peer.send(b"".join(burst[1:]))
            lab.wait_until(lambda: taking.count == 200, "the burst")
            counted = dict(calls)
            changed = changes_at_rest(lab, node, before)
    assert counted == {"ms_fast_dispatch": 199}, "no other Python runs on the worker"
    assert changed["recv_messages"] == changed["messages_delivered"] == 199
    assert changed["python_entries"] == changed["turns"] <= changed["recv_calls"]
    assert changed["turns"] < 20, "a burst is taken in a few turns, not message by message"


class Answering(Taking):
    """Answers every message, and notes how many answers had been written when it came."""

    def __init__(self, worker: Worker) -> None:
        super().__init__()
        self._worker = worker
        self.written: list[int] = []

    def ms_fast_dispatch(self, message: Message) -> None:
        self.written.append(self._worker.core.stats()["send_messages"])
        message.connection.send_message(Message(RAW_FAST))


def test_answers_leave_while_the_rest_of_the_batch_is_dispatched(lab: Lab) -> None:
    parts = [128, 128, 44]  # however long the worker has waited for it
    count = sum(parts)
    stack = lab.make_stack()
    answering = Answering(stack.workers[0])
    node = lab.server(dispatcher=answering, stack=stack)
    burst = b"".join(assemble(Tag.MESSAGE, message_segments(RAW_FAST, seq, b"x")) for seq in range(1, count + 1))
    with RawPeer.dial(node.addrs[0], lab.deadline) as peer:
        peer.become_client(node.addrs[0])
        before = stack.workers[0].core.stats()
        with lab.stopped(stack):
            peer.send(burst)
        lab.wait_until(lambda: len(answering.written) == count, "the burst")
        lab.wait_until(lambda: changes(node, before)["send_messages"] == count, "all answers")
    written_before = accumulate(parts[:-1], initial=0)
    expected = [already for already, part in zip(written_before, parts, strict=True) for _ in range(part)]
    assert [written - before["send_messages"] for written in answering.written] == expected


@pytest.mark.parametrize("senders", [1, 3])
def test_a_burst_from_other_threads_costs_the_sending_worker_no_python(lab: Lab, senders: int) -> None:
    server, taking, server_worker = receive(lab)
    stack = lab.make_stack()
    client = lab.client(stack=stack)
    connection = client.connect(server)
    lab.wait_connected(connection)
    worker = stack.workers[0]
    each = 500
    server_before = server_worker.core.stats()

    def send() -> None:
        for tid in range(each):
            connection.send_message(Message(RAW_FAST, b"x" * 100, tid=tid))

    threads = [threading.Thread(target=send) for _ in range(senders)]
    with python_calls(worker) as calls:
        before, entries = worker.core.stats(), worker.center.stats()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(lab.deadline.remaining_s("the senders"))
        lab.wait_until(lambda: taking.count == each * senders, "all messages")
        counted, changed = dict(calls), changes_at_rest(lab, client, before)
        wakeups = worker.center.stats()["wakeups_sent"] - entries["wakeups_sent"]
    assert not counted, "sending costs the worker no Python at all"
    assert changed["send_messages"] == each * senders
    assert changed["python_entries"] == changed["turns"]
    assert wakeups <= changed["rounds"] + 1, "at most one wake-up for each round of the worker"
    received = changes_at_rest(lab, server, server_before)
    assert received["messages_delivered"] == each * senders
    assert received["python_entries"] == received["turns"] <= each * senders


def test_a_burst_while_the_worker_is_busy_costs_one_wake_up(lab: Lab) -> None:
    server, taking, _ = receive(lab)
    client = lab.client()
    connection = client.connect(server)
    lab.wait_connected(connection)
    center = lab.stack.workers[0].center
    with lab.stopped():
        before = center.stats()["wakeups_sent"]
        for _ in range(1000):
            connection.send_message(Message(RAW_FAST))
        assert center.stats()["wakeups_sent"] - before <= 1
        assert len(connection.out_q) == 1000
    lab.wait_until(lambda: taking.count == 1000, "all messages")


# ---- EVENT_WRITABLE ----


def stall(lab: Lab) -> tuple[Node, RawListener, Connection]:
    """A client's connection to a peer that does not read, before it is accepted."""
    listener = RawListener(lab.deadline, rcvbuf_bytes=4096)
    client = lab.client(Policy.lossy_client(), ms_send_queue_max_bytes=0)
    return client, listener, client.messenger.connect_to(EntityType.OSD, listener.addrs)


def test_writable_is_never_registered_in_an_uncongested_run(lab: Lab) -> None:
    server = lab.server(stack=lab.make_stack())
    client = lab.client()
    connection = client.connect(server)
    lab.wait_connected(connection)
    before = client.center_stat("writable_added")
    for tid in range(300):
        lab.round_trip(client, connection, tid=tid)
    assert client.center_stat("writable_added") == before <= 1, "once at most, to learn that the dial has succeeded"
    assert server.center_stat("writable_added") == 0
    assert server.center_stat("writable_removed") == 0


def test_writable_is_registered_by_a_short_write_and_gone_at_zero(lab: Lab) -> None:
    _client, listener, connection = stall(lab)
    payload = bytes(1 << 20)
    messages = 8
    with listener, listener.accept() as peer:
        peer.become_server(listener.addrs)
        lab.wait_connected(connection)
        center = connection.worker.center
        fd = connection._stream.fd
        assert lab.on_worker(connection, lambda: center.file_event_mask(fd)) == EVENT_READABLE
        before = center.stats()
        for _ in range(messages):
            connection.send_message(Message(RAW_FAST, data=payload))
        lab.wait_until(lambda: center.stats()["writable_added"] > before["writable_added"], "a short write")
        mask, unsent = lab.on_worker(connection, lambda: (center.file_event_mask(fd), connection._stream.unsent_bytes))
        assert mask == EVENT_READABLE | EVENT_WRITABLE
        assert unsent > 0
        assert 0 < lab.on_worker(connection, connection._try_send) <= unsent, "the kernel takes hardly more"
        assert center.stats()["writable_added"] - before["writable_added"] == 1, "registered once, not at every attempt"

        received = 0
        expected = messages * (len(payload) + 32 + 41 + 4 + 13)
        while received < expected:
            received += len(peer.recv("the messages"))
        assert received == expected
        lab.wait_until(lambda: not lab.on_worker(connection, lambda: connection._stream.unsent_bytes), "zero unsent bytes")
        assert lab.on_worker(connection, lambda: center.file_event_mask(fd)) == EVENT_READABLE
        after = center.stats()
        added, removed = (after[name] - before[name] for name in ("writable_added", "writable_removed"))
        assert added == removed >= 1
        connection.mark_down()


def test_other_connections_go_on_beside_one_that_is_congested(lab: Lab) -> None:
    client, listener, stalled = stall(lab)
    server = lab.server()
    with listener, listener.accept() as peer:
        peer.become_server(listener.addrs)
        lab.wait_connected(stalled)
        for _ in range(8):
            stalled.send_message(Message(RAW_FAST, data=bytes(1 << 20)))
        lab.wait_until(lambda: lab.on_worker(stalled, stalled._try_send) > 0, "a short write")
        connection = client.connect(server)
        for tid in range(50):
            lab.round_trip(client, connection, tid=tid)
        assert stalled.out_q.len_bytes > 0
        stalled.mark_down()
