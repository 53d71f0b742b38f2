"""``Simulation``: messengers in a simulated world, broken as a schedule says, and checked by the model all the time."""

from __future__ import annotations

import gc
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ceph_msgr import _core
from ceph_msgr._core import Throttle
from ceph_msgr.testing import _sim
from ceph_msgr.testing.simulator.breaker import Breaker
from ceph_msgr.testing.simulator.cluster import Cluster
from ceph_msgr.testing.simulator.endpoint import Endpoint
from ceph_msgr.testing.simulator.faults import Fault, make_schedule
from ceph_msgr.testing.simulator.model import FAST_TYPE, QUEUED_TYPE, ConnectionBook, Model, Violation
from ceph_msgr.testing.simulator.options import Options
from ceph_msgr.testing.simulator.world import NS_PER_S, World

__all__ = ["Outcome", "Simulation"]

#: What is left to do once everything works again takes at most so long (idle time-out 5 s, back-off at most 2 s).
_RECOVERY_NS = 60 * NS_PER_S
_LOOK_NS = 200_000_000
#: Many times what a run takes: whoever goes on after that runs in a circle.
_MAX_STEPS, _MAX_STEPS_PER_FAULT = 100_000, 5_000
#: Bodies of messages are parts of it.
_BLOCK = random.Random(0).randbytes(1 << 18)
_PROBES = (FAST_TYPE, 127), (QUEUED_TYPE, 127)
_PROBE_BYTES = 10


@dataclass
class Outcome:
    """Of one run."""

    seed: int
    options: Options
    #: That have struck something.
    faults: int = 0
    #: Connects and accepts told.
    sessions: int = 0
    messages: int = 0
    received: int = 0
    virtual_s: float = 0.0
    steps: int = 0
    #: Of everything that has happened.
    digest: str = ""
    #: What must not be, empty if all was well.
    violation: str = ""
    #: If it was traced.
    log: list[str] = field(default_factory=list)


def _taken(throttles: Iterable[Throttle]) -> list[Throttle]:
    return [throttle for throttle in throttles if throttle.current]


class Simulation:
    """One run of one seed. A ``schedule`` instead of the seed's own may be a part of it; ``trace`` keeps a log."""

    def __init__(self, seed: int, options: Options, *, schedule: Sequence[Fault] | None = None, trace: bool = False) -> None:
        self.seed = seed
        self.options = options.choose(seed)
        if schedule is None:
            schedule = make_schedule(seed, options.faults, no_memory=bool(self.options.no_memory))
        self.schedule = schedule
        chance = random.Random(f"run {seed}")
        self.world = World(chance.randrange(1 << 63))
        if trace:
            self.world.log = []
        self.model = Model(_BLOCK)
        self.cluster = Cluster(self.world, self.model, self.options, chance)
        self.breaker = Breaker(self.cluster, self._pass)
        self._is_healing = False

    def run(self) -> Outcome:
        """Once. A violation is in the outcome and ends the run."""
        outcome = Outcome(self.seed, self.options)
        began_ns = self.world.now_ns
        try:
            self._break()
            self._heal()
        except Violation as violation:
            outcome.violation = str(violation)
        outcome.faults = self.breaker.count
        outcome.sessions = self.model.ups
        outcome.messages, outcome.received = self.model.sent, self.model.received
        outcome.virtual_s = (self.world.now_ns - began_ns) / NS_PER_S
        outcome.steps = self.world.steps
        outcome.digest = self.world.digest
        self.cluster.failures.clear()
        try:
            self._end()
            self._check_nothing_is_left()
        except Violation as violation:
            outcome.violation = outcome.violation or str(violation)
        outcome.log = self.world.log or []
        return outcome

    def _pass(self, duration_ns: int) -> None:
        """Lets time pass until something is violated."""
        end_ns = self.world.now_ns + duration_ns
        failures = self.cluster.failures
        limit = _MAX_STEPS + _MAX_STEPS_PER_FAULT * len(self.schedule)
        while not failures and self.world.step(end_ns):
            if self.world.steps > limit:
                raise Violation(f"{limit} steps, and no end: somebody runs in a circle")
        self._check()
        _sim.advance(end_ns)

    def _check(self) -> None:
        if self.cluster.failures:
            raise Violation(self.cluster.failures[0])

    def _break(self) -> None:
        cluster = self.cluster
        for index in range(len(cluster.places)):
            cluster.start(index)
        for endpoint in cluster.endpoints:
            endpoint.on_loss = self._on_loss
        for a, b in cluster.edges():
            cluster.connect(a, b)
        for fault in self.schedule:
            if fault.sends:
                cluster.send_some(fault.sends)
            self._pass(fault.pause_ns)
            self.world.note(f"fault {fault.kind} {fault.numbers}")
            self.breaker.strike(fault)
            self._check()

    # ---- healing ----

    def _heal(self) -> None:
        """Everything works again: all that is due arrives, and so does what is sent from now on."""
        self.world.note("heal")
        self.breaker.repair()
        self._is_healing = True
        for endpoint in self.cluster.endpoints:
            endpoint.calm_down()
            endpoint.on_loss = self._on_loss
        self._probe_all()
        end_ns = self.world.now_ns + _RECOVERY_NS
        while missing := self._missing():
            if self.world.now_ns >= end_ns:
                raise Violation(f"60 s after everything works again: {'; '.join(missing)}")
            self._pass(_LOOK_NS)
            self._probe_refused()
        throttles = [throttle for endpoint in self.cluster.endpoints for throttle in endpoint.host.throttles]
        # A message of which the rest is lost holds its claims until its receiver notices, at the idle time-out.
        while self.world.waiting or (_taken(throttles) and self.world.now_ns < end_ns):
            self._pass(_LOOK_NS)
        self.model.check_gaps()
        self.model.check_callbacks(self.cluster.processes())
        self._check_throttles(throttles)

    def _probe_all(self) -> None:
        for a, b in self.cluster.edges():
            if book := self.cluster.connect(a, b):
                self._probe(self.cluster.endpoints[a], book)
        for endpoint, book in self.cluster.live_books():
            if book.is_lossless and not book.is_dialled and self.cluster.is_current(book):
                self._probe(endpoint, book)

    def _probe(self, endpoint: Endpoint, book: ConnectionBook) -> None:
        """One more message in each channel: only with it is every gap before it seen."""
        with endpoint.host.entered():
            for channel in dict.fromkeys((*book.sent, *_PROBES)):
                endpoint.send_one(book, channel, _PROBE_BYTES)

    def _probe_refused(self) -> None:
        """Again, where a probe found the send queue full, and that is acknowledged now. What is lost without a word stays a gap.

        Not on lossy connections: what filled the queue arrives or is told to be lost, and writing keeps one with a dead peer
        from falling idle.
        """
        for endpoint, book in self.cluster.live_books():
            connection: Any = book.connection
            if not book.is_lossless or connection is None or connection.out_q.has_queued_messages:
                continue
            if not self.cluster.is_current(book):
                continue
            with endpoint.host.entered():
                for channel, _, _ in self.model.undelivered(book):
                    endpoint.send_one(book, channel, _PROBE_BYTES)

    def _on_loss(self, book: ConnectionBook) -> None:
        """What was to come is lost, and somebody was told: while healing it is tried again."""
        cluster = self.cluster
        if not self._is_healing or not cluster.is_current(book):
            return
        edge = cluster.index(book.host), cluster.index(book.peer_host)
        if edge in cluster.edges():
            if again := cluster.connect(*edge):
                self._probe(cluster.endpoints[edge[0]], again)
        elif not book.is_over:
            self._probe(cluster.endpoints[edge[0]], book)

    def _missing(self) -> list[str]:
        """What is due and has not come yet."""
        return [
            f"{book}, {channel}: {last} of {sent} has arrived ({book.connection!r})"
            for _, book in self.cluster.live_books()
            if self.cluster.is_current(book)
            for channel, last, sent in self.model.undelivered(book)
        ]

    # ---- the end ----

    @staticmethod
    def _check_throttles(throttles: Iterable[Throttle]) -> None:
        if taken := _taken(throttles):
            raise Violation(f"not everything was given back: {', '.join(map(repr, taken))}")

    def _end(self) -> None:
        """Everybody shuts down."""
        self._is_healing = False
        self.breaker.repair()
        for endpoint in self.cluster.endpoints:
            self.breaker.mark_all(endpoint)
            endpoint.host.close()
        self._check()

    def _check_nothing_is_left(self) -> None:
        self.cluster.endpoints.clear()
        self.model.forget()
        self._check_throttles(self.cluster.throttles)
        self.cluster.throttles.clear()
        gc.collect()
        left = {name: count for name, count in _core.live_objects().items() if count}
        if left or _sim.live_blocks():
            raise Violation(f"left over: {left}, {_sim.live_blocks()} blocks of memory")
