"""One quantity doubles from point to point, and no step may be a cliff."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise

from bench import progress
from bench.case import Case
from bench.sample import Sample, medians, ratio, spread

__all__ = ["LEAST_STEP", "SWEEPS", "Point", "Step", "Sweep", "cliffs", "run_sweep", "steps"]

#: A step below this is a cliff: a tenth less than before.
LEAST_STEP = 0.9


@dataclass(frozen=True, slots=True)
class Sweep:
    """``by_bytes``: the rate in bytes is what may not fall, else that in operations."""

    name: str
    unit: str
    cases: Sequence[Case]
    value: Callable[[Case], int]
    by_bytes: bool = False


@dataclass(frozen=True, slots=True)
class Point:
    """One value, and its samples round by round."""

    value: int
    payload_bytes: int
    samples: Sequence[Sample]

    @property
    def mb_per_s(self) -> float:
        return medians(self.samples).ops_per_s * self.payload_bytes / 1e6


@dataclass(frozen=True, slots=True)
class Step:
    """From a point to the one at twice its value: the median of the rounds' ratios."""

    to: int
    ratio: float

    @property
    def is_cliff(self) -> bool:
        return self.ratio < LEAST_STEP


def steps(sweep: Sweep, points: Sequence[Point]) -> list[Step]:
    """Those between points of which the second has twice the value."""
    found = []
    for before, after in pairwise(points):
        if before.value and after.value == 2 * before.value:
            rates = ratio(after.samples, before.samples)
            assert rates is not None
            found.append(Step(after.value, rates * (2 if sweep.by_bytes else 1)))
    return found


def cliffs(sweep: Sweep, points: Sequence[Point]) -> list[Step]:
    return [step for step in steps(sweep, points) if step.is_cliff]


def run_sweep(sweep: Sweep, run: Callable[[Case, float], Sample], rounds: int, seconds: float) -> list[Point]:
    """In each round every point once."""
    samples: list[list[Sample]] = [[] for _ in sweep.cases]
    for number in range(1, rounds + 1):
        for case, taken in zip(sweep.cases, samples, strict=True):
            progress.show(f"{sweep.name} {sweep.value(case)} {sweep.unit}; round {number} of {rounds}")
            taken.append(run(case, seconds))
    progress.clear()
    return [
        Point(sweep.value(case), case.payload_bytes, taken) for case, taken in zip(sweep.cases, samples, strict=True)
    ]


def table(sweep: Sweep, points: Sequence[Point]) -> Iterator[str]:
    """A line of heads, a line for each point, the verdict."""
    yield f"{sweep.unit:>16} {'ops/s':>10} {'spread':>6} {'MB/s':>8} {'p50 us':>10} {'CPU us':>9} {'step':>5}"
    ratios = {step.to: step for step in steps(sweep, points)}
    for point in points:
        middle, step = medians(point.samples), ratios.get(point.value)
        shown = f"{step.ratio:.2f}{' a cliff' if step.is_cliff else ''}" if step else ""
        yield (
            f"{point.value:>16,} {middle.ops_per_s:>10,.0f} {spread(point.samples):>6.0%} {point.mb_per_s:>8,.0f} "
            f"{middle.p50_us:>10,.1f} {middle.cpu_us:>9,.2f} {shown:>5}"
        )
    what = "MB/s" if sweep.by_bytes else "ops/s"
    falls = [f"{step.to:,} ({step.ratio:.2f})" for step in cliffs(sweep, points)]
    yield f"{sweep.name}: {what} falls by more than 10 % at {', '.join(falls)}" if falls else f"{sweep.name}: no cliff in {what}"


def as_json(sweep: Sweep, points: Sequence[Point]) -> dict[str, object]:
    return {
        "unit": sweep.unit,
        "points": [
            {
                "value": point.value,
                "median": asdict(medians(point.samples)),
                "mb_per_s": round(point.mb_per_s, 1),
                "spread": round(spread(point.samples), 3),
                "rounds": [asdict(sample) for sample in point.samples],
            }
            for point in points
        ],
        "steps": [asdict(step) | {"is_cliff": step.is_cliff} for step in steps(sweep, points)],
    }


def _doubling(first: int, last: int) -> list[int]:
    values = [first]
    while values[-1] < last:
        values.append(values[-1] * 2)
    return values


_BASE = Case("sweep", 4096, 33)

SWEEPS = (
    Sweep(
        "depth", "requests in flight", [replace(_BASE, in_flight=value) for value in _doubling(1, 1024)],
        lambda case: case.in_flight,
    ),
    Sweep(
        "payload", "bytes of payload",
        [replace(_BASE, in_flight=32, payload_bytes=value) for value in (0, *_doubling(64, 16 << 20))],
        lambda case: case.payload_bytes, by_bytes=True,
    ),
    Sweep("jobs", "jobs", [replace(_BASE, jobs=value) for value in _doubling(1, 64)], lambda case: case.jobs),
)
