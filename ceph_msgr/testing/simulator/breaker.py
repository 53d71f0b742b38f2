"""``Breaker``: does to a cluster what a schedule says."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from ceph_msgr.testing import _sim
from ceph_msgr.testing.simulator.cluster import Cluster
from ceph_msgr.testing.simulator.endpoint import Endpoint
from ceph_msgr.testing.simulator.faults import CUTS, DEATHS, Fault
from ceph_msgr.testing.simulator.model import ConnectionBook
from ceph_msgr.testing.simulator.world import NS_PER_S
from ceph_msgr.wire.addr import EntityAddrVec

__all__ = ["Breaker"]

#: Single bytes now and then: they cost a hundred times as many steps.
_CHUNK_BYTES = (1, 33, 33, 500, 500, 1_460, 1_460, 20_000, 20_000, 0)
_LATENCIES_NS = (0, 10_000, 50_000, 200_000, 1_000_000, 20_000_000)
_WINDOW_BYTES = (500, 4_000, 20_000, 65_536, 1 << 18)
_BYTES_PER_S = (0, 0, 100_000_000, 1_000_000)
_WALL_NS = 1_700_000_000 * NS_PER_S
_DAY_NS = 86_400 * NS_PER_S


class Breaker:
    """``wait(duration_ns)`` lets time pass, for what has a middle. ``count`` tells how many faults have struck something."""

    def __init__(self, cluster: Cluster, wait: Callable[[int], object]) -> None:
        self._cluster = cluster
        self._wait = wait
        self.count = 0

    def strike(self, fault: Fault) -> None:
        getattr(self, f"_{fault.kind}")(*fault.numbers)

    def repair(self) -> None:
        """The network and the memory are as they should be."""
        _sim.fail_allocations(0)
        places = self._cluster.places
        for a in places:
            for b in places:
                _sim.set_link(a, b, 50_000, 0, 0, 0, 1 << 18)
                _sim.stall(a, b, 0)
                _sim.set_down(a, b, False)

    # ---- streams ----

    def _cut(self, which: int, how: int, side: int) -> None:
        if streams := _sim.streams():
            _sim.cut_stream(which % streams, how % len(CUTS), side % 2)
            self.count += 1

    def _cut_all(self, _which: int, how: int, side: int) -> None:
        for nth in reversed(range(_sim.streams())):
            _sim.cut_stream(nth, how % len(CUTS), side % 2)
            self.count += 1

    # ---- links ----

    def _link(self, which: int) -> tuple[int, int]:
        edges = self._cluster.edges()
        a, b = edges[which % len(edges)]
        return self._cluster.places[a], self._cluster.places[b]

    def _stall(self, which: int, how_long: int, _: int) -> None:
        _sim.stall(*self._link(which), _sim.now_ns() + how_long % 10 ** (5 + how_long % 6))
        self.count += 1

    def _down(self, which: int, how_long: int, _: int) -> None:
        self._lose([self._link(which)], how_long % 10 ** (6 + how_long % 5))

    def _swizzle(self, which: int, how_long: int, _: int) -> None:
        links = sorted({self._link(n) for n in range(which % 7 + 1)})
        random.Random(which).shuffle(links)
        self._lose(links, how_long % 10 ** (6 + how_long % 4))

    def _lose(self, links: list[tuple[int, int]], duration_ns: int) -> None:
        part_ns = duration_ns // (2 * len(links))
        for link in links:
            _sim.set_down(*link, True)
            self.count += 1
            self._wait(part_ns)
        for link in reversed(links):
            self._wait(part_ns)
            _sim.set_down(*link, False)

    def _travel(self, which: int, how: int, pieces: int) -> None:
        latency_ns = _LATENCIES_NS[how % len(_LATENCIES_NS)]
        jitter_ns = (0, 10_000, latency_ns)[which % 3]
        bytes_per_s = _BYTES_PER_S[how // 7 % len(_BYTES_PER_S)]
        chunk_bytes = _CHUNK_BYTES[pieces % len(_CHUNK_BYTES)]
        window_bytes = _WINDOW_BYTES[pieces // len(_CHUNK_BYTES) % len(_WINDOW_BYTES)]
        _sim.set_link(*self._link(which), latency_ns, jitter_ns, bytes_per_s, chunk_bytes, window_bytes)
        self.count += 1

    # ---- users ----

    def _live(self, which: int) -> tuple[Endpoint, ConnectionBook] | None:
        live = self._cluster.live_books()
        return live[which % len(live)] if live else None

    def _mark_down(self, which: int, _how: int, _: int) -> None:
        if found := self._live(which):
            endpoint, book = found
            with endpoint.host.entered():
                endpoint.silence(book)
            self.count += 1

    def _mark_down_addr(self, which: int, _how: int, _: int) -> None:
        if found := self._live(which):
            endpoint, book = found
            if book.connection is not None:
                self._mark(endpoint, book.connection.peer_addrs)
                self.count += 1

    def _mark(self, endpoint: Endpoint, addrs: EntityAddrVec) -> None:
        """By the messenger: it strikes whom its table knows under this address."""
        with endpoint.host.entered() as messenger:
            found: Any = messenger.lookup(addrs)
            if found is not None and isinstance(found.priv, ConnectionBook):
                self._cluster.model.mark(found.priv)
            messenger.mark_down(addrs)

    def mark_all(self, endpoint: Endpoint) -> None:
        """What ``endpoint``'s messenger is about to mark down, or has."""
        for book in endpoint.books:
            self._cluster.model.mark(book)
        self._disturb(endpoint)

    def _disturb(self, endpoint: Endpoint) -> None:
        for place in self._cluster.places:
            if place != endpoint.host.number:
                self._cluster.model.disturb(endpoint.host.number, place)

    def _mark_down_all(self, which: int, _how: int, _: int) -> None:
        endpoint = self._cluster.endpoints[which % len(self._cluster)]
        self.mark_all(endpoint)
        with endpoint.host.entered() as messenger:
            messenger.mark_down_all()
        self.count += 1

    # ---- processes ----

    def _rebind(self, which: int, _how: int, _: int) -> None:
        index = which % len(self._cluster) if self._cluster.are_peers else 0
        endpoint, former = self._cluster.endpoints[index], self._cluster.addrs(index)
        _sim.fail_allocations(0)  # nobody could go back from half-way
        with endpoint.host.entered() as messenger:
            messenger.rebind()
        self.mark_all(endpoint)  # what came while it stopped listening was still good
        self.count += 1
        self._tell_others(index, former)

    def _restart(self, which: int, how: int, _: int) -> None:
        index = which % len(self._cluster)
        endpoint, former = self._cluster.endpoints[index], self._cluster.addrs(index)
        self._disturb(endpoint)
        endpoint.retire()
        endpoint.host.kill(how % len(DEATHS))
        self._cluster.start(index)
        self.count += 1
        self._tell_others(index, former)

    def _tell_others(self, index: int, former: EntityAddrVec) -> None:
        """The entity is elsewhere now: others give up what leads to where it was. Nobody dials a client."""
        if former[0].port:
            for other, endpoint in enumerate(self._cluster.endpoints):
                if other != index:
                    self._mark(endpoint, former)

    # ---- the rest of the world ----

    def _wall_clock(self, _which: int, how: int, _: int) -> None:
        _sim.set_wall_ns(_WALL_NS + how * NS_PER_S % (2 * _DAY_NS) - _DAY_NS)
        self.count += 1

    def _no_memory(self, _which: int, after: int, count: int) -> None:
        self._cluster.model.lacks_memory = True
        _sim.fail_allocations(1 + after % 40, 1 + count % 3)
        self.count += 1
