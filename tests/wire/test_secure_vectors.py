"""Secure mode against bytes of real Ceph peers: single frames, GCM operations, and both directions of whole connections."""

from __future__ import annotations

import ast
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from ceph_msgr import _core
from ceph_msgr.errors import RemoteProtocolError
from ceph_msgr.protocol.tags import Tag
from ceph_msgr.wire.encoding import Decoder
from ceph_msgr.wire.header import MessageHeader
from tests.wire import reference_secure
from tests.wire.test_golden_streams import SECURE, STREAMS, Row, expect_rows, read_rows

STANDALONE = Path(__file__).parent.parent / "vectors" / "standalone"

pytestmark = pytest.mark.contract("E10")


@dataclass(frozen=True)
class Secret:
    """A connection secret, cut up."""

    key: bytes = field(repr=False)
    #: Initial nonces by direction.
    nonces: dict[str, bytes]

    @classmethod
    def parse(cls, text: str) -> Secret:
        secret = bytes.fromhex(text)
        assert len(secret) == 64
        return cls(secret[:16], {"server_to_client": secret[16:28], "client_to_server": secret[28:40]})

    def cipher(self, direction: str, revision: int, *, seals: bool) -> _core.Cipher:
        return _core.Cipher(self.key, self.nonces[direction], seals=seals, revision=revision)


def load(path: Path) -> Any:
    return json.loads(path.read_text())


# ---- single frames of 2.0 ----

FRAMES_2_0 = load(STANDALONE / "frames_secure_2.0.json")


def segments_of(frame: dict[str, Any]) -> list[bytes]:
    return [bytes.fromhex(segment) for segment in frame["segments"]]


def test_frames_of_2_0_in_a_row() -> None:
    """From the connection's initial nonce on. The recording leaves out a frame, as the nonces tell: ours takes its place."""
    secret, direction = Secret.parse(FRAMES_2_0["connection_secret"]), FRAMES_2_0["direction"]
    seal = secret.cipher(direction, 0, seals=True)
    parser = _core.FrameParser(0)
    parser.set_cipher(secret.cipher(direction, 0, seals=False))
    start = int.from_bytes(secret.nonces[direction][:4], "little")
    steps = [int.from_bytes(bytes.fromhex(frame["nonce"])[:4], "little") - start for frame in FRAMES_2_0["frames"]]
    assert steps == [0, 1, 2, 4]
    recorded = dict(zip(steps, FRAMES_2_0["frames"], strict=True))
    for step in range(5):
        if frame := recorded.get(step):
            wire = _core.frame_assemble(frame["tag"], segments_of(frame), 0, cipher=seal)
            assert wire.hex() == frame["wire"], frame["name"]
            [got] = parser.feed(wire)
            assert (got.tag, list(got.segments), got.aborted) == (frame["tag"], segments_of(frame), False)
        else:
            assert len(parser.feed(_core.frame_assemble(Tag.MESSAGE, [b"left out"], 0, cipher=seal))) == 1


@pytest.mark.parametrize("frame", FRAMES_2_0["frames"], ids=lambda frame: f"{frame['name']}-{frame['nonce'][:8]}")
def test_a_frame_of_2_0_by_itself(frame: dict[str, Any]) -> None:
    key, nonce, wire = Secret.parse(FRAMES_2_0["connection_secret"]).key, bytes.fromhex(frame["nonce"]), frame["wire"]
    cipher = _core.Cipher(key, nonce, seals=True, revision=0)
    assert _core.frame_assemble(frame["tag"], segments_of(frame), 0, cipher=cipher).hex() == wire
    assert reference_secure.Sealer(key, nonce, 0).frame(frame["tag"], segments_of(frame)).hex() == wire


# ---- whole connections ----


@dataclass(frozen=True)
class Direction:
    """One direction of a secure connection: plain frames up to the signature, sealed ones from there on."""

    name: str
    direction: str
    revision: int
    secret: Secret = field(repr=False)
    keys: dict[str, Any] = field(repr=False)
    stream: bytes = field(repr=False)
    sealed_at: int
    banner: Row
    rows: tuple[Row, ...] = field(repr=False)

    def __str__(self) -> str:
        return self.name

    @property
    def sealed_rows(self) -> list[Row]:
        return [row for row in self.rows if row.offset >= self.sealed_at]

    def parse(self, cuts: Sequence[int] = ()) -> list[_core.Frame]:
        """What comes out if reads end at these places."""
        parser = _core.FrameParser(self.revision)
        frames = []
        for start, end in pairwise(sorted({self.banner.end, self.sealed_at, len(self.stream), *cuts})):
            if start == self.sealed_at:
                parser.set_cipher(self.secret.cipher(self.direction, self.revision, seals=False))
            frames += parser.feed(self.stream[start:end])
        return frames

    def sealed_frames(self) -> list[_core.Frame]:
        return self.parse()[-len(self.sealed_rows) :]

    def operations(self) -> list[dict[str, str]]:
        """As recorded; of 2.0 there are none."""
        path = STREAMS / self.name[:-2] / "gcm_operations.json"
        return [entry for entry in load(path) if entry["direction"] == self.direction]


def read_directions() -> list[Direction]:
    found = []
    for folder in sorted(STREAMS.iterdir()):
        keys = load(folder / "keys.json")
        if keys["connection_mode"] != SECURE:
            continue
        for side, direction, signed in (
            ("C", "client_to_server", "c2s_bytes_before_signature"),
            ("S", "server_to_client", "s2c_bytes_before_signature"),
        ):
            stream = (folder / f"{direction}.bin").read_bytes()
            banner, *rows = read_rows(folder, side, len(stream))
            found.append(
                Direction(
                    f"{folder.name}-{side}", direction, {"2.0": 0, "2.1": 1}[keys["revision"]],
                    Secret.parse(keys["connection_secret"]), keys, stream, keys[signed], banner, tuple(rows),
                )
            )
    return found


DIRECTIONS = read_directions()
each_direction = pytest.mark.parametrize("direction", DIRECTIONS, ids=str)
each_direction_of_2_1 = pytest.mark.parametrize("direction", [d for d in DIRECTIONS if d.revision == 1], ids=str)


def test_the_tables_cover_their_streams() -> None:
    assert sorted((direction.revision, direction.direction) for direction in DIRECTIONS) == sorted(
        (revision, way) for revision in (0, 1, 1) for way in ("client_to_server", "server_to_client")
    )
    for direction in DIRECTIONS:
        ends = [direction.banner.end, *(row.end for row in direction.rows)]
        assert (direction.banner.offset, ends[-1]) == (0, len(direction.stream)), direction
        assert [row.offset for row in direction.rows] == ends[:-1], direction
        assert direction.sealed_rows[0].tag == "AUTH_SIGNATURE"
        assert len(direction.sealed_rows) >= 3


@pytest.mark.contract("H7")
@each_direction
def test_a_whole_stream(direction: Direction) -> None:
    expect_rows(direction.parse(), direction.rows)


@pytest.mark.contract("H7", "E6")
@each_direction
def test_byte_by_byte_each_frame_comes_with_its_last_byte(direction: Direction) -> None:
    assert [frame.segments for frame in direction.parse(range(direction.banner.end, len(direction.stream)))] == [
        frame.segments for frame in direction.parse()
    ]
    parser = _core.FrameParser(direction.revision)
    parser.set_cipher(direction.secret.cipher(direction.direction, direction.revision, seals=False))
    ends = []
    for position in range(direction.sealed_at, len(direction.stream)):
        ends += [position + 1] * len(parser.feed(direction.stream[position : position + 1]))
    assert ends == [row.end for row in direction.sealed_rows]


@pytest.mark.contract("H7", "E6")
@each_direction
def test_cut_at_random_places(direction: Direction, rng: random.Random) -> None:
    whole = [frame.segments for frame in direction.parse()]
    for _ in range(20):
        cuts = rng.choices(range(direction.banner.end, len(direction.stream)), k=rng.randint(1, 40))
        frames = direction.parse(cuts)
        expect_rows(frames, direction.rows)
        assert [frame.segments for frame in frames] == whole


@each_direction
def test_the_payloads_are_those_of_the_table(direction: Direction) -> None:
    checked = 0
    for row, frame in zip(direction.sealed_rows, direction.sealed_frames(), strict=True):
        if row.tag == "AUTH_SIGNATURE":
            side = "client" if direction.direction == "client_to_server" else "server"
            assert frame.segments[0].hex() == row.fields == direction.keys[f"{side}_signature"]
        elif row.tag == "MESSAGE":
            header = MessageHeader.decode(Decoder(frame.segments[0]))
            assert header == MessageHeader(*ast.literal_eval(row.fields).values())
        else:
            continue
        checked += 1
    assert checked >= 2


@each_direction
def test_every_frame_is_sealed_to_the_same_bytes(direction: Direction) -> None:
    cipher = direction.secret.cipher(direction.direction, direction.revision, seals=True)
    sealer = reference_secure.Sealer(direction.secret.key, direction.secret.nonces[direction.direction], direction.revision)
    for row, frame in zip(direction.sealed_rows, direction.sealed_frames(), strict=True):
        sent = direction.stream[row.offset : row.end].hex()
        wire = _core.frame_assemble(
            frame.tag, frame.segments, direction.revision, alignments=frame.alignments, cipher=cipher
        )
        assert wire.hex() == sent, row
        assert sealer.frame(frame.tag, frame.segments, alignments=frame.alignments).hex() == sent, row


@each_direction
def test_the_other_directions_nonce_opens_nothing(direction: Direction) -> None:
    [other] = direction.secret.nonces.keys() - {direction.direction}
    parser = _core.FrameParser(direction.revision)
    parser.set_cipher(direction.secret.cipher(other, direction.revision, seals=False))
    with pytest.raises(RemoteProtocolError, match=r"altered, replayed or sealed|crc of a frame's preamble"):
        parser.feed(direction.stream[direction.sealed_at :])


# ---- the operations of 2.1 ----


@pytest.mark.contract("E9")
@each_direction_of_2_1
def test_frames_are_made_of_the_recorded_operations(direction: Direction) -> None:
    """Each frame's plaintexts, nonces one step apart, and nothing on the wire but ciphertexts and tags."""
    recorded = direction.operations()
    plains = [
        plain.hex()
        for frame in direction.sealed_frames()
        for plain in reference_secure.operations(frame.tag, frame.segments, 1, alignments=frame.alignments)
    ]
    assert plains == [entry["plaintext"] for entry in recorded]
    assert "".join(entry["ciphertext_and_tag"] for entry in recorded) == direction.stream[direction.sealed_at :].hex()
    first = direction.secret.nonces[direction.direction]
    start = int.from_bytes(first[4:], "little")
    assert [entry["nonce"] for entry in recorded] == [
        (first[:4] + (start + step).to_bytes(8, "little")).hex() for step in range(len(recorded))
    ]


def test_the_standalone_operations_make_frames() -> None:
    """The file stands by itself: its ciphertexts, fed to the parser, give the frames its plaintexts hold."""
    vector = load(STANDALONE / "gcm_2.1.json")
    secret = Secret.parse(vector["connection_secret"])
    assert secret.key.hex() == vector["key"]
    for direction, nonce in secret.nonces.items():
        assert nonce.hex() == vector[f"{direction}_nonce"]
        recorded = [entry for entry in vector["operations"] if entry["direction"] == direction]
        assert len(recorded) >= 3
        parser = _core.FrameParser(1)
        parser.set_cipher(secret.cipher(direction, 1, seals=False))
        frames = parser.feed(bytes.fromhex("".join(entry["ciphertext_and_tag"] for entry in recorded)))
        plains = [plain.hex() for frame in frames for plain in reference_secure.operations(frame.tag, frame.segments, 1)]
        assert plains == [entry["plaintext"] for entry in recorded]
        assert Tag(frames[0].tag).name == "AUTH_SIGNATURE"
        cipher = secret.cipher(direction, 1, seals=True)
        wire = b"".join(_core.frame_assemble(frame.tag, frame.segments, cipher=cipher) for frame in frames)
        assert wire.hex() == "".join(entry["ciphertext_and_tag"] for entry in recorded)


def test_the_oracle_seals_as_recorded() -> None:
    """The pure Python GCM itself, against what real peers computed."""
    count = 0
    for path in [STANDALONE / "gcm_2.1.json", *sorted(STREAMS.glob("*/gcm_operations.json"))]:
        content = load(path)
        key = Secret.parse((load(path.parent / "keys.json") if isinstance(content, list) else content)["connection_secret"]).key
        for entry in content if isinstance(content, list) else content["operations"]:
            nonce, plain = bytes.fromhex(entry["nonce"]), bytes.fromhex(entry["plaintext"])
            assert reference_secure.gcm_seal(key, nonce, plain).hex() == entry["ciphertext_and_tag"]
            count += 1
    assert count >= 30


def test_the_oracles_cipher_is_aes() -> None:
    """The example of the standard."""
    key, block = bytes(range(16)), bytes(0x11 * number for number in range(16))
    assert reference_secure.aes_128(key, block).hex() == "69c4e0d86a7b0430d8cdb78070b4c55a"
