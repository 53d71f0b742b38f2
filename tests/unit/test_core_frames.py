"""Frames and checksums against bytes that real peers sent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ceph_msgr import _core
from ceph_msgr.errors import RemoteProtocolError

STANDALONE = Path(__file__).parent.parent / "vectors" / "standalone"
FRAMES = [
    (revision, frame)
    for revision in (0, 1)
    for frame in json.loads((STANDALONE / f"frames_crc_2.{revision}.json").read_text())
]
IDS = [f"2.{revision}-{index}-{frame['name']}" for index, (revision, frame) in enumerate(FRAMES)]


def segments_of(frame: dict[str, Any]) -> list[bytes]:
    return [bytes.fromhex(segment) for segment in frame["segments"]]


@pytest.mark.parametrize("vector", json.loads((STANDALONE / "crc32c.json").read_text()), ids=lambda v: v["origin"])
def test_crc32c_is_what_real_frames_hold(vector: dict[str, str]) -> None:
    assert _core.crc32c(bytes.fromhex(vector["data"]), int(vector["seed"], 16)) == int(vector["crc"], 16)


def test_crc32c_takes_any_buffer() -> None:
    assert _core.crc32c(b"123456789") == _core.crc32c(bytearray(b"123456789")) == _core.crc32c(memoryview(b"123456789"))
    assert _core.crc32c_implementation() in ("avx512", "sse42", "armv8", "table")


@pytest.mark.parametrize(("revision", "vector"), FRAMES, ids=IDS)
def test_assembled_frames_are_the_real_ones(revision: int, vector: dict[str, Any]) -> None:
    wire = _core.frame_assemble(int(vector["tag"]), segments_of(vector), revision, alignments=vector.get("alignments"))
    assert wire.hex() == vector["wire"]


@pytest.mark.parametrize("chunk", [0, 1, 7])
@pytest.mark.parametrize(("revision", "vector"), FRAMES, ids=IDS)
def test_parsed_frames_are_the_real_ones(revision: int, vector: dict[str, Any], chunk: int) -> None:
    wire = bytes.fromhex(vector["wire"])
    parser = _core.FrameParser(revision)
    frames: list[_core.Frame] = []
    for start in range(0, len(wire), chunk or len(wire)):
        assert not frames, "a frame was complete before its last byte"
        frames += parser.feed(wire[start : start + (chunk or len(wire))])
    [frame] = frames
    assert (frame.tag, list(frame.segments)) == (int(vector["tag"]), segments_of(vector))
    assert list(frame.alignments) == vector.get("alignments", list(frame.alignments))
    assert not frame.aborted


@pytest.mark.parametrize("revision", [0, 1])
def test_every_truncation_asks_for_more(revision: int) -> None:
    wire = _core.frame_assemble(17, [b"h" * 41, b"front", b"", b"data"], revision)
    for length in range(len(wire)):
        assert _core.FrameParser(revision).feed(wire[:length]) == []


@pytest.mark.parametrize("revision", [0, 1])
def test_an_aborted_frame_is_told_apart(revision: int) -> None:
    wire = _core.frame_assemble(17, [b"h" * 41, b"front"], revision, aborted=True)
    [dropped, kept] = _core.FrameParser(revision).feed(wire + _core.frame_assemble(20, [bytes(8)], revision))
    assert (dropped.aborted, dropped.segments) == (True, ())
    assert (kept.aborted, kept.tag) == (False, 20)


def test_frames_before_a_fault_come_out_and_the_fault_stays() -> None:
    good = _core.frame_assemble(20, [bytes(8)])
    bad = bytearray(good)
    bad[-1] ^= 1
    parser = _core.FrameParser()
    assert len(parser.feed(good + bad)) == 1
    for _ in range(2):
        with pytest.raises(RemoteProtocolError, match="crc of a segment"):
            parser.feed(good)


def test_a_segment_over_its_limit_is_refused_on_the_preamble_alone() -> None:
    wire = _core.frame_assemble(20, [bytes(101)])
    parser = _core.FrameParser(limits=_core.Limits(control=100))
    with pytest.raises(RemoteProtocolError, match=r"got 101, expected 100"):
        parser.feed(wire[:32])


def test_a_large_segment_grows_with_what_arrives() -> None:
    data = bytes(range(256)) * 4096 * 5
    wire = _core.frame_assemble(17, [b"h" * 41, b"", b"", data])
    parser = _core.FrameParser()
    frames = []
    for start in range(0, len(wire), 300_000):
        frames += parser.feed(wire[start : start + 300_000])
    assert frames[0].segments[3] == data


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"tag": 1, "segments": []}, "0"),
        ({"tag": 1, "segments": [b"x"] * 5}, "5"),
        ({"tag": 256, "segments": [b"x"]}, "256"),
        ({"tag": 1, "segments": [b"x"], "revision": 2}, "2"),
        ({"tag": 1, "segments": [b"x"], "alignments": [8, 8]}, "2 alignments for 1"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        _core.frame_assemble(**arguments)


def test_parsers_are_freed() -> None:
    before = _core.live_objects()["parsers"]
    parser = _core.FrameParser()
    assert _core.live_objects()["parsers"] == before + 1
    del parser
    assert _core.live_objects()["parsers"] == before
