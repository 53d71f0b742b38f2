"""``Fault``: what is done to a link, and where."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Self

__all__ = ["BYTE_KINDS", "FRAME_KINDS", "Direction", "Fault", "Kind"]


class Direction(StrEnum):
    #: From whoever dialled the proxy to the target.
    TO_TARGET = "to_target"
    TO_CLIENT = "to_client"


class Kind(StrEnum):
    """``size`` and ``seconds`` are those of the fault."""

    #: FIN both ways, behind the bytes before.
    CLOSE = "close"
    #: RST both ways.
    RESET = "reset"
    #: FIN this way only; the other way goes on.
    HALF_CLOSE = "half_close"
    #: Both ends stay open, and never hear anything again.
    SILENCE = "silence"
    #: Nothing is read or passed on for ``seconds``. With a short time it splits the stream here.
    STALL = "stall"
    #: The next 64 KiB leave in pieces of ``size`` bytes.
    RECHUNK = "rechunk"
    #: Bit ``size`` of the next byte is flipped.
    FLIP = "flip"
    #: The next ``size`` bytes are missing.
    TRUNCATE = "truncate"

    # The rest counts ``at`` in frames behind the banner, and works on routes that know where frames end.

    DROP_FRAME = "drop_frame"
    #: Sent twice.
    DUPLICATE_FRAME = "duplicate_frame"
    #: The one ``size`` frames before it is sent again, behind it.
    REPLAY_FRAME = "replay_frame"
    #: Changes places with the one ``size`` frames behind it; all between wait for that one.
    SWAP_FRAMES = "swap_frames"
    #: Before it comes a valid control frame (crc mode) with ``tag`` and ``payload``.
    FORGE_FRAME = "forge_frame"


FRAME_KINDS = frozenset(
    {Kind.DROP_FRAME, Kind.DUPLICATE_FRAME, Kind.REPLAY_FRAME, Kind.SWAP_FRAMES, Kind.FORGE_FRAME}
)
BYTE_KINDS = frozenset(Kind) - FRAME_KINDS


@dataclass(frozen=True, slots=True)
class Fault:
    """``at`` counts what came this way since the link began: bytes, or frames. The fault happens once there is a byte or a frame
    of that number, so nothing is broken behind the last one. None: at once, wherever the stream is; not for frames."""

    kind: Kind
    direction: Direction = Direction.TO_TARGET
    at: int | None = None
    size: int = 1
    seconds: float = 0.0
    tag: int = 0
    payload: bytes = b""

    def __post_init__(self) -> None:
        if self.kind in FRAME_KINDS and self.at is None:
            raise ValueError(f"{self.kind} needs the number of a frame")
        if self.kind in (Kind.RECHUNK, Kind.TRUNCATE, Kind.REPLAY_FRAME, Kind.SWAP_FRAMES) and self.size < 1:
            raise ValueError(f"{self.kind} of size {self.size}")

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"payload": self.payload.hex()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        kind, direction, payload = Kind(values["kind"]), Direction(values["direction"]), bytes.fromhex(values["payload"])
        return cls(**{**values, "kind": kind, "direction": direction, "payload": payload})
