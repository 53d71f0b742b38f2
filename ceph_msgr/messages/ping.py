"""MPing: "are you there?"."""

from __future__ import annotations

from ceph_msgr._core import Message
from ceph_msgr.wire.encoding import Decoder, Encoder, require_readable
from ceph_msgr.wire.header import PRIO_DEFAULT

__all__ = ["MPing"]


class MPing(Message):
    """A ping. It carries nothing, except that a monitor answers with a text of JSON about its health."""

    TYPE = 2
    HEAD_VERSION = 1

    text: str = ""

    def __init__(self, text: str = "", *, priority: int = PRIO_DEFAULT, tid: int = 0) -> None:
        super().__init__(self.TYPE, priority=priority, tid=tid, version=self.HEAD_VERSION)
        self.text = text

    def encode_payload(self, features: int) -> bytes:
        if not self.text:
            return b""
        encoder = Encoder()
        encoder.str_(self.text)
        return encoder.to_bytes()

    def decode_payload(self) -> None:
        require_readable("MPing", self.compat_version, self.HEAD_VERSION)
        front = Decoder(self.front, "MPing")
        self.text = front.str_() if front.remaining else ""
