"""Where an object lives: its hash, and the placement group of its pool that this hash falls into.

The hash is the one Bob Jenkins published in 1996, which every pool of a present cluster uses (``object_hash`` 2, rjenkins).
"""

from __future__ import annotations

__all__ = ["object_hash", "placement_group"]

_MASK = 0xFFFFFFFF
_GOLDEN_RATIO = 0x9E3779B9
_BLOCK_BYTES = 12
#: Of a namespace from the name behind it.
_SEPARATOR = b"\x1f"


def object_hash(name: str, namespace: str = "") -> int:
    """Of an object's name, or of its locator's key if it has one; for ``MOSDOp.hash``."""
    data = name.encode("utf-8", "surrogateescape")
    if namespace:
        data = namespace.encode("utf-8", "surrogateescape") + _SEPARATOR + data
    return _rjenkins(data)


def placement_group(hash: int, pg_num: int) -> int:
    """The number of the group within a pool that has ``pg_num`` of them; for ``MOSDOp.seed``. When their number grows
    towards the next power of two, groups split one after the other."""
    if pg_num < 1:
        raise ValueError(f"a pool has at least 1 placement group, not {pg_num}")
    mask = (1 << (pg_num - 1).bit_length()) - 1
    seed = hash & mask
    return seed if seed < pg_num else hash & mask >> 1


def _rjenkins(data: bytes) -> int:
    a = b = _GOLDEN_RATIO
    c = 0
    whole_bytes = len(data) - len(data) % _BLOCK_BYTES
    for start in range(0, whole_bytes, _BLOCK_BYTES):
        a, b, c = _mix(*_add_block(a, b, c, data[start : start + _BLOCK_BYTES]))
    # The length stands in the lowest byte of the last word, so what is left over begins above it there.
    rest = data[whole_bytes:]
    a, b, c = _add_block(a, b, c, rest[:8].ljust(8, b"\0") + b"\0" + rest[8:].ljust(3, b"\0"))
    return _mix(a, b, c + len(data) & _MASK)[2]


def _add_block(a: int, b: int, c: int, block: bytes) -> tuple[int, int, int]:
    words = (int.from_bytes(block[at : at + 4], "little") for at in (0, 4, 8))
    x, y, z = (own + word & _MASK for own, word in zip((a, b, c), words, strict=True))
    return x, y, z


def _mix(a: int, b: int, c: int) -> tuple[int, int, int]:
    for right, left, right_again in (13, 8, 13), (12, 16, 5), (3, 10, 15):
        a = (a - b - c & _MASK) ^ c >> right
        b = (b - c - a & _MASK) ^ a << left & _MASK
        c = (c - a - b & _MASK) ^ b >> right_again
    return a, b, c
