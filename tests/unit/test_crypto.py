"""The door to the cipher: its standard's own vectors, and what it refuses."""

from __future__ import annotations

import time

import pytest

from ceph_msgr import crypto

# NIST SP 800-38A, F.2.1 and F.2.2.
KEY = bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c")
IV = bytes.fromhex("000102030405060708090a0b0c0d0e0f")
PLAINTEXT = bytes.fromhex(
    "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"
    "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710"
)
CIPHERTEXT = bytes.fromhex(
    "7649abac8119b246cee98e9b12e9197d5086cb9b507219ee95db113a917678b2"
    "73bed6b8e3c1743b7116e69e222295163ff1caa1681fac09120eca307586e1a7"
)


def test_the_standards_vectors() -> None:
    sealed = crypto.aes_128_cbc_encrypt(KEY, IV, PLAINTEXT)
    assert sealed.startswith(CIPHERTEXT)
    assert len(sealed) == len(CIPHERTEXT) + crypto.AES_BLOCK_BYTES, "whole blocks get a block of padding"
    assert crypto.aes_128_cbc_decrypt(KEY, IV, sealed) == PLAINTEXT


@pytest.mark.parametrize("size", range(34))
def test_any_length_comes_back(size: int) -> None:
    sealed = crypto.aes_128_cbc_encrypt(KEY, IV, PLAINTEXT[:size])
    assert len(sealed) == (size // 16 + 1) * 16
    assert crypto.aes_128_cbc_decrypt(KEY, IV, sealed) == PLAINTEXT[:size]


@pytest.mark.parametrize("size", [0, 1, 15, 17, 63, 64])
def test_what_is_not_whole_padded_blocks_is_refused(size: int) -> None:
    """64 bytes are whole blocks, but what they decrypt to is not padded."""
    with pytest.raises(ValueError):
        crypto.aes_128_cbc_decrypt(KEY, IV, CIPHERTEXT[:size])


@pytest.mark.parametrize(("key", "iv"), [(KEY[1:], IV), (KEY + KEY, IV), (KEY, IV[1:]), (b"", IV)])
def test_keys_and_ivs_have_16_bytes(key: bytes, iv: bytes) -> None:
    with pytest.raises(ValueError):
        crypto.aes_128_cbc_encrypt(key, iv, b"")
    with pytest.raises(ValueError):
        crypto.aes_128_cbc_decrypt(key, iv, bytes(16))


def test_the_real_chance_and_the_real_clock() -> None:
    assert len({crypto.random_bytes(16) for _ in range(8)}) == 8
    assert abs(crypto.wall_clock_s() - time.time()) < 60
