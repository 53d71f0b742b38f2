"""Frames in crc mode by size of the data: the perf pair's request, assembled and parsed."""

from __future__ import annotations

import pytest

from ceph_msgr._core import FrameParser, frame_assemble

TAG_MESSAGE = 17
ALIGNMENTS = [8, 8, 8, 4096]

by_size = pytest.mark.parametrize("data_bytes", [0, 64, 4096, 65536, 1 << 20])


def segments(data_bytes: int) -> list[bytes]:
    message = [bytes(41), bytes(220)]
    return [*message, b"", b"\x5a" * data_bytes] if data_bytes else message


@by_size
def test_frame_assemble(benchmark, data_bytes: int) -> None:
    parts = segments(data_bytes)
    wire = benchmark(frame_assemble, TAG_MESSAGE, parts, alignments=ALIGNMENTS[: len(parts)])
    assert len(wire) == 310 + data_bytes
    [frame] = FrameParser().feed(wire)
    assert list(frame.segments) == parts


@by_size
def test_frame_parse(benchmark, data_bytes: int) -> None:
    parts = segments(data_bytes)
    wire = frame_assemble(TAG_MESSAGE, parts, alignments=ALIGNMENTS[: len(parts)])
    parser = FrameParser()
    [frame] = benchmark(parser.feed, wire)
    assert (frame.tag, frame.aborted) == (TAG_MESSAGE, False)
    assert list(frame.segments) == parts
