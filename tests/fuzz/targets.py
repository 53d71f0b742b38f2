"""What is fuzzed in Python: each target takes bytes, and returns unless something is wrong.

Documented errors end an input quietly: ``RemoteProtocolError`` (``DecodeError``) and ``AuthError`` for what a peer sends,
``ValueError`` for what a person writes.
What was decoded must survive another round: encoded and decoded again it is the same.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from ceph_msgr.auth.cephx.keys import CryptoKey
from ceph_msgr.auth.cephx.payloads import (
    Authorizer,
    AuthorizerReply,
    LoginDone,
    LoginProof,
    LoginRequest,
    Presentation,
    decode_server_challenge,
)
from ceph_msgr.auth.cephx.rotating import RotatingSecrets
from ceph_msgr.auth.cephx.tickets import AuthTicket, TicketBlob
from ceph_msgr.auth.keyring import Keyring
from ceph_msgr.config import Config
from ceph_msgr.errors import AuthError, RemoteProtocolError
from ceph_msgr.messages import registered
from ceph_msgr.protocol.banner import Banner
from ceph_msgr.protocol.frames import FRAMES
from ceph_msgr.wire.addr import EntityAddr, EntityAddrVec
from ceph_msgr.wire.encoding import Decoder, Encodable, from_bytes, to_bytes
from ceph_msgr.wire.entity import AuthEntityName, EntityName, EntityType
from ceph_msgr.wire.header import MessageHeader
from ceph_msgr.wire.monmap import MonMap
from tests.fuzz.session_target import fuzz_session

__all__ = ["TARGETS", "Target"]

Target = Callable[[bytes], None]


def _split(data: bytes, choices: int) -> tuple[int, bytes]:
    """The first byte chooses."""
    return (data[0] % choices, data[1:]) if data else (0, b"")


# ---- wire ----

_VALUES: tuple[type[Encodable], ...] = (
    EntityAddr, EntityAddrVec, EntityName, AuthEntityName, MessageHeader, MonMap, TicketBlob, AuthTicket, CryptoKey,
)


def fuzz_values(data: bytes) -> None:
    choice, rest = _split(data, len(_VALUES))
    with suppress(RemoteProtocolError):
        value = from_bytes(_VALUES[choice], rest)
        assert from_bytes(_VALUES[choice], to_bytes(value)) == value


def fuzz_frames(data: bytes) -> None:
    kinds = list(FRAMES.values())
    choice, rest = _split(data, len(kinds))
    with suppress(RemoteProtocolError):
        frame = kinds[choice].parse(rest)
        assert kinds[choice].parse(frame.payload()) == frame


def fuzz_banner(data: bytes) -> None:
    with suppress(RemoteProtocolError):
        banner = Banner.parse(data)
        assert Banner.parse(banner.encode()) == banner


# ---- messages ----


def fuzz_messages(data: bytes) -> None:
    """One byte for the class, two for its version, two each for the lengths of front and middle; the rest is data."""
    kinds = sorted(registered.items())
    choice, rest = _split(data, len(kinds))
    type_number, kind = kinds[choice]
    version, front_len, middle_len = rest[0:2], int.from_bytes(rest[2:4], "little"), int.from_bytes(rest[4:6], "little")
    body = rest[6:]
    front, middle, bulk = body[:front_len], body[front_len : front_len + middle_len], body[front_len + middle_len :]
    numbers = {"version": version[0], "compat_version": version[1]} if len(version) == 2 else {}
    with suppress(RemoteProtocolError):
        message = kind.from_segments(type_number, front, middle, bulk, **numbers)
        repr(message)


# ---- authentication ----


class _BelievingKey(CryptoKey):
    """Takes everything for unsealed, so that what lies behind is reached."""

    def unseal(self, sealed: bytes, what: str) -> Decoder:
        return Decoder(sealed, what)


_KEY = CryptoKey(b"sixteen byte key")
_BELIEVING = _BelievingKey(b"sixteen byte key")
_PREVIOUS = {EntityType.AUTH: _BELIEVING, EntityType.OSD: _BELIEVING}

_CEPHX: tuple[Callable[[bytes], object], ...] = (
    lambda data: LoginRequest.decode(Decoder(data)),
    lambda data: LoginProof.decode(Decoder(data)),
    lambda data: Authorizer.decode(Decoder(data)),
    lambda data: decode_server_challenge(Decoder(data)),
    lambda data: LoginDone.unseal(data, _KEY, {}),
    lambda data: LoginDone.unseal(data, _BELIEVING, _PREVIOUS),
    lambda data: AuthorizerReply.unseal(data, _KEY),
    lambda data: AuthorizerReply.unseal(data, _BELIEVING),
    lambda data: Presentation.unseal(data, _BELIEVING),
    lambda data: RotatingSecrets.decode(Decoder(data)),
    lambda data: RotatingSecrets.from_reply(data, _KEY),
    lambda data: RotatingSecrets.from_reply(data, _BELIEVING),
)


def fuzz_cephx(data: bytes) -> None:
    choice, rest = _split(data, len(_CEPHX))
    with suppress(RemoteProtocolError, AuthError):
        _CEPHX[choice](rest)


# ---- what people write ----


def _set_option(text: str) -> None:
    name, _, value = text.partition("=")
    options = [option.name for option in Config.options()]
    Config().set(options[len(name) % len(options)] if name not in options else name, value)


_TEXTS: tuple[Callable[[str], object], ...] = (
    Keyring.parse, EntityAddr.parse, EntityAddrVec.parse, EntityName.parse, AuthEntityName.parse, EntityType.parse,
    CryptoKey.parse, _set_option,
)


def fuzz_texts(data: bytes) -> None:
    choice, rest = _split(data, len(_TEXTS))
    with suppress(ValueError):
        _TEXTS[choice](rest.decode("utf-8", "surrogateescape"))


TARGETS: dict[str, Target] = {
    "values": fuzz_values,
    "frames": fuzz_frames,
    "banner": fuzz_banner,
    "messages": fuzz_messages,
    "cephx": fuzz_cephx,
    "texts": fuzz_texts,
    "session": fuzz_session,
}
