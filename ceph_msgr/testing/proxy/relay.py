"""``Relay``: the proxy's one loop: listening ports, links, timers, and orders from its standard input."""

from __future__ import annotations

import heapq
import itertools
import json
import os
import selectors
import socket
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ceph_msgr.testing.proxy.fault import Fault, Kind
from ceph_msgr.testing.proxy.link import Link
from ceph_msgr.testing.proxy.plan import DEFAULT_WEIGHTS, Plan
from ceph_msgr.testing.proxy.splitter import BlockSplitter, FrameSplitter, Revision, Splitter

__all__ = ["Relay", "Route"]

_BACKLOG = 4096
_ORDER_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class Route:
    """A port of the proxy: ``target`` is (ip, port). What is known of frames: nothing, that they are in crc mode, or that behind
    (skip, size) bytes each way all have one size."""

    target: tuple[str, int]
    has_frames: bool = False
    blocks: tuple[int, int] | None = None

    def splitters(self) -> tuple[Splitter | None, Splitter | None]:
        """To the target, and to the client."""
        if self.blocks:
            return BlockSplitter(*self.blocks), None
        if self.has_frames:
            revision = Revision()
            return FrameSplitter(revision), FrameSplitter(revision)
        return None, None


class Relay:
    """One thread. Orders are lines of JSON, each answered by one line: ``{"do": "counts"}``. It ends with its input."""

    def __init__(self, seed: int, orders_fd: int, answers_fd: int) -> None:
        self.plan = Plan(seed)
        self.counts: Counter[str] = Counter()
        self._orders_fd = orders_fd
        self._answers_fd = answers_fd
        self._selector = selectors.DefaultSelector()
        self._links: dict[int, Link] = {}
        #: For links that are still to come.
        self._ordered: dict[int, list[Fault]] = {}
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._timer_numbers = itertools.count()
        self._unread = b""
        self._is_over = False

    def run(self) -> None:
        self._selector.register(self._orders_fd, selectors.EVENT_READ, lambda ready: self._read_orders())
        while not self._is_over:
            timeout = max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else None
            for key, ready in self._selector.select(timeout):
                if self._selector.get_map().get(key.fd) is key:  # not if an earlier one closed it
                    key.data(ready)
            while self._timers and self._timers[0][0] <= time.monotonic():
                heapq.heappop(self._timers)[2]()

    # ---- for links ----

    def watch(self, end: socket.socket, events: int, on_ready: Callable[[int], None] | None) -> None:
        """Events 0: no longer."""
        is_known = end.fileno() in self._selector.get_map()
        if not events:
            if is_known:
                self._selector.unregister(end)
        elif is_known:
            self._selector.modify(end, events, on_ready)
        else:
            self._selector.register(end, events, on_ready)

    def after(self, seconds: float, do: Callable[[], None]) -> None:
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._timer_numbers), do))

    def closed(self, link: Link) -> None:
        del self._links[link.number]

    # ---- accepting ----

    def _listen(self, route: Route) -> int:
        listener = socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG)
        listener.setblocking(False)
        self._selector.register(listener, selectors.EVENT_READ, lambda ready: self._accept(listener, route))
        port: int = listener.getsockname()[1]
        return port

    def _accept(self, listener: socket.socket, route: Route) -> None:
        try:
            client, _ = listener.accept()
        except BlockingIOError:
            return
        number = self.counts["links"]
        self.counts["links"] += 1
        link = self._links[number] = Link(self, number, client, route)
        link.step()
        for fault in self._ordered.pop(number, []):
            link.order(fault)

    # ---- orders ----

    def _read_orders(self) -> None:
        data = os.read(self._orders_fd, _ORDER_BYTES)
        self._is_over = not data
        *lines, self._unread = (self._unread + data).split(b"\n")
        for line in lines:
            try:
                answer = self._obey(json.loads(line))
            except (ValueError, KeyError, TypeError, OSError) as error:
                answer = {"error": f"{type(error).__name__}: {error}"}
            os.write(self._answers_fd, json.dumps(answer).encode() + b"\n")

    def _obey(self, order: dict[str, Any]) -> dict[str, Any]:
        match order.pop("do"):
            case "route":
                ip, port = order["target"]
                blocks = order["blocks"] and tuple(order["blocks"])
                return {"port": self._listen(Route((ip, port), order["has_frames"], blocks))}
            case "fault":
                return {"links": self._order(Fault.from_json(order["fault"]), order["link"])}
            case "plan":
                weights = {Kind(kind): weight for kind, weight in (order.pop("weights") or DEFAULT_WEIGHTS).items()}
                self.plan = Plan(self.plan.seed, weights=weights, **order)
                return {}
            case "counts":
                return {"counts": dict(self.counts), "open": len(self._links), "left": self.plan.left}
            case unknown:
                raise ValueError(f"no order {unknown!r}")

    def _order(self, fault: Fault, link: int | None) -> int:
        """To how many links it was given."""
        if link is None:
            chosen = list(self._links.values())
        elif link >= self.counts["links"]:
            self._ordered.setdefault(link, []).append(fault)
            return 1
        elif link in self._links:
            chosen = [self._links[link]]
        else:
            raise ValueError(f"link {link} is gone")
        for each in chosen:
            each.order(fault)
        return len(chosen)
