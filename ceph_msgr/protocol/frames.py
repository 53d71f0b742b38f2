"""The payloads of control frames, one class per tag ("Frame tags and payloads").

A payload is its fields in order, so a class is its fields in order. Bytes behind the last field are ignored: later
releases may add fields there. Numbers the peer may know and we do not (methods, modes) stay plain integers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any, ClassVar, Self, TypeVar

from ceph_msgr.protocol.tags import Tag
from ceph_msgr.wire.addr import EntityAddr, EntityAddrVec
from ceph_msgr.wire.encoding import Decoder, Encoder
from ceph_msgr.wire.entity import EntityType

__all__ = [
    "FLAG_LOSSY",
    "FRAMES",
    "SIGNATURE_BYTES",
    "AuthBadMethodFrame",
    "AuthDoneFrame",
    "AuthReplyMoreFrame",
    "AuthRequestFrame",
    "AuthRequestMoreFrame",
    "AuthSignatureFrame",
    "ClientIdentFrame",
    "CompressionDoneFrame",
    "CompressionRequestFrame",
    "ControlFrame",
    "HelloFrame",
    "IdentMissingFeaturesFrame",
    "ServerIdentFrame",
    "SessionReconnectFrame",
    "SessionReconnectOkFrame",
    "SessionResetFrame",
    "SessionRetryFrame",
    "SessionRetryGlobalFrame",
    "WaitFrame",
]

#: The one bit of ``flags`` in the ident frames.
FLAG_LOSSY = 1

#: HMAC-SHA256, or as many zeros.
SIGNATURE_BYTES = 32


class ControlFrame:
    """A frame with one segment. ``payload()`` and ``parse()`` are each other's inverse."""

    __slots__ = ()

    tag: ClassVar[Tag]
    #: How each field is written and read, by its name.
    wire_fields: ClassVar[tuple[tuple[str, Callable[[Encoder, Any], None], Callable[[Decoder], Any]], ...]]

    def payload(self) -> bytes:
        """The bytes of the segment; ``ValueError`` if a number does not fit its field."""
        encoder = Encoder()
        for name, encode, _ in self.wire_fields:
            encode(encoder, getattr(self, name))
        return encoder.to_bytes()

    @classmethod
    def parse(cls, payload: bytes) -> Self:
        """From the bytes of the segment; ``DecodeError`` if they end too early or hold something impossible."""
        decoder = Decoder(payload, "payload")
        return cls(*[decode(decoder) for _, _, decode in cls.wire_fields])


FRAMES: dict[Tag, type[ControlFrame]] = {}

F = TypeVar("F", bound=type[ControlFrame])


def _frame(tag: Tag) -> Callable[[F], F]:
    """Names the tag of a class and files it under it."""

    def register(cls: F) -> F:
        cls.tag = tag
        items = fields(cls)  # type: ignore[arg-type]  # every child is a dataclass
        cls.wire_fields = tuple((item.name, item.metadata["encode"], item.metadata["decode"]) for item in items)
        FRAMES[tag] = cls
        return cls

    return register


# ---- the kinds of fields ----


def _wire(encode: Callable[[Encoder, Any], None], decode: Callable[[Decoder], Any]) -> Any:
    return field(metadata={"encode": encode, "decode": decode})


_bool = partial(_wire, Encoder.bool_, Decoder.bool_)
_u32 = partial(_wire, Encoder.u32, Decoder.u32)
_u64 = partial(_wire, Encoder.u64, Decoder.u64)
_s32 = partial(_wire, Encoder.s32, Decoder.s32)
_s64 = partial(_wire, Encoder.s64, Decoder.s64)
_blob = partial(_wire, Encoder.blob, Decoder.blob)
_addr = partial(_wire, Encoder.value, EntityAddr.decode)
_addrs = partial(_wire, Encoder.value, EntityAddrVec.decode)
_signature = partial(_wire, Encoder.raw, lambda decoder: decoder.raw(SIGNATURE_BYTES))
_entity_type = partial(_wire, Encoder.u8, lambda decoder: EntityType.from_wire(decoder.u8()))
_numbers = partial(
    _wire,
    lambda encoder, numbers: encoder.list_(numbers, Encoder.u32),
    lambda decoder: tuple(decoder.list_(Decoder.u32, 4)),
)


# ---- hello and authentication ----


@_frame(Tag.HELLO)
@dataclass(frozen=True, slots=True)
class HelloFrame(ControlFrame):
    #: Of the sender.
    entity_type: EntityType = _entity_type()
    #: Where the sender sees or reaches the receiver.
    peer_addr: EntityAddr = _addr()


@_frame(Tag.AUTH_REQUEST)
@dataclass(frozen=True, slots=True)
class AuthRequestFrame(ControlFrame):
    method: int = _u32()
    #: Connection modes in order of preference.
    modes: tuple[int, ...] = _numbers()
    auth_payload: bytes = _blob()


@_frame(Tag.AUTH_BAD_METHOD)
@dataclass(frozen=True, slots=True)
class AuthBadMethodFrame(ControlFrame):
    method: int = _u32()
    #: Negative errno.
    result: int = _s32()
    allowed_methods: tuple[int, ...] = _numbers()
    allowed_modes: tuple[int, ...] = _numbers()


@_frame(Tag.AUTH_REPLY_MORE)
@dataclass(frozen=True, slots=True)
class AuthReplyMoreFrame(ControlFrame):
    auth_payload: bytes = _blob()


@_frame(Tag.AUTH_REQUEST_MORE)
@dataclass(frozen=True, slots=True)
class AuthRequestMoreFrame(ControlFrame):
    auth_payload: bytes = _blob()


@_frame(Tag.AUTH_DONE)
@dataclass(frozen=True, slots=True)
class AuthDoneFrame(ControlFrame):
    global_id: int = _u64()
    con_mode: int = _u32()
    auth_payload: bytes = _blob()


@_frame(Tag.AUTH_SIGNATURE)
@dataclass(frozen=True, slots=True)
class AuthSignatureFrame(ControlFrame):
    signature: bytes = _signature()


# ---- compression: only between sides whose banners both offer it ----


@_frame(Tag.COMPRESSION_REQUEST)
@dataclass(frozen=True, slots=True)
class CompressionRequestFrame(ControlFrame):
    is_wanted: bool = _bool()
    #: Algorithms in order of preference.
    algorithms: tuple[int, ...] = _numbers()


@_frame(Tag.COMPRESSION_DONE)
@dataclass(frozen=True, slots=True)
class CompressionDoneFrame(ControlFrame):
    is_used: bool = _bool()
    algorithm: int = _u32()


# ---- a new session ----


@_frame(Tag.CLIENT_IDENT)
@dataclass(frozen=True, slots=True)
class ClientIdentFrame(ControlFrame):
    addrs: EntityAddrVec = _addrs()
    #: The address dialled.
    target: EntityAddr = _addr()
    #: The number in the sender's entity name.
    number: int = _s64()
    global_seq: int = _u64()
    features_supported: int = _u64()
    features_required: int = _u64()
    flags: int = _u64()
    #: Client cookie, 0 if lossy.
    cookie: int = _u64()


@_frame(Tag.SERVER_IDENT)
@dataclass(frozen=True, slots=True)
class ServerIdentFrame(ControlFrame):
    addrs: EntityAddrVec = _addrs()
    number: int = _s64()
    global_seq: int = _u64()
    features_supported: int = _u64()
    features_required: int = _u64()
    flags: int = _u64()
    #: Server cookie, 0 if lossy.
    cookie: int = _u64()


@_frame(Tag.IDENT_MISSING_FEATURES)
@dataclass(frozen=True, slots=True)
class IdentMissingFeaturesFrame(ControlFrame):
    #: Required and not offered.
    features: int = _u64()


# ---- an old session ----


@_frame(Tag.SESSION_RECONNECT)
@dataclass(frozen=True, slots=True)
class SessionReconnectFrame(ControlFrame):
    addrs: EntityAddrVec = _addrs()
    client_cookie: int = _u64()
    server_cookie: int = _u64()
    global_seq: int = _u64()
    connect_seq: int = _u64()
    #: The last message the sender received.
    msg_seq: int = _u64()


@_frame(Tag.SESSION_RESET)
@dataclass(frozen=True, slots=True)
class SessionResetFrame(ControlFrame):
    full: bool = _bool()


@_frame(Tag.SESSION_RETRY)
@dataclass(frozen=True, slots=True)
class SessionRetryFrame(ControlFrame):
    connect_seq: int = _u64()


@_frame(Tag.SESSION_RETRY_GLOBAL)
@dataclass(frozen=True, slots=True)
class SessionRetryGlobalFrame(ControlFrame):
    global_seq: int = _u64()


@_frame(Tag.SESSION_RECONNECT_OK)
@dataclass(frozen=True, slots=True)
class SessionReconnectOkFrame(ControlFrame):
    #: The last message the sender received.
    msg_seq: int = _u64()


@_frame(Tag.WAIT)
@dataclass(frozen=True, slots=True)
class WaitFrame(ControlFrame):
    pass
