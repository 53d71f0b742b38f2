"""``Tally``: a journal that does not grow: equal tallies, equal messages in equal order."""

from __future__ import annotations

import zlib

from ceph_msgr import Message

__all__ = ["Tally"]


class Tally:
    """Written by one thread at a time. Numbers must come as 0, 1, 2, ..."""

    def __init__(self) -> None:
        self.highest = -1
        #: Over the number and the content of all messages, in their order.
        self.checksum = 0
        #: What came first in a wrong place; empty if nothing did.
        self.wrong = ""
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def note(self, message: Message) -> None:
        if message.tid != self._count and not self.wrong:
            self.wrong = f"message {message.tid} came in place of {self._count}"
        self._count += 1
        self.highest = max(self.highest, message.tid)
        self.checksum = zlib.crc32(message.data, zlib.crc32(message.front, self.checksum))

    def to_text(self) -> str:
        return f"{self._count} messages, checksum {self.checksum:08x}"
