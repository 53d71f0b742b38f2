"""The course of a run: connect all jobs, let them work, drain. The client's main thread is in here.

It waits on one mailbox for everything that can happen (news of the jobs, signals), and never without a deadline.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from queue import Empty, SimpleQueue
from signal import Signals
from typing import TypeAlias

from ceph_msgr.tools.histogram import LatencyHistogram
from ceph_msgr.tools.job import Connected, Drained, Job, JobNews, Lost
from ceph_msgr.tools.progress import Progress

__all__ = ["Mailbox", "Measurement"]

Mailbox: TypeAlias = SimpleQueue[JobNews | Signals]

_SECOND_NS = 1_000_000_000
_TICK_NS = _SECOND_NS // 5
_NEVER_NS = 1 << 62


class Measurement:
    """One run. Afterwards ``failure`` says why it ended early, if it did, and ``signals`` who asked it to."""

    def __init__(self, jobs: Sequence[Job], mailbox: Mailbox) -> None:
        self.failure: str | None = None
        self.signals: list[Signals] = []
        #: At the start and then at every tick: nanoseconds since the start, and requests answered until then.
        self.samples = [(0, 0)]
        self.cpu_ns = 0
        self._jobs = jobs
        self._mailbox = mailbox
        self._connected: set[int] = set()
        self._drained: set[int] = set()

    def connect(self, timeout_s: float) -> bool:
        """Dial all jobs. True when all are connected, False after a failure or a signal."""
        for job in self._jobs:
            job.connect()
        deadline_ns = time.monotonic_ns() + int(timeout_s * _SECOND_NS)
        while len(self._connected) < len(self._jobs) and not self.failure and not self.signals:
            if time.monotonic_ns() >= deadline_ns:
                missing = len(self._jobs) - len(self._connected)
                self.failure = f"{missing} of {len(self._jobs)} jobs are not connected after {timeout_s:g} s"
            self._hear(deadline_ns)
        return not self.failure and not self.signals

    def run(self, *, seconds: float | None, total_ops: int, reply_timeout_s: float, progress: Progress) -> None:
        """From the first request until the last reply. ``seconds`` bounds it, else ``total_ops`` tells when it is over.

        A lost connection and ``reply_timeout_s`` without any reply are failures. The first signal makes the jobs send
        no more, the second one also stops waiting for the replies.
        """
        cpu_ns = time.process_time_ns()
        start_ns = now_ns = progress_ns = time.monotonic_ns()
        stop_ns = start_ns + int(seconds * _SECOND_NS) if seconds else _NEVER_NS
        answered = 0
        for job in self._jobs:
            job.start()
        while len(self._drained) < len(self._jobs) and not self.failure and len(self.signals) < 2:
            if self.signals or now_ns >= stop_ns:
                stop_ns = _NEVER_NS
                for job in self._jobs:
                    job.stop()
            self._hear(min(now_ns + _TICK_NS, stop_ns))
            now_ns = time.monotonic_ns()
            if self.answered > answered:
                answered, progress_ns = self.answered, now_ns
            elif now_ns - progress_ns > reply_timeout_s * _SECOND_NS:
                self.failure = f"no reply for {reply_timeout_s:g} s, {self.outstanding} requests are unanswered"
            elapsed_ns = now_ns - start_ns
            self.samples.append((elapsed_ns, answered))
            share_done = elapsed_ns / _SECOND_NS / seconds if seconds else answered / total_ops
            progress.show(share_done, answered, elapsed_ns)
        self.cpu_ns = time.process_time_ns() - cpu_ns

    def _hear(self, deadline_ns: int) -> None:
        """Take one piece of news, or wait for it until the deadline, or for a tick: a signal that comes just before the wait
        begins does not end it."""
        wait_ns = min(max(deadline_ns - time.monotonic_ns(), 0), _TICK_NS)
        try:
            news = self._mailbox.get(timeout=wait_ns / _SECOND_NS)
        except Empty:
            return
        match news:
            case Connected(number):
                self._connected.add(number)
            case Drained(number):
                self._drained.add(number)
            case Lost(_, text):
                self.failure = self.failure or text
            case Signals():
                self.signals.append(news)

    # ---- what was measured; final once the messengers are shut down ----

    @property
    def answered(self) -> int:
        return sum(job.answered for job in self._jobs)

    @property
    def outstanding(self) -> int:
        return sum(job.outstanding for job in self._jobs)

    @property
    def errors(self) -> int:
        return sum(job.errors for job in self._jobs)

    @property
    def seconds(self) -> float:
        """From the first request until the last reply, over all jobs; 0 before the start."""
        start_ns = min(job.started_ns for job in self._jobs)
        return (max(job.last_reply_ns for job in self._jobs) - start_ns) / _SECOND_NS

    @property
    def latency(self) -> LatencyHistogram:
        latency = LatencyHistogram()
        for job in self._jobs:
            latency.merge(job.latency)
        return latency
