"""Many seeds, one after the other or on several processes, and the figures of all of them."""

from __future__ import annotations

import hashlib
import logging
import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

from ceph_msgr.testing.simulator.faults import Fault
from ceph_msgr.testing.simulator.options import Options
from ceph_msgr.testing.simulator.shrink import shrink
from ceph_msgr.testing.simulator.simulation import Outcome, Simulation

__all__ = ["Totals", "run_seed", "run_seeds", "shrink_seed"]

#: Seeds a process is given at once.
_BATCH = 8


@dataclass
class Totals:
    """Figures that add up."""

    seeds: int = 0
    faults: int = 0
    sessions: int = 0
    messages: int = 0
    received: int = 0
    steps: int = 0
    virtual_hours: float = 0.0
    #: Seeds and what was wrong.
    violations: dict[int, str] = field(default_factory=dict)
    #: Of the digests of all runs, in the order of their seeds.
    digest: str = ""

    def add(self, outcome: Outcome) -> None:
        self.seeds += 1
        self.faults += outcome.faults
        self.sessions += outcome.sessions
        self.messages += outcome.messages
        self.received += outcome.received
        self.steps += outcome.steps
        self.virtual_hours += outcome.virtual_s / 3600
        self.digest = hashlib.sha256(f"{self.digest} {outcome.seed} {outcome.digest}".encode()).hexdigest()[:16]
        if outcome.violation:
            self.violations[outcome.seed] = outcome.violation

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def run_seed(seed: int, options: Options, *, schedule: list[Fault] | None = None, trace: bool = False) -> Outcome:
    """One run in this process."""
    # Simulated faults are what it is all about: what they make the library log is of no interest.
    logging.getLogger("ceph_msgr").setLevel(logging.CRITICAL + 1)
    return Simulation(seed, options, schedule=schedule, trace=trace).run()


def _run_batch(seeds: list[int], options: Options, trace: bool) -> list[Outcome]:
    return [run_seed(seed, options, trace=trace) for seed in seeds]


def run_seeds(
    seeds: Iterable[int], options: Options, *, jobs: int = 1, go_on: Callable[[], bool] = lambda: True, trace: bool = False
) -> Iterator[Outcome]:
    """In the order of the seeds. ``go_on`` is asked between them. With one job they run in this process."""
    seeds = list(seeds)
    if jobs == 1:
        for seed in seeds:
            if not go_on():
                return
            yield run_seed(seed, options, trace=trace)
        return
    batches = [seeds[at : at + _BATCH] for at in range(0, len(seeds), _BATCH)]
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        waiting = [pool.submit(_run_batch, batch, options, trace) for batch in batches]
        for future in waiting:
            yield from future.result()
            if not go_on():
                pool.shutdown(cancel_futures=True)
                return


def shrink_seed(seed: int, options: Options, *, patience_s: float = 60.0) -> tuple[list[Fault], Outcome]:
    """A short schedule with which this seed still fails, and how. The seed itself must fail."""
    schedule = list(Simulation(seed, options).schedule)
    short = shrink(schedule, lambda part: bool(run_seed(seed, options, schedule=part).violation), patience_s=patience_s)
    return short, run_seed(seed, options, schedule=short, trace=True)
