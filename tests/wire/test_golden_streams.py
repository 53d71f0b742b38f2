"""The C frame parser against the recorded streams of real Ceph peers, and the C assembler back to their bytes.

`frames.txt` says what each direction holds. Streams in secure mode are read up to the signatures, which is as far as they are
plain.
"""

from __future__ import annotations

import ast
import json
import random
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest

from ceph_msgr import _core
from ceph_msgr.messages import class_for
from ceph_msgr.protocol.tags import Tag
from ceph_msgr.wire.encoding import Decoder, to_bytes
from ceph_msgr.wire.features import SUPPORTED_ALL
from ceph_msgr.wire.header import MessageHeader

STREAMS = Path(__file__).parent.parent / "vectors" / "streams"
SECURE = 2

ROW = re.compile(
    r"(?P<side>[CS]) +(?P<offset>\d+) +(?P<len>\d+)  (?P<tag>\w+)  (?:segments=\[(?P<segments>[\d, ]+)\] )?(?P<fields>.*)"
)

pytestmark = pytest.mark.contract("E10", "H7")


@dataclass(frozen=True)
class Row:
    """One line of frames.txt. Offsets and ends are those of the direction's file."""

    tag: str
    offset: int
    end: int
    segment_lens: tuple[int, ...]
    #: As text: what the line says about the payload.
    fields: str


@dataclass(frozen=True)
class Direction:
    """One direction of a stream, from its banner on."""

    name: str
    revision: int
    stream: bytes = field(repr=False)
    banner: Row
    rows: tuple[Row, ...] = field(repr=False)

    def __str__(self) -> str:
        return self.name

    def parser(self) -> _core.FrameParser:
        return _core.FrameParser(self.revision)

    def frames(self) -> list[_core.Frame]:
        return self.parser().feed(self.stream[self.banner.end :])

    def messages(self) -> list[tuple[Row, _core.Frame]]:
        return [(row, frame) for row, frame in zip(self.rows, self.frames(), strict=True) if row.tag == "MESSAGE"]

    @property
    def features(self) -> int:
        """As offered by this side: the peers of the perf pair lack one bit of 16.2.15's."""
        offers = (re.search(r"'features': '0x([0-9a-f]+)'", row.fields) for row in self.rows)
        return next((int(offer[1], 16) for offer in offers if offer), SUPPORTED_ALL)


def read_rows(folder: Path, side: str, end: int) -> list[Row]:
    """The rows of a side that end by then."""
    rows = []
    for line in (folder / "frames.txt").read_text().splitlines():
        if (match := ROW.fullmatch(line)) and match["side"] == side:
            offset = int(match["offset"])
            lens = tuple(map(int, match["segments"].split(","))) if match["segments"] else ()
            rows.append(Row(match["tag"], offset, offset + int(match["len"]), lens, match["fields"] or ""))
    return [row for row in rows if row.end <= end]


def read_directions() -> list[Direction]:
    found = []
    for folder in sorted(STREAMS.iterdir()):
        keys = json.loads((folder / "keys.json").read_text())
        for side, file, signed in (
            ("C", "client_to_server", "c2s_bytes_before_signature"),
            ("S", "server_to_client", "s2c_bytes_before_signature"),
        ):
            stream = (folder / f"{file}.bin").read_bytes()
            if keys["connection_mode"] == SECURE:
                stream = stream[: keys[signed]]
            banner, *rows = read_rows(folder, side, len(stream))
            revision = {"2.0": 0, "2.1": 1}[keys["revision"]]
            found.append(Direction(f"{folder.name}-{side}", revision, stream, banner, tuple(rows)))
    return found


DIRECTIONS = read_directions()
each_direction = pytest.mark.parametrize("direction", DIRECTIONS, ids=str)


def expect_rows(frames: list[_core.Frame], rows: Iterable[Row]) -> None:
    got = [(Tag(frame.tag).name, tuple(map(len, frame.segments)), frame.aborted) for frame in frames]
    assert got == [(row.tag, row.segment_lens, False) for row in rows]


def test_the_tables_cover_their_streams() -> None:
    """Every byte is in exactly one row: otherwise the tests below would look at less than they claim."""
    assert len(DIRECTIONS) == 2 * 41
    assert sum(len(direction.rows) for direction in DIRECTIONS) >= 430
    for direction in DIRECTIONS:
        assert direction.banner.tag == "BANNER"
        ends = [direction.banner.end, *(row.end for row in direction.rows)]
        assert (direction.banner.offset, ends[-1]) == (0, len(direction.stream)), direction
        assert [row.offset for row in direction.rows] == ends[:-1], direction


@each_direction
def test_a_whole_stream(direction: Direction) -> None:
    expect_rows(direction.frames(), direction.rows)


@each_direction
def test_byte_by_byte_each_frame_comes_with_its_last_byte(direction: Direction) -> None:
    parser = direction.parser()
    frames, ends = [], []
    for position in range(direction.banner.end, len(direction.stream)):
        complete = parser.feed(direction.stream[position : position + 1])
        frames += complete
        ends += [position + 1] * len(complete)
    expect_rows(frames, direction.rows)
    assert ends == [row.end for row in direction.rows]


@each_direction
def test_cut_at_random_places(direction: Direction, rng: random.Random) -> None:
    start, end = direction.banner.end, len(direction.stream)
    for _ in range(10):
        cuts = sorted(rng.choices(range(start, end + 1), k=rng.randint(1, 20)))
        parser = direction.parser()
        frames = [frame for a, b in pairwise([start, *cuts, end]) for frame in parser.feed(direction.stream[a:b])]
        expect_rows(frames, direction.rows)


@each_direction
def test_cut_off_around_the_end_of_each_frame(direction: Direction) -> None:
    """What is complete comes out, what is not asks for more, and goes on when there is more."""
    for index, row in enumerate(direction.rows):
        for cut, complete in ((row.end - 1, index), (row.end, index + 1), (row.end + 1, index + 1)):
            parser = direction.parser()
            frames = parser.feed(direction.stream[direction.banner.end : cut])
            expect_rows(frames, direction.rows[:complete])
            frames += parser.feed(direction.stream[cut:])
            expect_rows(frames, direction.rows)


@each_direction
def test_every_frame_is_assembled_to_the_same_bytes(direction: Direction) -> None:
    for row, frame in zip(direction.rows, direction.frames(), strict=True):
        wire = _core.frame_assemble(frame.tag, frame.segments, direction.revision, alignments=frame.alignments)
        assert wire.hex() == direction.stream[row.offset : row.end].hex(), row


@each_direction
def test_message_headers(direction: Direction) -> None:
    for row, frame in direction.messages():
        header = MessageHeader.decode(Decoder(frame.segments[0]))
        assert header == MessageHeader(*ast.literal_eval(row.fields).values())
        assert to_bytes(header) == frame.segments[0]


@each_direction
def test_known_messages_are_decoded_and_encoded_alike(direction: Direction) -> None:
    for _, frame in direction.messages():
        header = MessageHeader.decode(Decoder(frame.segments[0]))
        if cls := class_for(header.type):
            front, middle, data = (*frame.segments[1:], b"", b"", b"")[:3]
            message = cls.from_segments(
                header.type, front, middle, data, tid=header.tid, version=header.version, compat_version=header.compat_version
            )
            assert message.encode_payload(direction.features).hex() == front.hex()
