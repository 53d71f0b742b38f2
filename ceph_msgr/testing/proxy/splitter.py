"""Where a frame ends: by its preamble in crc mode, by a size known beforehand in secure mode."""

from __future__ import annotations

import struct
from typing import Protocol

from ceph_msgr.protocol.banner import BANNER_PREFIX, Banner

__all__ = ["BlockSplitter", "FrameSplitter", "Revision", "Splitter"]

_PREAMBLE_BYTES = 32
_PREAMBLE = struct.Struct("<BBIHIHIHIH")
_CRC_BYTES = 4
_BANNER_HEAD_BYTES = len(BANNER_PREFIX) + 2


class Splitter(Protocol):
    def feed(self, data: bytes) -> tuple[bytes, list[bytes]]:
        """What comes before the first frame and is passed on at once, and the frames that are complete now."""


class Revision:
    """Of one link: known once both banners have passed."""

    def __init__(self) -> None:
        self._banners: list[Banner] = []

    def saw(self, banner: bytes) -> None:
        self._banners.append(Banner.parse(banner))

    @property
    def number(self) -> int | None:
        return self._banners[0].revision_with(self._banners[1]) if len(self._banners) == 2 else None


class FrameSplitter:
    """One direction of a link in crc mode, from its first byte on."""

    def __init__(self, revision: Revision) -> None:
        self._revision = revision
        self._buffer = bytearray()
        self._is_past_banner = False

    def feed(self, data: bytes) -> tuple[bytes, list[bytes]]:
        self._buffer += data
        banner = b"" if self._is_past_banner else self._take_banner()
        frames: list[bytes] = []
        revision = self._revision.number
        if revision is None or not self._is_past_banner:
            return banner, frames
        start = 0
        while len(self._buffer) - start >= _PREAMBLE_BYTES:
            end = start + _frame_bytes(_PREAMBLE.unpack_from(self._buffer, start), revision)
            if end > len(self._buffer):
                break
            frames.append(bytes(self._buffer[start:end]))
            start = end
        del self._buffer[:start]
        return banner, frames

    def _take_banner(self) -> bytes:
        if len(self._buffer) < _BANNER_HEAD_BYTES:
            return b""
        end = _BANNER_HEAD_BYTES + int.from_bytes(self._buffer[_BANNER_HEAD_BYTES - 2 : _BANNER_HEAD_BYTES], "little")
        if len(self._buffer) < end:
            return b""
        banner = bytes(self._buffer[:end])
        del self._buffer[:end]
        self._revision.saw(banner)
        self._is_past_banner = True
        return banner


def _frame_bytes(preamble: tuple[int, ...], revision: int) -> int:
    _tag, count, first, _, second, _, third, _, fourth, _ = preamble
    payload = first + second + third + fourth
    if revision == 0:
        return _PREAMBLE_BYTES + payload + 1 + 4 * _CRC_BYTES
    inline = _CRC_BYTES if first else 0
    return _PREAMBLE_BYTES + payload + inline + (1 + 3 * _CRC_BYTES if count > 1 else 0)


class BlockSplitter:
    """Behind the first ``skip`` bytes every frame takes ``size``: what is encrypted does not tell its length."""

    def __init__(self, skip: int, size: int) -> None:
        self._skip = skip
        self._size = size
        self._buffer = bytearray()

    def feed(self, data: bytes) -> tuple[bytes, list[bytes]]:
        before, rest = data[: self._skip], data[self._skip :]
        self._skip -= len(before)
        self._buffer += rest
        whole = len(self._buffer) - len(self._buffer) % self._size
        blocks = [bytes(self._buffer[at : at + self._size]) for at in range(0, whole, self._size)]
        del self._buffer[:whole]
        return before, blocks
