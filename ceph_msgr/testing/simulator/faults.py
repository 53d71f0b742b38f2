"""``Fault`` and ``make_schedule``: what happens to a simulated network and its processes, decided by a seed."""

from __future__ import annotations

import random
from dataclasses import dataclass

__all__ = ["CUTS", "DEATHS", "FAULTS", "Fault", "make_schedule"]

#: As in csrc/sim/sim.h.
CUTS = ("fin", "fin_one", "reset", "reset_one", "silent", "silent_one")
DEATHS = ("fin", "reset", "vanish", "silent")

#: How often each kind is drawn, among all. What the numbers of a fault mean is told in ``Breaker``.
FAULTS = {
    "cut": 60,            # one stream, in one of the ways of CUTS
    "cut_all": 6,         # every stream
    "stall": 6,           # a link holds back everything for a while
    "down": 5,            # a link loses everything for a while
    "swizzle": 1,         # links go down one after the other, and come back in reverse order
    "travel": 12,         # a link takes another time, other pieces, or less at once
    "mark_down": 4,       # a connection, by its user
    "mark_down_addr": 2,  # a connection, by its messenger
    "mark_down_all": 1,
    "rebind": 1,
    "restart": 2,         # a process ends, in one of the ways of DEATHS, and another one takes its place
    "wall_clock": 1,      # jumps
    "no_memory": 0,       # some allocations of the core fail; drawn only where the options ask for it
}
_NO_MEMORY_SHARE = 15

#: Pauses before a fault: from none at all, so that it meets the middle of a handshake, to long enough for time-outs.
_PAUSES_NS = (0, 20_000, 100_000, 300_000, 1_000_000, 3_000_000, 10_000_000, 50_000_000, 400_000_000, 2_500_000_000)
_PAUSE_WEIGHTS = (5, 6, 10, 16, 22, 18, 10, 5, 10, 2)
_MAX_BURST = 6


@dataclass(frozen=True, slots=True)
class Fault:
    """First ``sends`` messages are queued and ``pause_ns`` pass, then it happens. ``numbers`` choose what it strikes: they mean
    something whatever the state of the world is, so any part of a schedule is a schedule."""

    kind: str
    pause_ns: int
    sends: int
    numbers: tuple[int, int, int]

    def __str__(self) -> str:
        return f"{self.kind} {self.numbers} after {self.sends} messages and {self.pause_ns / 1000:g} us"


def make_schedule(seed: int, count: int, *, kinds: dict[str, int] | None = None, no_memory: bool = False) -> list[Fault]:
    """``count`` faults of these kinds by weight, by default those of ``FAULTS``."""
    chance = random.Random(f"schedule {seed}")
    weights = dict(kinds or FAULTS)
    if no_memory:
        weights["no_memory"] = _NO_MEMORY_SHARE
    names = chance.choices([*weights], [*weights.values()], k=count)
    pauses = chance.choices(_PAUSES_NS, _PAUSE_WEIGHTS, k=count)
    return [
        Fault(
            name,
            int(pause * (0.5 + chance.random())),
            chance.choice((0, 1, 1, chance.randrange(_MAX_BURST))),
            (chance.randrange(1 << 30), chance.randrange(1 << 30), chance.randrange(1 << 30)),
        )
        for name, pause in zip(names, pauses, strict=True)
    ]
