"""``shrink``: from a schedule that fails to a short one that fails."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from ceph_msgr.testing.simulator.faults import Fault

__all__ = ["shrink"]


def shrink(schedule: Sequence[Fault], fails: Callable[[list[Fault]], bool], *, patience_s: float = 60.0) -> list[Fault]:
    """Delta debugging: ever smaller parts are left out as long as what remains fails. Ends early, with what it has, when
    ``patience_s`` are over. ``schedule`` itself must fail."""
    end_s = time.monotonic() + patience_s
    kept = list(schedule)
    part = (len(kept) + 1) // 2
    while kept:
        at = 0
        has_shrunk = False
        while at < len(kept):
            if time.monotonic() > end_s:
                return kept
            rest = kept[:at] + kept[at + part :]
            if fails(rest):
                kept, has_shrunk = rest, True
            else:
                at += part
        if part == 1 and not has_shrunk:
            break
        part = max(1, part // 2)
    return kept
