"""The chosen crc32c, the portable one and real frames agree."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "standalone" / "crc32c.json").read_text())


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["origin"])
def test_both_give_what_real_frames_hold(lib: Any, env: Any, vector: dict[str, str]) -> None:
    seed, data, crc = int(vector["seed"], 16), bytes.fromhex(vector["data"]), int(vector["crc"], 16)
    assert lib.cmsgr_crc32c(env, seed, data, len(data)) == crc
    assert lib.cmsgr_crc32c_table(seed, data, len(data)) == crc


def test_both_agree_at_every_length_and_offset(ffi: Any, lib: Any, env: Any, rng: random.Random) -> None:
    data = ffi.new("uint8_t[]", rng.randbytes(10_000))
    for length in [*range(300), 1023, 1024, 4095, 4096, 4097, 9000]:
        offset = rng.randrange(0, 16)
        seed = rng.getrandbits(32)
        assert lib.cmsgr_crc32c(env, seed, data + offset, length) == lib.cmsgr_crc32c_table(seed, data + offset, length), (
            length, offset)


def test_it_can_be_continued(lib: Any, env: Any, rng: random.Random) -> None:
    data = rng.randbytes(1000)
    whole = lib.cmsgr_crc32c(env, 0xFFFFFFFF, data, len(data))
    for cut in (0, 1, 7, 500, 999, 1000):
        part = lib.cmsgr_crc32c(env, 0xFFFFFFFF, data[:cut], cut)
        assert lib.cmsgr_crc32c(env, part, data[cut:], len(data) - cut) == whole
