"""Compressed segments by hand, from the formats' descriptions: shares no code with the core.

Encoders for all algorithms, each with the constructs a real compressor uses to refer back, where they are simple; decoders for
those that take a page. Speed does not matter here.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Sequence

SNAPPY, ZLIB, ZSTD, LZ4 = 1, 2, 3, 4

# ---- snappy: raw ----


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def snappy_literal(data: bytes) -> bytes:
    """Up to 256 bytes."""
    return bytes([60 << 2, len(data) - 1]) + data


def snappy_encode(data: bytes) -> bytes:
    """Literals, and a copy wherever 32 bytes repeat those right before them."""
    out, at = bytearray(_varint(len(data))), 0
    while at < len(data):
        if at >= 32 and data[at : at + 32] == data[at - 32 : at] and len(data) - at >= 32:
            out += bytes([31 << 2 | 2]) + struct.pack("<H", 32)
        else:
            out += snappy_literal(data[at : at + 32])
        at += 32
    return bytes(out)


def snappy_decode(wire: bytes) -> bytes:
    length = shift = at = 0
    while True:
        byte = wire[at]
        at += 1
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    out = bytearray()
    while at < len(wire):
        tag, kind = wire[at] >> 2, wire[at] & 3
        if kind == 0:
            extra = max(0, tag - 59)
            count = (int.from_bytes(wire[at + 1 : at + 1 + extra], "little") if extra else tag) + 1
            at += 1 + extra
            out += wire[at : at + count]
            at += count
            continue
        width = (0, 1, 2, 4)[kind]
        offset = int.from_bytes(wire[at + 1 : at + 1 + width], "little")
        count = tag + 1
        if kind == 1:
            count, offset = (tag & 7) + 4, offset | tag >> 3 << 8
        for _ in range(count):
            out.append(out[-offset])
        at += 1 + width
    assert len(out) == length
    return bytes(out)


# ---- zlib: a byte, raw deflate ----


def zlib_encode(data: bytes, prefix: int = 1) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return bytes([prefix]) + packer.compress(data) + packer.flush()


def zlib_decode(wire: bytes) -> bytes:
    unpacker = zlib.decompressobj(-15)
    data = unpacker.decompress(wire[1:])
    assert unpacker.eof
    assert not unpacker.unused_data
    return data


# ---- zstd: the length, a frame ----


def _zstd_block(kind: int, size: int, content: bytes, *, last: bool) -> bytes:
    return struct.pack("<I", last | kind << 1 | size << 3)[:3] + content


def zstd_encode(data: bytes, claimed: int | None = None) -> bytes:
    """A streaming frame, which does not know its length: raw blocks, and a run where a whole block is one byte."""
    out = bytearray(struct.pack("<IIBB", len(data) if claimed is None else claimed, 0xFD2FB528, 0, 0x58))
    for at in range(0, len(data), 1000):
        part = data[at : at + 1000]
        if part == part[:1] * len(part):
            out += _zstd_block(1, len(part), part[:1], last=False)
        else:
            out += _zstd_block(0, len(part), part, last=False)
    return bytes(out) + _zstd_block(0, 0, b"", last=True)


# ---- lz4: a table, blocks that continue one dictionary ----


def _lz4_length(count: int) -> bytes:
    return b"" if count < 15 else bytes([255] * ((count - 15) // 255) + [(count - 15) % 255])


def lz4_block(literals: bytes, match: tuple[int, int] | None = None, tail: bytes = b"") -> bytes:
    """Literals, then ``match``, its offset and length, then ``tail``, of at least 12 bytes."""
    out = bytearray()
    if match:
        offset, count = match
        out.append(min(15, len(literals)) << 4 | min(15, count - 4))
        out += _lz4_length(len(literals)) + literals + struct.pack("<H", offset) + _lz4_length(count - 4)
        literals = tail
    out.append(min(15, len(literals)) << 4)
    return bytes(out) + _lz4_length(len(literals)) + literals


def lz4_segment(blocks: Sequence[tuple[int, bytes]]) -> bytes:
    table = b"".join(struct.pack("<II", plain, len(block)) for plain, block in blocks)
    return struct.pack("<I", len(blocks)) + table + b"".join(block for _, block in blocks)


def lz4_encode(data: bytes) -> bytes:
    """Blocks of 1000 bytes; one that begins as the one before it refers to that one."""
    blocks, at = [], 0
    while at < len(data) or not blocks:
        part, before = data[at : at + 1000], data[at - 1000 : at] if at else b""
        if len(part) >= 100 and part[:-12] == before[: len(part) - 12]:
            block = lz4_block(b"", (1000, len(part) - 12), part[-12:])
        else:
            block = lz4_block(part)
        blocks.append((len(part), block))
        at += 1000
    return lz4_segment(blocks)


def lz4_decode(wire: bytes) -> bytes:
    [count] = struct.unpack_from("<I", wire)
    at, out = 4 + 8 * count, bytearray()
    for number in range(count):
        plain, packed = struct.unpack_from("<II", wire, 4 + 8 * number)
        end, before = at + packed, len(out)
        while at < end:
            token = wire[at]
            at += 1
            literals, at = _lz4_read_length(wire, at, token >> 4)
            out += wire[at : at + literals]
            at += literals
            if at == end:
                break
            offset = int.from_bytes(wire[at : at + 2], "little")
            matched, at = _lz4_read_length(wire, at + 2, token & 15)
            for _ in range(matched + 4):
                out.append(out[-offset])
        assert len(out) - before == plain
    assert at == len(wire)
    return bytes(out)


def _lz4_read_length(wire: bytes, at: int, count: int) -> tuple[int, int]:
    if count == 15:
        while True:
            byte = wire[at]
            at += 1
            count += byte
            if byte != 255:
                break
    return count, at


ENCODERS: dict[int, Callable[[bytes], bytes]] = {
    SNAPPY: snappy_encode, ZLIB: zlib_encode, ZSTD: zstd_encode, LZ4: lz4_encode,
}
#: Without zstd, whose entropy coding takes more than a page.
DECODERS: dict[int, Callable[[bytes], bytes]] = {SNAPPY: snappy_decode, ZLIB: zlib_decode, LZ4: lz4_decode}
