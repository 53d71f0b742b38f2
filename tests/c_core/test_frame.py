"""The frame assembler and the parser against the reference codec and against bytes of real peers."""

from __future__ import annotations

import errno
import json
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.session import reference_codec

STANDALONE = Path(__file__).parent.parent / "vectors" / "standalone"
FRAMES = [
    (revision, vector)
    for revision in (0, 1)
    for vector in json.loads((STANDALONE / f"frames_crc_2.{revision}.json").read_text())
]
TAG_MESSAGE, TAG_ACK = 17, 20


class Frames:
    """The C codec with Python types."""

    def __init__(self, ffi: Any, lib: Any, env: Any) -> None:
        self.ffi, self.lib, self.env = ffi, lib, env

    def assemble(self, tag: int, segments: Sequence[bytes], revision: int, *, alignments: Sequence[int] | None = None,
                 aborted: bool = False, spare: int = 0) -> bytes | int:
        held = [self.ffi.new("uint8_t[]", segment or b"\0") for segment in segments]
        spans = self.ffi.new("cmsgr_span[]", [(h, len(s)) for h, s in zip(held, segments, strict=True)])
        align = self.ffi.NULL if alignments is None else self.ffi.new("uint16_t[]", list(alignments))
        lengths = self.ffi.new("size_t[]", [len(segment) for segment in segments])
        cap = self.lib.cmsgr_frame_wire_len(revision, lengths, len(segments)) + spare
        out = self.ffi.new("uint8_t[]", max(cap, 1))
        rc = self.lib.cmsgr_frame_assemble(self.env, revision, tag, spans, align, len(segments), aborted, out, cap)
        return rc if rc < 0 else bytes(self.ffi.buffer(out, rc))

    @contextmanager
    def parser(self, revision: int) -> Iterator[Parser]:
        out = self.ffi.new("cmsgr_parser **")
        limits = self.ffi.new("cmsgr_limits *")
        self.lib.cmsgr_limits_default(limits)
        assert self.lib.cmsgr_parser_new(out, self.env, revision, limits) == 0
        yield Parser(self, out[0])
        self.lib.cmsgr_parser_free(out[0])


class Parser:
    """Feeds the C parser; `first_cap` makes it ask for room, `direct` puts bytes where it wants them."""

    def __init__(self, frames: Frames, c: Any) -> None:
        self.ffi, self.lib, self.c = frames.ffi, frames.lib, c
        self.body = self.ffi.NULL
        self.got: list[tuple[int, list[bytes], list[int], bool]] = []

    def lend(self, cap: int) -> None:
        old, self.body = self.body, self.ffi.new("uint8_t[]", cap + 1)
        if old != self.ffi.NULL:
            self.ffi.memmove(self.body, old, min(len(old), cap))
        self.cap = cap
        self.lib.cmsgr_parser_set_body(self.c, self.body, cap)

    def feed(self, data: bytes, *, first_cap: int | None = None, direct: bool = False) -> int:
        held = self.ffi.new("uint8_t[]", data or b"\0")
        at, left = self.ffi.new("const uint8_t **", held), self.ffi.new("size_t *", len(data))
        while True:
            if direct and left[0] and (want := self._put_directly(at, left)):
                assert want
            result = self.lib.cmsgr_parser_step(self.c, at, left)
            if result == self.lib.CMSGR_PARSE_PREAMBLE:
                body_len = self.lib.cmsgr_parser_body_len(self.c)
                self.body = self.ffi.NULL
                self.lend(body_len if first_cap is None else min(first_cap, body_len))
            elif result == self.lib.CMSGR_PARSE_ROOM:
                self.lend(min(2 * self.cap + 1, self.lib.cmsgr_parser_body_len(self.c)))
            elif result in (self.lib.CMSGR_PARSE_FRAME, self.lib.CMSGR_PARSE_ABORTED):
                self._take(result == self.lib.CMSGR_PARSE_ABORTED)
            else:
                assert result < 0 or left[0] == 0, "MORE means that all was consumed"
                return int(result)

    def _put_directly(self, at: Any, left: Any) -> int:
        dest = self.ffi.new("uint8_t **")
        count = min(self.lib.cmsgr_parser_want(self.c, dest), left[0])
        if count:
            self.ffi.memmove(dest[0], at[0], count)
            self.lib.cmsgr_parser_filled(self.c, count)
            at[0] += count
            left[0] -= count
        return int(count)

    def _take(self, aborted: bool) -> None:
        preamble = self.lib.cmsgr_parser_preamble(self.c)
        segments, start = [], 0
        for length in preamble.seg_len[0 : preamble.num_segments]:
            segments.append(bytes(self.ffi.buffer(self.body + start, length)))
            start += length
        self.got.append((preamble.tag, segments, list(preamble.seg_align[0 : preamble.num_segments]), aborted))


@pytest.fixture
def frames(ffi: Any, lib: Any, env: Any) -> Frames:
    return Frames(ffi, lib, env)


def random_segments(rng: random.Random) -> list[bytes]:
    count = rng.randrange(1, 5)
    return [rng.randbytes(rng.choice([0, 1, 7, 8, 41, 100, 4096, 5000])) for _ in range(count)]


@pytest.mark.contract("E1")
@pytest.mark.parametrize(("revision", "vector"), FRAMES)
def test_real_frames_are_assembled_and_parsed(frames: Frames, revision: int, vector: dict[str, Any]) -> None:
    segments = [bytes.fromhex(segment) for segment in vector["segments"]]
    wire = bytes.fromhex(vector["wire"])
    assert frames.assemble(int(vector["tag"]), segments, revision, alignments=vector.get("alignments")) == wire
    with frames.parser(revision) as parser:
        assert parser.feed(wire) == 0
        [(tag, got, _, aborted)] = parser.got
        assert (tag, got, aborted) == (int(vector["tag"]), segments, False)


@pytest.mark.contract("E1")
@pytest.mark.parametrize("revision", [0, 1])
def test_frames_are_assembled_as_the_reference_does(frames: Frames, rng: random.Random, revision: int) -> None:
    for _ in range(200):
        segments = random_segments(rng)
        aborted = revision == 0 and rng.random() < 0.2
        wire = frames.assemble(TAG_MESSAGE, segments, revision, aborted=aborted)
        assert wire == reference_codec.assemble(TAG_MESSAGE, segments, revision, aborted=aborted)
        assert len(wire) == reference_codec.wire_len([len(segment) for segment in segments], revision)


@pytest.mark.contract("E1")
@pytest.mark.parametrize("direct", [False, True])
@pytest.mark.parametrize("first_cap", [None, 0, 1, 100])
@pytest.mark.parametrize("revision", [0, 1])
def test_pieces_of_any_size_give_the_frames_of_the_reference(
    frames: Frames, rng: random.Random, revision: int, first_cap: int | None, direct: bool
) -> None:
    sent = [[rng.randbytes(41), *random_segments(rng)[:3]] for _ in range(20)]
    stream = b"".join(reference_codec.assemble(TAG_MESSAGE, segments, revision) for segments in sent)
    expected = reference_codec.Parser(revision)
    expected.add(stream)
    with frames.parser(revision) as parser:
        at = 0
        while at < len(stream):
            piece = rng.choice([1, 2, 31, 32, 33, 500, 10_000])
            assert parser.feed(stream[at : at + piece], first_cap=first_cap, direct=direct) == 0
            at += piece
        assert [(t, tuple(s), tuple(a), x) for t, s, a, x in parser.got] == [
            (frame.tag, frame.segments, frame.alignments, frame.aborted) for frame in expected
        ]


@pytest.mark.parametrize("revision", [0, 1])
def test_every_flipped_bit_is_refused_or_told_by_the_reference_alike(
    frames: Frames, rng: random.Random, revision: int
) -> None:
    wire = reference_codec.assemble(TAG_MESSAGE, [rng.randbytes(41), b"front", b"", b"data"], revision)
    for bit in range(len(wire) * 8):
        bad = bytearray(wire)
        bad[bit // 8] ^= 1 << bit % 8
        reference = reference_codec.Parser(revision)
        reference.add(bytes(bad))
        try:
            expected = [(frame.tag, frame.segments, frame.aborted) for frame in reference]
        except reference_codec.FrameError:
            expected = None
        with frames.parser(revision) as parser:
            result = parser.feed(bytes(bad))
            if expected is None:
                assert result < 0, f"bit {bit} of {bad.hex()}"
                assert parser.feed(b"") == result, "a failed parser stays failed"
            else:
                assert result == 0
                assert [(t, tuple(s), a) for t, s, _, a in parser.got] == expected


@pytest.mark.parametrize("revision", [0, 1])
def test_room_and_arguments_are_checked(frames: Frames, revision: int) -> None:
    assert frames.assemble(TAG_ACK, [b"12345678"], revision, spare=-1) == -errno.ENOSPC
    assert frames.assemble(TAG_ACK, [], revision, spare=100) == -errno.EINVAL
    assert frames.assemble(TAG_ACK, [b"x"] * 5, revision, spare=100) == -errno.EINVAL


def test_headers_are_written_and_read_as_on_the_wire(ffi: Any, lib: Any) -> None:
    for vector in json.loads((STANDALONE / "messages.json").read_text()):
        wire = bytes.fromhex(vector["header_hex"])
        header = ffi.new("cmsgr_header *")
        lib.cmsgr_header_decode(header, wire)
        fields = vector["header"]
        assert (header.seq, header.tid, header.type, header.priority, header.version, header.compat_version) == (
            fields["seq"], fields["tid"], fields["type"], fields["prio"], fields["version"], fields["compat"])
        assert (header.ack_seq, header.flags, header.data_off) == (fields["ack"], fields["flags"], fields["off"])
        out = ffi.new("uint8_t[41]")
        lib.cmsgr_header_encode(header, out)
        assert bytes(out) == wire
