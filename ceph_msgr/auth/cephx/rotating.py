"""The secrets that open a service's tickets. They rotate, so a ticket names its secret by a number.

A service fetches them from a monitor: it sends ``MAuth`` with ``rotating_request()`` over an established connection, and
opens the payload of ``MAuthReply`` with its own key (end of "Presenting an authorizer to a service").
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from ceph_msgr import crypto
from ceph_msgr.auth.cephx.keys import CryptoKey, expect_version
from ceph_msgr.errors import AuthError, DecodeError
from ceph_msgr.wire.encoding import Decoder, Encoder, Utime, to_bytes

__all__ = ["GENERAL_SECRET_ID", "RotatingKey", "RotatingSecrets", "rotating_request"]

#: Instead of the number of a rotating secret: the key of the service's own name, which does not rotate. Monitors use it
#: among themselves.
GENERAL_SECRET_ID = 2**64 - 1

_GET_ROTATING_KEY = 0x0400
_KEY_VERSION = 1
_SECRETS_VERSION = 1

#: Previous, current, next.
_COUNT = 3


@dataclass(frozen=True, slots=True)
class RotatingKey:
    key: CryptoKey
    expires: Utime

    def encode(self, encoder: Encoder) -> None:
        encoder.u8(_KEY_VERSION)
        encoder.value(self.key)
        encoder.utime(self.expires)

    @classmethod
    def decode(cls, decoder: Decoder) -> Self:
        expect_version(decoder, "rotating key", _KEY_VERSION)
        return cls(CryptoKey.decode(decoder), decoder.utime())


@dataclass(frozen=True, slots=True)
class RotatingSecrets:
    """The secrets of one service by number: normally the previous, the current and the next one."""

    keys: Mapping[int, RotatingKey] = field(default_factory=dict)
    highest_version: int = 0

    @classmethod
    def generate(
        cls,
        ttl_s: float,
        *,
        random_bytes: crypto.RandomBytes = crypto.random_bytes,
        clock_s: crypto.WallClock = crypto.wall_clock_s,
    ) -> Self:
        """Three new secrets, of which one more expires every ``ttl_s`` seconds."""
        now_s = clock_s()
        created = Utime.from_ns(round(now_s * 1e9))
        keys = {
            number: RotatingKey(
                CryptoKey.generate(created, random_bytes), Utime.from_ns(round((now_s + number * ttl_s) * 1e9))
            )
            for number in range(1, _COUNT + 1)
        }
        return cls(keys, _COUNT)

    def secret(self, number: int) -> CryptoKey | None:
        rotating_key = self.keys.get(number)
        return rotating_key.key if rotating_key else None

    @property
    def current(self) -> int:
        """The number of the secret for new tickets: the newest but one, which the services have for certain."""
        return sorted(self.keys)[-2 if len(self.keys) > 1 else -1]

    @property
    def renew_at_s(self) -> float:
        """When the current secret expires and newer ones are to be fetched; 0 without any."""
        return self.keys[self.current].expires.ns / 1e9 if self.keys else 0.0

    def encode(self, encoder: Encoder) -> None:
        encoder.u8(_SECRETS_VERSION)
        encoder.map_(self.keys, Encoder.u64, Encoder.value)
        encoder.u64(self.highest_version)

    @classmethod
    def decode(cls, decoder: Decoder) -> Self:
        expect_version(decoder, "rotating secrets", _SECRETS_VERSION)
        return cls(decoder.map_(Decoder.u64, RotatingKey.decode), decoder.u64())

    # ---- on the way from the monitor ----

    def to_reply(self, key: CryptoKey) -> bytes:
        """The payload of ``MAuthReply`` for the service that has this key."""
        encoder = Encoder()
        encoder.u16(_GET_ROTATING_KEY)
        encoder.s32(0)
        encoder.blob(key.seal(to_bytes(self)))
        return encoder.to_bytes()

    @classmethod
    def from_reply(cls, payload: bytes, key: CryptoKey) -> Self:
        """From the payload of ``MAuthReply``, with our own key; ``AuthError`` if it does not hold secrets for us."""
        decoder = Decoder(payload, "answer with rotating secrets")
        try:
            request, status = decoder.u16(), decoder.s32()
            if request != _GET_ROTATING_KEY or status:
                raise AuthError(
                    f"answer to cephx request 0x{request:04x} with status {status}, expected 0x{_GET_ROTATING_KEY:04x} with 0"
                )
            return cls.decode(key.unseal(decoder.blob(), "rotating secrets"))
        except DecodeError as error:
            raise AuthError(str(error)) from error


def rotating_request() -> bytes:
    """The payload of ``MAuth`` that asks for the rotating secrets of our own service."""
    encoder = Encoder()
    encoder.u16(_GET_ROTATING_KEY)
    return encoder.to_bytes()
