"""What the AUTH frames carry, for both sides ("Logging in at a monitor with cephx", "Presenting an authorizer to a service").

Decoders raise ``DecodeError``. Bytes behind the last known field are ignored, as real peers do.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import reduce
from operator import xor
from typing import Self

from ceph_msgr.auth.cephx.keys import CryptoKey
from ceph_msgr.auth.cephx.tickets import NO_TICKET, TicketBlob, TicketGrant, decode_grants, encode_grants
from ceph_msgr.auth.none import PAYLOAD_AUTHORIZER, PAYLOAD_LOGIN
from ceph_msgr.errors import DecodeError
from ceph_msgr.wire.encoding import Decoder, Encoder
from ceph_msgr.wire.entity import AuthEntityName, EntityType

__all__ = [
    "CONNECTION_SECRET_BYTES",
    "OLDEST_PROOF_VERSION",
    "Authorizer",
    "AuthorizerReply",
    "LoginDone",
    "LoginProof",
    "LoginRequest",
    "Presentation",
    "compute_proof",
    "decode_server_challenge",
    "encode_server_challenge",
]

#: Of secure mode; in crc mode there is none.
CONNECTION_SECRET_BYTES = 64

#: Below it a client may reclaim global ids without a ticket.
OLDEST_PROOF_VERSION = 3

_GET_AUTH_SESSION_KEY = 0x0100
_CHALLENGE_VERSION = 1
_PRESENTATION_VERSION = 2
_REPLY_VERSION_CRC = 1
_REPLY_VERSION_SECURE = 2

_U64_RANGE = 2**64

_PROOF_WORDS = struct.Struct("<4Q")


def _expect_kind(decoder: Decoder, expected: int) -> None:
    kind = decoder.u8()
    if kind != expected:
        raise DecodeError(f"payload of method cephx starts with {kind}, expected {expected}")


def _expect_request(decoder: Decoder) -> None:
    request = decoder.u16()
    if request != _GET_AUTH_SESSION_KEY:
        raise DecodeError(f"cephx request 0x{request:04x}, expected 0x{_GET_AUTH_SESSION_KEY:04x}")


# ---- login ----


@dataclass(frozen=True, slots=True)
class LoginRequest:
    """AUTH_REQUEST of a login. ``global_id`` is 0, or the one to get back."""

    name: AuthEntityName
    global_id: int

    def encode(self, encoder: Encoder) -> None:
        encoder.u8(PAYLOAD_LOGIN)
        encoder.value(self.name)
        encoder.u64(self.global_id)

    @classmethod
    def decode(cls, decoder: Decoder) -> Self:
        _expect_kind(decoder, PAYLOAD_LOGIN)
        return cls(AuthEntityName.decode(decoder), decoder.u64())


def encode_server_challenge(challenge: int) -> bytes:
    """AUTH_REPLY_MORE of a login as it is, of an authorizer before it is sealed."""
    encoder = Encoder()
    encoder.u8(_CHALLENGE_VERSION)
    encoder.u64(challenge)
    return encoder.to_bytes()


def decode_server_challenge(decoder: Decoder) -> int:
    version = decoder.u8()
    if version < _CHALLENGE_VERSION:
        raise DecodeError(f"server challenge of version {version}, expected at least {_CHALLENGE_VERSION}")
    return decoder.u64()


def compute_proof(key: CryptoKey, server_challenge: int, client_challenge: int) -> int:
    """What only a holder of the key can make of both challenges.

    Folded together are four words of the sealed challenges *with* their length prefix; the last four bytes fall off the end.
    """
    encoder = Encoder()
    encoder.u64(server_challenge)
    encoder.u64(client_challenge)
    sealed = Encoder()
    sealed.blob(key.seal(encoder.to_bytes()))
    proof: int = reduce(xor, _PROOF_WORDS.unpack_from(sealed.to_bytes()))
    return proof


@dataclass(frozen=True, slots=True)
class LoginProof:
    """AUTH_REQUEST_MORE of a login. ``services`` is the mask of services whose tickets are wanted."""

    client_challenge: int
    proof: int
    old_ticket: TicketBlob = NO_TICKET
    services: int = EntityType.AUTH
    version: int = OLDEST_PROOF_VERSION

    def encode(self, encoder: Encoder) -> None:
        encoder.u16(_GET_AUTH_SESSION_KEY)
        encoder.u8(self.version)
        encoder.u64(self.client_challenge)
        encoder.u64(self.proof)
        encoder.value(self.old_ticket)
        encoder.u32(self.services)

    @classmethod
    def decode(cls, decoder: Decoder) -> Self:
        _expect_request(decoder)
        version = decoder.u8()
        if version < OLDEST_PROOF_VERSION:
            raise DecodeError(f"login of version {version}, expected at least {OLDEST_PROOF_VERSION}")
        return cls(decoder.u64(), decoder.u64(), TicketBlob.decode(decoder), decoder.u32(), version)


@dataclass(frozen=True, slots=True)
class LoginDone:
    """AUTH_DONE of a login: the auth ticket, the connection secret, the tickets of other services."""

    auth: TicketGrant
    connection_secret: bytes = field(default=b"", repr=False)
    others: Collection[TicketGrant] = ()

    def seal(self, key: CryptoKey, previous_key: CryptoKey | None = None) -> bytes:
        """For the holder of ``key``. ``previous_key`` is the session key of the old ticket, if one was accepted."""
        session_key = self.auth.session_key
        encoder = Encoder()
        encoder.u16(_GET_AUTH_SESSION_KEY)
        encoder.s32(0)
        encoder.raw(encode_grants([self.auth], key, {EntityType.AUTH: previous_key} if previous_key else None))
        # A blob in a sealed blob in a blob.
        secret, wrapped = Encoder(), Encoder()
        secret.blob(self.connection_secret)
        wrapped.blob(session_key.seal(secret.to_bytes()))
        encoder.blob(wrapped.to_bytes())
        encoder.blob(encode_grants(self.others, session_key) if self.others else b"")
        return encoder.to_bytes()

    @classmethod
    def unseal(cls, payload: bytes, key: CryptoKey, previous_keys: Mapping[EntityType, CryptoKey]) -> Self:
        decoder = Decoder(payload, "answer to the login")
        _expect_request(decoder)
        if status := decoder.s32():
            raise DecodeError(f"answer to the login has status {status}")
        grants = decode_grants(decoder, key, previous_keys)
        if [grant.service for grant in grants] != [EntityType.AUTH]:
            raise DecodeError(f"answer to the login has tickets for {[str(g.service) for g in grants]}, expected ['auth']")
        session_key = grants[0].session_key
        wrapped, tickets = decoder.blob(), decoder.blob()
        sealed = Decoder(wrapped, "connection secret").blob()
        secret = session_key.unseal(sealed, "connection secret").blob()
        others = decode_grants(Decoder(tickets, "tickets"), session_key, previous_keys) if tickets else []
        return cls(grants[0], secret, others)


# ---- authorizer ----


@dataclass(frozen=True, slots=True)
class Presentation:
    """The part of an authorizer that is sealed with the session key of its ticket."""

    nonce: int
    #: The service's challenge, if it has sent one: on the wire it is stepped by one, for that is what must be sealed anew.
    challenge: int | None = None

    def seal(self, session_key: CryptoKey) -> bytes:
        encoder = Encoder()
        encoder.u8(_PRESENTATION_VERSION)
        encoder.u64(self.nonce)
        encoder.bool_(self.challenge is not None)
        encoder.u64(0 if self.challenge is None else (self.challenge + 1) % _U64_RANGE)
        return session_key.seal(encoder.to_bytes())

    @classmethod
    def unseal(cls, sealed: bytes, session_key: CryptoKey) -> Self:
        decoder = session_key.unseal(sealed, "authorizer")
        version = decoder.u8()
        if version < _PRESENTATION_VERSION:
            raise DecodeError(f"authorizer of version {version}, expected at least {_PRESENTATION_VERSION}")
        nonce, has_challenge, stepped = decoder.u64(), decoder.bool_(), decoder.u64()
        return cls(nonce, (stepped - 1) % _U64_RANGE if has_challenge else None)


@dataclass(frozen=True, slots=True)
class Authorizer:
    """AUTH_REQUEST and AUTH_REQUEST_MORE towards a service."""

    global_id: int
    service: EntityType
    ticket: TicketBlob
    #: A ``Presentation``.
    sealed: bytes = field(repr=False)

    def encode(self, encoder: Encoder) -> None:
        encoder.u8(PAYLOAD_AUTHORIZER)
        encoder.u64(self.global_id)
        encoder.u32(self.service)
        encoder.value(self.ticket)
        encoder.blob(self.sealed)

    @classmethod
    def decode(cls, decoder: Decoder) -> Self:
        _expect_kind(decoder, PAYLOAD_AUTHORIZER)
        return cls(decoder.u64(), EntityType.from_wire(decoder.u32()), TicketBlob.decode(decoder), decoder.blob())


@dataclass(frozen=True, slots=True)
class AuthorizerReply:
    """AUTH_DONE towards the presenter of an authorizer: that the service could open it, and the connection secret."""

    nonce: int
    connection_secret: bytes = field(default=b"", repr=False)

    def seal(self, session_key: CryptoKey) -> bytes:
        inner = Encoder()
        inner.u8(_REPLY_VERSION_SECURE if self.connection_secret else _REPLY_VERSION_CRC)
        inner.u64((self.nonce + 1) % _U64_RANGE)
        if self.connection_secret:
            inner.blob(self.connection_secret)
        encoder = Encoder()
        encoder.blob(session_key.seal(inner.to_bytes()))
        return encoder.to_bytes()

    @classmethod
    def unseal(cls, payload: bytes, session_key: CryptoKey) -> Self:
        decoder = session_key.unseal(Decoder(payload, "authorizer reply").blob(), "authorizer reply")
        version, stepped = decoder.u8(), decoder.u64()
        secret = decoder.blob() if version >= _REPLY_VERSION_SECURE else b""
        return cls((stepped - 1) % _U64_RANGE, secret)
