"""Tickets: what a monitor hands out so that services believe a client ("Method cephx, common pieces").

To its owner a ticket is a session key and an opaque blob. Inside the blob, sealed with a secret of the service, are the same
session key and who the owner is.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Self

from ceph_msgr.auth.cephx.keys import CryptoKey, expect_version
from ceph_msgr.errors import DecodeError
from ceph_msgr.wire.encoding import Decoder, Encoder, Utime, from_bytes, to_bytes
from ceph_msgr.wire.entity import AuthEntityName, EntityType

__all__ = [
    "ALL_SERVICES",
    "NO_TICKET",
    "AuthCaps",
    "AuthTicket",
    "Ticket",
    "TicketBlob",
    "TicketGrant",
    "decode_grants",
    "encode_grants",
    "open_ticket",
    "seal_ticket",
]

#: Tickets for everybody, as a mask of service ids; ``AUTH`` is the one that a login itself gives.
ALL_SERVICES = EntityType.MON | EntityType.MDS | EntityType.OSD | EntityType.MGR | EntityType.AUTH

_BLOB_VERSION = 1
_CAPS_VERSION = 1
_TICKET_VERSION = 2
_TICKET_INFO_VERSION = 1
_GRANT_VERSION = 1
_REPLY_VERSION = 1

_NO_AUID = 2**64 - 1

#: Share of a ticket's life after which it is renewed.
_RENEW_AFTER = 3 / 4

_SHORTEST_GRANT_BYTES = 4 + 1 + 4 + 1 + 4


# ---- for the owner ----


@dataclass(frozen=True, slots=True)
class TicketBlob:
    """The opaque part, and the number of the service's secret that opens it."""

    secret_id: int = 0
    sealed: bytes = field(default=b"", repr=False)

    def encode(self, encoder: Encoder) -> None:
        encoder.u8(_BLOB_VERSION)
        encoder.u64(self.secret_id)
        encoder.blob(self.sealed)

    @classmethod
    def decode(cls, decoder: Decoder) -> Self:
        expect_version(decoder, "ticket blob", _BLOB_VERSION)
        return cls(decoder.u64(), decoder.blob())


NO_TICKET = TicketBlob()


@dataclass(frozen=True, slots=True)
class Ticket:
    """A ticket of ours. Times are seconds of the wall clock."""

    service: EntityType
    session_key: CryptoKey
    blob: TicketBlob
    #: Ours as the ticket has it; an authorizer must say the same.
    global_id: int
    renew_at_s: float
    expires_at_s: float


@dataclass(frozen=True, slots=True)
class TicketGrant:
    """A ticket on its way from the monitor to its owner."""

    service: EntityType
    session_key: CryptoKey
    #: A duration.
    validity: Utime
    blob: TicketBlob

    def ticket(self, global_id: int, now_s: float) -> Ticket:
        validity_s = self.validity.ns / 1e9
        return Ticket(
            self.service, self.session_key, self.blob, global_id, now_s + validity_s * _RENEW_AFTER, now_s + validity_s
        )


def encode_grants(
    grants: Collection[TicketGrant], key: CryptoKey, previous_keys: Mapping[EntityType, CryptoKey] | None = None
) -> bytes:
    """A ticket reply sealed with ``key``. Blobs of services with a previous session key are sealed with that one."""
    encoder = Encoder()
    encoder.u8(_REPLY_VERSION)
    encoder.u32(len(grants))
    for grant in grants:
        encoder.u32(grant.service)
        encoder.u8(_GRANT_VERSION)
        inner = Encoder()
        inner.u8(_GRANT_VERSION)
        inner.value(grant.session_key)
        inner.utime(grant.validity)
        encoder.blob(key.seal(inner.to_bytes()))
        blob, previous_key = to_bytes(grant.blob), (previous_keys or {}).get(grant.service)
        encoder.bool_(previous_key is not None)
        if previous_key:
            wrapped = Encoder()
            wrapped.blob(blob)
            blob = previous_key.seal(wrapped.to_bytes())
        encoder.blob(blob)
    return encoder.to_bytes()


def decode_grants(
    decoder: Decoder, key: CryptoKey, previous_keys: Mapping[EntityType, CryptoKey] | None = None
) -> list[TicketGrant]:
    """The counterpart of ``encode_grants``."""

    def decode_grant(decoder: Decoder) -> TicketGrant:
        service = EntityType.from_wire(decoder.u32())
        expect_version(decoder, f"ticket reply for {service}", _GRANT_VERSION)
        inner = key.unseal(decoder.blob(), f"session key for {service}")
        expect_version(inner, f"session key for {service}", _GRANT_VERSION)
        session_key, validity = CryptoKey.decode(inner), inner.utime()
        is_encrypted, blob = decoder.bool_(), decoder.blob()
        if is_encrypted:
            previous_key = (previous_keys or {}).get(service)
            if not previous_key:
                raise DecodeError(f"ticket for {service} is sealed with a previous session key, which we do not have")
            blob = previous_key.unseal(blob, f"ticket for {service}").blob()
        return TicketGrant(service, session_key, validity, from_bytes(TicketBlob, blob))

    expect_version(decoder, "ticket reply", _REPLY_VERSION)
    return decoder.list_(decode_grant, _SHORTEST_GRANT_BYTES)


# ---- for the service ----


@dataclass(frozen=True, slots=True)
class AuthCaps:
    """What a principal may do at one service. ``text`` is Ceph's words, such as ``allow *``; nothing here reads them."""

    allow_all: bool = False
    text: str = ""

    def encode(self, encoder: Encoder) -> None:
        encoder.u8(_CAPS_VERSION)
        encoder.bool_(self.allow_all)
        inner = Encoder()
        if self.text:
            inner.str_(self.text)
        encoder.blob(inner.to_bytes())

    @classmethod
    def decode(cls, decoder: Decoder) -> Self:
        expect_version(decoder, "caps", _CAPS_VERSION)
        allow_all, blob = decoder.bool_(), decoder.blob()
        return cls(allow_all, Decoder(blob, "caps").str_() if blob else "")


@dataclass(frozen=True, slots=True)
class AuthTicket:
    """Who the owner is, as the monitor tells the service."""

    name: AuthEntityName
    global_id: int
    created: Utime
    expires: Utime
    caps: AuthCaps = AuthCaps()
    flags: int = 0

    def encode(self, encoder: Encoder) -> None:
        encoder.u8(_TICKET_VERSION)
        encoder.value(self.name)
        encoder.u64(self.global_id)
        encoder.u64(_NO_AUID)
        encoder.utime(self.created)
        encoder.utime(self.expires)
        encoder.value(self.caps)
        encoder.u32(self.flags)

    @classmethod
    def decode(cls, decoder: Decoder) -> Self:
        expect_version(decoder, "ticket", _TICKET_VERSION)
        name, global_id, _auid = AuthEntityName.decode(decoder), decoder.u64(), decoder.u64()
        return cls(name, global_id, decoder.utime(), decoder.utime(), AuthCaps.decode(decoder), decoder.u32())


def seal_ticket(service_secret: CryptoKey, ticket: AuthTicket, session_key: CryptoKey) -> bytes:
    """The opaque bytes of a ticket blob."""
    encoder = Encoder()
    encoder.u8(_TICKET_INFO_VERSION)
    encoder.value(ticket)
    encoder.value(session_key)
    return service_secret.seal(encoder.to_bytes())


def open_ticket(service_secret: CryptoKey, sealed: bytes) -> tuple[AuthTicket, CryptoKey]:
    """The ticket and its session key."""
    decoder = service_secret.unseal(sealed, "ticket")
    expect_version(decoder, "ticket info", _TICKET_INFO_VERSION)
    return AuthTicket.decode(decoder), CryptoKey.decode(decoder)
