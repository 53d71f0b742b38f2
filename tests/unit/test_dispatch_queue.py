"""The dispatch queue: its order against a naive model, and what it does with messages, events and its thread."""

from __future__ import annotations

import gc
import random
import threading
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from ceph_msgr.dispatch.dispatcher import Dispatcher, DispatcherChain
from ceph_msgr.dispatch.local import LocalDelivery
from ceph_msgr.dispatch.prioritized import PrioritizedQueue
from ceph_msgr.dispatch.queue import DispatchQueue

DEADLINE_S = 30
MAX_TOKENS, MIN_COST = 1000, 10


# ---- the order ----


def drain(queue: PrioritizedQueue[Any]) -> list[Any]:
    return [queue.dequeue() for _ in range(len(queue))]


def test_strict_serves_the_highest_priority_first() -> None:
    queue: PrioritizedQueue[str] = PrioritizedQueue(MAX_TOKENS, MIN_COST)
    for priority, item in (64, "low"), (255, "highest"), (127, "default"), (196, "high"):
        queue.enqueue_strict("c", priority, item)
    assert drain(queue) == ["highest", "high", "default", "low"]


def test_connections_of_one_priority_take_turns_and_each_keeps_its_order() -> None:
    queue: PrioritizedQueue[str] = PrioritizedQueue(MAX_TOKENS, MIN_COST)
    for item in ("a1", "a2", "a3", "b1", "b2", "c1"):
        queue.enqueue_strict(item[0], 127, item)
    assert drain(queue) == ["a1", "b1", "c1", "a2", "b2", "a3"]


def test_strict_beats_tokens() -> None:
    queue: PrioritizedQueue[str] = PrioritizedQueue(MAX_TOKENS, MIN_COST)
    queue.enqueue("c", 255, MIN_COST, "token")
    queue.enqueue_strict("c", 1, "strict")
    assert drain(queue) == ["strict", "token"]


def test_tokens_are_earned_in_proportion_and_the_lowest_that_can_pay_is_served() -> None:
    queue: PrioritizedQueue[str] = PrioritizedQueue(MAX_TOKENS, MIN_COST)
    for i in range(5):
        queue.enqueue("c", 30, 100, f"thirty{i}")
        queue.enqueue("c", 10, 20, f"ten{i}")
    # thirty0 is served for nothing, as nobody owns a token: thirty gets 30*100//40+1 = 76, ten gets 10*100//40+1 = 26.
    # ten0 pays 20 and hands them out: ten 26-20+6 = 12, thirty 76+16 = 92. Nobody can pay, so thirty1: thirty 168,
    # ten 38. ten1 pays: ten 24, thirty 184. ten2 pays: ten 10, thirty 200. thirty2 pays 100: thirty 176, ten 36.
    # ten3 pays again.
    assert drain(queue)[:7] == ["thirty0", "ten0", "thirty1", "ten1", "ten2", "thirty2", "ten3"]


@pytest.mark.parametrize("cost", [0, 1, MIN_COST])
def test_a_cost_is_at_least_the_minimum(cost: int) -> None:
    queue: PrioritizedQueue[int] = PrioritizedQueue(MAX_TOKENS, MIN_COST)
    for i in range(3):
        queue.enqueue("c", 20, cost, i)
        queue.enqueue("c", 10, cost, 10 + i)
    # 20 serves for nothing and hands out 10 as 7 and 4: nobody can pay. Again: 14 and 8. 20 pays: 11 and 12. 10 is next.
    assert drain(queue)[:4] == [0, 1, 2, 10]


def test_a_cost_is_at_most_what_can_be_saved() -> None:
    queue: PrioritizedQueue[str] = PrioritizedQueue(MAX_TOKENS, MIN_COST)
    queue.enqueue("c", 1, 10**12, "huge")
    for i in range(2000):
        queue.enqueue("c", 60, 500, f"s{i}")
    # Even clamped it costs all that its priority can save up, and it takes more to pay. So it goes last, when nothing
    # of a higher priority is left; the queue must not stall before.
    assert drain(queue)[-1] == "huge"


class NaiveQueue:
    """The rules, written down with one flat list and a note of when each connection last had its turn."""

    def __init__(self) -> None:
        self.entries: list[tuple[bool, int, str, int, int]] = []  # strict, priority, class, cost, item
        self.turn: dict[tuple[bool, int, str], int] = {}
        self.tokens: dict[int, int] = {}
        self.clock = 0

    def enqueue(self, strict: bool, priority: int, class_: str, cost: int, item: int) -> None:
        lane = strict, priority, class_
        if not any(entry[:3] == lane for entry in self.entries):
            self._note_turn(lane)
        cost = 0 if strict else min(max(cost, MIN_COST), MAX_TOKENS)
        self.entries.append((*lane, cost, item))

    def _note_turn(self, lane: tuple[bool, int, str]) -> None:
        self.clock += 1
        self.turn[lane] = self.clock

    def _head(self, strict: bool, priority: int) -> tuple[bool, int, str, int, int]:
        candidates = [entry for entry in self.entries if entry[:2] == (strict, priority)]
        lane = min({entry[:3] for entry in candidates}, key=self.turn.__getitem__)
        return next(entry for entry in candidates if entry[:3] == lane)

    def dequeue(self) -> int:
        if strict := {entry[1] for entry in self.entries if entry[0]}:
            return self._take(self._head(True, max(strict)))
        present = {entry[1] for entry in self.entries}
        payers = [p for p in present if self._head(False, p)[3] < self.tokens.get(p, 0)]
        head = self._head(False, min(payers) if payers else max(present))
        item = self._take(head)
        if payers:
            self.tokens[head[1]] -= head[3]
        present = {entry[1] for entry in self.entries}
        self.tokens = {p: tokens for p, tokens in self.tokens.items() if p in present}
        for p in present:
            if sum(present):
                share = p * head[3] // sum(present) + 1
                self.tokens[p] = min(self.tokens.get(p, 0) + share, MAX_TOKENS)
        return item

    def _take(self, head: tuple[bool, int, str, int, int]) -> int:
        self.entries.remove(head)
        self._note_turn(head[:3])
        return head[4]

    def remove_by_class(self, class_: str) -> list[int]:
        removed = [entry[4] for entry in self.entries if entry[2] == class_]
        self.entries = [entry for entry in self.entries if entry[2] != class_]
        present = {entry[1] for entry in self.entries if not entry[0]}
        self.tokens = {p: tokens for p, tokens in self.tokens.items() if p in present}
        return removed


@pytest.mark.parametrize("seed", range(40))
def test_order_against_a_naive_model(seed: int) -> None:
    chance = random.Random(seed)
    queue: PrioritizedQueue[int] = PrioritizedQueue(MAX_TOKENS, MIN_COST)
    model = NaiveQueue()
    for step in range(600):
        where = f"seed {seed}, step {step}"
        dice = chance.random()
        if dice < 0.55:
            strict = chance.random() < 0.3
            priority = chance.choice([64, 127, 196, 255] if strict else [0, 1, 5, 40, 63])
            class_ = chance.choice("abcd")
            cost = chance.choice([0, 9, 10, 11, 99, 400, 999, 1000, 5000])
            if strict:
                queue.enqueue_strict(class_, priority, step)
            else:
                queue.enqueue(class_, priority, cost, step)
            model.enqueue(strict, priority, class_, cost, step)
        elif dice < 0.97:
            if model.entries:
                assert queue.dequeue() == model.dequeue(), where
        else:
            class_ = chance.choice("abcd")
            assert sorted(queue.remove_by_class(class_)) == sorted(model.remove_by_class(class_)), where
        assert len(queue) == len(model.entries), where
        oldest = min((entry[4] for entry in model.entries), default=None)
        assert min(queue.heads(), default=None) == oldest, where
    while model.entries:
        assert queue.dequeue() == model.dequeue(), f"seed {seed}, at the end"
    with pytest.raises(IndexError):
        queue.dequeue()


# ---- messages and events ----


@dataclass(eq=False)
class FakeMessage:
    connection: str
    type: int = 1
    priority: int = 127
    src: str = "client.1"
    front: bytes = b""
    middle: bytes = b""
    data: bytes = b""
    times_dispatched: int = 0

    def dispatched(self) -> None:
        self.times_dispatched += 1


@dataclass
class Recorder(Dispatcher):
    calls: list[tuple[str, Any]] = field(default_factory=list)

    def ms_dispatch(self, message: Any) -> bool:
        assert not message.times_dispatched, "the throttle was released before the callback returned"
        self.calls.append(("message", message))
        return True

    def ms_handle_connect(self, connection: Any) -> None:
        self.calls.append(("connect", connection))

    def ms_handle_accept(self, connection: Any) -> None:
        self.calls.append(("accept", connection))

    def ms_handle_reset(self, connection: Any) -> bool:
        self.calls.append(("reset", connection))
        return True

    def ms_handle_remote_reset(self, connection: Any) -> None:
        self.calls.append(("remote reset", connection))

    def ms_handle_refused(self, connection: Any) -> bool:
        self.calls.append(("refused", connection))
        return True

    def ms_handle_drained(self, connection: Any) -> None:
        self.calls.append(("drained", connection))


def stepped_queue(*dispatchers: Dispatcher, **options: Any) -> DispatchQueue:
    """Without a thread: the test steps it."""
    chain = DispatcherChain()
    for dispatcher in dispatchers:
        chain.add_tail(dispatcher)
    queue = DispatchQueue(chain, start_thread=lambda name, run: None, **options)
    queue.start()
    return queue


def deliver_all(queue: DispatchQueue) -> None:
    while queue.step():
        pass


def test_events_come_in_the_order_they_were_queued_and_before_messages() -> None:
    recorder = Recorder()
    queue = stepped_queue(recorder)
    message = FakeMessage("b", priority=254)
    queue.enqueue(message)
    queue.queue_remote_reset("b")
    queue.queue_connect("a")
    queue.queue_accept("b")
    queue.queue_refused("a")
    queue.queue_drained("a")
    queue.queue_reset("b")
    assert queue.get_dispatch_queue_len() == 7
    deliver_all(queue)
    assert recorder.calls == [
        ("remote reset", "b"),
        ("connect", "a"),
        ("accept", "b"),
        ("refused", "a"),
        ("drained", "a"),
        ("reset", "b"),
        ("message", message),
    ]
    assert queue.get_dispatch_queue_len() == 0
    assert not queue.step()


def test_priority_64_is_strict_and_63_is_not() -> None:
    """By tokens a dear message of priority 63 lets a cheap one of priority 1 go first; a strict one never does."""
    orders = []
    for priority in 63, 64:
        recorder = Recorder()
        queue = stepped_queue(recorder, pq_max_tokens_per_priority=1 << 20, pq_min_cost=1)
        for _ in range(4):
            queue.enqueue(FakeMessage("a", priority=priority, front=b"f" * 500, middle=b"m" * 300, data=b"d" * 200))
            queue.enqueue(FakeMessage("a", priority=1))
        deliver_all(queue)
        orders.append([message.priority for _, message in recorder.calls])
    assert orders[0] == [63, 1, 1, 1, 1, 63, 63, 63]
    assert orders[1] == [64, 64, 64, 64, 1, 1, 1, 1]


def test_throttle_is_given_back_once_after_the_callback() -> None:
    queue = stepped_queue(Recorder())
    message = FakeMessage("a")
    queue.enqueue(message)
    assert message.times_dispatched == 0
    queue.step()
    assert message.times_dispatched == 1


def test_throttle_is_given_back_although_the_callback_raised() -> None:
    class Raising(Dispatcher):
        def ms_dispatch(self, message: Any) -> bool:
            raise ValueError("from the user")

    queue = stepped_queue(Raising(), recorder := Recorder())
    message = FakeMessage("a")
    queue.enqueue(message)
    queue.step()
    assert message.times_dispatched == 1
    assert recorder.calls == [], "a message whose dispatcher raised counts as handled"


def test_discard_drops_the_messages_of_one_connection_and_keeps_events() -> None:
    recorder = Recorder()
    queue = stepped_queue(recorder)
    gone = [FakeMessage("a", priority=priority) for priority in (127, 127, 200, 10)]
    kept = FakeMessage("b")
    for message in *gone, kept:
        queue.enqueue(message)
    queue.queue_reset("a")
    queue.discard("a")
    assert [message.times_dispatched for message in gone] == [1] * 4
    assert queue.get_dispatch_queue_len() == 2
    deliver_all(queue)
    assert recorder.calls == [("reset", "a"), ("message", kept)]


def test_max_age_is_that_of_the_oldest_message_whatever_its_priority() -> None:
    now_ns = 5_000_000_000
    queue = stepped_queue(Recorder(), clock=lambda: now_ns)
    assert queue.get_dispatch_queue_max_age() == 0
    queue.queue_connect("a")
    now_ns += 1_000_000_000
    assert queue.get_dispatch_queue_max_age() == 0, "events have no age"
    queue.enqueue(FakeMessage("a", priority=10))
    now_ns += 2_000_000_000
    queue.enqueue(FakeMessage("a", priority=127))
    queue.enqueue(FakeMessage("b", priority=127))
    now_ns += 500_000_000
    assert queue.get_dispatch_queue_max_age() == 2.5
    assert queue.perf.snapshot() == {"msgr_dispatch_queue_len": 4, "msgr_dispatch_queue_max_age_seconds": 2.5}
    deliver_all(queue)
    assert queue.get_dispatch_queue_max_age() == 0


def test_after_shutdown_messages_are_dropped_and_queued_events_delivered() -> None:
    recorder = Recorder()
    queue = stepped_queue(recorder)
    before, after = FakeMessage("a"), FakeMessage("a")
    queue.enqueue(before)
    queue.queue_reset("a")
    queue.shutdown()
    queue.shutdown()
    queue.enqueue(after)
    queue.queue_reset("late")
    queue.wait()
    assert recorder.calls == [("reset", "a")]
    assert (before.times_dispatched, after.times_dispatched) == (1, 1)
    assert queue.get_dispatch_queue_len() == 0


# ---- its thread ----


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def queue(recorder: Recorder) -> Iterator[DispatchQueue]:
    chain = DispatcherChain()
    chain.add_tail(recorder)
    queue = DispatchQueue(chain)
    yield queue
    queue.shutdown()
    queue.wait()


class Gate(Dispatcher):
    """Tells which thread it is called on, and holds it until it is opened."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.opened = threading.Event()
        self.thread_name = ""
        self.error: BaseException | None = None
        self.queue: DispatchQueue | None = None

    def ms_handle_connect(self, connection: Any) -> None:
        self.thread_name = threading.current_thread().name
        if self.queue:
            assert self.queue.in_thread()
            self.queue.shutdown()
            try:
                self.queue.wait()
            except RuntimeError as error:
                self.error = error
        self.entered.set()
        assert self.opened.wait(DEADLINE_S)


def test_nothing_is_delivered_before_start_and_everything_after(queue: DispatchQueue, recorder: Recorder) -> None:
    gate = Gate()
    gate.opened.set()
    queue.chain.add_tail(gate)
    queue.queue_connect("a")
    assert queue.get_dispatch_queue_len() == 1
    queue.start()
    queue.start()
    assert gate.entered.wait(DEADLINE_S)
    assert gate.thread_name == "ms_dispatch"
    assert recorder.calls == [("connect", "a")]
    assert not queue.in_thread()


def test_many_producers_lose_nothing_and_keep_their_order(queue: DispatchQueue, recorder: Recorder) -> None:
    queue.start()
    producers, each = 4, 500
    all_in = threading.Barrier(producers + 1)

    def produce(number: int) -> None:
        for i in range(each):
            queue.enqueue(FakeMessage(f"c{number}", type=i))
        all_in.wait(DEADLINE_S)

    for number in range(producers):
        threading.Thread(target=produce, args=(number,), daemon=True).start()
    all_in.wait(DEADLINE_S)
    last = FakeMessage("last", priority=1)  # below all others, so it comes last
    done = threading.Event()
    last.dispatched = done.set  # type: ignore[method-assign]
    queue.enqueue(last)
    assert done.wait(DEADLINE_S)
    for number in range(producers):
        assert [m.type for _, m in recorder.calls if m.connection == f"c{number}"] == list(range(each))


def test_an_idle_thread_holds_no_message(queue: DispatchQueue, recorder: Recorder) -> None:
    """Policy throttles get their amounts back when the message is destroyed: the queue must not be what keeps it."""
    queue.start()
    message = FakeMessage("a")
    destroyed = threading.Event()
    weakref.finalize(message, destroyed.set)
    recorder.ms_dispatch = lambda message: True  # type: ignore[method-assign]
    queue.enqueue(message)
    del message
    gc.collect()
    assert destroyed.wait(DEADLINE_S)


def test_shutdown_inside_a_callback_is_legal_and_wait_is_not() -> None:
    gate = Gate()
    chain = DispatcherChain()
    chain.add_tail(gate)
    gate.queue = queue = DispatchQueue(chain)
    gate.opened.set()
    queue.start()
    queue.queue_connect("a")
    assert gate.entered.wait(DEADLINE_S)
    queue.wait()
    assert "dispatch thread" in str(gate.error)


def test_wait_before_shutdown_is_refused(queue: DispatchQueue) -> None:
    queue.start()
    with pytest.raises(RuntimeError, match="before shutdown"):
        queue.wait()


def test_events_queued_before_shutdown_are_delivered_by_the_thread(queue: DispatchQueue, recorder: Recorder) -> None:
    gate = Gate()
    queue.chain.add_head(gate)
    queue.start()
    queue.queue_connect("a")
    assert gate.entered.wait(DEADLINE_S)
    message = FakeMessage("a")
    queue.enqueue(message)
    queue.queue_reset("a")
    queue.shutdown()
    gate.opened.set()
    queue.wait()
    assert recorder.calls == [("connect", "a"), ("reset", "a")]
    assert message.times_dispatched == 1


def test_it_can_be_started_again(queue: DispatchQueue, recorder: Recorder) -> None:
    for round_ in range(3):
        queue.start()
        queue.queue_reset(round_)
        queue.shutdown()
        queue.wait()
    assert recorder.calls == [("reset", round_) for round_ in range(3)]


def test_a_defect_outside_callbacks_does_not_end_the_thread(caplog: pytest.LogCaptureFixture) -> None:
    def hook(subject: object, error: BaseException) -> None:
        raise RuntimeError("the hook fails")

    class Raising(Dispatcher):
        def ms_handle_connect(self, connection: Any) -> None:
            raise ValueError("from the user")

    chain = DispatcherChain(on_error=hook)
    recorder = Recorder()
    chain.add_tail(Raising())
    chain.add_tail(recorder)
    queue = DispatchQueue(chain)
    queue.start()
    queue.queue_connect("a")
    queue.queue_reset("a")
    queue.shutdown()
    queue.wait()
    assert recorder.calls == [("reset", "a")]
    assert "delivery failed" in caplog.text


# ---- loopback ----


def test_local_delivery_hands_over_the_same_objects_in_order_on_its_own_thread() -> None:
    got: list[tuple[Any, str, str]] = []
    done = threading.Event()

    def deliver(message: Any, connection: Any) -> None:
        got.append((message, connection, threading.current_thread().name))
        if message is messages[-1]:
            done.set()

    messages: list[Any] = [FakeMessage("loop") for _ in range(100)]
    local = LocalDelivery(deliver)
    local.start()
    for message in messages:
        local.send(message, "loop")
    assert done.wait(DEADLINE_S)
    local.shutdown()
    local.wait()
    assert got == [(message, "loop", "ms_local") for message in messages]


def test_local_delivery_survives_a_failing_delivery_and_drops_after_shutdown(caplog: pytest.LogCaptureFixture) -> None:
    got: list[Any] = []

    def deliver(message: Any, connection: Any) -> None:
        got.append(message)
        if message == 1:
            raise ValueError("defect")

    local = LocalDelivery(deliver, start_thread=lambda name, run: None)
    local.start()
    for number in 1, 2:
        local.send(number, "loop")  # type: ignore[arg-type]
    assert local.step() and local.step() and not local.step()
    assert got == [1, 2]
    assert "local delivery failed" in caplog.text
    local.send(3, "loop")  # type: ignore[arg-type]
    local.shutdown()
    local.send(4, "loop")  # type: ignore[arg-type]
    local.wait()
    local.start()
    assert not local.step()
    assert got == [1, 2]
