"""Object hashes and placement groups, against what a real cluster says."""

from __future__ import annotations

import pytest

from ceph_msgr.messages import object_hash, placement_group


@pytest.mark.parametrize(
    ("namespace", "name", "hash"),
    [
        ("", "obj1", 0x6CF8DEFF),
        ("", "x", 0xD6D9AF33),
        ("", "elevenbytes", 0xC2CAE03E),
        ("", "twelve bytes", 0xFFD02E10),
        ("", "thirteenbytes", 0x747863CA),
        ("", "twenty-three bytes long", 0xB2F7B0D9),
        ("", "more than two blocks of the hash", 0x53CAD62F),
        ("", "Grüße", 0xCC47D659),
        ("n", "obj1", 0xDA94B296),
        ("space", "elevenbytes", 0xBA23D089),
    ],
)
def test_hash(namespace: str, name: str, hash: int) -> None:
    """By `ceph osd map POOL NAME NAMESPACE`. Lengths around the block of 12 bytes."""
    assert object_hash(name, namespace) == hash


@pytest.mark.parametrize(
    ("pg_num", "seeds"),
    [
        (1, [0] * 16),
        (2, [0, 1] * 8),
        (8, [0, 1, 2, 3, 4, 5, 6, 7] * 2),
        # Groups 5 to 7 are not split off yet: what falls into them is in 1 to 3.
        (5, [0, 1, 2, 3, 4, 1, 2, 3] * 2),
        (12, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 4, 5, 6, 7]),
    ],
)
def test_placement_group(pg_num: int, seeds: list[int]) -> None:
    assert [placement_group(hash, pg_num) for hash in range(16)] == seeds
    assert [placement_group(0xFFFFFFF0 + low, pg_num) for low in range(16)] == seeds


def test_a_pool_without_groups() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        placement_group(7, 0)
