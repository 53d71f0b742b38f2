"""msgr2 framing in crc mode, in plain Python: the oracle that the C codec is held against.

Written from the wire document alone and for reading, not for speed: one function for each sentence. It shares no line
with the code under test. Both revisions; crc mode only.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

__all__ = [
    "BANNER_PREFIX",
    "FrameError",
    "Parser",
    "RefFrame",
    "assemble",
    "assemble_control",
    "crc32c",
    "split_banner",
    "wire_len",
]

BANNER_PREFIX = b"ceph v2\n"

PREAMBLE_BYTES = 32
MAX_SEGMENTS = 4
_PREAMBLE = struct.Struct("<BB" + "IH" * MAX_SEGMENTS + "BB")
_CRC = struct.Struct("<I")

_SEED_PREAMBLE = 0
_SEED_SEGMENT = 0xFFFFFFFF

_FLAG_COMPRESSED = 1

# The trailer's first byte: msgr2.1 has a status in the low nibble, msgr2.0 has flags.
_STATUS_COMPLETE = 0x0E
_STATUS_ABORTED = 0x01
_FLAG_ABORTED = 0x01


class FrameError(Exception):
    """The bytes are not a frame."""


# ---- crc ----


def _make_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
        table.append(crc)
    return tuple(table)


_TABLE = _make_table()


def crc32c(seed: int, data: bytes) -> int:
    """CRC-32C, raw: the register starts at ``seed`` and is not inverted at the end."""
    crc = seed
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc


# ---- shape ----


def _used_segments(lengths: Sequence[int]) -> int:
    """Trailing empty segments are dropped, but one always remains."""
    if not 1 <= len(lengths) <= MAX_SEGMENTS:
        raise ValueError(f"{len(lengths)} segments, expected 1 to {MAX_SEGMENTS}")
    return max([index + 1 for index, length in enumerate(lengths) if length], default=1)


def _inline_crc_bytes(revision: int, first_len: int) -> int:
    """msgr2.1 puts the crc of segment 0 right behind it, unless it is empty."""
    return _CRC.size if revision == 1 and first_len else 0


def _trailer_bytes(revision: int, count: int) -> int:
    """msgr2.0 always has a trailer with four crcs; msgr2.1 one with three, and only behind several segments."""
    if revision == 0:
        return 1 + 4 * _CRC.size
    return 1 + 3 * _CRC.size if count > 1 else 0


def wire_len(lengths: Sequence[int], revision: int) -> int:
    """Bytes on the wire of a frame whose segments have these lengths."""
    count = _used_segments(lengths)
    return PREAMBLE_BYTES + sum(lengths) + _inline_crc_bytes(revision, lengths[0]) + _trailer_bytes(revision, count)


# ---- assemble ----


def default_alignments(count: int) -> list[int]:
    return [8, 8, 8, 4096][:count]


def assemble(
    tag: int,
    segments: Sequence[bytes],
    revision: int = 1,
    *,
    alignments: Sequence[int] | None = None,
    aborted: bool = False,
) -> bytes:
    """The bytes of one frame. An aborted one needs several segments in msgr2.1."""
    count = _used_segments([len(segment) for segment in segments])
    used = [bytes(segment) for segment in segments[:count]]
    if alignments is None:
        alignments = default_alignments(count)
    wire = _preamble(tag, [len(segment) for segment in used], alignments)
    crcs = [crc32c(_SEED_SEGMENT, segment) for segment in used] + [0] * (MAX_SEGMENTS - count)
    if revision == 0:
        status = _FLAG_ABORTED if aborted else 0
        return wire + b"".join(used) + struct.pack("<B4I", status, *crcs)
    wire += used[0]
    if used[0]:
        wire += _CRC.pack(crcs[0])
    if count == 1:
        if aborted:
            raise ValueError("a msgr2.1 frame with one segment has no trailer to abort it in")
        return wire
    status = _STATUS_ABORTED if aborted else _STATUS_COMPLETE
    return wire + b"".join(used[1:]) + struct.pack("<B3I", status, *crcs[1:])


def assemble_control(tag: int, payload: bytes, revision: int) -> bytes:
    """A control frame: one segment."""
    return assemble(tag, [payload], revision)


def _preamble(tag: int, lengths: Sequence[int], alignments: Sequence[int]) -> bytes:
    descriptors = [number for pair in zip(lengths, alignments, strict=True) for number in pair]
    descriptors += [0] * (2 * MAX_SEGMENTS - len(descriptors))
    body = _PREAMBLE.pack(tag, len(lengths), *descriptors, 0, 0)
    return body + _CRC.pack(crc32c(_SEED_PREAMBLE, body))


# ---- parse ----


@dataclass(frozen=True)
class RefFrame:
    """One frame as it came. ``aborted`` frames are to be dropped by whoever reads them."""

    tag: int
    segments: tuple[bytes, ...]
    alignments: tuple[int, ...]
    wire: bytes
    aborted: bool = False

    @property
    def payload(self) -> bytes:
        return b"".join(self.segments)


class Parser:
    """Takes the bytes behind the banner in pieces of any size. Frames come out one at a time, so that the revision may
    change between two of them."""

    def __init__(self, revision: int = 1, max_segment_bytes: int = 1 << 28) -> None:
        self.revision = revision
        self._max_segment_bytes = max_segment_bytes
        self._buffer = b""
        #: The preamble of the frame at the start of the buffer, once it is there: tag, lengths, alignments.
        self._preamble: tuple[int, list[int], tuple[int, ...]] | None = None

    def add(self, data: bytes) -> None:
        self._buffer += data

    @property
    def pending_bytes(self) -> int:
        return len(self._buffer)

    def next_frame(self) -> RefFrame | None:
        """The next complete frame, None if there is none yet; ``FrameError`` if there never will be one."""
        if self._preamble is None:
            if len(self._buffer) < PREAMBLE_BYTES:
                return None
            self._preamble = self._parse_preamble(self._buffer[:PREAMBLE_BYTES])
        tag, lengths, alignments = self._preamble
        end = wire_len(lengths, self.revision)
        if len(self._buffer) < end:
            return None
        self._preamble = None
        wire, self._buffer = self._buffer[:end], self._buffer[end:]
        segments, aborted = self._parse_body(wire, lengths)
        return RefFrame(tag, segments, alignments, wire, aborted)

    def __iter__(self) -> Iterator[RefFrame]:
        while (frame := self.next_frame()) is not None:
            yield frame

    def _parse_preamble(self, preamble: bytes) -> tuple[int, list[int], tuple[int, ...]]:
        body, crc = preamble[: _PREAMBLE.size], _CRC.unpack(preamble[_PREAMBLE.size :])[0]
        if crc != crc32c(_SEED_PREAMBLE, body):
            raise FrameError("the preamble's crc does not match")
        tag, count, *descriptors, flags, _reserved = _PREAMBLE.unpack(body)
        if not 1 <= count <= MAX_SEGMENTS:
            raise FrameError(f"{count} segments")
        lengths, alignments = descriptors[0 : 2 * count : 2], tuple(descriptors[1 : 2 * count : 2])
        if count > 1 and not lengths[-1]:
            raise FrameError("the last of several segments is empty")
        if max(lengths) > self._max_segment_bytes:
            raise FrameError(f"a segment of {max(lengths)} bytes")
        if flags & _FLAG_COMPRESSED:
            raise FrameError("compressed without agreement")
        return tag, lengths, alignments

    def _parse_body(self, wire: bytes, lengths: list[int]) -> tuple[tuple[bytes, ...], bool]:
        inline = _inline_crc_bytes(self.revision, lengths[0])
        segments = []
        at = PREAMBLE_BYTES
        for index, length in enumerate(lengths):
            segments.append(wire[at : at + length])
            at += length
            if index == 0 and inline:
                self._check_crc(0, segments[0], wire[at : at + inline])
                at += inline
        trailer = wire[at:]
        if not trailer:
            return tuple(segments), False
        first = 0 if self.revision == 0 else 1
        for slot, segment in enumerate(segments[first:]):
            self._check_crc(first + slot, segment, trailer[1 + 4 * slot : 5 + 4 * slot])
        return tuple(segments), self._is_aborted(trailer[0])

    @staticmethod
    def _check_crc(index: int, segment: bytes, crc: bytes) -> None:
        if _CRC.unpack(crc)[0] != crc32c(_SEED_SEGMENT, segment):
            raise FrameError(f"the crc of segment {index} does not match")

    def _is_aborted(self, status: int) -> bool:
        if self.revision == 0:
            return bool(status & _FLAG_ABORTED)
        match status & 0x0F:
            case 0x0E:
                return False
            case 0x01:
                return True
        raise FrameError(f"late status 0x{status:02x}")


# ---- banner ----


def split_banner(stream: bytes) -> tuple[bytes, bytes] | None:
    """``(banner, rest)`` of a stream's first bytes, None while they are too few."""
    head = len(BANNER_PREFIX) + 2
    if len(stream) < head:
        return None
    if not stream.startswith(BANNER_PREFIX):
        return stream, b""
    end = head + int.from_bytes(stream[head - 2 : head], "little")
    return (stream[:end], stream[end:]) if len(stream) >= end else None
