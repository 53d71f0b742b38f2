"""The header segment of a MESSAGE frame.

In READY sessions C reads and writes headers; this class serves the control plane, tools and tests.
"""

from __future__ import annotations

import struct
from dataclasses import astuple, dataclass
from typing import ClassVar, Self

from ceph_msgr.wire.encoding import Decoder, Encoder

__all__ = [
    "FLAG_COMPLETE",
    "FLAG_NOCRC",
    "FLAG_SIGNED",
    "PRIO_DEFAULT",
    "PRIO_HIGH",
    "PRIO_HIGHEST",
    "PRIO_LOW",
    "MessageHeader",
]

PRIO_LOW = 64
PRIO_DEFAULT = 127
PRIO_HIGH = 196
PRIO_HIGHEST = 255

FLAG_COMPLETE = 1
FLAG_NOCRC = 2
FLAG_SIGNED = 4

# No padding; the fields stand in the order of the class below.
_LAYOUT = struct.Struct("<QQHHHIHQBHH")


@dataclass(frozen=True, slots=True)
class MessageHeader:
    """One message's header. Lengths are not in it: they are the lengths of the frame's segments."""

    SIZE_BYTES: ClassVar[int] = _LAYOUT.size

    #: Per direction, the first message of a session has 1.
    seq: int = 0
    #: Transaction id, chosen by the requester and copied into replies.
    tid: int = 0
    type: int = 0
    #: Higher is sent first.
    priority: int = PRIO_DEFAULT
    #: Of the payload's encoding.
    version: int = 1
    data_pre_padding_len: int = 0
    #: A hint for aligning data in memory; may be ignored.
    data_off: int = 0
    #: Highest sequence number received in the other direction.
    ack_seq: int = 0
    #: What msgr1 kept in its footer. Nothing depends on it; msgr2 senders put "complete, no per-message crcs".
    flags: int = FLAG_COMPLETE | FLAG_NOCRC
    #: Oldest payload reader that will do; from a peer 0 means the same as ``version``.
    compat_version: int = 1
    reserved: int = 0

    def encode(self, encoder: Encoder) -> None:
        try:
            encoder.raw(_LAYOUT.pack(*astuple(self)))
        except struct.error as error:
            raise ValueError(f"{self}: {error}") from None

    @classmethod
    def decode(cls, decoder: Decoder) -> Self:
        """Takes 41 bytes; a segment may be longer, for fields that later versions add."""
        return cls(*_LAYOUT.unpack(decoder.raw(_LAYOUT.size)))
