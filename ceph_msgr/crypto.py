"""The only door to ciphers, and to the chance and the time that keys and tickets live by.

The cipher is OpenSSL's, through the compiled core. Whoever needs chance or the time of day takes it as an argument of type
``RandomBytes`` or ``WallClock``, with the real one from here as default: so a test can repeat a login bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

__all__ = [
    "AES_BLOCK_BYTES",
    "AES_KEY_BYTES",
    "RandomBytes",
    "WallClock",
    "aes_128_cbc_decrypt",
    "aes_128_cbc_encrypt",
    "random_bytes",
    "wall_clock_s",
]

AES_KEY_BYTES = 16
AES_BLOCK_BYTES = 16

#: So many bytes nobody can guess. Any thread.
RandomBytes: TypeAlias = Callable[[int], bytes]
#: Seconds since the epoch. Any thread.
WallClock: TypeAlias = Callable[[], float]


def random_bytes(len_bytes: int) -> bytes:
    """The ``RandomBytes`` of the world we are in."""
    # Late, so that values and exchanges can be imported, and tested, without the core.
    from ceph_msgr._core import random_bytes

    return random_bytes(len_bytes)


def wall_clock_s() -> float:
    """The ``WallClock`` of the world we are in."""
    from ceph_msgr._core import wall_ns

    return wall_ns() / 1e9


def aes_128_cbc_encrypt(key: bytes, iv: bytes, plaintext: bytes) -> bytes:
    """AES-128-CBC with PKCS#7 padding, which always adds 1 to 16 bytes. ``ValueError`` if key or iv are not 16 bytes."""
    from ceph_msgr._core import aes_128_cbc

    return aes_128_cbc(key, iv, plaintext, True)


def aes_128_cbc_decrypt(key: bytes, iv: bytes, ciphertext: bytes) -> bytes:
    """The plaintext without padding. ``ValueError`` if the ciphertext is not whole blocks or its padding is wrong: nothing
    else about it is authenticated."""
    from ceph_msgr._core import aes_128_cbc

    return aes_128_cbc(key, iv, ciphertext, False)
