"""Compressed frames (contract E11), against encoders and decoders that share no code with the core."""

from __future__ import annotations

import random
import struct
from collections.abc import Sequence

import pytest

from ceph_msgr import _core
from ceph_msgr.errors import RemoteProtocolError
from tests.wire import reference_compression as reference

MESSAGE = 17
NAMES = {1: "snappy", 2: "zlib", 3: "zstd", 4: "lz4"}
DAMAGED = "a compressed segment is damaged"

algorithms = pytest.mark.parametrize("algorithm", [1, 2, 3, 4], ids=NAMES.get)
each_revision = pytest.mark.parametrize("revision", [0, 1], ids=["2.0", "2.1"])
both_modes = pytest.mark.parametrize("secure", [False, True], ids=["crc", "secure"])

pytestmark = pytest.mark.contract("E11")


@pytest.fixture(autouse=True)
def compiled_in(request: pytest.FixtureRequest) -> None:
    params = getattr(request.node, "callspec", None)
    algorithm = params.params.get("algorithm") if params else None
    if algorithm and algorithm not in _core.compression_algorithms():
        pytest.skip(f"{NAMES[algorithm]} was not there when the core was built")


def contents(rng: random.Random) -> list[bytes]:
    """Compressible, incompressible, a run, and the lengths at which formats change."""
    repeats = bytes(range(32)) * 100
    return [b"", b"x", b"\0" * 100_000, repeats, rng.randbytes(5000), repeats + rng.randbytes(3001), rng.randbytes(1000) * 3]


def cipher(revision: int, *, seals: bool) -> _core.Cipher:
    return _core.Cipher(b"k" * 16, b"n" * 12, seals=seals, revision=revision)


def parser(algorithm: int, revision: int, *, secure: bool, limits: _core.Limits | None = None) -> _core.FrameParser:
    made = _core.FrameParser(revision, limits=limits)
    if secure:
        made.set_cipher(cipher(revision, seals=False))
    made.set_compression(algorithm)
    return made


def assemble(segments: Sequence[bytes], revision: int, *, secure: bool, tag: int = MESSAGE, aborted: bool = False) -> bytes:
    """A compressed frame of segments that are so already."""
    sealing = cipher(revision, seals=True) if secure else None
    return _core.frame_assemble(tag, segments, revision, compressed=True, aborted=aborted, cipher=sealing)


def pack(algorithm: int, segments: Sequence[bytes]) -> list[bytes]:
    return [_core.compress(algorithm, segment) if segment else b"" for segment in segments]


# ---- segments ----


def test_the_names_are_those_of_the_wire() -> None:
    assert _core.compression_algorithms().items() <= NAMES.items()


@algorithms
def test_a_segment_comes_back(algorithm: int, rng: random.Random) -> None:
    for data in contents(rng):
        wire = _core.compress(algorithm, data)
        assert _core.decompress(algorithm, wire, len(data)) == data
        if len(data) >= 3000 and len(set(data)) <= 32:
            assert len(wire) < len(data) // 4


@algorithms
def test_a_segment_of_another_encoder_is_read(algorithm: int, rng: random.Random) -> None:
    for data in contents(rng):
        assert _core.decompress(algorithm, reference.ENCODERS[algorithm](data), len(data)) == data


@algorithms
def test_another_decoder_reads_our_segments(algorithm: int, rng: random.Random) -> None:
    if algorithm in reference.DECODERS:
        decode = reference.DECODERS[algorithm]
    else:
        zstandard = pytest.importorskip("zstandard", reason="zstandard, the only other decoder of zstd, is not installed")

        def decode(wire: bytes) -> bytes:
            data = zstandard.ZstdDecompressor().decompressobj().decompress(wire[4:])
            assert struct.unpack_from("<I", wire)[0] == len(data)
            return bytes(data)

    for data in contents(rng):
        assert decode(_core.compress(algorithm, data)) == data


def test_lz4_blocks_continue_one_dictionary() -> None:
    if reference.LZ4 not in _core.compression_algorithms():
        pytest.skip("lz4 was not there when the core was built")
    first, tail = bytes(range(200)), b"and an end!!"
    wire = reference.lz4_segment([(200, reference.lz4_block(first)), (162, reference.lz4_block(b"", (200, 150), tail))])
    assert _core.decompress(reference.LZ4, wire, 362) == first + first[:150] + tail


@algorithms
def test_every_truncation_of_a_segment_is_refused(algorithm: int) -> None:
    wire = _core.compress(algorithm, bytes(range(64)) * 3)
    for length in range(len(wire)):
        with pytest.raises(RemoteProtocolError, match=DAMAGED):
            _core.decompress(algorithm, wire[:length], 1 << 20)


@algorithms
def test_bytes_behind_a_segment_are_refused(algorithm: int) -> None:
    with pytest.raises(RemoteProtocolError, match=DAMAGED):
        _core.decompress(algorithm, _core.compress(algorithm, b"whole" * 20) + b"more!", 1 << 20)


@algorithms
def test_garbage_is_refused_or_stays_within_its_limit(algorithm: int, rng: random.Random) -> None:
    whole = _core.compress(algorithm, bytes(range(250)) * 8)
    for _ in range(2000):
        wire = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            wire[rng.randrange(len(wire))] = rng.randrange(256)
        try:
            assert len(_core.decompress(algorithm, bytes(wire), 5000)) <= 5000
        except RemoteProtocolError as error:
            assert DAMAGED in str(error) or "the limit is 5000" in str(error)


@pytest.mark.parametrize("number", [0, 5, 6, -1, 99])
def test_an_algorithm_that_is_not_there_is_named(number: int) -> None:
    with pytest.raises(ValueError, match=f"compression algorithm {number} is not compiled in"):
        _core.compress(number, b"x")
    with pytest.raises(ValueError, match=f"compression algorithm {number} is not compiled in"):
        _core.decompress(number, b"x", 1)
    if number:
        with pytest.raises(OSError, match="set_compression"):
            _core.FrameParser().set_compression(number)


# ---- frames ----


@algorithms
@each_revision
@both_modes
@pytest.mark.parametrize("chunk", [0, 1, 977])
def test_a_frame_comes_back(algorithm: int, revision: int, secure: bool, chunk: int, rng: random.Random) -> None:
    data = (b"data " * 400 + rng.randbytes(200)) if chunk == 1 else b"data " * 50_000 + rng.randbytes(20_000)
    segments = [b"h" * 41, b"front " * 30, b"", data]
    wire = assemble(pack(algorithm, segments), revision, secure=secure)
    receiver = parser(algorithm, revision, secure=secure)
    step = chunk or len(wire)
    frames = [frame for at in range(0, len(wire), step) for frame in receiver.feed(wire[at : at + step])]
    assert [frame.segments for frame in frames] == [tuple(segments)]


@algorithms
@each_revision
@both_modes
def test_compressed_and_plain_frames_take_turns(algorithm: int, revision: int, secure: bool) -> None:
    segments = [b"h" * 41, b"", b"m" * 300, b"d" * 5000]
    sealing = cipher(revision, seals=True) if secure else None
    receiver = parser(algorithm, revision, secure=secure)
    for compressed in (True, False, True, True, False):
        parts = pack(algorithm, segments) if compressed else segments
        wire = _core.frame_assemble(MESSAGE, parts, revision, compressed=compressed, cipher=sealing)
        [frame] = receiver.feed(wire)
        assert frame.segments == tuple(segments)


@algorithms
@each_revision
@both_modes
def test_truncated_frames_ask_for_more(algorithm: int, revision: int, secure: bool) -> None:
    wire = assemble(pack(algorithm, [b"h" * 41, b"front" * 20]), revision, secure=secure)
    for length in range(len(wire)):
        assert parser(algorithm, revision, secure=secure).feed(wire[:length]) == []


@algorithms
@each_revision
@both_modes
def test_a_bomb_is_refused(algorithm: int, revision: int, secure: bool) -> None:
    """Also where the compressed frame is within all limits."""
    wire = assemble(pack(algorithm, [b"h" * 41, b"", b"", bytes(1_000_001)]), revision, secure=secure)
    limits = _core.Limits(data=1_000_000)
    assert len(wire) < 100_000
    with pytest.raises(RemoteProtocolError, match=r"longer than its limit: got 100\d{4}, expected 1000000"):
        parser(algorithm, revision, secure=secure, limits=limits).feed(wire)
    wire = assemble(pack(algorithm, [b"h" * 41, b"", b"", bytes(1_000_000)]), revision, secure=secure)
    [frame] = parser(algorithm, revision, secure=secure, limits=limits).feed(wire)
    assert len(frame.segments[3]) == 1_000_000


@algorithms
def test_a_control_frame_has_its_own_limit(algorithm: int) -> None:
    wire = assemble(pack(algorithm, [bytes(1001)]), 1, secure=False, tag=1)
    with pytest.raises(RemoteProtocolError, match="got 1001, expected 1000"):
        parser(algorithm, 1, secure=False, limits=_core.Limits(control=1000)).feed(wire)


@algorithms
def test_incompressible_bytes_at_their_limit_are_accepted(algorithm: int, rng: random.Random) -> None:
    """What compression adds to them does not count."""
    data = rng.randbytes(100_000)
    wire = assemble(pack(algorithm, [b"h" * 41, b"", b"", data]), 1, secure=False)
    [frame] = parser(algorithm, 1, secure=False, limits=_core.Limits(data=100_000)).feed(wire)
    assert frame.segments[3] == data


@pytest.mark.parametrize(
    ("algorithm", "wire"),
    [
        (1, b"\xff\xff\xff\xff\x0f"),
        (3, struct.pack("<I", 0xFFFFFFFF)),
        (4, struct.pack("<III", 1, 0x7E000000, 1) + b"x"),
        (4, struct.pack("<I", 0xFFFFFFFF)),
        (4, struct.pack("<IIIII", 2, 1, 0xFFFFFFFF, 1, 2) + b"x"),
    ],
)
def test_a_claim_is_not_worth_memory(algorithm: int, wire: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match=r"damaged|limit"):
        _core.decompress(algorithm, wire, 1 << 28)


@algorithms
@each_revision
@both_modes
def test_a_damaged_segment_ends_the_stream_for_good(algorithm: int, revision: int, secure: bool) -> None:
    good = pack(algorithm, [b"h" * 41, b"front" * 20])
    receiver = parser(algorithm, revision, secure=secure)
    for wire in (assemble([good[0], good[1][:-1]], revision, secure=secure), b""):
        with pytest.raises(RemoteProtocolError, match=DAMAGED):
            receiver.feed(wire)


@algorithms
@each_revision
@both_modes
def test_an_aborted_frame_is_dropped_unread(algorithm: int, revision: int, secure: bool) -> None:
    """Its sender fills it with zeros, which are nobody's compressed bytes."""
    sealing = cipher(revision, seals=True) if secure else None
    wire = _core.frame_assemble(MESSAGE, [bytes(30), bytes(500)], revision, compressed=True, aborted=True, cipher=sealing)
    wire += _core.frame_assemble(
        MESSAGE, pack(algorithm, [b"h" * 41, b"after"]), revision, compressed=True, cipher=sealing
    )
    [dropped, kept] = parser(algorithm, revision, secure=secure).feed(wire)
    assert (dropped.aborted, dropped.segments) == (True, ())
    assert kept.segments == (b"h" * 41, b"after")


@each_revision
@both_modes
def test_without_agreement_the_flag_is_refused_on_the_preamble(revision: int, secure: bool) -> None:
    receiver = _core.FrameParser(revision)
    if secure:
        receiver.set_cipher(cipher(revision, seals=False))
    wire = assemble([b"anything"], revision, secure=secure)
    with pytest.raises(RemoteProtocolError, match="no compression was agreed on: got 1, expected 0"):
        receiver.feed(wire[: 96 if secure and revision else 32])
