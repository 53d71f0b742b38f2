"""``Pipe``: one direction of a link, where faults happen to bytes."""

from __future__ import annotations

import socket
from dataclasses import replace
from typing import TYPE_CHECKING

from ceph_msgr.testing.proxy.editor import Editor
from ceph_msgr.testing.proxy.fault import FRAME_KINDS, Direction, Fault, Kind
from ceph_msgr.testing.proxy.splitter import Splitter

if TYPE_CHECKING:
    from ceph_msgr.testing.proxy.link import Link

__all__ = ["Pipe"]

_READ_BYTES = 64 << 10
#: More than this is not read before the other end has taken some.
_MAX_PENDING_BYTES = 256 << 10
#: For so long a RECHUNK lasts.
_RECHUNK_BYTES = 64 << 10


class Pipe:
    """From ``source`` to ``sink``, both non-blocking. The link asks ``wants_read`` and ``wants_write`` after each step."""

    def __init__(
        self, link: Link, direction: Direction, source: socket.socket, sink: socket.socket, splitter: Splitter | None
    ) -> None:
        self.direction = direction
        self._link = link
        self._source = source
        self._sink = sink
        self._editor = Editor(splitter, link.hit) if splitter else None
        self._faults: list[Fault] = []
        self._rng = link.plan.rng(link.number, direction)
        self._planned: Fault | None = None
        #: Bytes that came to the place where faults happen.
        self._passed_bytes = 0
        self._pending = bytearray()
        #: What came behind a STALL.
        self._stalled: bytes | None = None
        self._missing_bytes = 0
        self._piece_bytes = _READ_BYTES
        self._piece_left_bytes = 0
        #: The source has told its end, or what it says no longer counts.
        self.is_over = False
        #: Once there is nothing pending, the sink is told the end; True afterwards.
        self._tells_end = False
        self.has_told_end = False
        self.is_mute = False

    # ---- what the selector should look for ----

    @property
    def wants_read(self) -> bool:
        return not self.is_over and self._stalled is None and len(self._pending) < _MAX_PENDING_BYTES

    @property
    def wants_write(self) -> bool:
        return bool(self._pending) or (self._tells_end and not self.has_told_end)

    # ---- bytes ----

    def read(self) -> None:
        """``OSError`` if the source is broken."""
        try:
            data = self._source.recv(_READ_BYTES)
        except BlockingIOError:
            return
        if not data:
            self.is_over = True
            self._tells_end = not self.is_mute
        elif not (self.is_mute or self._tells_end):
            self._feed(self._editor.feed(data) if self._editor else data)

    def write(self) -> None:
        """As much as the sink takes; of a RECHUNK one piece. ``OSError`` if it is broken."""
        limit = self._piece_bytes if self._piece_left_bytes else len(self._pending)
        try:
            while self._pending:
                sent = self._sink.send(self._pending[:limit])
                del self._pending[:sent]
                self._link.passed(self.direction, sent)
                if self._piece_left_bytes:
                    self._piece_left_bytes = max(0, self._piece_left_bytes - sent)
                    return
        except BlockingIOError:
            return
        if self._tells_end and not self.has_told_end:
            self._sink.shutdown(socket.SHUT_WR)
            self.has_told_end = True

    def end(self) -> None:
        """The sink is told the end behind what is pending; nothing else gets through."""
        self._tells_end = True
        self._stalled = None

    def mute(self) -> None:
        """The sink hears nothing any more, not even the end."""
        self.is_mute = True
        self._pending.clear()
        self._stalled = None

    # ---- faults ----

    def order(self, fault: Fault) -> None:
        if fault.kind in FRAME_KINDS:
            if not self._editor:
                raise ValueError(f"{fault.kind} needs a route that knows where frames end")
            self._editor.order(fault)
        elif fault.at is None and fault.kind not in (Kind.FLIP, Kind.TRUNCATE):
            self._happen(fault, b"")
        else:
            at = self._passed_bytes if fault.at is None else fault.at
            if at < self._passed_bytes:
                raise ValueError(f"byte {at} has passed, {self._passed_bytes} is the next one")
            self._faults.append(replace(fault, at=at))
            self._faults.sort(key=lambda each: each.at or 0)

    def _next_fault(self) -> Fault | None:
        plan = self._link.plan
        if plan.left > 0 and self._planned is None:
            self._planned = replace(plan.draw(self._rng, self._passed_bytes), direction=self.direction)
        candidates = [*self._faults[:1], *([self._planned] if self._planned and plan.left > 0 else [])]
        return min(candidates, key=lambda fault: fault.at or 0, default=None)

    def _feed(self, data: bytes) -> None:
        while data and not (self.is_mute or self._tells_end):
            if self._stalled is not None:
                self._stalled += data
                return
            fault = self._next_fault()
            distance = len(data) if fault is None else max(0, (fault.at or 0) - self._passed_bytes)
            self._pass(data[:distance])
            data = data[distance:]
            if fault and data:
                if fault is self._planned:
                    self._planned = None
                    self._link.plan.left -= 1
                else:
                    self._faults.remove(fault)
                data = self._happen(fault, data)

    def _pass(self, data: bytes) -> None:
        self._passed_bytes += len(data)
        missing = min(self._missing_bytes, len(data))
        self._missing_bytes -= missing
        self._pending += data[missing:]

    def _happen(self, fault: Fault, data: bytes) -> bytes:
        """What is to be gone on with, of the bytes that follow."""
        self._link.hit(fault)
        match fault.kind:
            case Kind.FLIP:
                return bytes([data[0] ^ 1 << fault.size % 8]) + data[1:]
            case Kind.TRUNCATE:
                self._missing_bytes += fault.size
                return data
            case Kind.RECHUNK:
                self._piece_bytes, self._piece_left_bytes = fault.size, _RECHUNK_BYTES
                return data
            case Kind.STALL:
                self._stalled = (self._stalled or b"") + data
                self._link.after(fault.seconds, self._resume)
                return b""
            case Kind.HALF_CLOSE:
                self.end()
            case Kind.CLOSE:
                self._link.end()
            case Kind.SILENCE:
                self._link.mute()
            case Kind.RESET:
                self._link.reset()
        return b""

    def _resume(self) -> None:
        if self._stalled is not None:
            data, self._stalled = self._stalled, None
            self._feed(data)
