"""``Options``: what is simulated, as far as the seed does not decide it."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Any

__all__ = ["MODES", "POLICIES", "Options"]

#: Policy of whoever dials, of whoever listens; equal ones both dial and listen.
POLICIES: dict[str, tuple[str, str]] = {
    "lossless_peer": ("lossless_peer", "lossless_peer"),
    "lossless_peer_reuse": ("lossless_peer_reuse", "lossless_peer_reuse"),
    "lossless_client": ("lossless_client", "stateful_server"),
    "lossy_client": ("lossy_client", "stateless_server"),
    "lossy_client_registered": ("lossy_client", "stateless_registered_server"),
}
MODES = ("crc", "secure", "compressed", "compressed_secure")


@dataclass(frozen=True)
class Options:
    """None leaves it to the seed."""

    #: In the schedule.
    faults: int = 100
    #: Of ``POLICIES``.
    policy: str | None = None
    #: Of ``MODES``.
    mode: str | None = None
    hosts: int | None = None
    #: Whether allocations of the core fail, too. They may cost connections, so the model forgives resets that are told.
    no_memory: bool | None = None

    def choose(self, seed: int) -> Options:
        """The same with nothing left open."""
        chance = random.Random(f"options {seed}")
        drawn: dict[str, Any] = {
            "policy": chance.choice([*POLICIES]),
            "mode": chance.choices(MODES, (5, 3, 1, 1))[0],
            "hosts": chance.choices((2, 3, 4), (6, 3, 1))[0],
            "no_memory": chance.random() < 0.1,
        }
        return replace(self, **{name: value for name, value in drawn.items() if getattr(self, name) is None})
