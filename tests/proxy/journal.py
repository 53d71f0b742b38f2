"""``Journal``: what one side sent, or received: the number and the checksum of each message, in order."""

from __future__ import annotations

import base64
import random
import struct
import zlib
from array import array
from typing import Self

from ceph_msgr import Message

__all__ = ["TYPE", "Journal", "Payloads"]

#: Without fields of its own: three segments of bytes.
TYPE = 60_000

_NUMBER = struct.Struct("<Q")
_POOL_BYTES = 1 << 20
#: Small ones mostly, of which many are in one read; some have a segment received straight into its place (16 KiB).
_LENGTHS = (0, 1, 16, 40, 64, 100, 100, 150, 200, 300)
_LARGE_LENGTHS = (2_000, 4_096, 20_000)
_LARGE_EVERY = 200


class Payloads:
    """The message of each number, the same ones for the same seed."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(f"payloads of {seed}")
        self._pool = self._rng.randbytes(_POOL_BYTES)

    def make(self, number: int) -> Message:
        rng = self._rng.random()
        lengths = _LENGTHS if number % _LARGE_EVERY else _LARGE_LENGTHS
        length = lengths[int(rng * len(lengths))]
        start = int(rng * (_POOL_BYTES - length))
        return Message(TYPE, tid=number, front=_NUMBER.pack(number), data=self._pool[start : start + length])


class Journal:
    """Written by one thread at a time."""

    def __init__(self) -> None:
        self.numbers = array("Q")
        self.checksums = array("I")

        #: -1 before the first one.
        self.highest = -1

    def __len__(self) -> int:
        return len(self.numbers)

    def note(self, message: Message) -> None:
        """What the message says of itself, and a checksum of what it holds."""
        self.numbers.append(message.tid)
        self.highest = max(self.highest, message.tid)
        self.checksums.append(zlib.crc32(message.data, zlib.crc32(message.front)))

    def to_text(self) -> str:
        packed = zlib.compress(self.numbers.tobytes() + self.checksums.tobytes(), 1)
        return f"{len(self)}:{base64.b64encode(packed).decode()}"

    @classmethod
    def from_text(cls, text: str) -> Self:
        count, _, packed = text.partition(":")
        wire = zlib.decompress(base64.b64decode(packed))
        journal = cls()
        journal.numbers.frombytes(wire[: 8 * int(count)])
        journal.checksums.frombytes(wire[8 * int(count) :])
        return journal
