"""What a synthetic run does, as a list of operations that depends on nothing but the run and its seed.

Connections come and go as the run goes on, so an operation names one by a share of those that live when its turn comes.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from ceph_msgr import Policy

__all__ = ["FULL", "POOL_SIZE", "Drop", "Generate", "Operation", "Run", "Send", "Sleep", "make_pool", "plan"]

#: ``make synthetic`` asks for the sizes of the test contract; otherwise a run is a fraction of them.
FULL = os.environ.get("CEPH_MSGR_SYNTHETIC") == "full"

POOL_SIZE = 100
MAX_PAYLOAD_BYTES = (4 << 20) if FULL else (256 << 10)
MIN_PAYLOAD_BYTES = 32
_STAMP_EVERY_BYTES = 4096
_COMMAND_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class Generate:
    client: int
    server: int


@dataclass(frozen=True, slots=True)
class Drop:
    pick: float


@dataclass(frozen=True, slots=True)
class Send:
    pick: float
    payload: int
    is_command: bool


@dataclass(frozen=True, slots=True)
class Sleep:
    seconds: float


Operation: TypeAlias = Generate | Drop | Send | Sleep


@dataclass(frozen=True, slots=True)
class Run:
    """One line of the contract's table. ``quick_steps`` and ``quick_options`` are those of the normal test run."""

    servers: int
    clients: int
    seed_connections: int
    steps: int
    quick_steps: int
    server_policy: Callable[[], Policy]
    client_policy: Callable[[], Policy]
    #: Percent of the steps; the rest is idle.
    generate: int
    drop: int
    send: int
    sleep: int
    sleep_ms: tuple[float, float]
    options: dict[str, object] = field(default_factory=dict)
    quick_options: dict[str, object] = field(default_factory=dict)

    @property
    def present_steps(self) -> int:
        return self.steps if FULL else self.quick_steps

    @property
    def present_options(self) -> dict[str, object]:
        return self.options if FULL else self.options | self.quick_options


def plan(run: Run, seed: int) -> list[Operation]:
    rng = random.Random(seed)

    def generate() -> Operation:
        return Generate(rng.randrange(run.clients), rng.randrange(run.servers))

    def send() -> Operation:
        return Send(rng.random(), rng.randrange(POOL_SIZE), rng.random() < _COMMAND_SHARE)

    def drop() -> Operation:
        return Drop(rng.random())

    def sleep() -> Operation:
        return Sleep(rng.uniform(*run.sleep_ms) / 1000)

    makers = [generate] * run.generate + [drop] * run.drop + [send] * run.send + [sleep] * run.sleep
    steps = (rng.randrange(100) for _ in range(run.present_steps))
    return [generate() for _ in range(run.seed_connections)] + [makers[step]() for step in steps if step < len(makers)]


def make_pool(seed: int) -> list[bytes]:
    """Payloads of random lengths, mostly zero; each bears its index again and again, so that mixing up is detected."""
    rng = random.Random(f"pool of {seed}")
    return [_make_payload(index, rng.randint(MIN_PAYLOAD_BYTES, MAX_PAYLOAD_BYTES)) for index in range(POOL_SIZE)]


def _make_payload(index: int, len_bytes: int) -> bytes:
    payload = bytearray(len_bytes)
    for at in range(0, len_bytes - 4, _STAMP_EVERY_BYTES):
        payload[at : at + 4] = index.to_bytes(4, "little")
    return bytes(payload)
