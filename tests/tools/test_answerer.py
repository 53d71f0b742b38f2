"""How the server answers: on the worker that asks, or from its pool."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from queue import Empty, Queue, SimpleQueue

import pytest

from ceph_msgr.tools import answerer as answerer_module
from ceph_msgr.tools.answerer import Answerer, ThinkingAnswerer
from ceph_msgr.tools.workload import REPLY_TYPE, REQUEST_TYPE


@dataclass
class Connection:
    """Notes each answer and the thread that gave it."""

    answers: Queue = field(default_factory=Queue)

    def send_message(self, reply: str) -> None:
        self.answers.put((reply, threading.current_thread()))


@dataclass
class Request:
    tid: int
    connection: Connection


@pytest.fixture(autouse=True)
def replies_are_texts(monkeypatch) -> None:
    monkeypatch.setattr(answerer_module, "make_reply", lambda request: f"reply {request.tid}")


def test_only_requests_are_dispatched_fast() -> None:
    assert Answerer().ms_can_fast_dispatch_any()
    assert Answerer().ms_can_fast_dispatch(REQUEST_TYPE)
    assert not Answerer().ms_can_fast_dispatch(REPLY_TYPE)


def test_anything_else_gets_no_answer() -> None:
    connection = Connection()
    assert Answerer().ms_dispatch(Request(1, connection)), "it must not be logged as unhandled"
    assert connection.answers.empty()


def test_inline_it_answers_before_it_returns() -> None:
    connection = Connection()
    with Answerer() as answerer:
        answerer.ms_fast_dispatch(Request(1, connection))
        assert connection.answers.get_nowait() == ("reply 1", threading.current_thread())


@pytest.mark.contract("G")
def test_with_a_think_time_the_pool_answers_everything_and_the_worker_goes_on(monkeypatch, deadline) -> None:
    all_think = threading.Barrier(3)
    monkeypatch.setattr(answerer_module.time, "sleep", lambda seconds: all_think.wait(deadline.remaining_s("the pool")))
    connection = Connection()
    with ThinkingAnswerer(threads=3, think_time_us=1000) as answerer:
        for tid in range(30):
            answerer.ms_fast_dispatch(Request(tid, connection))
        answers = [connection.answers.get(timeout=deadline.remaining_s(f"answer {tid}")) for tid in range(30)]
    assert {reply for reply, _ in answers} == {f"reply {tid}" for tid in range(30)}
    threads = {thread for _, thread in answers}
    assert threading.current_thread() not in threads
    assert len(threads) == 3, "one thinks while the others do"


def test_thinking_takes_the_think_time(monkeypatch, deadline) -> None:
    slept_s: Queue = Queue()
    monkeypatch.setattr(answerer_module.time, "sleep", slept_s.put)
    with ThinkingAnswerer(threads=1, think_time_us=250) as answerer:
        answerer.ms_fast_dispatch(Request(1, Connection()))
        assert slept_s.get(timeout=deadline.remaining_s()) == 0.00025


def test_leaving_drops_what_waits_and_joins_the_pool(monkeypatch, deadline) -> None:
    thinking, go_on = threading.Event(), threading.Event()

    class Requests(SimpleQueue):
        def put(self, request: Request | None) -> None:
            super().put(request)
            if request is None:  # the end, behind which nothing comes
                go_on.set()

    def think(seconds: float) -> None:
        thinking.set()
        assert go_on.wait(deadline.remaining_s())

    monkeypatch.setattr(answerer_module.time, "sleep", think)
    monkeypatch.setattr(answerer_module, "SimpleQueue", Requests)
    connection = Connection()
    with ThinkingAnswerer(threads=1, think_time_us=1) as answerer:
        for tid in range(100):
            answerer.ms_fast_dispatch(Request(tid, connection))
        assert thinking.wait(deadline.remaining_s("the pool"))
    assert connection.answers.get_nowait()[0] == "reply 0"
    with pytest.raises(Empty):
        connection.answers.get_nowait()
