"""``Link``: a socket that was accepted, the one that was dialled for it, and a pipe each way."""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

from ceph_msgr.errors import RemoteProtocolError
from ceph_msgr.testing.proxy.fault import Direction, Fault
from ceph_msgr.testing.proxy.pipe import Pipe
from ceph_msgr.testing.proxy.plan import Plan

if TYPE_CHECKING:
    from ceph_msgr.testing.proxy.relay import Relay, Route

__all__ = ["Link"]

#: SO_LINGER with no time: close() sends RST.
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Link:
    """Closes itself when both directions are over or one end is broken."""

    def __init__(self, relay: Relay, number: int, client: socket.socket, route: Route) -> None:
        self.number = number
        self._relay = relay
        self._client = client
        family = socket.AF_INET6 if ":" in route.target[0] else socket.AF_INET
        self._target = socket.socket(family, socket.SOCK_STREAM)
        for end in client, self._target:
            end.setblocking(False)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._target.connect_ex(route.target)  # what becomes of it, reading tells
        to_target, to_client = route.splitters()
        self._to_target = Pipe(self, Direction.TO_TARGET, client, self._target, to_target)
        self._to_client = Pipe(self, Direction.TO_CLIENT, self._target, client, to_client)
        self.is_open = True

    @property
    def plan(self) -> Plan:
        return self._relay.plan

    # ---- for the relay ----

    def order(self, fault: Fault) -> None:
        pipe = self._to_target if fault.direction is Direction.TO_TARGET else self._to_client
        pipe.order(fault)
        self.step()

    def step(self) -> None:
        """Write what can be written, and look anew for what is wanted."""
        for pipe in self._to_target, self._to_client:
            self._try(pipe, pipe.write)
        if self.is_open and self._is_finished():
            self._close()
        if self.is_open:
            self._watch(self._client, reads=self._to_target, writes=self._to_client)
            self._watch(self._target, reads=self._to_client, writes=self._to_target)

    def reset(self) -> None:
        """RST both ways, behind what can be written at once."""
        if self.is_open:
            for pipe in self._to_target, self._to_client:
                with contextlib.suppress(OSError):
                    pipe.write()
            for end in self._client, self._target:
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            self._close()

    def _watch(self, end: socket.socket, *, reads: Pipe, writes: Pipe) -> None:
        events = (selectors.EVENT_READ if reads.wants_read else 0) | (selectors.EVENT_WRITE if writes.wants_write else 0)
        self._relay.watch(end, events, lambda ready: self._on_ready(ready, reads, writes))

    def _on_ready(self, ready: int, reads: Pipe, writes: Pipe) -> None:
        if ready & selectors.EVENT_READ and reads.wants_read:
            self._try(reads, reads.read)
        self.step()

    def _try(self, pipe: Pipe, step: Callable[[], None]) -> None:
        if not self.is_open:
            return
        try:
            step()
        except (OSError, RemoteProtocolError):  # the latter: no banner, on a route that should have frames
            if pipe.is_mute:  # the other end must not hear of it
                pipe.is_over = True
            else:
                self.reset()

    def _is_finished(self) -> bool:
        pipes = self._to_target, self._to_client
        return all(pipe.is_over and (pipe.has_told_end or pipe.is_mute) for pipe in pipes)

    def _close(self) -> None:
        self.is_open = False
        for end in self._client, self._target:
            self._relay.watch(end, 0, None)
            with contextlib.suppress(OSError):
                end.close()
        self._relay.closed(self)

    # ---- for its pipes ----

    def hit(self, fault: Fault) -> None:
        self._relay.counts["faults"] += 1
        self._relay.counts[fault.kind] += 1

    def passed(self, direction: Direction, len_bytes: int) -> None:
        self._relay.counts[direction] += len_bytes

    def after(self, seconds: float, do: Callable[[], None]) -> None:
        def wake() -> None:
            if self.is_open:
                do()
                self.step()

        self._relay.after(seconds, wake)

    def end(self) -> None:
        self._to_target.end()
        self._to_client.end()

    def mute(self) -> None:
        self._to_target.mute()
        self._to_client.mute()


