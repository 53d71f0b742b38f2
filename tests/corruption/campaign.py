"""Many alterations, on several processes, and the figures of all of them."""

from __future__ import annotations

import functools
import gc
import multiprocessing
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field

from ceph_msgr import _core
from ceph_msgr.testing import _sim
from tests.corruption.recording import Recording, Unseen
from tests.corruption.session import MODES, Alteration, play

__all__ = ["Figures", "recording", "run"]

#: Between two looks for what was left over.
_BATCH = 50


@dataclass
class Figures:
    """Of some alterations of one mode."""

    mode: str
    #: By kind of alteration and verdict.
    verdicts: Counter[str] = field(default_factory=Counter)
    #: What must not be, in words.
    violations: list[str] = field(default_factory=list)


@functools.cache
def recording(name: str) -> Recording:
    """Of this mode, in this process."""
    return Recording(name, play(MODES[name]))


def run(chosen: Mapping[str, Sequence[Alteration]], *, jobs: int) -> Iterator[Figures]:
    """Mode to alterations; batch by batch."""
    batches = [
        (name, alterations[at : at + _BATCH]) for name, alterations in chosen.items() for at in range(0, len(alterations), _BATCH)
    ]
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        try:
            yield from pool.map(_run_batch, *zip(*batches, strict=True))
        finally:
            pool.shutdown(cancel_futures=True)


def _run_batch(name: str, alterations: Sequence[Alteration]) -> Figures:
    recorded = recording(name)
    gc.collect()
    figures = Figures(name)
    blocks = 0
    for alteration in alterations:
        try:
            figures.verdicts[f"{alteration.kind.name.lower()} {recorded.judge(alteration, play(MODES[name], alteration))}"] += 1
        except Unseen as unseen:
            figures.violations.append(str(unseen))
        blocks += _sim.live_blocks()  # counted anew in each run: what an earlier one left may be given back in a later one
    blocks -= _sim.live_blocks()
    gc.collect()
    blocks += _sim.live_blocks()
    left = {what: count for what, count in _core.live_objects().items() if count}
    if left or blocks:
        figures.violations.append(f"{name} {alterations[0]} to {alterations[-1]}: left over: {left}, {blocks} blocks of memory")
    return figures
