"""Messages between a monitor and its clients."""

from __future__ import annotations

from ceph_msgr._core import Message
from ceph_msgr.wire.encoding import Decoder, Encoder, from_bytes, require_readable, to_bytes
from ceph_msgr.wire.header import PRIO_DEFAULT
from ceph_msgr.wire.monmap import MonMap

__all__ = ["MMonGetMap", "MMonMap"]


class MMonGetMap(Message):
    """Asks a monitor for the monitor map; MMonMap is the answer."""

    TYPE = 5
    HEAD_VERSION = 1

    def __init__(self, *, priority: int = PRIO_DEFAULT, tid: int = 0) -> None:
        super().__init__(self.TYPE, priority=priority, tid=tid, version=self.HEAD_VERSION)

    def encode_payload(self, features: int) -> bytes:
        return b""

    def decode_payload(self) -> None:
        require_readable("MMonGetMap", self.compat_version, self.HEAD_VERSION)


class MMonMap(Message):
    """A monitor map."""

    TYPE = 4
    HEAD_VERSION = 1

    monmap: MonMap = MonMap()

    def __init__(self, monmap: MonMap, *, priority: int = PRIO_DEFAULT, tid: int = 0) -> None:
        super().__init__(self.TYPE, priority=priority, tid=tid, version=self.HEAD_VERSION)
        self.monmap = monmap

    def encode_payload(self, features: int) -> bytes:
        encoder = Encoder()
        encoder.blob(to_bytes(self.monmap))
        return encoder.to_bytes()

    def decode_payload(self) -> None:
        require_readable("MMonMap", self.compat_version, self.HEAD_VERSION)
        self.monmap = from_bytes(MonMap, Decoder(self.front, "MMonMap").blob())
