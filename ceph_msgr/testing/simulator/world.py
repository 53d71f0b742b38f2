"""``World``: virtual time, and who is stepped when."""

from __future__ import annotations

import gc
import random
from itertools import islice
from typing import TYPE_CHECKING

from ceph_msgr import _core
from ceph_msgr.testing import _sim

if TYPE_CHECKING:
    from ceph_msgr.testing.simulator.host import Host

__all__ = ["World"]

NS_PER_S = 1_000_000_000

#: A worker that is stepped looks at everything that is ready, or makes one round only.
_WHOLE_TURN_NS, _ONE_ROUND_NS = 250_000_000, 0
_ONE_ROUND_SHARE = 0.1
#: What a step takes at most.
_STEP_NS = 20_000


class World:
    """The simulated world of this process, made anew for each seed.

    The first one moves the whole process into the simulation, for ever (``_core.enter_world``): in a process that has a real
    messenger that is ``RuntimeError``. Cyclic garbage is collected between the seeds only, as its time is not repeatable.
    """

    _is_entered = False

    def __init__(self, seed: int) -> None:
        if not World._is_entered:
            _core.enter_world(*_sim.capsules())
            World._is_entered = True
            gc.collect()
            gc.freeze()
            gc.disable()
        _sim.reset(seed)
        self._chance = random.Random(seed)
        #: Hosts with something for their dispatch thread, in order of arrival.
        self.waiting: dict[Host, None] = {}
        #: Whose worker has the poller of this number.
        self._owners: dict[int, tuple[Host, int]] = {}
        self.steps = 0
        self.log: list[str] | None = None

    @property
    def now_ns(self) -> int:
        return _sim.now_ns()

    @property
    def digest(self) -> str:
        """Of everything that has happened: equal digests, equal runs."""
        return f"{_sim.digest():016x}"

    def note(self, text: str) -> None:
        """Something that two runs should have in common."""
        _sim.note(text.encode())
        if self.log is not None:
            self.log.append(f"{(self.now_ns - NS_PER_S) / 1e9:12.6f}  {text}")

    def add(self, host: Host, pollers: range) -> None:
        self._owners |= {poller: (host, index) for index, poller in enumerate(pollers)}

    def remove(self, host: Host) -> None:
        self.waiting.pop(host, None)
        self._owners = {poller: owner for poller, owner in self._owners.items() if owner[0] is not host}

    # ---- time ----

    def run(self, duration_ns: int) -> None:
        """Lets so much time pass."""
        end_ns = self.now_ns + duration_ns
        while self.step(end_ns):
            pass
        _sim.advance(end_ns)

    def step(self, limit_ns: int) -> bool:
        """One step of somebody, or of time if there is nothing to do. False if nothing happens before ``limit_ns``."""
        awake = _sim.awake()
        choices = len(awake) + len(self.waiting)
        if not choices:
            return _sim.wait(limit_ns)
        self.steps += 1
        draw = self._chance.random
        chosen = int(draw() * choices) if choices > 1 else 0
        if chosen < len(awake):
            host, index = self._owners[awake[chosen]]
            host.step_worker(index, _ONE_ROUND_NS if draw() < _ONE_ROUND_SHARE else _WHOLE_TURN_NS)
        else:
            host = next(islice(self.waiting, chosen - len(awake), None))
            if draw() >= host.laziness or (not awake and self._idle(host, limit_ns)):
                host.step_callback()
        return _sim.run_for(int(draw() * _STEP_NS)) < limit_ns

    def _idle(self, host: Host, limit_ns: int) -> bool:
        """Nobody but this lazy dispatch thread has anything to do. Time passes as if it had been drawn and passed over again and
        again; True if it is its turn then, False if somebody woke up, or time is up, before."""
        until_ns = min(_sim.now_ns() + int(self._chance.random() * _STEP_NS / (1 - host.laziness)), limit_ns)
        if _sim.wait(until_ns):
            return False
        _sim.run_until(until_ns)
        return until_ns < limit_ns
