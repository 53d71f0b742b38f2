"""One run of one contestant, and what is made of several: medians, spread, ratio."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from statistics import median

__all__ = ["Sample", "medians", "ratio", "spread"]


@dataclass(frozen=True, slots=True)
class Sample:
    """CPU is user and system time of the whole process per operation. None: this contestant does not tell."""

    ops_per_s: float
    p50_us: float | None
    p99_us: float | None
    client_cpu_us: float
    server_cpu_us: float

    @property
    def cpu_us(self) -> float:
        """Of both sides."""
        return self.client_cpu_us + self.server_cpu_us


def medians(samples: Sequence[Sample]) -> Sample:
    """Each figure's own median."""
    return Sample(*(_median([getattr(sample, field.name) for sample in samples]) for field in fields(Sample)))


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def spread(samples: Sequence[Sample]) -> float:
    """How far the rates of the rounds lie apart, as a share of their median."""
    rates = [sample.ops_per_s for sample in samples]
    return (max(rates) - min(rates)) / median(rates)


def ratio(ours: Sequence[Sample], theirs: Sequence[Sample], figure: str = "ops_per_s") -> float | None:
    """The median of the rounds' ratios: what disturbs a round disturbs both. None where one of them does not tell."""
    pairs = [(getattr(our, figure), getattr(their, figure)) for our, their in zip(ours, theirs, strict=True)]
    return _median([our / their for our, their in pairs if our is not None and their is not None])
