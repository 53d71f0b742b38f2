"""Frames in secure mode, in plain Python: the oracle that the C codec is held against.

Written from the documents alone and sharing no line with the code under test, AES and GCM included; sealing only. What is
slow in Python is done for all blocks of an operation at once.
"""

from __future__ import annotations

from collections.abc import Sequence

from tests.session import reference_codec

_INLINE_BYTES = 48
_STATUS_COMPLETE = {0: 0x00, 1: 0x0E}
_STATUS_ABORTED = 0x01


# ---- AES-128, forwards ----


def _times_x(value: int) -> int:
    return value << 1 & 0xFF ^ (0x1B if value & 0x80 else 0)


def _make_sbox() -> bytes:
    powers = [1]  # of 3, a generator
    for _ in range(254):
        powers.append(powers[-1] ^ _times_x(powers[-1]))
    sbox = bytearray(256)
    for value in range(256):
        inverse = powers[-powers.index(value) % 255] if value else 0
        rotated = inverse * 0x0101
        sbox[value] = (0x63 ^ inverse ^ rotated >> 7 ^ rotated >> 6 ^ rotated >> 5 ^ rotated >> 4) & 0xFF
    return bytes(sbox)


_SBOX = _make_sbox()
_TIMES_X = bytes(map(_times_x, range(256)))
_SHIFT_ROWS = [(5 * at) % 16 for at in range(16)]


def _xor(*operands: bytes) -> bytes:
    value = 0
    for operand in operands:
        value ^= int.from_bytes(operand, "big")
    return value.to_bytes(len(operands[0]), "big")


def _permute(blocks: bytes, source: Sequence[int]) -> bytes:
    """Byte i of each block becomes what was byte source[i]."""
    out = bytearray(len(blocks))
    for at, origin in enumerate(source):
        out[at::16] = blocks[origin::16]
    return bytes(out)


def _mix_columns(blocks: bytes) -> bytes:
    turned = [_permute(blocks, [at & ~3 | (at + by) & 3 for at in range(16)]) for by in range(4)]
    return _xor(turned[0].translate(_TIMES_X), turned[1].translate(_TIMES_X), *turned[1:])


def _round_keys(key: bytes) -> list[bytes]:
    words, constant = [key[at : at + 4] for at in range(0, 16, 4)], 1
    while len(words) < 44:
        word = words[-1]
        if len(words) % 4 == 0:
            word = _xor((word[1:] + word[:1]).translate(_SBOX), bytes([constant, 0, 0, 0]))
            constant = _times_x(constant)
        words.append(_xor(word, words[-4]))
    return [b"".join(words[at : at + 4]) for at in range(0, 44, 4)]


def aes_128(key: bytes, blocks: bytes) -> bytes:
    """Each block of 16 bytes by itself."""
    first, *inner, last = (round_key * (len(blocks) // 16) for round_key in _round_keys(key))
    blocks = _xor(blocks, first)
    for round_key in inner:
        blocks = _xor(_mix_columns(_permute(blocks.translate(_SBOX), _SHIFT_ROWS)), round_key)
    return _xor(_permute(blocks.translate(_SBOX), _SHIFT_ROWS), last)


# ---- GCM ----


def _hash(key: int, data: bytes) -> bytes:
    """GHASH of whole blocks. The first bit of a block is its highest and the power 0."""
    powers = [key]
    for _ in range(127):
        powers.append(powers[-1] >> 1 ^ (0xE1 << 120 if powers[-1] & 1 else 0))
    total = 0
    for at in range(0, len(data), 16):
        total ^= int.from_bytes(data[at : at + 16], "big")
        total, bits = 0, f"{total:0128b}"
        for bit, power in zip(bits, powers, strict=True):
            if bit == "1":
                total ^= power
    return total.to_bytes(16, "big")


def gcm_seal(key: bytes, nonce: bytes, plain: bytes) -> bytes:
    """The ciphertext of whole blocks, and the tag."""
    if len(plain) % 16 or len(nonce) != 12:
        raise ValueError(f"{len(plain)} bytes under a nonce of {len(nonce)}: expected whole blocks and 12")
    count = len(plain) // 16
    counters = bytes(16) + b"".join(nonce + number.to_bytes(4, "big") for number in range(1, count + 2))
    stream = aes_128(key, counters)
    sealed = _xor(plain, stream[32:])
    lengths = (8 * len(sealed)).to_bytes(16, "big")
    return sealed + _xor(_hash(int.from_bytes(stream[:16], "big"), sealed + lengths), stream[16:32])


# ---- frames ----


def _padded(segment: bytes) -> bytes:
    return segment + bytes(-len(segment) % 16)


def operations(
    tag: int, segments: Sequence[bytes], revision: int, *, aborted: bool = False, alignments: Sequence[int] | None = None
) -> list[bytes]:
    """What each operation of a frame seals."""
    wire = reference_codec.assemble(tag, segments, revision, alignments=alignments)
    preamble, count = wire[: reference_codec.PREAMBLE_BYTES], wire[1]
    first, *others = map(_padded, segments[:count])
    end = b"".join(others) + bytes([_STATUS_ABORTED if aborted else _STATUS_COMPLETE[revision]]) + bytes(15)
    if revision == 0:
        return [preamble + first + end]
    plains = [preamble + first[:_INLINE_BYTES].ljust(_INLINE_BYTES, b"\0")]
    if len(first) > _INLINE_BYTES:
        plains.append(first[_INLINE_BYTES:])
    if count > 1:
        plains.append(end)
    return plains


class Sealer:
    """One direction of a connection."""

    def __init__(self, key: bytes, nonce: bytes, revision: int) -> None:
        self.key, self.nonce, self.revision = key, nonce, revision

    def operation(self, plain: bytes) -> bytes:
        sealed = gcm_seal(self.key, self.nonce, plain)
        counter = slice(4, 12) if self.revision else slice(0, 4)
        stepped = bytearray(self.nonce)
        size = len(stepped[counter])
        number = (int.from_bytes(stepped[counter], "little") + 1) % (1 << 8 * size)
        stepped[counter] = number.to_bytes(size, "little")
        self.nonce = bytes(stepped)
        return sealed

    def frame(
        self, tag: int, segments: Sequence[bytes], *, aborted: bool = False, alignments: Sequence[int] | None = None
    ) -> bytes:
        plains = operations(tag, segments, self.revision, aborted=aborted, alignments=alignments)
        return b"".join(map(self.operation, plains))
