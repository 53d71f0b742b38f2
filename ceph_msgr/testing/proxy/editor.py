"""``Editor``: drops, doubles, replays, swaps and forges the frames of one direction."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from ceph_msgr.protocol.codec import assemble_control
from ceph_msgr.testing.proxy.fault import Fault, Kind
from ceph_msgr.testing.proxy.splitter import Splitter

__all__ = ["Editor"]

#: How far back a replay may reach.
_HISTORY_FRAMES = 256


class Editor:
    """``hit`` is told of each fault as it happens."""

    def __init__(self, splitter: Splitter, hit: Callable[[Fault], None]) -> None:
        self._splitter = splitter
        self._hit = hit
        self._faults: dict[int, Fault] = {}
        self._number = 0
        self._history: deque[bytes] = deque(maxlen=_HISTORY_FRAMES)
        #: The frame that is to change places, those behind it, and how many are still awaited.
        self._held: list[bytes] = []
        self._awaited = 0

    def order(self, fault: Fault) -> None:
        """One fault per frame."""
        assert fault.at is not None
        if fault.at < self._number:
            raise ValueError(f"frame {fault.at} has passed, {self._number} is the next one")
        self._faults[fault.at] = fault

    def feed(self, data: bytes) -> bytes:
        """What is passed on for these bytes; whatever is not a whole frame yet waits."""
        before, frames = self._splitter.feed(data)
        out = [before]
        for frame in frames:
            self._history.append(frame)
            out += self._edit(frame)
            self._number += 1
        return b"".join(out)

    def _edit(self, frame: bytes) -> list[bytes]:
        if self._held:
            self._held.append(frame)
            self._awaited -= 1
            if self._awaited:
                return []
            held, self._held = self._held, []
            return [held[-1], *held[1:-1], held[0]]
        fault = self._faults.pop(self._number, None)
        if fault is None:
            return [frame]
        self._hit(fault)
        match fault.kind:
            case Kind.DROP_FRAME:
                return []
            case Kind.DUPLICATE_FRAME:
                return [frame, frame]
            case Kind.REPLAY_FRAME:
                return [frame, *([self._history[-1 - fault.size]] if fault.size < len(self._history) else [])]
            case Kind.FORGE_FRAME:
                return [assemble_control(fault.tag, fault.payload, 1), frame]
            case Kind.SWAP_FRAMES:
                self._held, self._awaited = [frame], fault.size
                return []
        raise AssertionError(f"{fault.kind} is no edit of a frame")
