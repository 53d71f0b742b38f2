"""The comparison: cases, in each of them rounds, in each round every contestant once: A B C A B C.

A single figure says little: machines differ, and the same machine differs from minute to minute. So every figure is the median
of the rounds, and a ratio is the median of the rounds' ratios.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field

from bench import progress
from bench.case import Case
from bench.contestants import Contestant
from bench.process import RunFailed
from bench.sample import Sample, medians, ratio, spread

__all__ = ["OURS", "Cell", "measure", "present", "seconds_of"]

#: The contestant that the others are compared with.
OURS = "pair"

#: Starting and ending both processes of a run, about.
_AROUND_S = 1.0


@dataclass(slots=True)
class Cell:
    """One case: the samples of each contestant, round by round. What the others are held against is the first."""

    case: Case
    samples: dict[str, list[Sample]] = field(default_factory=dict)

    def ratio(self, name: str, other: str, figure: str = "ops_per_s") -> float | None:
        """The first in those of the second; None where one of them was not measured."""
        if not (self.samples.get(name) and self.samples.get(other)):
            return None
        return ratio(self.samples[name], self.samples[other], figure)

    def median(self, name: str) -> Sample | None:
        return medians(self.samples[name]) if self.samples.get(name) else None

    @property
    def first(self) -> str:
        return next(iter(self.samples))

    def as_json(self) -> dict[str, object]:
        return {
            "case": asdict(self.case),
            "contestants": {
                name: {
                    "median": asdict(medians(samples)),
                    "spread": round(spread(samples), 3),
                    "to_first": _rounded(self.ratio(name, self.first)),
                    "ours_to_it": _rounded(self.ratio(OURS, name)),
                    "rounds": [asdict(sample) for sample in samples],
                }
                for name, samples in self.samples.items()
            },
        }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def present(everybody: Iterable[Contestant], names: Sequence[str]) -> list[Contestant]:
    """Those of these names that can run here. One line for each that cannot."""
    chosen = [contestant for contestant in everybody if contestant.name in names]
    for contestant in chosen:
        if reason := contestant.missing():
            progress.say(f"without {contestant.name}: {reason}")
    return [contestant for contestant in chosen if not contestant.missing()]


def seconds_of(cases: Iterable[Case], contestants: Sequence[Contestant], rounds: int, seconds: float) -> float:
    """About how long ``measure`` takes."""
    runs = sum(contestant.serves(case) for case in cases for contestant in contestants) * rounds
    return runs * (seconds + _AROUND_S)


def measure(
    cases: Sequence[Case], contestants: Sequence[Contestant], rounds: int, seconds: float, *, budget_s: float = math.inf
) -> Iterator[Cell]:
    """One cell after the other. A contestant that fails in a case is left out of it, with one line.

    On a slow machine rounds are left out too, never the first: none begins past the case's share of ``budget_s``.
    """
    start_s = time.monotonic()
    for done, case in enumerate(cases, 1):
        playing = [contestant for contestant in contestants if contestant.serves(case)]
        cell = Cell(case, {contestant.name: [] for contestant in playing})
        for number in range(1, rounds + 1):
            if number > 1 and time.monotonic() - start_s > budget_s * done / len(cases):
                progress.say(f"{number - 1} of {rounds} rounds in {case.name}: the time is up")
                break
            for contestant in list(playing):
                progress.show(f"{case}; round {number} of {rounds}: {contestant.name}")
                try:
                    cell.samples[contestant.name].append(contestant.run(case, seconds))
                except RunFailed as error:
                    progress.say(f"without {contestant.name} in {case.name}: {error}")
                    playing.remove(contestant)
                    del cell.samples[contestant.name]
        progress.clear()
        if cell.samples:
            yield cell
