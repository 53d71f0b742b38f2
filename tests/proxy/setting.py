"""``Setting``: what a two-process run is about, known to the command and to both of its processes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Self

from ceph_msgr import Policy
from ceph_msgr.auth import Keyring

__all__ = ["PAIRS", "Pair", "Setting"]


@dataclass(frozen=True, slots=True)
class Pair:
    """Side 0 always listens; side 1 always dials, and listens too if ``both_listen``."""

    policies: tuple[Callable[[], Policy], Callable[[], Policy]]
    names: tuple[str, str]
    is_lossless: bool = True
    both_listen: bool = False


PAIRS = {
    "lossless_peer": Pair((Policy.lossless_peer,) * 2, ("osd.0", "osd.1"), both_listen=True),
    "lossless_peer_reuse": Pair((Policy.lossless_peer_reuse,) * 2, ("osd.0", "osd.1"), both_listen=True),
    "client_server": Pair((Policy.stateful_server, Policy.lossless_client), ("osd.0", "client.1")),
    "lossy": Pair((Policy.stateless_server, Policy.lossy_client), ("osd.0", "client.1"), is_lossless=False),
}


@dataclass(frozen=True, slots=True)
class Setting:
    policy: str
    mode: str
    seed: int
    sessions: int
    #: With the keys of both sides, as text; empty in crc mode.
    keyring: str = ""

    @property
    def pair(self) -> Pair:
        return PAIRS[self.policy]

    def with_keys(self) -> Self:
        """In secure mode with a fresh keyring."""
        if self.mode != "secure":
            return self
        return replace(self, keyring=Keyring.generate(*self.pair.names).to_text())

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        return cls(**json.loads(text))
