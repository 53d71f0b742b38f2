"""crc32c by size: what every byte on the wire costs at least, on either side."""

from __future__ import annotations

import random

import pytest

from ceph_msgr import _core


@pytest.mark.parametrize("len_bytes", [64, 4096, 65536, 1 << 20])
def test_crc32c(benchmark, len_bytes: int) -> None:
    data = random.Random(len_bytes).randbytes(len_bytes)
    benchmark.extra_info["implementation"] = _core.crc32c_implementation()
    benchmark.extra_info["bytes"] = len_bytes
    crc = benchmark(_core.crc32c, data)
    # The same bytes in two pieces of odd lengths, which take other paths through it.
    assert crc == _core.crc32c(data[21:], _core.crc32c(data[:21]))
    assert _core.crc32c(b"123456789") ^ 0xFFFFFFFF == 0xE3069283
