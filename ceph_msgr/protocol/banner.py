"""The banner: the first bytes of either direction ("Banner exchange")."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Self

from ceph_msgr.errors import DecodeError
from ceph_msgr.protocol.tags import ProtocolFeature

__all__ = ["BANNER_PREFIX", "OUR_BANNER", "Banner"]

BANNER_PREFIX = b"ceph v2\n"

_LENGTH = struct.Struct("<H")
_PAYLOAD = struct.Struct("<QQ")
_PAYLOAD_START = len(BANNER_PREFIX) + _LENGTH.size

#: What else may knock at our port, by the first bytes it sends.
_STRANGERS = (
    (b"ceph v027", "the peer speaks msgr1 (ceph v027), only msgr2 is spoken here"),
    (b"\x16\x03", "the peer starts a TLS handshake, msgr2 has none"),
    (b"HTTP/", "the peer answers in HTTP"),
    (b"SSH-", "the peer speaks SSH"),
)
_HTTP_METHODS = (b"GET ", b"HEAD ", b"POST ", b"PUT ", b"DELETE ", b"OPTIONS ", b"CONNECT ", b"PATCH ", b"TRACE ", b"PRI ")


@dataclass(frozen=True, slots=True)
class Banner:
    """The protocol features one side supports and insists on."""

    supported: int
    required: int = 0

    def encode(self) -> bytes:
        """All bytes, prefix included."""
        return BANNER_PREFIX + _LENGTH.pack(_PAYLOAD.size) + _PAYLOAD.pack(self.supported, self.required)

    @classmethod
    def parse(cls, wire: bytes) -> Self:
        """From all bytes of a banner, or from the first ones of whatever came instead; ``DecodeError`` says what it was.

        A longer payload is fine: later releases may add to it.
        """
        if not wire.startswith(BANNER_PREFIX):
            raise DecodeError(_describe_stranger(wire))
        payload = wire[_PAYLOAD_START:]
        if len(payload) < _PAYLOAD.size:
            raise DecodeError(f"the banner's payload has {len(payload)} bytes, expected at least {_PAYLOAD.size}")
        return cls(*_PAYLOAD.unpack_from(payload))

    def revision_with(self, peer: Banner) -> int:
        """1 for msgr2.1 if both announce it, else 0 for msgr2.0."""
        return 1 if self.supported & peer.supported & ProtocolFeature.REVISION_1 else 0

    def with_compression(self) -> Banner:
        """The same, and on-wire compression."""
        return Banner(self.supported | ProtocolFeature.COMPRESSION, self.required)

    def negotiates_compression_with(self, peer: Banner) -> bool:
        """Whether the compression frames come behind the signatures: only if both announce it."""
        return bool(self.supported & peer.supported & ProtocolFeature.COMPRESSION)

    def mismatch_with(self, peer: Banner) -> str:
        """Why these two sides can never talk to each other, empty if they can."""
        # Plain integers: the inverse of a flag holds only the bits that have names, and peers may require others.
        if missing := peer.required & ~int(self.supported):
            return f"the peer requires protocol features 0x{missing:x}, we support 0x{self.supported:x}"
        if missing := self.required & ~int(peer.supported):
            return f"we require protocol features 0x{missing:x}, the peer supports 0x{peer.supported:x}"
        return ""


#: What we announce unless the options ask for compression. Without COMPRESSION no peer ever asks for it.
OUR_BANNER = Banner(supported=ProtocolFeature.REVISION_1)


def _describe_stranger(start: bytes) -> str:
    for prefix, text in _STRANGERS:
        if start.startswith(prefix):
            return text
    if start.startswith(_HTTP_METHODS):
        return "the peer sends an HTTP request"
    return f"the peer's first bytes {start[: len(BANNER_PREFIX)]!r} are not a banner, expected {BANNER_PREFIX!r}"
