"""What a monitor client asks to be told about, and the configuration it is told first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Self

from ceph_msgr._core import Message
from ceph_msgr.wire.encoding import Decoder, Encoder, require_readable
from ceph_msgr.wire.header import PRIO_DEFAULT

__all__ = ["MConfig", "MMonSubscribe", "Subscription"]


@dataclass(frozen=True, slots=True)
class Subscription:
    """From which version on, and whether once or for good."""

    #: First version wanted, 0 for the newest.
    start: int = 0
    onetime: bool = False

    def encode(self, encoder: Encoder) -> None:
        encoder.u64(self.start)
        encoder.u8(self.onetime)

    @classmethod
    def decode(cls, decoder: Decoder) -> Self:
        return cls(decoder.u64(), bool(decoder.u8() & 1))


class MMonSubscribe(Message):
    """Asks a monitor to send maps and configuration as they change."""

    TYPE = 15
    HEAD_VERSION = 3

    #: By what is wanted: "monmap", "config", "osdmap", ...
    what: Mapping[str, Subscription] = MappingProxyType({})
    hostname: str = ""

    def __init__(
        self, what: Mapping[str, Subscription], hostname: str = "", *, priority: int = PRIO_DEFAULT, tid: int = 0
    ) -> None:
        super().__init__(self.TYPE, priority=priority, tid=tid, version=self.HEAD_VERSION)
        self.what = what
        self.hostname = hostname

    def encode_payload(self, features: int) -> bytes:
        encoder = Encoder()
        encoder.map_(self.what, Encoder.str_, Encoder.value)
        encoder.str_(self.hostname)
        return encoder.to_bytes()

    def decode_payload(self) -> None:
        require_readable("MMonSubscribe", self.compat_version, self.HEAD_VERSION)
        front = Decoder(self.front, "MMonSubscribe")
        self.what = front.map_(Decoder.str_, Subscription.decode)
        self.hostname = front.str_() if self.version >= self.HEAD_VERSION else ""


class MConfig(Message):
    """Configuration options that the monitor sets for the receiver, by name; all others have their defaults."""

    TYPE = 62
    HEAD_VERSION = 1

    options: Mapping[str, str] = MappingProxyType({})

    def __init__(self, options: Mapping[str, str], *, priority: int = PRIO_DEFAULT, tid: int = 0) -> None:
        super().__init__(self.TYPE, priority=priority, tid=tid, version=self.HEAD_VERSION)
        self.options = options

    def encode_payload(self, features: int) -> bytes:
        encoder = Encoder()
        encoder.map_(self.options, Encoder.str_, Encoder.str_)
        return encoder.to_bytes()

    def decode_payload(self) -> None:
        require_readable("MConfig", self.compat_version, self.HEAD_VERSION)
        self.options = Decoder(self.front, "MConfig").map_(Decoder.str_, Decoder.str_)
