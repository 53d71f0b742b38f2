"""``Plan``: faults at random, the same ones for the same seed."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, field

from ceph_msgr.testing.proxy.fault import Direction, Fault, Kind

__all__ = ["DEFAULT_WEIGHTS", "Plan"]

DEFAULT_WEIGHTS: Mapping[Kind, float] = {
    Kind.CLOSE: 20, Kind.RESET: 20, Kind.HALF_CLOSE: 10, Kind.SILENCE: 1, Kind.STALL: 10, Kind.RECHUNK: 10, Kind.FLIP: 20,
    Kind.TRUNCATE: 10,
}  # fmt: skip

#: A banner has no checksum: a flipped feature bit can make two peers believe that they have no protocol in common, which ends a
#: session for good. So faults that alter bytes begin behind it.
_BANNER_BYTES = 26
_ALTERING = frozenset({Kind.FLIP, Kind.TRUNCATE})

#: Of the gaps, those that favour the handshake.
_SHORT_SHARE = 0.25
_MAX_PIECE_BYTES = 64


@dataclass(slots=True)
class Plan:
    """Draws one fault after the other for each direction of each link, until ``left`` of them have happened."""

    seed: int
    left: int = 0
    #: A fault comes at most so many bytes behind the last one.
    gap_bytes: int = 64 << 10
    stall_s: float = 0.02
    weights: Mapping[Kind, float] = field(default_factory=lambda: DEFAULT_WEIGHTS)

    def rng(self, link: int, direction: Direction) -> random.Random:
        return random.Random(f"{self.seed}:{link}:{direction}")

    def draw(self, rng: random.Random, passed_bytes: int) -> Fault:
        """The next fault of a direction that so many bytes have passed; which direction is filled in by whoever asks."""
        if rng.random() < _SHORT_SHARE:
            gap = round(math.exp(rng.uniform(0, math.log(self.gap_bytes))))
        else:
            gap = rng.randrange(self.gap_bytes)
        kind = rng.choices(list(self.weights), list(self.weights.values()))[0]
        at = passed_bytes + gap
        if kind in _ALTERING:
            at = max(at, _BANNER_BYTES)
        size = rng.randrange(8) if kind is Kind.FLIP else rng.randint(1, _MAX_PIECE_BYTES)
        return Fault(kind, at=at, size=size, seconds=rng.uniform(0, self.stall_s))
