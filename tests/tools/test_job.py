"""One job against a connection that only remembers what was sent."""

from __future__ import annotations

import pytest

from ceph_msgr import EntityAddr
from ceph_msgr.tools import job as job_module
from ceph_msgr.tools.job import Connected, Drained, Job, Lost
from ceph_msgr.tools.window import Window
from ceph_msgr.tools.workload import REPLY_TYPE, REQUEST_TYPE, make_reply, make_request

SERVER = EntityAddr.parse("v2:127.0.0.1:10001/0")


class RecordingConnection:
    """Keeps the tid each message had when it was sent, as the messenger does, which copies the header."""

    def __init__(self) -> None:
        self.sent_tids: list[int] = []
        self.data_bytes: set[int] = set()

    def send_message(self, message) -> None:
        self.sent_tids.append(message.tid)
        self.data_bytes.add(len(message.data))


class RecordingMessenger:
    def __init__(self) -> None:
        self.connection = RecordingConnection()
        self.calls: list[object] = []

    def add_dispatcher_head(self, dispatcher) -> None:
        self.calls.append("add_dispatcher_head")

    def start(self) -> None:
        self.calls.append("start")

    def connect_to(self, entity_type, addrs) -> RecordingConnection:
        self.calls.append(("connect_to", str(entity_type), str(addrs)))
        return self.connection


class Setup:
    """A connected and started job, its clock, and what it told."""

    def __init__(self, monkeypatch, *, concurrency: int, ios: int | None = None, think_time_us: int = 0) -> None:
        self.now_ns = 1000
        self.slept_s: list[float] = []
        monkeypatch.setattr(job_module, "Window", lambda concurrency, ios: Window(concurrency, ios, clock=lambda: self.now_ns))
        monkeypatch.setattr(job_module.time, "sleep", self.slept_s.append)
        self.told: list[object] = []
        self.messenger = RecordingMessenger()
        self.sent_tids = self.messenger.connection.sent_tids
        self.job = Job(
            7,
            self.messenger,
            SERVER,
            self.told.append,
            concurrency=concurrency,
            ios=ios,
            think_time_us=think_time_us,
            msg_len_bytes=16,
        )
        self.job.connect()
        self.job.start()

    def reply(self, tid: int, *, after_ns: int = 100) -> None:
        self.now_ns += after_ns
        request = make_request(16)
        request.tid = tid
        self.job.ms_fast_dispatch(make_reply(request))


def test_it_dials_the_server_as_an_osd(monkeypatch) -> None:
    setup = Setup(monkeypatch, concurrency=1)
    assert setup.messenger.calls == ["add_dispatcher_head", "start", ("connect_to", "osd", str(SERVER))]


def test_only_replies_are_dispatched_fast(monkeypatch) -> None:
    job = Setup(monkeypatch, concurrency=1).job
    assert job.ms_can_fast_dispatch_any()
    assert job.ms_can_fast_dispatch(REPLY_TYPE)
    assert not job.ms_can_fast_dispatch(REQUEST_TYPE)
    assert job.ms_dispatch(make_request(0)), "another message must not be logged as unhandled"


@pytest.mark.contract("G")
@pytest.mark.parametrize("concurrency", [1, 3, 32])
def test_exactly_so_many_requests_are_in_flight(concurrency: int, monkeypatch) -> None:
    setup = Setup(monkeypatch, concurrency=concurrency)
    assert setup.sent_tids == list(range(concurrency))
    for tid in range(100):
        setup.reply(tid)
        assert setup.job.outstanding == concurrency
    assert setup.sent_tids == list(range(concurrency + 100))
    assert setup.messenger.connection.data_bytes == {16}
    assert (setup.job.answered, setup.job.errors, setup.told) == (100, 0, [])


def test_replies_may_come_in_any_order(monkeypatch, rng) -> None:
    setup = Setup(monkeypatch, concurrency=8)
    unanswered = set(setup.sent_tids)
    for _ in range(200):
        tid = rng.choice(sorted(unanswered))
        setup.reply(tid)
        unanswered = (unanswered - {tid}) | {setup.sent_tids[-1]}
        assert len(unanswered) == setup.job.outstanding == 8
    assert setup.job.errors == 0
    assert len(setup.job.latency) == 200


def test_latency_is_from_sending_until_the_reply(monkeypatch) -> None:
    setup = Setup(monkeypatch, concurrency=2)
    setup.reply(1, after_ns=50_000)
    setup.reply(0, after_ns=30_000)
    setup.reply(2, after_ns=7_000)  # sent when 1 was answered
    assert [ns for ns, _ in setup.job.latency.buckets()] == pytest.approx([37_000, 50_000, 80_000], abs=32)
    assert setup.job.last_reply_ns - setup.job.started_ns == 87_000


@pytest.mark.parametrize("tid", [0, 2, 2**64 - 1])
def test_a_reply_to_no_outstanding_request_is_an_error_and_sends_nothing(tid: int, monkeypatch) -> None:
    setup = Setup(monkeypatch, concurrency=1)
    setup.reply(0)
    setup.reply(tid)
    assert setup.job.errors == 1
    assert setup.sent_tids == [0, 1]
    assert setup.job.outstanding == 1
    assert len(setup.job.latency) == 1, "an error is not an operation"


@pytest.mark.parametrize(("ios", "concurrency"), [(1, 1), (5, 1), (5, 3), (3, 32)])
def test_it_sends_its_ios_and_tells_when_all_are_answered(ios: int, concurrency: int, monkeypatch) -> None:
    setup = Setup(monkeypatch, concurrency=concurrency, ios=ios)
    for tid in range(ios):
        assert setup.told == []
        setup.reply(tid)
    assert setup.sent_tids == list(range(ios))
    assert setup.told == [Drained(7)]
    assert setup.job.answered == ios


def test_after_stop_it_sends_nothing_and_waits_for_what_is_outstanding(monkeypatch) -> None:
    setup = Setup(monkeypatch, concurrency=3)
    setup.job.stop()
    for tid in (2, 0):
        setup.reply(tid)
        assert setup.told == []
    setup.reply(1)
    assert setup.told == [Drained(7)]
    assert setup.sent_tids == [0, 1, 2]


def test_think_time_is_slept_on_every_reply_and_not_counted_as_latency(monkeypatch) -> None:
    setup = Setup(monkeypatch, concurrency=1, think_time_us=250)
    monkeypatch.setattr(job_module.time, "sleep", lambda seconds: setattr(setup, "now_ns", setup.now_ns + 250_000))
    setup.reply(0)
    setup.reply(1)
    [(ns, count)] = setup.job.latency.buckets()
    assert (ns, count) == (pytest.approx(100, abs=32), 2)


def test_no_think_time_never_sleeps(monkeypatch) -> None:
    setup = Setup(monkeypatch, concurrency=1)
    setup.reply(0)
    assert setup.slept_s == []


def test_what_happens_to_the_connection_is_told(monkeypatch) -> None:
    setup = Setup(monkeypatch, concurrency=1)
    setup.job.ms_handle_connect(setup.messenger.connection)
    assert setup.told == [Connected(7)]
    for callback, word in (
        (setup.job.ms_handle_refused, "cannot connect"),
        (setup.job.ms_handle_reset, "lost"),
        (setup.job.ms_handle_remote_reset, "forgotten"),
    ):
        setup.told.clear()
        callback(setup.messenger.connection)
        [news] = setup.told
        assert isinstance(news, Lost)
        assert word in news.text
        assert str(SERVER) in news.text
