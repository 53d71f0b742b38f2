"""The oracle itself: held against real bytes and against the table of lengths."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from tests.session.reference_codec import FrameError, Parser, assemble, crc32c, split_banner, wire_len

STANDALONE = Path(__file__).parent.parent / "vectors" / "standalone"


def load(name: str) -> list[dict[str, Any]]:
    vectors = json.loads((STANDALONE / name).read_text())
    assert vectors
    return list(vectors)


FRAMES = [(1, vector) for vector in load("frames_crc_2.1.json")] + [(0, vector) for vector in load("frames_crc_2.0.json")]


def reseal(wire: bytes) -> bytes:
    """With a preamble crc that matches again."""
    return wire[:28] + crc32c(0, wire[:28]).to_bytes(4, "little") + wire[32:]


def parse(wire: bytes, revision: int) -> tuple[bytes, ...] | None:
    parser = Parser(revision)
    parser.add(wire)
    frame = parser.next_frame()
    return frame and frame.segments


def test_the_crc_is_the_raw_one() -> None:
    assert crc32c(0xFFFFFFFF, b"123456789") == 0x1CF96D7C
    assert crc32c(0xFFFFFFFF, b"") == 0xFFFFFFFF
    assert crc32c(0, bytes(100)) == 0


def test_the_crc_agrees_with_real_frames() -> None:
    for vector in load("crc32c.json"):
        data, seed, crc = bytes.fromhex(vector["data"]), int(vector["seed"], 16), int(vector["crc"], 16)
        assert crc32c(seed, data) == crc
        half = len(data) // 2
        assert crc32c(crc32c(seed, data[:half]), data[half:]) == crc


@pytest.mark.contract("E10")
@pytest.mark.parametrize(("revision", "vector"), FRAMES)
def test_a_real_frame_is_assembled_and_parsed_alike(revision: int, vector: dict[str, Any]) -> None:
    wire, segments = bytes.fromhex(vector["wire"]), [bytes.fromhex(segment) for segment in vector["segments"]]
    assert assemble(vector["tag"], segments, revision, alignments=vector.get("alignments")) == wire
    parser = Parser(revision)
    parser.add(wire)
    (frame,) = parser
    assert frame.tag == vector["tag"]
    assert frame.segments == tuple(segments)
    assert frame.wire == wire
    assert parser.pending_bytes == 0


@pytest.mark.contract("E1")
@pytest.mark.parametrize("lengths", list(itertools.product((0, 1, 48, 49), (0, 101), (0, 202), (0, 303))))
def test_the_lengths_of_the_table(lengths: tuple[int, ...]) -> None:
    segments = [bytes([index + 1]) * length for index, length in enumerate(lengths)]
    header, *others = lengths
    has_several = any(others)
    assert wire_len(lengths, 0) == 32 + sum(lengths) + 17
    assert wire_len(lengths, 1) == 32 + (header + 4 if header else 0) + sum(others) + (13 if has_several else 0)
    for revision in (0, 1):
        wire = assemble(123, segments, revision)
        assert len(wire) == wire_len(lengths, revision)
        parsed = parse(wire, revision)
        assert parsed is not None
        assert b"".join(parsed) == b"".join(segments)
        assert parsed == tuple(segments[: len(parsed)])


@pytest.mark.contract("E2", "E5", "E6")
@pytest.mark.parametrize("revision", [0, 1])
def test_frames_come_out_of_pieces_of_any_size(revision: int) -> None:
    wires = [assemble(tag, [bytes(10), b"front"], revision) for tag in (1, 2, 3)]
    stream = b"".join(wires)
    parser = Parser(revision)
    got = []
    for byte in stream:
        parser.add(bytes([byte]))
        got += [frame.wire for frame in parser]
    assert got == wires
    for end in range(len(wires[0])):
        assert parse(stream[:end], revision) is None


@pytest.mark.contract("E7")
@pytest.mark.parametrize("count", [0, 5, 255])
def test_a_wrong_number_of_segments_is_refused(count: int) -> None:
    wire = bytearray(assemble(1, [b"x"]))
    wire[1] = count
    with pytest.raises(FrameError, match="segments"):
        parse(reseal(bytes(wire)), 1)


@pytest.mark.contract("E7")
def test_an_empty_last_segment_is_refused() -> None:
    wire = bytearray(assemble(1, [b"x"]))
    wire[1] = 2
    with pytest.raises(FrameError, match="last"):
        parse(reseal(bytes(wire)), 1)


@pytest.mark.contract("E7")
def test_a_compressed_frame_is_refused() -> None:
    wire = bytearray(assemble(1, [b"x"]))
    wire[26] = 1
    with pytest.raises(FrameError, match="compressed"):
        parse(reseal(bytes(wire)), 1)


@pytest.mark.contract("E7")
def test_a_segment_above_the_limit_is_refused_on_its_preamble() -> None:
    parser = Parser(1, max_segment_bytes=100)
    parser.add(assemble(1, [bytes(101)])[:32])
    with pytest.raises(FrameError, match="101 bytes"):
        parser.next_frame()


@pytest.mark.contract("E4")
@pytest.mark.parametrize("revision", [0, 1])
def test_a_flipped_bit_is_refused_or_changes_nothing(revision: int) -> None:
    """Only the abort bit of msgr2.0 may change the outcome; what a flipped preamble announces is never believed."""
    segments = [bytes(range(41)), b"front", b"", b"data"]
    wire = assemble(17, segments, revision)
    trailer = len(wire) - (17 if revision == 0 else 13)
    for bit in range(8 * len(wire)):
        flipped = bytearray(wire)
        flipped[bit // 8] ^= 1 << bit % 8
        parser = Parser(revision)
        parser.add(bytes(flipped))
        try:
            frame = parser.next_frame()
        except FrameError:
            continue
        assert frame is not None
        assert frame.segments == tuple(segments)
        assert bit // 8 == trailer, f"bit {bit}"
        if frame.aborted:
            assert (revision, bit % 8) == (0, 0)


@pytest.mark.contract("E8")
@pytest.mark.parametrize("revision", [0, 1])
def test_an_aborted_frame_is_told_and_the_stream_goes_on(revision: int) -> None:
    parser = Parser(revision)
    parser.add(assemble(17, [b"a", b"b"], revision, aborted=True) + assemble(17, [b"c", b"d"], revision))
    first, second = parser
    assert first.aborted
    assert not second.aborted
    assert second.segments == (b"c", b"d")


def test_a_single_segment_cannot_be_aborted_in_revision_1() -> None:
    with pytest.raises(ValueError, match="no trailer"):
        assemble(1, [b"x"], 1, aborted=True)
    assert len(assemble(1, [b"x"], 0, aborted=True)) == 50


def test_a_banner_is_split_off() -> None:
    banner = b"ceph v2\n\x10\x00" + bytes(16)
    for end in range(len(banner)):
        assert split_banner(banner[:end]) is None
    assert split_banner(banner + b"rest") == (banner, b"rest")
    assert split_banner(b"ceph v027 and more") == (b"ceph v027 and more", b"")
