"""A cephx key, and sealing with it ("Method cephx, common pieces").

Sealing is AES-128-CBC with a fixed initial vector over a fixed magic and the data: equal data gives equal bytes, and
nothing but the magic and the padding is checked when opening. What keeps a changed payload from doing harm is the signature
over the whole handshake.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from typing import Self

from ceph_msgr.crypto import AES_KEY_BYTES, RandomBytes, aes_128_cbc_decrypt, aes_128_cbc_encrypt, random_bytes
from ceph_msgr.errors import DecodeError
from ceph_msgr.wire.encoding import Decoder, Encoder, Utime, from_bytes, to_bytes

__all__ = ["CryptoKey", "expect_version"]

_ALGORITHM_AES_128 = 1

_SEAL_VERSION = 1
_SEAL_MAGIC = 0xFF009CAD8826AA55
_SEAL_IV = b"cephsageyudagreg"

_EPOCH = Utime()


def expect_version(decoder: Decoder, what: str, known: int) -> None:
    """Take a version byte. These structures tell no length, so another version than the known one cannot be read."""
    version = decoder.u8()
    if version != known:
        raise DecodeError(f"{what} of version {version}, only {known} is known")


@dataclass(frozen=True, slots=True)
class CryptoKey:
    """16 secret bytes, which no text ever shows."""

    secret: bytes = field(repr=False)
    created: Utime = _EPOCH

    def __post_init__(self) -> None:
        if len(self.secret) != AES_KEY_BYTES:
            raise ValueError(f"an AES-128 key has {AES_KEY_BYTES} bytes, not {len(self.secret)}")

    @classmethod
    def generate(cls, created: Utime = _EPOCH, random_bytes: RandomBytes = random_bytes) -> Self:
        return cls(random_bytes(AES_KEY_BYTES), created)

    @classmethod
    def parse(cls, text: str) -> Self:
        """From the base64 text of a keyring; ``ValueError`` if it is none."""
        try:
            return from_bytes(cls, base64.b64decode(text.strip(), validate=True))
        except (binascii.Error, DecodeError):
            # From nothing: the cause might quote the text.
            raise ValueError("not a key: expected base64 as in a Ceph keyring") from None

    def to_base64(self) -> str:
        """The text of a keyring."""
        return base64.b64encode(to_bytes(self)).decode("ascii")

    def encode(self, encoder: Encoder) -> None:
        encoder.u16(_ALGORITHM_AES_128)
        encoder.utime(self.created)
        encoder.u16(len(self.secret))
        encoder.raw(self.secret)

    @classmethod
    def decode(cls, decoder: Decoder) -> Self:
        algorithm, created, size_bytes = decoder.u16(), decoder.utime(), decoder.u16()
        if algorithm != _ALGORITHM_AES_128 or size_bytes != AES_KEY_BYTES:
            raise DecodeError(
                f"key of algorithm {algorithm} with {size_bytes} bytes, only {_ALGORITHM_AES_128} (AES-128) with "
                f"{AES_KEY_BYTES} is known"
            )
        return cls(decoder.raw(size_bytes), created)

    def seal(self, data: bytes) -> bytes:
        encoder = Encoder()
        encoder.u8(_SEAL_VERSION)
        encoder.u64(_SEAL_MAGIC)
        encoder.raw(data)
        return aes_128_cbc_encrypt(self.secret, _SEAL_IV, encoder.to_bytes())

    def unseal(self, sealed: bytes, what: str) -> Decoder:
        """A decoder of what was sealed; ``DecodeError``, always with the same words, if it was not with this key."""
        try:
            decoder = Decoder(aes_128_cbc_decrypt(self.secret, _SEAL_IV, sealed), what)
            is_ours = decoder.u8() == _SEAL_VERSION and decoder.u64() == _SEAL_MAGIC
        except (ValueError, DecodeError):
            is_ours = False
        if not is_ours:
            raise DecodeError(f"{what} is not sealed with the key it should be")
        return decoder
