"""Throttles, and who holds which memory for how long."""

from __future__ import annotations

import array
import gc
import mmap
import sys
from collections.abc import Callable
from typing import Any

import pytest

from ceph_msgr import EntityType, Message, Policy, Throttle
from ceph_msgr.protocol.tags import Tag
from tests.messenger.dispatchers import RAW, RAW_FAST, CountingDispatcher
from tests.messenger.lab import Lab, Node
from tests.messenger.raw_peer import RawPeer, message_segments
from tests.session.reference_codec import assemble


class Keeping(CountingDispatcher):
    """Keeps the messages themselves."""

    def __init__(self, lab: Lab) -> None:
        super().__init__(lab.changed)
        self.kept: list[Message] = []

    def _take(self, name: str, message: Message) -> None:
        self.kept.append(message)
        super()._take(name, message)


def keeping_server(lab: Lab, *, messages: int = 0, size: int = 0) -> tuple[Node, Keeping, Throttle, Throttle]:
    """A server that keeps what clients send, under throttles of so many messages and bytes (0 = unlimited)."""
    keeping = Keeping(lab)
    server = lab.server(seen=keeping, start=False)
    throttles = Throttle("messages", messages), Throttle("bytes", size)
    server.messenger.set_policy_throttlers(EntityType.CLIENT, *throttles)
    server.messenger.start()
    return server, keeping, *throttles


def check_nothing_comes(lab: Lab, node: Node, at_most: int) -> None:
    """Reading stands still: what has arrived is behind a throttle, and a turn of the worker changes nothing."""
    lab.wait_until(lambda: node.core_stat("throttle_stalls") > 0, "reading to stall")
    lab.stack.drain()
    assert len(node.seen.messages) == at_most


def let_all_go(lab: Lab, keeping: Keeping) -> None:
    """Forgets what was kept, once the callback that kept the last message is over: until then it holds the message too."""
    lab.stack.drain()
    keeping.kept.clear()


# ---- policy throttles ----


def test_the_message_throttle_is_held_while_messages_live(lab: Lab) -> None:
    server, keeping, messages, size = keeping_server(lab, messages=2)
    connection = lab.client().connect(server)
    for tid in range(5):
        connection.send_message(Message(RAW_FAST, b"x" * 10, tid=tid))
    lab.wait_until(lambda: len(server.seen.messages) == 2, "two messages")
    check_nothing_comes(lab, server, at_most=2)
    assert (messages.current, size.current) == (2, 20)

    del keeping.kept[0]
    lab.wait_until(lambda: len(server.seen.messages) == 3, "the third message")
    check_nothing_comes(lab, server, at_most=3)
    keeping.kept.clear()
    lab.wait_until(lambda: len(server.seen.messages) == 5, "the others")
    assert [call.tid for call in server.seen.messages] == [0, 1, 2, 3, 4]
    assert (messages.current, size.current) == (2, 20)
    let_all_go(lab, keeping)
    assert (messages.current, size.current) == (0, 0)


def test_the_byte_throttle_lets_one_oversized_message_pass(lab: Lab) -> None:
    server, keeping, messages, size = keeping_server(lab, size=1000)
    connection = lab.client().connect(server)
    for tid in range(3):
        connection.send_message(Message(RAW_FAST, bytes(2000), bytes(200), bytes(3000), tid=tid))
    lab.wait_until(lambda: server.seen.messages, "the first message")
    check_nothing_comes(lab, server, at_most=1)
    assert size.current == 5200
    for count in 2, 3:
        keeping.kept.clear()
        lab.wait_until(lambda count=count: len(server.seen.messages) == count, "the next message")
    let_all_go(lab, keeping)
    assert (messages.current, size.current) == (0, 0)


def test_a_segment_that_is_held_holds_the_throttle(lab: Lab) -> None:
    server, keeping, messages, size = keeping_server(lab)
    lab.client().connect(server).send_message(Message(RAW_FAST, b"front"))
    lab.wait_until(lambda: keeping.kept, "the message")
    front = keeping.kept.pop().front
    lab.stack.drain()  # the callback is over: nobody else holds the message
    assert (messages.current, size.current) == (1, 5)
    assert bytes(front) == b"front"
    del front
    assert (messages.current, size.current) == (0, 0)


def test_throttles_are_shared_by_the_connections_of_a_policy(lab: Lab) -> None:
    server, keeping, messages, _ = keeping_server(lab, messages=1)
    clients = [lab.client() for _ in range(3)]
    for client in clients:
        client.connect(server).send_message(Message(RAW_FAST))
    for count in 1, 2, 3:
        lab.wait_until(lambda count=count: len(server.seen.messages) == count, "one message more")
        assert messages.current == 1
        keeping.kept.clear()
    assert {call.connection.peer_addrs for call in server.seen.messages} == {client.addrs for client in clients}


def test_a_stalled_connection_does_not_stop_others(lab: Lab) -> None:
    server, keeping, _messages, _ = keeping_server(lab, messages=1)
    stalled, other = lab.client(), lab.server(name="osd.1")  # throttled are clients only
    connection = stalled.connect(server)
    for _ in range(2):
        connection.send_message(Message(RAW_FAST))
    lab.wait_until(lambda: keeping.kept, "the first message")
    check_nothing_comes(lab, server, at_most=1)
    for tid in range(5):
        other.connect(server).send_message(Message(RAW_FAST, tid=tid))
    lab.wait_until(lambda: len(server.seen.messages) == 6, "the messages of the other one")
    keeping.kept.clear()


def test_a_fault_in_the_middle_of_a_message_gives_its_amounts_back(lab: Lab) -> None:
    server, _, messages, size = keeping_server(lab)
    frame = assemble(Tag.MESSAGE, message_segments(RAW_FAST, 1, bytes(5000)))
    with RawPeer.dial(server.addrs[0], lab.deadline) as peer:
        peer.become_client(server.addrs[0])
        peer.send(frame[:3000])
        lab.wait_until(lambda: server.messenger.dispatch_throttle.current == 5000, "the last claim")
        assert (messages.current, size.current) == (1, 5000)
    lab.wait_count(server, "ms_handle_reset")
    assert (messages.current, size.current, server.messenger.dispatch_throttle.current) == (0, 0, 0)
    assert not server.seen.messages


def test_a_stalled_connection_can_be_marked_down(lab: Lab) -> None:
    server, keeping, messages, size = keeping_server(lab, messages=1)
    connection = lab.client().connect(server)
    for _ in range(3):
        connection.send_message(Message(RAW_FAST, b"x"))
    lab.wait_until(lambda: keeping.kept, "the first message")
    check_nothing_comes(lab, server, at_most=1)
    server.seen.last_accepted.mark_down()
    lab.stack.drain()
    keeping.kept.clear()
    lab.stack.drain()
    assert (messages.current, size.current) == (0, 0)
    assert len(server.seen.messages) == 1


# ---- the dispatch throttle ----


def test_the_dispatch_throttle_ends_with_the_callback(lab: Lab) -> None:
    during: list[int] = []
    keeping = Keeping(lab)
    server = lab.server(seen=keeping, ms_dispatch_throttle_bytes=1000)
    throttle = server.messenger.dispatch_throttle
    for name in "ms_fast_dispatch", "ms_dispatch":
        server.seen.hooks[name] = lambda message: during.append(throttle.current)
    connection = lab.client().connect(server)
    for count, type_ in enumerate((RAW_FAST, RAW), start=1):
        connection.send_message(Message(type_, bytes(300), bytes(20), bytes(1)))
        lab.wait_until(lambda count=count: len(during) == count and not throttle.current, "the callback's end")
    assert during == [321, 321]
    assert len(keeping.kept) == 2, "although the messages live on"


# ---- what a receiver holds ----


@pytest.mark.parametrize("len_bytes", [1, 4096, 16 << 10, (16 << 10) + 1, 5 << 20])
def test_segments_outlive_connection_messenger_and_stack(lab: Lab, len_bytes: int) -> None:
    payload = bytes(range(256)) * (len_bytes // 256 + 1)
    segments = payload[:len_bytes], payload[1 : len_bytes + 1], payload[2 : len_bytes + 2]
    stack = lab.make_stack()
    keeping = Keeping(lab)
    server = lab.server(seen=keeping, stack=stack)
    client = lab.client()
    client.connect(server).send_message(Message(RAW_FAST, *segments))
    lab.wait_until(lambda: keeping.kept, "the message")
    message = keeping.kept.pop()
    front, middle, data = message.front, message.middle, message.data
    assert all(isinstance(segment, memoryview) and segment.readonly for segment in (front, middle, data))
    del message
    server.messenger.shutdown()
    server.messenger.wait()
    stack.stop()
    gc.collect()
    assert (bytes(front), bytes(middle), bytes(data)) == tuple(bytes(segment) for segment in segments)


def test_received_segments_are_read_only_and_made_once(lab: Lab) -> None:
    keeping = Keeping(lab)
    server = lab.server(seen=keeping)
    lab.client().connect(server).send_message(Message(RAW_FAST, b"front"))
    lab.wait_until(lambda: keeping.kept, "the message")
    message = keeping.kept.pop()
    assert message.front is message.front
    assert bytes(message.middle) == bytes(message.data) == b""
    with pytest.raises(TypeError, match="read-only"):
        message.front[0] = 0


# ---- what a sender lends ----


def received_fronts(
    lab: Lab, send: Callable[[Any], object], count: int = 1, *, held: Callable[[], object] = lambda: None
) -> list[bytes]:
    """What arrives of the messages that ``send`` queues while the worker stands still; ``held`` runs after that."""
    fronts: list[bytes] = []
    server, client = lab.server(seen=lab.dispatcher()), lab.client()
    server.seen.hooks["ms_fast_dispatch"] = lambda message: fronts.append(bytes(message.front))
    with lab.stopped():
        connection = client.connect(server)
        send(connection)
        held()
    lab.wait_until(lambda: len(fronts) == count, f"{count} messages")
    return fronts


def test_a_message_may_be_sent_many_times_and_is_not_changed(lab: Lab) -> None:
    message = Message(RAW_FAST, b"same", priority=100, tid=7)
    servers = [lab.server(name=f"osd.{i}", seen=lab.dispatcher()) for i in range(2)]
    client = lab.client()
    for _ in range(3):
        for server in servers:
            client.connect(server).send_message(message)
    for server in servers:
        lab.wait_until(lambda server=server: len(server.seen.messages) == 3, "three messages")
        assert [(call.seq, call.tid, call.priority) for call in server.seen.messages] == [(n, 7, 100) for n in (1, 2, 3)]
    assert (message.seq, message.tid, message.priority, message.connection) == (0, 7, 100, None)


def test_a_message_may_be_changed_after_it_was_sent(lab: Lab) -> None:
    message = Message(RAW_FAST, b"one")

    def send(connection: Any) -> None:
        for front in b"one", b"two", b"three":
            message.front = front
            connection.send_message(message)

    assert received_fronts(lab, send, 3) == [b"one", b"two", b"three"]


def test_buffers_other_than_bytes_are_copied_when_sent(lab: Lab) -> None:
    mutable = bytearray(b"before")

    def change() -> None:
        mutable[:] = b"AFTER! and resized"

    fronts = received_fronts(lab, lambda connection: connection.send_message(Message(RAW_FAST, mutable)), held=change)
    assert fronts == [b"before"]


def test_borrowed_buffers_are_not_copied(lab: Lab) -> None:
    """The sender has promised not to change it; a change shows that nothing was copied. Until then it cannot be resized."""
    mutable = bytearray(b"before")
    held: list[str] = []

    def change() -> None:
        mutable[:] = b"AFTER!"
        with pytest.raises(BufferError) as error:
            mutable.extend(b"more")
        held.append(str(error.value))

    fronts = received_fronts(
        lab, lambda connection: connection.send_message(Message(RAW_FAST, mutable), borrow=True), held=change
    )
    assert fronts == [b"AFTER!"]
    assert held
    lab.wait_until(lambda: _is_resizable(mutable), "the buffer to be given back")


def _is_resizable(buffer: bytearray) -> bool:
    try:
        buffer.append(0)
    except BufferError:
        return False
    return True


def test_all_kinds_of_buffers(lab: Lab) -> None:
    anonymous = mmap.mmap(-1, 16)
    anonymous.write(b"0123456789abcdef")
    buffers: list[tuple[Any, bytes]] = [
        (b"bytes", b"bytes"),
        (bytearray(b"bytearray"), b"bytearray"),
        (memoryview(b"a view of bytes")[2:6], b"view"),
        (memoryview(bytearray(b"a view"))[2:], b"view"),
        (memoryview(b"every second")[::2], b"eeyscn"),
        (array.array("H", [1, 2, 3]), b"\1\0\2\0\3\0"),
        (anonymous, b"0123456789abcdef"),
        (b"", b""),
    ]
    for borrow in False, True:

        def send(connection: Any, borrow: bool = borrow) -> None:
            for buffer, _ in buffers:
                connection.send_message(Message(RAW_FAST, buffer), borrow=borrow)

        assert received_fronts(lab, send, len(buffers)) == [expected for _, expected in buffers]
    with pytest.raises(TypeError, match="front must be a bytes-like object, not str"):
        Message(RAW_FAST, "text")  # type: ignore[arg-type]


def test_a_view_may_be_released_once_it_was_sent(lab: Lab) -> None:
    view = memoryview(bytearray(b"released"))

    def send(connection: Any) -> None:
        connection.send_message(Message(RAW_FAST, view))
        view.release()

    assert received_fronts(lab, send) == [b"released"]


def test_what_was_sent_is_let_go(lab: Lab) -> None:
    payload = bytes(1 << 20)
    before = sys.getrefcount(payload)
    server, client = lab.server(seen=lab.dispatcher()), lab.client()
    connection = client.connect(server)
    for _ in range(5):
        connection.send_message(Message(RAW_FAST, data=payload))
    lab.wait_until(lambda: len(server.seen.messages) == 5, "all messages")
    lab.wait_until(lambda: lab.stack.drain() or sys.getrefcount(payload) == before, "the payload to be let go")


@pytest.mark.parametrize("policy", [Policy.lossy_client(), Policy.lossless_client()], ids=["lossy", "lossless"])
def test_mark_down_lets_queued_messages_go(lab: Lab, policy: Policy) -> None:
    payload = bytes(1 << 20)
    before = sys.getrefcount(payload)
    server, client = lab.server(), lab.client(policy)
    with lab.stopped():
        connection = client.connect(server)
        for _ in range(5):
            connection.send_message(Message(RAW_FAST, data=payload))
        connection.mark_down()
    lab.wait_until(lambda: lab.stack.drain() or sys.getrefcount(payload) == before, "the payload to be let go")


def test_a_received_message_can_be_sent_on(lab: Lab) -> None:
    """As a proxy does it; the first connection may be gone by then."""
    fronts: list[bytes] = []
    last = lab.server(name="osd.1", seen=lab.dispatcher())
    last.seen.hooks["ms_fast_dispatch"] = lambda message: fronts.append(bytes(message.front) + bytes(message.data))
    keeping = Keeping(lab)
    proxy = lab.server(seen=keeping)
    client = lab.client()
    client.connect(proxy).send_message(Message(RAW_FAST, b"on ", data=b"its way"))
    lab.wait_until(lambda: keeping.kept, "the message at the proxy")
    client.messenger.shutdown()
    client.messenger.wait()
    proxy.connect(last).send_message(keeping.kept.pop())
    lab.wait_until(lambda: fronts, "the message at its end")
    assert fronts == [b"on its way"]
