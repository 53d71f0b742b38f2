"""Session, Stream and WorkerCore: messages through two streams of one worker, and who holds what for how long."""

from __future__ import annotations

import gc
import socket
import struct
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ceph_msgr import _core
from ceph_msgr._core import DispatchTable, Message, Session, Stream, Throttle, WorkerCore
from ceph_msgr.errors import ConnectionFault, DecodeError, RemoteProtocolError, SendQueueFull

FEATURES = 0x3F01CFB9FFFDFFFF
BANNER = b"ceph v2\n" + struct.pack("<HQQ", 16, 1, 0)
STEP_NS = 20_000_000
DEADLINE_S = 30
TAG_BANNER, TAG_HELLO, TAG_MESSAGE, TAG_KEEPALIVE2 = 0, 1, 17, 18


class Side:
    """One end: stands in for AsyncConnection, without a handshake behind the banner."""

    peer_name = "client.7"

    def __init__(self, worker: WorkerCore, *, classes: Any = None, fast: Callable[[Message], object] | None = None,
                 preprocessors: tuple[Callable[[Message], object], ...] = (), lossless: bool = False,
                 max_queued_bytes: int = 0, **stream_options: Any) -> None:
        self.worker = worker
        self.lossless = lossless
        self.stream_options = stream_options
        self.events: list[tuple[Any, ...]] = []
        self.queued: list[Message] = []
        self.errors: list[tuple[Message | None, BaseException]] = []
        self.resolved: list[int] = []

        def resolve(type_: int) -> tuple[Any, Any]:
            self.resolved.append(type_)
            return preprocessors, fast

        self.table = DispatchTable(
            {2: Message, 700: Message} if classes is None else classes, resolve, self.queued.append,
            lambda message, error: self.errors.append((message, error)),
        )
        self.session = Session(worker, self, self.table, max_queued_bytes=max_queued_bytes)
        self.stream: Stream | None = None

    def attach(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.stream = Stream(self.worker, sock.detach(), self, connecting=False, **self.stream_options)
        self.stream.send_bytes(BANNER)

    def _on_connected(self) -> None:
        self.events.append(("connected",))

    def _on_frame(self, tag: int, payload: bytes, wire: bytes) -> None:
        self.events.append(("frame", tag, payload, wire))
        assert self.stream is not None
        if tag == TAG_BANNER:
            self.stream.set_revision(1)
            self.session.take_features(FEATURES)
            self.stream.start(self.session, lossless=self.lossless)
            self.stream.continue_()

    def _on_fault(self, error: Exception, tag: int, data: bytes) -> None:
        self.events.append(("fault", error, tag, data))
        if self.stream is not None:
            self.stream.close()

    def _on_intercepted(self, tag: int, sent: bool) -> None:
        self.events.append(("intercepted", tag, sent))

    def _on_send_queued(self) -> None:
        self.events.append(("send_queued",))

    def _on_drained(self) -> None:
        self.events.append(("drained",))

    def _on_queue_full(self) -> None:
        self.events.append(("queue_full",))

    def close(self) -> None:
        self.session.close()
        if self.stream is not None:
            self.stream.close()


@pytest.fixture
def worker() -> Iterator[WorkerCore]:
    gc.collect()  # what earlier tests left must not go while we count
    before = _core.live_objects()
    worker = WorkerCore()
    yield worker
    worker.close()
    del worker
    gc.collect()
    assert _core.live_objects() == before, "C objects are left"


def turn_until(worker: WorkerCore, condition: Callable[[], object]) -> None:
    end_s = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end_s, "the condition did not become true"
        worker.turn(STEP_NS)


def is_ready(side: Side) -> bool:
    return any(event[:2] == ("frame", TAG_BANNER) for event in side.events)


def join(worker: WorkerCore, near: Side, far: Side) -> None:
    left, right = socket.socketpair()
    near.attach(left)
    far.attach(right)
    turn_until(worker, lambda: is_ready(near) and is_ready(far))


def end(*sides: Side) -> None:
    for side in sides:
        side.close()


def raw_peer(worker: WorkerCore, side: Side) -> socket.socket:
    """The side's other end as a bare socket, banners exchanged."""
    left, right = socket.socketpair()
    side.attach(left)
    right.sendall(BANNER)
    turn_until(worker, lambda: is_ready(side))
    right.settimeout(5)
    assert right.recv(len(BANNER), socket.MSG_WAITALL) == BANNER
    return right


def message_frame(seq: int, type_: int = 2, front: bytes = b"", data: bytes = b"", priority: int = 127) -> bytes:
    header = struct.pack("<QQHHHIHQBHH", seq, 0, type_, priority, 1, 0, 0, 0, 3, 1, 0)
    return _core.frame_assemble(TAG_MESSAGE, [header, front, b"", data] if data else [header, front])


# ---- messages ----


def test_a_message_arrives_with_its_fields_and_segments(worker: WorkerCore) -> None:
    near, far = Side(worker), Side(worker)
    join(worker, near, far)
    assert near.session.send(Message(700, b"front", b"middle", b"data", priority=63, tid=5, version=8, compat_version=3))
    turn_until(worker, lambda: far.queued)
    [message] = far.queued
    assert (message.type, message.priority, message.tid, message.version, message.compat_version) == (700, 63, 5, 8, 3)
    assert (bytes(message.front), bytes(message.middle), bytes(message.data)) == (b"front", b"middle", b"data")
    assert message.seq == 1
    assert message.received_ns > 0
    assert message.connection is far
    assert message.src == "client.7"
    end(near, far)


def test_python_is_entered_once_per_turn_and_once_per_message(worker: WorkerCore) -> None:
    calls: list[Message] = []
    near, far = Side(worker), Side(worker, fast=calls.append)
    join(worker, near, far)
    before = worker.stats()
    for _ in range(100):
        near.session.send(Message(2))
    turn_until(worker, lambda: len(calls) == 100)
    after = worker.stats()
    assert after["messages_delivered"] - before["messages_delivered"] == 100
    assert after["python_entries"] - before["python_entries"] == 1
    assert after["send_calls"] - before["send_calls"] == 1
    assert far.resolved == [2]
    end(near, far)


def test_segments_are_read_only_views_that_outlive_everything(worker: WorkerCore) -> None:
    near, far = Side(worker), Side(worker)
    join(worker, near, far)
    near.session.send(Message(2, b"front", data=bytes(range(256)) * 1000))
    turn_until(worker, lambda: far.queued)
    message = far.queued.pop()
    front, data = message.front, message.data
    assert isinstance(front, memoryview) and front.readonly and isinstance(data, memoryview)
    assert message.front is front
    assert bytes(message.middle) == b""
    end(near, far)
    del message
    gc.collect()
    assert _core.live_objects()["messages"] == 2, "one reference per view"
    assert bytes(front) == b"front" and bytes(data) == bytes(range(256)) * 1000
    del front, data
    assert _core.live_objects()["messages"] == 0


def test_priority_zero_never_goes_out(worker: WorkerCore) -> None:
    near, far = Side(worker), Side(worker)
    join(worker, near, far)
    near.session.send(Message(2, priority=0))
    turn_until(worker, lambda: far.queued)
    assert far.queued[0].priority == 127
    end(near, far)


def test_a_received_message_can_be_forwarded_as_it_came(worker: WorkerCore) -> None:
    near, hop, back, far = Side(worker), Side(worker), Side(worker), Side(worker)
    join(worker, near, hop)
    join(worker, back, far)
    near.session.send(Message(700, b"front", b"middle", b"d" * 100_000, tid=9, priority=200))
    turn_until(worker, lambda: hop.queued)
    back.session.send(hop.queued.pop())
    turn_until(worker, lambda: far.queued)
    message = far.queued[0]
    assert (message.type, message.tid, message.priority, message.seq) == (700, 9, 200, 1)
    assert (bytes(message.front), bytes(message.middle), bytes(message.data)) == (b"front", b"middle", b"d" * 100_000)
    end(near, hop, back, far)


def test_a_lent_segment_in_a_new_message_is_borrowed_even_if_its_view_is_released(worker: WorkerCore) -> None:
    near, far = Side(worker), Side(worker)
    join(worker, near, far)
    near.session.send(Message(2, b"x" * 5000))
    turn_until(worker, lambda: far.queued)
    front = far.queued.pop().front
    assert isinstance(front, memoryview)
    far.session.send(Message(2, front[10:20]))
    front.release()
    turn_until(worker, lambda: near.queued)
    assert bytes(near.queued[0].front) == b"x" * 10
    end(near, far)


def test_mutable_buffers_are_copied_at_send_unless_borrowed(worker: WorkerCore) -> None:
    near, far = Side(worker), Side(worker)
    copied, borrowed = bytearray(b"before"), bytearray(b"before")
    near.session.send(Message(2, copied))
    near.session.send(Message(2, borrowed), borrow=True)
    copied[:] = borrowed[:] = b"after!"
    with pytest.raises(BufferError):
        borrowed.append(0)
    join(worker, near, far)
    turn_until(worker, lambda: len(far.queued) == 2)
    assert [bytes(message.front) for message in far.queued] == [b"before", b"after!"]
    turn_until(worker, lambda: _core.live_objects()["entries"] == 0)
    borrowed.append(0)
    end(near, far)


def test_a_strided_view_is_sent_as_its_bytes(worker: WorkerCore) -> None:
    near, far = Side(worker), Side(worker)
    join(worker, near, far)
    near.session.send(Message(2, memoryview(b"a-b-c-")[::2]))
    near.session.send(Message(2, memoryview(bytearray(b"a-b-c-"))[::2]), borrow=True)
    turn_until(worker, lambda: len(far.queued) == 2)
    assert [bytes(message.front) for message in far.queued] == [b"abc", b"abc"]
    end(near, far)


def test_one_message_can_be_sent_many_times_with_a_changing_tid(worker: WorkerCore) -> None:
    near, far = Side(worker), Side(worker)
    message = Message(2, b"same")
    for tid in range(5):
        message.tid = tid
        near.session.send(message)
    join(worker, near, far)
    turn_until(worker, lambda: len(far.queued) == 5)
    assert [(m.tid, m.seq) for m in far.queued] == [(tid, tid + 1) for tid in range(5)]
    assert message.seq == 0
    end(near, far)


# ---- encoding and decoding ----


class Typed(Message):
    text = "?"

    def encode_payload(self, features: int) -> bytes:
        if self.text == "bad":
            raise ValueError("cannot be encoded")
        return f"{self.text}/{features:x}".encode()

    def decode_payload(self) -> None:
        if bytes(self.front) == b"":
            raise DecodeError("Typed: empty front")
        self.text = bytes(self.front).decode()


def typed(text: str) -> Typed:
    message = Typed(2)
    message.text = text
    return message


def test_what_was_queued_before_the_features_were_known_is_encoded_then(worker: WorkerCore) -> None:
    near, far = Side(worker), Side(worker, classes={2: Typed})
    for text in "one", "bad", "two":
        near.session.send(typed(text))
    assert near.session.features == 0
    join(worker, near, far)
    assert near.session.features == FEATURES
    near.session.send(typed("three"))
    turn_until(worker, lambda: len(far.queued) == 3)
    assert [m.text for m in far.queued] == [f"{text}/{FEATURES:x}" for text in ("one", "two", "three")]  # type: ignore[attr-defined]
    [(message, error)] = near.errors
    assert message is not None and message.text == "bad" and isinstance(error, ValueError)  # type: ignore[attr-defined]
    end(near, far)


def test_an_encoding_for_other_features_is_made_again(worker: WorkerCore) -> None:
    near = Side(worker)
    near.session.take_features(1)
    near.session.send(typed("one"))
    near.session.send(Message(2, b"plain"))
    near.session.take_features(0xAB)
    far = Side(worker)
    near.session.take_features(FEATURES)
    join(worker, near, far)
    turn_until(worker, lambda: len(far.queued) == 2)
    assert [bytes(m.front) for m in far.queued] == [f"one/{FEATURES:x}".encode(), b"plain"]
    end(near, far)


def test_an_encoding_error_at_send_comes_out_of_send(worker: WorkerCore) -> None:
    near = Side(worker)
    near.session.take_features(FEATURES)
    with pytest.raises(ValueError, match="cannot be encoded"):
        near.session.send(typed("bad"))
    assert near.session.info()["queued_messages"] == 0
    near.close()


def test_a_message_that_cannot_be_decoded_is_reported_and_dropped_and_its_throttle_returned(worker: WorkerCore) -> None:
    throttle = Throttle("dispatch", 1000)
    near, far = Side(worker), Side(worker, classes={2: Typed}, dispatch_bytes=throttle)
    join(worker, near, far)
    near.session.send(Message(2, data=b"x" * 10))
    near.session.send(Message(2, b"good"))
    turn_until(worker, lambda: far.queued)
    [(message, error)] = far.errors
    assert message is not None and message.connection is far and isinstance(error, DecodeError)
    assert throttle.current == 4
    far.queued.pop().dispatched()
    assert throttle.current == 0
    end(near, far)


def test_a_type_without_a_class_arrives_as_a_plain_message(worker: WorkerCore) -> None:
    near, far = Side(worker), Side(worker)
    join(worker, near, far)
    near.session.send(Message(999, b"front"))
    turn_until(worker, lambda: far.queued)
    [message] = far.queued
    assert type(message) is Message and message.type == 999 and bytes(message.front) == b"front"
    assert not far.errors
    end(near, far)


# ---- dispatch ----


def test_preprocessors_run_before_the_choice_and_their_errors_do_not_lose_the_message(worker: WorkerCore) -> None:
    order: list[str] = []

    def broken(message: Message) -> None:
        order.append("broken")
        raise KeyError("broken")

    near = Side(worker)
    far = Side(worker, preprocessors=(broken, lambda m: order.append("second")), fast=lambda m: order.append("fast"))
    join(worker, near, far)
    near.session.send(Message(2))
    turn_until(worker, lambda: "fast" in order)
    assert order == ["broken", "second", "fast"]
    assert [type(error) for _, error in far.errors] == [KeyError]
    end(near, far)


def test_an_exception_of_fast_dispatch_is_reported_and_the_batch_goes_on(worker: WorkerCore) -> None:
    seen: list[int] = []

    def fast(message: Message) -> None:
        seen.append(message.tid)
        if message.tid == 1:
            raise SystemExit("no")

    near, far = Side(worker), Side(worker, fast=fast)
    join(worker, near, far)
    for tid in range(3):
        near.session.send(Message(2, tid=tid))
    turn_until(worker, lambda: len(seen) == 3)
    [(message, error)] = far.errors
    assert message is not None and message.tid == 1 and isinstance(error, SystemExit)
    end(near, far)


def test_the_dispatch_throttle_is_returned_after_fast_and_the_policy_throttles_at_the_end(worker: WorkerCore) -> None:
    dispatch, size, count = Throttle("dispatch"), Throttle("bytes"), Throttle("messages")
    kept: list[Message] = []
    near = Side(worker)
    far = Side(worker, fast=kept.append, dispatch_bytes=dispatch, policy_bytes=size, policy_messages=count)
    join(worker, near, far)
    near.session.send(Message(2, b"12345", data=b"678"))
    turn_until(worker, lambda: kept)
    assert (dispatch.current, size.current, count.current) == (0, 8, 1)
    kept.clear()
    assert (size.current, count.current) == (0, 0)
    end(near, far)


def test_messages_of_a_session_closed_within_the_batch_are_not_delivered(worker: WorkerCore) -> None:
    seen: list[int] = []

    def fast(message: Message) -> None:
        seen.append(message.tid)
        far.session.close()

    near, far = Side(worker), Side(worker, fast=fast)
    join(worker, near, far)
    for tid in range(3):
        near.session.send(Message(2, tid=tid))
    turn_until(worker, lambda: seen)
    for _ in range(5):
        worker.turn(0)
    assert seen == [0]
    end(near, far)


def test_the_choice_is_kept_until_clear_and_deliver_uses_it(worker: WorkerCore) -> None:
    calls: list[Message] = []
    side = Side(worker, fast=calls.append)
    message = Message(2)
    connection = object()
    for _ in range(3):
        side.table.deliver(message, connection)
    assert side.resolved == [2]
    side.table.clear()
    side.table.deliver(message, connection)
    assert side.resolved == [2, 2]
    assert calls == [message] * 4 and message.connection is connection
    side.close()


# ---- the stream ----


def test_frames_that_are_not_data_are_handed_up_and_the_stream_stands_still(worker: WorkerCore) -> None:
    side = Side(worker)
    peer = raw_peer(worker, side)
    hello = _core.frame_assemble(TAG_HELLO, [b"hello"])
    peer.sendall(hello + message_frame(1))
    turn_until(worker, lambda: len(side.events) == 2)
    assert side.events[1][:3] == ("frame", TAG_HELLO, b"hello")
    worker.turn(0)
    assert not side.queued
    assert side.stream is not None
    side.stream.continue_()
    turn_until(worker, lambda: side.queued)
    peer.close()
    side.close()


def test_messages_complete_before_a_fault_are_delivered_first(worker: WorkerCore) -> None:
    side = Side(worker)
    peer = raw_peer(worker, side)
    bad = bytearray(message_frame(2))
    bad[40] ^= 1
    peer.sendall(message_frame(1, front=b"good") + bad)
    turn_until(worker, lambda: side.events[-1][0] == "fault")
    [message] = side.queued
    assert bytes(message.front) == b"good"
    _, error, tag, _ = side.events[-1]
    assert isinstance(error, RemoteProtocolError) and tag == TAG_MESSAGE
    assert "got 0x" in str(error)
    peer.close()
    side.close()


def test_the_end_of_the_stream_is_a_connection_fault(worker: WorkerCore) -> None:
    side = Side(worker)
    raw_peer(worker, side).close()
    turn_until(worker, lambda: side.events[-1][0] == "fault")
    error = side.events[-1][1]
    assert isinstance(error, ConnectionFault | ConnectionError)
    side.close()


def test_an_intercepted_frame_waits_for_its_answer(worker: WorkerCore) -> None:
    near, far = Side(worker), Side(worker)
    join(worker, near, far)
    assert far.stream is not None
    far.stream.set_mask(1 << TAG_MESSAGE, 0)
    near.session.send(Message(2))
    turn_until(worker, lambda: ("intercepted", TAG_MESSAGE, False) in far.events)
    assert not far.queued and far.session.in_seq == 0
    far.stream.continue_()
    turn_until(worker, lambda: far.queued)
    assert far.session.in_seq == 1
    near.session.send(Message(2))
    turn_until(worker, lambda: far.events.count(("intercepted", TAG_MESSAGE, False)) == 2)
    far.stream.fail()
    turn_until(worker, lambda: far.events[-1][0] == "fault")
    assert far.events[-1][1].cause == "injected"
    end(near, far)


def test_a_closed_stream_refuses_and_close_is_idempotent(worker: WorkerCore) -> None:
    side = Side(worker)
    left, right = socket.socketpair()
    side.attach(left)
    stream = side.stream
    assert stream is not None
    stream.close()
    stream.close()
    with pytest.raises(RuntimeError, match="closed"):
        stream.continue_()
    assert right.recv(1) in (b"", b"c")
    right.close()
    side.close()


def test_an_unclosed_stream_warns_and_closes_its_socket(worker: WorkerCore) -> None:
    side = Side(worker)
    left, right = socket.socketpair()
    side.attach(left)
    right.settimeout(5)
    with pytest.warns(ResourceWarning, match="unclosed Stream"):
        side.stream = None
    assert right.recv(100) == b""
    assert _core.live_objects()["streams"] == 0
    right.close()
    side.close()


def test_a_stream_that_ends_on_a_foreign_thread_is_closed_by_the_owner(worker: WorkerCore) -> None:
    side = Side(worker)
    left, right = socket.socketpair()
    side.attach(left)
    worker.center.owner = threading.get_ident()

    def drop() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            side.stream = None

    thread = threading.Thread(target=drop)
    thread.start()
    thread.join()
    assert _core.live_objects()["streams"] == 1
    worker.turn(0)
    assert _core.live_objects()["streams"] == 0
    right.close()
    side.close()


def test_a_foreign_thread_is_refused(worker: WorkerCore) -> None:
    side = Side(worker)
    worker.center.owner = threading.get_ident() + 1
    for use in (side.session.requeue, side.session.close, lambda: worker.turn(0), worker.close):
        with pytest.raises(RuntimeError, match="owns this EventCenter"):
            use()
    worker.center.owner = 0
    side.close()


# ---- the session ----


def test_a_full_queue_refuses_and_says_how_full(worker: WorkerCore) -> None:
    side = Side(worker, max_queued_bytes=1000)
    assert side.session.send(Message(2, data=bytes(5000))), "an empty queue admits any one message"
    with pytest.raises(SendQueueFull, match="at most 1000"):
        side.session.send(Message(2))
    side.close()
    assert side.session.send(Message(2)) is False
    worker.turn(0)
    assert _core.live_objects()["entries"] == 0


def test_drained_comes_once_and_at_once_if_so_now(worker: WorkerCore) -> None:
    near, far = Side(worker), Side(worker)
    near.session.notify_drained(0)
    turn_until(worker, lambda: near.events == [("drained",)])
    near.session.send(Message(2))
    near.session.notify_drained(0)
    worker.turn(0)
    assert near.events == [("drained",)]
    join(worker, near, far)
    turn_until(worker, lambda: near.events.count(("drained",)) == 2)
    end(near, far)


def test_a_send_without_a_stream_is_told_once(worker: WorkerCore) -> None:
    side = Side(worker)
    side.session.notify_send(True)
    side.session.send(Message(2))
    side.session.send(Message(2))
    turn_until(worker, lambda: side.events)
    worker.turn(0)
    assert side.events == [("send_queued",)]
    assert side.session.priorities() == [(127, 2)]
    side.close()


def test_priorities_are_counted_highest_first(worker: WorkerCore) -> None:
    side = Side(worker)
    for priority in range(1, 31):
        side.session.send(Message(2, priority=priority))
    side.session.send(Message(2, priority=5))
    assert side.session.priorities() == [(p, 2 if p == 5 else 1) for p in range(30, 0, -1)]
    side.close()


def test_lossless_messages_are_kept_until_acknowledged(worker: WorkerCore) -> None:
    near, far = Side(worker, lossless=True), Side(worker, lossless=True)
    join(worker, near, far)
    near.session.send(Message(2, b"x"))
    turn_until(worker, lambda: far.queued and near.session.info()["acked_seq"] == 1)
    assert (near.session.out_seq, far.session.in_seq) == (1, 1)
    assert near.session.info()["unacked_messages"] == 0
    end(near, far)


def test_keepalives_are_answered_inside(worker: WorkerCore) -> None:
    near, far = Side(worker), Side(worker)
    join(worker, near, far)
    near.session.send_keepalive()
    turn_until(worker, lambda: near.session.info()["last_keepalive_ack_ns"])
    assert far.session.info()["last_keepalive_ns"] > 0
    end(near, far)


def test_sends_from_many_threads_arrive_in_order_per_thread(worker: WorkerCore) -> None:
    near, far = Side(worker), Side(worker)
    join(worker, near, far)
    worker.center.owner = threading.get_ident()

    def send(sender: int) -> None:
        for number in range(200):
            near.session.send(Message(2, tid=sender << 32 | number))

    threads = [threading.Thread(target=send, args=(sender,)) for sender in range(4)]
    for thread in threads:
        thread.start()
    turn_until(worker, lambda: len(far.queued) == 800)
    for thread in threads:
        thread.join()
    for sender in range(4):
        assert [m.tid & 0xFFFFFFFF for m in far.queued if m.tid >> 32 == sender] == list(range(200))
    end(near, far)


def test_a_session_may_end_on_another_thread_with_messages_queued(worker: WorkerCore) -> None:
    side = Side(worker)
    worker.center.owner = threading.get_ident()
    side.session.send(Message(2, data=b"x" * 1000))
    holder = [side.session]
    side.session = None  # type: ignore[assignment]
    thread = threading.Thread(target=holder.clear)
    thread.start()
    thread.join()
    assert _core.live_objects()["sessions"] == 0
    worker.turn(0)
    assert _core.live_objects()["entries"] == 0


def test_a_mute_session_neither_sends_nor_delivers(worker: WorkerCore) -> None:
    near, far = Side(worker), Side(worker)
    join(worker, near, far)
    near.session.send(Message(2))
    far.session.mute()
    assert far.session.send(Message(2)) is False
    turn_until(worker, lambda: far.session.in_seq == 1)
    worker.turn(0)
    assert not far.queued
    end(near, far)


def test_a_session_moves_to_another_worker_with_what_it_has_queued(worker: WorkerCore) -> None:
    other = WorkerCore()
    near, far = Side(worker), Side(other)
    near.session.send(Message(2, b"moved"))
    near.session.move(other)
    near.worker = other
    join(other, near, far)
    turn_until(other, lambda: far.queued)
    assert bytes(far.queued.pop().front) == b"moved"
    end(near, far)
    other.close()


# ---- the worker ----


def test_closing_the_worker_ends_its_streams_and_sessions() -> None:
    gc.collect()
    before = _core.live_objects()
    worker = WorkerCore()
    near, far = Side(worker), Side(worker)
    join(worker, near, far)
    near.session.send(Message(2, data=bytes(100_000)))
    worker.close()
    worker.close()
    assert near.session.send(Message(2)) is False
    with pytest.raises(RuntimeError, match="closed"):
        near.session.info()
    with pytest.raises(RuntimeError, match="closed"):
        worker.turn(0)
    with pytest.raises(RuntimeError, match="closed"):
        worker.center.wakeup()
    assert near.stream is not None
    near.stream.close()
    assert _core.live_objects() == before


def test_close_from_inside_a_turn_is_refused(worker: WorkerCore) -> None:
    caught: list[BaseException] = []

    def close() -> None:
        for use in (worker.close, lambda: worker.turn(0)):
            try:
                use()
            except RuntimeError as error:
                caught.append(error)

    worker.center.create_time_event(0, close)
    worker.turn(STEP_NS)
    assert ["inside" in str(caught[0]), "already" in str(caught[1])] == [True, True]


def test_an_event_handler_that_raises_is_reported(worker: WorkerCore) -> None:
    reported: list[tuple[BaseException, str]] = []
    previous = _core.set_exception_hook(lambda exc, where: reported.append((exc, where)))
    try:
        side = Side(worker)
        side._on_frame = lambda *args: 1 // 0  # type: ignore[method-assign, assignment]
        left, right = socket.socketpair()
        side.attach(left)
        right.sendall(BANNER)
        turn_until(worker, lambda: reported)
    finally:
        _core.set_exception_hook(previous)
    assert isinstance(reported[0][0], ZeroDivisionError) and "Side" in reported[0][1]
    right.close()
    side.close()
