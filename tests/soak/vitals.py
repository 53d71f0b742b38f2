"""``Vitals``: what a process holds, read from /proc again and again: memory, descriptors, threads."""

from __future__ import annotations

import os
import re
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Reading", "Vitals"]

_MIB_PER_KIB = 1 / 1024
_S_PER_H = 3600


@dataclass(frozen=True, slots=True)
class Reading:
    at_s: float
    rss_mib: float
    #: Pages that processes share are divided among them.
    pss_mib: float
    fds: int
    threads: int

    @classmethod
    def of(cls, pid: int, at_s: float) -> Reading:
        process = Path(f"/proc/{pid}")
        sizes = dict(re.findall(r"^(Rss|Pss): *(\d+) kB$", (process / "smaps_rollup").read_text(), re.MULTILINE))
        rss_mib, pss_mib = (round(int(sizes[name]) * _MIB_PER_KIB, 3) for name in ("Rss", "Pss"))
        return cls(at_s, rss_mib, pss_mib, len(os.listdir(process / "fd")), len(os.listdir(process / "task")))


class Vitals:
    """Of one process. As many readings as are made are kept: the caller bounds them."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.readings: list[Reading] = []

    def read(self, at_s: float) -> Reading:
        reading = Reading.of(self.pid, at_s)
        self.readings.append(reading)
        return reading

    def slope_mib_per_h(self, size: str, since_s: float) -> float | None:
        """By least squares, of "rss_mib" or "pss_mib". None with fewer than two readings since then."""
        late = [reading for reading in self.readings if reading.at_s >= since_s]
        if len(late) < 2:
            return None
        fit = statistics.linear_regression([reading.at_s / _S_PER_H for reading in late], [getattr(r, size) for r in late])
        return round(fit.slope, 3)

    def to_json(self, since_s: float) -> dict[str, Any]:
        figures: dict[str, Any] = {}
        for name in ("rss_mib", "pss_mib", "fds", "threads"):
            values = [getattr(reading, name) for reading in self.readings]
            figures[name] = {"first": values[0], "last": values[-1], "min": min(values), "max": max(values)}
        for name in ("rss", "pss"):
            figures[f"{name}_slope_mib_per_h"] = self.slope_mib_per_h(f"{name}_mib", since_s)
        return figures
