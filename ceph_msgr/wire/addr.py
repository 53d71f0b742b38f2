"""Addresses of entities, and the vectors of them that identify a peer.

Text form: ``TYPE:IP:PORT/NONCE``, such as ``v2:127.0.0.1:6800/14035`` or ``any:[fd00::1]:0/7``. Type, port and nonce
may be left out (v2, 0, 0). ``-`` stands for an unset ip, and alone for the blank address. A vector is ``[ADDR,ADDR]``.
"""

from __future__ import annotations

import ipaddress
import re
import struct
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache, total_ordering
from typing import Self, TypeAlias

from ceph_msgr.errors import DecodeError
from ceph_msgr.wire.encoding import Decoder, Encoder

__all__ = ["FAMILY_IPV4", "FAMILY_IPV6", "FAMILY_NONE", "AddrType", "EntityAddr", "EntityAddrVec", "SockAddr"]

# Families as numbered on the wire. Linux numbers its sockets the same way, other systems do not.
FAMILY_NONE = 0
FAMILY_IPV4 = 2
FAMILY_IPV6 = 10

# First byte of an encoded address or vector.
_MARKER_LEGACY = 0
_MARKER_MODERN = 1
_MARKER_VECTOR = 2

_SOCKADDR_BYTES = {FAMILY_NONE: 28, FAMILY_IPV4: 16, FAMILY_IPV6: 28}
_SOCKADDR_MAX_BYTES = 28
_LEGACY_SOCKADDR_BYTES = 128
_MODERN_MIN_BYTES = 1 + 6 + 12

_EXPECTED = "expected TYPE:IP:PORT/NONCE such as v2:127.0.0.1:6800/0 or v2:[::1]:6800/0"

# Two colons make an IPv6 address: without that rule "[10.0.0.1:6800]", a vector, would look like one.
_TEXT = re.compile(
    r"(?:(?P<type>none|v1|v2|any):)?"
    r"(?:(?P<ip4>[^][:/,%\s]+)|\[(?P<ip6>[0-9a-fA-F.]*:[0-9a-fA-F.]*:[0-9a-fA-F.:]*)(?:%(?P<scope>[0-9]+))?\])"
    r"(?::(?P<port>[0-9]+))?"
    r"(?:/(?P<nonce>[0-9]+))?"
)


#: What Python's sockets take and give, for IPv4 and IPv6.
SockAddr: TypeAlias = tuple[str, int] | tuple[str, int, int, int]


class AddrType(IntEnum):
    """Which protocol an address speaks. ``str()`` gives Ceph's prefix: ``v2``."""

    NONE = 0
    LEGACY = 1
    MSGR2 = 2
    #: What an unbound client announces: it cannot be dialled.
    ANY = 3

    def __str__(self) -> str:
        return _PREFIX[self]

    def __format__(self, spec: str) -> str:
        # An IntEnum would format as its number.
        return format(str(self), spec)


_PREFIX = {AddrType.NONE: "none", AddrType.LEGACY: "v1", AddrType.MSGR2: "v2", AddrType.ANY: "any"}
_BY_PREFIX = {prefix: type_ for type_, prefix in _PREFIX.items()}

#: A handshake looks at a dozen addresses, which are nearly always the same few.
_ip_address = lru_cache(1024)(ipaddress.ip_address)
_shortest = lru_cache(1024)(lambda ip: str(_ip_address(ip)))


@total_ordering
@dataclass(frozen=True, slots=True)
class EntityAddr:
    """One address. Immutable, hashable, and ordered as races between two dialling peers need it.

    ``ip`` is kept in its shortest text form; the empty string is an unset ip. ``nonce`` distinguishes process instances
    that share ip and port. ``flow_info`` and ``scope_id`` belong to IPv6 only; the flow is not part of the text form.
    A value out of range raises ``ValueError``.
    """

    type: AddrType = AddrType.NONE
    ip: str = ""
    port: int = 0
    nonce: int = 0
    flow_info: int = 0
    scope_id: int = 0

    def __post_init__(self) -> None:
        for name, limit in ("port", 0xFFFF), ("nonce", 0xFFFFFFFF), ("flow_info", 0xFFFFFFFF), ("scope_id", 0xFFFFFFFF):
            value = getattr(self, name)
            if not 0 <= value <= limit:
                raise ValueError(f"{name} {value} of an address is not within 0..{limit}")
        if "%" in self.ip:
            raise ValueError(f"ip {self.ip} of an address names a scope, which belongs into scope_id")
        if self.ip:
            object.__setattr__(self, "ip", _shortest(self.ip))
        elif self.port:
            raise ValueError(f"an address without an ip cannot have port {self.port}")
        if self.family != FAMILY_IPV6 and (self.flow_info or self.scope_id):
            raise ValueError("only an IPv6 address has flow info and scope id")

    @classmethod
    def parse(cls, text: str) -> Self:
        """From the text form; ``str()`` of the result is its full, canonical spelling."""
        if text == "-":
            return cls()
        match = _TEXT.fullmatch(text)
        if not match:
            raise ValueError(f'"{text}" is not an address, {_EXPECTED}')
        type_, ip4, ip6, scope, port, nonce = match.groups()
        ip = "" if ip4 == "-" else ip4 or ip6
        try:
            return cls(_BY_PREFIX[type_ or "v2"], ip, int(port or 0), int(nonce or 0), scope_id=int(scope or 0))
        except ValueError as error:
            raise ValueError(f'"{text}" is not an address ({error}), {_EXPECTED}') from None

    def __str__(self) -> str:
        if self.is_blank:
            return "-"
        if self.family == FAMILY_NONE:
            return f"{self.type}:-/{self.nonce}"
        ip = self.ip
        if self.family == FAMILY_IPV6:
            ip = f"[{ip}%{self.scope_id}]" if self.scope_id else f"[{ip}]"
        return f"{self.type}:{ip}:{self.port}/{self.nonce}"

    @property
    def family(self) -> int:
        """``FAMILY_IPV4``, ``FAMILY_IPV6``, or ``FAMILY_NONE`` while the ip is unset."""
        if not self.ip:
            return FAMILY_NONE
        return FAMILY_IPV6 if ":" in self.ip else FAMILY_IPV4

    @property
    def is_blank(self) -> bool:
        """Nothing is set at all."""
        return self == _BLANK

    @property
    def is_blank_ip(self) -> bool:
        """The ip is unset or the wildcard of its family, so it still has to be learned."""
        return not self.ip or _ip_address(self.ip).is_unspecified

    # ---- for the socket layer ----

    def sockaddr(self) -> SockAddr:
        """What ``socket.bind`` and ``socket.connect`` take for this family."""
        if self.family == FAMILY_IPV4:
            return self.ip, self.port
        if self.family == FAMILY_IPV6:
            return self.ip, self.port, self.flow_info, self.scope_id
        raise ValueError(f"{self} has no ip to make a socket address of")

    @classmethod
    def from_sockaddr(cls, type_: AddrType, sockaddr: SockAddr, nonce: int = 0) -> Self:
        """From what ``getsockname``, ``getpeername`` and ``accept`` return for IPv4 and IPv6."""
        ip, port, *rest = sockaddr
        # The scope is in the last number; some systems repeat it in the text.
        return cls(type_, ip.partition("%")[0], port, nonce, *rest)

    # ---- bytes ----

    def _sockaddr_bytes(self, family_byte_order: str = "<") -> bytes:
        head = struct.pack(family_byte_order + "H", self.family) + struct.pack(">H", self.port)
        if self.family == FAMILY_IPV6:
            return head + struct.pack("<I16sI", self.flow_info, _ip_address(self.ip).packed, self.scope_id)
        packed = _ip_address(self.ip).packed if self.ip else b""
        return (head + packed).ljust(_SOCKADDR_BYTES[self.family], b"\0")

    def encode(self, encoder: Encoder) -> None:
        """The modern form, as in every msgr2 frame."""
        encoder.u8(_MARKER_MODERN)
        with encoder.versioned(1, 1):
            encoder.u32(self.type)
            encoder.u32(self.nonce)
            encoder.blob(self._sockaddr_bytes())

    def encode_legacy(self, encoder: Encoder) -> None:
        """The form for peers without MSG_ADDR2, which no msgr2 peer is. It loses the type."""
        encoder.u32(_MARKER_LEGACY)
        encoder.u32(self.nonce)
        encoder.raw(self._sockaddr_bytes(">").ljust(_LEGACY_SOCKADDR_BYTES, b"\0"))

    @classmethod
    def decode(cls, decoder: Decoder) -> Self:
        """Either form; which one it is tells the first byte."""
        return cls._decode_after_marker(decoder.u8(), decoder)

    @classmethod
    def _decode_after_marker(cls, marker: int, decoder: Decoder) -> Self:
        if marker == _MARKER_LEGACY:
            decoder.raw(3)
            nonce = decoder.u32()
            return cls._from_sockaddr_bytes(AddrType.LEGACY, nonce, decoder.raw(_LEGACY_SOCKADDR_BYTES), "big")
        if marker != _MARKER_MODERN:
            raise DecodeError(f"{marker} is not the marker of an address, {_MARKER_LEGACY} or {_MARKER_MODERN}")
        _, body = decoder.versioned("address", 1)
        number, nonce, sockaddr = body.u32(), body.u32(), body.blob()
        try:
            type_ = AddrType(number)
        except ValueError:
            raise DecodeError(f"{number} is not an address type") from None
        if len(sockaddr) == 1:
            raise DecodeError("a socket address of 1 byte has no family")
        if len(sockaddr) > _SOCKADDR_BYTES.get(int.from_bytes(sockaddr[:2], "little"), _SOCKADDR_MAX_BYTES):
            raise DecodeError(f"a socket address of {len(sockaddr)} bytes is longer than its family allows")
        return cls._from_sockaddr_bytes(type_, nonce, sockaddr, "little")

    @classmethod
    def _from_sockaddr_bytes(cls, type_: AddrType, nonce: int, sockaddr: bytes, family_byte_order: str) -> Self:
        # A short one counts as filled up with zeros.
        sockaddr = sockaddr.ljust(_SOCKADDR_MAX_BYTES, b"\0")
        family = int.from_bytes(sockaddr[:2], family_byte_order)  # type: ignore[arg-type]
        port = int.from_bytes(sockaddr[2:4], "big")
        if family == FAMILY_NONE:
            return cls(type_, nonce=nonce)
        if family == FAMILY_IPV4:
            return cls(type_, _shortest(sockaddr[4:8]), port, nonce)
        if family == FAMILY_IPV6:
            flow_info, packed, scope_id = struct.unpack_from("<I16sI", sockaddr, 4)
            return cls(type_, _shortest(packed), port, nonce, flow_info, scope_id)
        raise DecodeError(f"address family {family} is neither {FAMILY_IPV4} (IPv4) nor {FAMILY_IPV6} (IPv6)")

    # ---- order ----

    def __lt__(self, other: object) -> bool:
        """Ceph compares the bytes of its structure in memory: nonce 256 sorts before nonce 1, ports sort as numbers."""
        if not isinstance(other, EntityAddr):
            return NotImplemented
        return self._sort_key() < other._sort_key()

    def _sort_key(self) -> bytes:
        return struct.pack("<II", self.type, self.nonce) + self._sockaddr_bytes().ljust(_SOCKADDR_MAX_BYTES, b"\0")


_BLANK = EntityAddr()


class EntityAddrVec(tuple[EntityAddr, ...]):
    """The addresses of one entity, in its order of preference. A tuple: immutable, hashable, compared as a whole."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """From ``"[v2:10.0.0.1:3300/0,v1:10.0.0.1:6789/0]"``, ``"[]"``, or one address without brackets."""
        if text.startswith("[") and text.endswith("]") and not _TEXT.fullmatch(text):
            inside = text[1:-1].strip()
            return cls(EntityAddr.parse(part.strip()) for part in inside.split(",")) if inside else cls()
        return cls([EntityAddr.parse(text)])

    def __str__(self) -> str:
        return str(self[0]) if len(self) == 1 else f"[{','.join(map(str, self))}]"

    def __repr__(self) -> str:
        return f"EntityAddrVec.parse({str(self)!r})"

    def msgr2_addr(self) -> EntityAddr:
        """The first address of type msgr2, else the first of type any, else a blank one."""
        for type_ in AddrType.MSGR2, AddrType.ANY:
            for addr in self:
                if addr.type == type_:
                    return addr
        return EntityAddr()

    def encode(self, encoder: Encoder) -> None:
        encoder.u8(_MARKER_VECTOR)
        encoder.list_(self, Encoder.value)

    @classmethod
    def decode(cls, decoder: Decoder) -> Self:
        """A vector, or a single address in either of its forms as a vector of one."""
        marker = decoder.u8()
        if marker != _MARKER_VECTOR:
            return cls([EntityAddr._decode_after_marker(marker, decoder)])
        return cls(decoder.list_(EntityAddr.decode, _MODERN_MIN_BYTES))
