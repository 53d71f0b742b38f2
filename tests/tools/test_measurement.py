"""The course of a run, with jobs that do as they are told instead of measuring."""

from __future__ import annotations

import io
import time
from signal import SIGINT, SIGTERM

import pytest

from ceph_msgr.tools.histogram import LatencyHistogram
from ceph_msgr.tools.job import Connected, Drained, Lost
from ceph_msgr.tools.measurement import Mailbox, Measurement
from ceph_msgr.tools.progress import Progress


class FakeJob:
    """Answers ``per_look`` requests each time it is looked at, tells ``at_start`` and ``at_stop`` when that is called."""

    def __init__(self, mailbox: Mailbox, *, connects=(), at_start=(), at_stop=(), per_look: int = 0) -> None:
        self.mailbox = mailbox
        self.news = {"connect": connects, "start": at_start, "stop": at_stop}
        self.calls: list[str] = []
        self.per_look = per_look
        self.looks = 0
        self.outstanding = 5
        self.errors = 1
        self.started_ns, self.last_reply_ns = 2_000_000_000, 3_500_000_000
        self.latency = LatencyHistogram()
        self.latency.record(100)

    @property
    def answered(self) -> int:
        self.looks += 1
        return self.looks * self.per_look

    def _do(self, call: str) -> None:
        self.calls.append(call)
        for news in self.news[call]:
            self.mailbox.put(news)

    def connect(self) -> None:
        self._do("connect")

    def start(self) -> None:
        self._do("start")

    def stop(self) -> None:
        self._do("stop")


def run(measurement: Measurement, *, seconds: float | None = None, reply_timeout_s: float = 10.0) -> None:
    measurement.run(seconds=seconds, total_ops=10, reply_timeout_s=reply_timeout_s, progress=Progress(io.StringIO()))


def test_all_connected() -> None:
    mailbox = Mailbox()
    jobs = [FakeJob(mailbox, connects=[Connected(number)]) for number in range(3)]
    measurement = Measurement(jobs, mailbox)
    assert measurement.connect(10)
    assert measurement.failure is None
    assert [job.calls for job in jobs] == [["connect"]] * 3


def test_connected_twice_counts_once() -> None:
    mailbox = Mailbox()
    jobs = [FakeJob(mailbox, connects=[Connected(0), Connected(0)]), FakeJob(mailbox)]
    measurement = Measurement(jobs, mailbox)
    assert not measurement.connect(0.01)
    assert measurement.failure == "1 of 2 jobs are not connected after 0.01 s"


def test_refused_while_connecting() -> None:
    mailbox = Mailbox()
    measurement = Measurement([FakeJob(mailbox, connects=[Lost(0, "cannot connect to X")])], mailbox)
    assert not measurement.connect(10)
    assert measurement.failure == "cannot connect to X"


def test_interrupted_while_connecting() -> None:
    mailbox = Mailbox()
    measurement = Measurement([FakeJob(mailbox, connects=[SIGINT])], mailbox)
    assert not measurement.connect(10)
    assert (measurement.failure, measurement.signals) == (None, [SIGINT])


def test_until_all_jobs_are_drained() -> None:
    mailbox = Mailbox()
    jobs = [FakeJob(mailbox, at_start=[Drained(number)]) for number in range(2)]
    measurement = Measurement(jobs, mailbox)
    run(measurement)
    assert measurement.failure is None
    assert [job.calls for job in jobs] == [["start"]] * 2


def test_the_time_is_up_and_the_jobs_are_drained() -> None:
    mailbox = Mailbox()
    job = FakeJob(mailbox, at_stop=[Drained(0)], per_look=1)
    measurement = Measurement([job], mailbox)
    start = time.monotonic()
    run(measurement, seconds=0.05)
    assert time.monotonic() - start >= 0.05
    assert (measurement.failure, job.calls) == (None, ["start", "stop"])


@pytest.mark.parametrize("number", [SIGINT, SIGTERM])
def test_a_signal_stops_the_jobs_and_waits_for_them(number) -> None:
    mailbox = Mailbox()
    job = FakeJob(mailbox, at_start=[number], at_stop=[Drained(0)])
    measurement = Measurement([job], mailbox)
    run(measurement, seconds=3600)
    assert (measurement.failure, measurement.signals) == (None, [number])
    assert job.calls == ["start", "stop"]


def test_a_second_signal_does_not_wait() -> None:
    mailbox = Mailbox()
    job = FakeJob(mailbox, at_start=[SIGINT, SIGTERM])
    measurement = Measurement([job], mailbox)
    run(measurement, seconds=3600)
    assert (measurement.failure, measurement.signals) == (None, [SIGINT, SIGTERM])


def test_a_lost_connection_ends_it_and_the_first_reason_is_kept() -> None:
    mailbox = Mailbox()
    job = FakeJob(mailbox, at_start=[Lost(0, "first"), Lost(0, "second")])
    measurement = Measurement([job], mailbox)
    run(measurement, seconds=3600)
    assert measurement.failure == "first"


def test_a_server_that_falls_silent_ends_it() -> None:
    mailbox = Mailbox()
    measurement = Measurement([FakeJob(mailbox)], mailbox)
    run(measurement, seconds=3600, reply_timeout_s=0.05)
    assert measurement.failure == "no reply for 0.05 s, 5 requests are unanswered"


def test_a_server_that_falls_silent_while_the_jobs_drain_ends_it() -> None:
    mailbox = Mailbox()
    measurement = Measurement([FakeJob(mailbox, at_start=[SIGINT])], mailbox)
    run(measurement, seconds=3600, reply_timeout_s=0.05)
    assert measurement.failure == "no reply for 0.05 s, 5 requests are unanswered"


def test_slow_is_not_silent() -> None:
    mailbox = Mailbox()
    job = FakeJob(mailbox, at_stop=[Drained(0)], per_look=1)
    measurement = Measurement([job], mailbox)
    run(measurement, seconds=0.5, reply_timeout_s=0.25)  # longer than a tick, shorter than the run
    assert measurement.failure is None
    assert measurement.samples[0] == (0, 0)
    assert measurement.samples == sorted(measurement.samples)


def test_figures_are_those_of_all_jobs() -> None:
    mailbox = Mailbox()
    jobs = [FakeJob(mailbox), FakeJob(mailbox)]
    jobs[1].started_ns, jobs[1].last_reply_ns = 1_000_000_000, 2_000_000_000
    measurement = Measurement(jobs, mailbox)
    assert measurement.seconds == 2.5  # from the first start until the last reply
    assert len(measurement.latency) == 2
    assert (measurement.errors, measurement.outstanding) == (2, 10)
