"""Frames in secure mode (contract E), both revisions, against an oracle that shares no code with the core."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pytest

from ceph_msgr import _core
from ceph_msgr.errors import RemoteProtocolError
from tests.session import reference_codec
from tests.wire import reference_secure

E1_LENGTHS = list(itertools.product((0, 1, 48, 49), (0, 101), (0, 202), (0, 303)))
MESSAGE, ACK = 17, 20
REFUSED = "altered, replayed or sealed with another key"

each_revision = pytest.mark.parametrize("revision", [0, 1], ids=["2.0", "2.1"])


@dataclass(frozen=True)
class Keys:
    """One direction of a connection."""

    key: bytes
    nonce: bytes
    revision: int

    def seal(self) -> _core.Cipher:
        return _core.Cipher(self.key, self.nonce, seals=True, revision=self.revision)

    def oracle(self) -> reference_secure.Sealer:
        return reference_secure.Sealer(self.key, self.nonce, self.revision)

    def parser(self, limits: _core.Limits | None = None) -> _core.FrameParser:
        parser = _core.FrameParser(self.revision, limits=limits)
        parser.set_cipher(_core.Cipher(self.key, self.nonce, seals=False, revision=self.revision))
        return parser

    def frames(self, *frames: Sequence[bytes], aborted: Sequence[int] = ()) -> list[bytes]:
        """Messages of these segments, sealed one after the other; those with these numbers aborted."""
        cipher = self.seal()
        return [
            _core.frame_assemble(MESSAGE, segments, self.revision, cipher=cipher, aborted=number in aborted)
            for number, segments in enumerate(frames)
        ]


@pytest.fixture
def new_keys(rng: random.Random) -> Callable[[int], Keys]:
    return lambda revision: Keys(rng.randbytes(16), rng.randbytes(12), revision)


def shapes(rng: random.Random) -> list[list[bytes]]:
    """One for each way a frame can be cut into operations."""
    lengths = [(0,), (10,), (49,), (41, 5), (60, 20, 0, 33), (0, 0, 0, 1)]
    return [[rng.randbytes(length) for length in frame] for frame in lengths]


def padded(length: int) -> int:
    return -(-length // 16) * 16


def expected_wire_len(revision: int, lengths: Sequence[int]) -> int:
    """The row of the table."""
    header, *others = lengths
    several = any(others)
    last = max([index for index, length in enumerate(others) if length], default=-1)
    others_len = sum(map(padded, others[: last + 1]))
    if revision == 0:
        return 32 + padded(header) + others_len + 32
    return 96 + (padded(header - 48) + 16 if header > 48 else 0) + others_len + (32 if several else 0)


def expect_refusal(parser: _core.FrameParser, wire: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        parser.feed(wire)
    with pytest.raises(RemoteProtocolError):
        parser.feed(b"")


# ---- E1, E2: round trips ----


@pytest.mark.contract("E1", "E2", "E10")
@pytest.mark.parametrize("lengths", E1_LENGTHS, ids=str)
@each_revision
def test_three_frames_in_a_row(
    revision: int, lengths: tuple[int, ...], new_keys: Callable[[int], Keys], rng: random.Random
) -> None:
    keys = new_keys(revision)
    cipher, oracle, parser = keys.seal(), keys.oracle(), keys.parser()
    segments = [rng.randbytes(length) for length in lengths]
    count = max([index + 1 for index, length in enumerate(lengths) if length], default=1)
    seen = set()
    for _ in range(3):
        wire = _core.frame_assemble(123, segments, revision, cipher=cipher)
        assert len(wire) == expected_wire_len(revision, lengths)
        assert wire.hex() == oracle.frame(123, segments).hex()
        [frame] = parser.feed(wire)
        assert (frame.tag, frame.segments, frame.aborted) == (123, tuple(segments[:count]), False)
        seen.add(wire)
    assert len(seen) == 3, "the nonce did not step"
    assert parser.feed(b"") == []


@pytest.mark.contract("E1")
def test_the_lengths_the_contract_spells_out() -> None:
    def sealed_len(revision: int, *lengths: int) -> int:
        cipher = _core.Cipher(bytes(16), bytes(12), seals=True, revision=revision)
        return len(_core.frame_assemble(123, [bytes(length) for length in lengths], revision, cipher=cipher))

    assert sealed_len(1, 49, 0, 0, 0) == 96 + 32
    assert sealed_len(1, 48) == 96
    assert sealed_len(0, 48, 101, 202, 303) == 32 + 48 + 112 + 208 + 304 + 32


@pytest.mark.contract("E1")
@each_revision
def test_a_large_frame(revision: int, new_keys: Callable[[int], Keys], rng: random.Random) -> None:
    """Larger than the memory a body begins with, in pieces that fit no block."""
    keys = new_keys(revision)
    segments = [rng.randbytes(41), rng.randbytes(70_001), b"", rng.randbytes(3_000_017)]
    [wire] = keys.frames(segments)
    parser = keys.parser()
    frames = [frame for at in range(0, len(wire), 99_991) for frame in parser.feed(wire[at : at + 99_991])]
    assert [frame.segments for frame in frames] == [tuple(segments)]


# ---- E4: damage ----


def flipped_bits(wire: bytes) -> Iterator[bytes]:
    for bit in range(8 * len(wire)):
        bad = bytearray(wire)
        bad[bit // 8] ^= 1 << bit % 8
        yield bytes(bad)


@pytest.mark.contract("E4")
@each_revision
def test_every_flipped_bit_is_refused(revision: int, new_keys: Callable[[int], Keys], rng: random.Random) -> None:
    """In 2.0 a flipped length may ask for more first; what follows then cannot make a frame of it."""
    limits = _core.Limits(control=4096, header=4096, front=4096, middle=4096, data=4096)
    for segments in shapes(rng):
        keys = new_keys(revision)
        wire, following = keys.frames(segments, [bytes(4096)] * 4)
        for bad in flipped_bits(wire):
            if revision:
                expect_refusal(keys.parser(limits), bad)
            else:
                expect_refusal(keys.parser(limits), bad + following + bytes(4096))


@pytest.mark.contract("E4")
def test_a_preamble_of_2_0_forged_without_the_key_makes_no_frame(new_keys: Callable[[int], Keys]) -> None:
    """It is only encrypted when it is read: who knows the plaintext can exchange it for any other, crc and all."""
    keys = new_keys(0)
    segments = [bytes(41), b"front of some length"]
    [wire] = keys.frames(segments)
    known = reference_codec.assemble(MESSAGE, segments, 0)[:32]
    forgeries = {
        "tag": reference_codec.assemble(ACK, segments, 0),
        "alignment": reference_codec.assemble(MESSAGE, segments, 0, alignments=[8, 4096]),
        "shorter": reference_codec.assemble(MESSAGE, [bytes(41), b"x"], 0),
        "one segment": reference_codec.assemble(MESSAGE, [bytes(41)], 0),
        "shifted": reference_codec.assemble(MESSAGE, [bytes(40), b"front of some length"], 0),
        "more segments": reference_codec.assemble(MESSAGE, [bytes(41), b"front", b"x"], 0),
        "longer": reference_codec.assemble(MESSAGE, [bytes(41), bytes(1000)], 0),
    }
    for name, forged in forgeries.items():
        bad = bytes(a ^ b ^ c for a, b, c in zip(wire, known, forged, strict=False)) + wire[32:]
        with pytest.raises(RemoteProtocolError, match=REFUSED):
            pytest.fail(f"{name}: {keys.parser().feed(bad + bytes(2000))}")


@pytest.mark.contract("E4")
@each_revision
def test_frames_before_a_damaged_one_come_out_and_nothing_after(revision: int, new_keys: Callable[[int], Keys]) -> None:
    keys = new_keys(revision)
    first, second, third = keys.frames([bytes(41), b"1"], [bytes(41), b"2"], [bytes(41), b"3"])
    parser = keys.parser()
    [frame] = parser.feed(first + second[:-1] + bytes([second[-1] ^ 1]) + third)
    assert frame.segments[1] == b"1"
    for _ in range(2):
        with pytest.raises(RemoteProtocolError, match=REFUSED):
            parser.feed(third)


@pytest.mark.contract("E4")
@each_revision
def test_another_key_opens_nothing(revision: int, new_keys: Callable[[int], Keys]) -> None:
    keys, others = new_keys(revision), new_keys(revision)
    [wire] = keys.frames([bytes(41), b"front"])
    expect_refusal(Keys(others.key, keys.nonce, revision).parser(), wire)
    expect_refusal(Keys(keys.key, others.nonce, revision).parser(), wire)


# ---- E5, E6: pieces ----


@pytest.mark.contract("E5", "E6")
@each_revision
def test_every_cut_asks_for_more_and_goes_on(revision: int, new_keys: Callable[[int], Keys], rng: random.Random) -> None:
    for segments in shapes(rng):
        keys = new_keys(revision)
        [wire] = keys.frames(segments)
        [whole] = keys.parser().feed(wire)
        for cut in range(len(wire)):
            parser = keys.parser()
            assert parser.feed(wire[:cut]) == []
            [frame] = parser.feed(wire[cut:])
            assert (frame.tag, frame.segments, frame.alignments) == (whole.tag, whole.segments, whole.alignments)


@pytest.mark.contract("E6")
@each_revision
def test_one_byte_at_a_time(revision: int, new_keys: Callable[[int], Keys], rng: random.Random) -> None:
    keys, frames = new_keys(revision), shapes(rng)
    wires = keys.frames(*frames)
    parser, ends, got = keys.parser(), [], []
    for end, byte in enumerate(b"".join(wires), 1):
        for frame in parser.feed(bytes([byte])):
            ends.append(end)
            got.append(list(frame.segments))
    assert got == frames
    assert ends == list(itertools.accumulate(map(len, wires)))


@pytest.mark.contract("E6")
@each_revision
def test_the_switch_to_secure_mode_keeps_what_was_there(revision: int, new_keys: Callable[[int], Keys]) -> None:
    """Bytes of the first sealed frame may have come before the keys: fewer than a plain preamble."""
    keys = new_keys(revision)
    [sealed] = keys.frames([bytes(41), b"front"])
    plain = _core.frame_assemble(ACK, [bytes(8)], revision)
    for early in (0, 1, 31):
        parser = _core.FrameParser(revision)
        assert [frame.tag for frame in parser.feed(plain + sealed[:early])] == [ACK]
        parser.set_cipher(_core.Cipher(keys.key, keys.nonce, seals=False, revision=revision))
        assert [frame.tag for frame in parser.feed(sealed[early:])] == [MESSAGE]


# ---- E7: a peer with the right key and a wrong preamble ----


def sign(preamble: bytearray) -> bytes:
    preamble[28:] = reference_codec.crc32c(0, bytes(preamble[:28])).to_bytes(4, "little")
    return bytes(preamble)


def descriptor(segment: int, length: int, alignment: int = 8) -> tuple[int, bytes]:
    return 2 + 6 * segment, length.to_bytes(4, "little") + alignment.to_bytes(2, "little")


def seal_head(keys: Keys, preamble: bytes) -> bytes:
    """As much of a frame as a parser must have to judge its preamble."""
    if keys.revision == 0:
        return keys.oracle().operation(preamble)[:32]
    return keys.oracle().operation(preamble + bytes(48))


@pytest.mark.contract("E7")
@pytest.mark.parametrize(
    ("patches", "text"),
    [
        ([(1, b"\x00")], "got 0"),
        ([(1, b"\x05")], "got 5"),
        ([(1, b"\xff")], "got 255"),
        ([(1, b"\x02"), descriptor(1, 0)], "last"),
        ([(1, b"\x04"), descriptor(1, 5), descriptor(2, 5), descriptor(3, 0)], "last"),
        ([descriptor(0, 4097)], "got 4097, expected 4096"),
        ([(1, b"\x02"), descriptor(1, (64 << 20) + 1)], "expected 67108864"),
        ([(1, b"\x03"), descriptor(2, (64 << 20) + 1)], "expected 67108864"),
        ([(1, b"\x04"), descriptor(3, (256 << 20) + 1)], "expected 268435456"),
        ([(1, b"\x04"), *(descriptor(segment, 2**32 - 1) for segment in range(4))], "expected 4096"),
        ([(0, bytes([ACK])), descriptor(0, (1 << 20) + 1)], "expected 1048576"),
        ([(26, b"\x01")], "compressed"),
    ],
)
@each_revision
def test_a_hostile_preamble_is_refused_at_once(
    revision: int, patches: list[tuple[int, bytes]], text: str, new_keys: Callable[[int], Keys]
) -> None:
    keys = new_keys(revision)
    preamble = bytearray(reference_codec.assemble(MESSAGE, [bytes(41)])[:32])
    for at, patch in patches:
        preamble[at : at + len(patch)] = patch
    head = seal_head(keys, sign(preamble))
    parser = keys.parser()
    assert parser.feed(head[:-1]) == []
    with pytest.raises(RemoteProtocolError, match=text):
        parser.feed(head[-1:])


@pytest.mark.contract("E7")
@each_revision
def test_a_wrong_crc_is_refused_under_a_right_tag(revision: int, new_keys: Callable[[int], Keys]) -> None:
    keys = new_keys(revision)
    preamble = bytearray(reference_codec.assemble(MESSAGE, [bytes(41)])[:32])
    preamble[30] ^= 1
    with pytest.raises(RemoteProtocolError, match="crc of a frame's preamble"):
        keys.parser().feed(seal_head(keys, bytes(preamble)))


@pytest.mark.contract("E7")
@each_revision
def test_any_alignment_and_reserved_byte_is_accepted(revision: int, new_keys: Callable[[int], Keys]) -> None:
    keys = new_keys(revision)
    [plain] = reference_secure.operations(ACK, [b"12345678"], revision)
    preamble = bytearray(plain[:32])
    preamble[6:8], preamble[26], preamble[27] = b"\xff\xff", 0xFE, 0xFF
    [frame] = keys.parser().feed(keys.oracle().operation(sign(preamble) + plain[32:]))
    assert (frame.tag, frame.segments, frame.alignments) == (ACK, (b"12345678",), (0xFFFF,))


# ---- E8: aborted frames ----


@pytest.mark.contract("E8")
@each_revision
def test_an_aborted_frame_is_told_and_the_stream_goes_on(revision: int, new_keys: Callable[[int], Keys]) -> None:
    keys, segments = new_keys(revision), [bytes(60), b"front", b"", b"data"]
    wires = keys.frames(segments, segments, segments, aborted=[1])
    oracle = keys.oracle()
    assert wires == [oracle.frame(MESSAGE, segments, aborted=number == 1) for number in range(3)]
    frames = keys.parser().feed(b"".join(wires))
    assert [(frame.aborted, len(frame.segments)) for frame in frames] == [(False, 4), (True, 0), (False, 4)]


@pytest.mark.contract("E8")
def test_a_single_segment_can_be_aborted_in_2_0_only(new_keys: Callable[[int], Keys]) -> None:
    keys = new_keys(0)
    [frame] = keys.parser().feed(keys.frames([b"x"], aborted=[0])[0])
    assert frame.aborted
    with pytest.raises(OSError):
        new_keys(1).frames([b"x"], aborted=[0])


@pytest.mark.contract("E8")
@pytest.mark.parametrize("status", [0x00, 0x02, 0x0F, 0xE0, 0x10])
def test_another_status_is_refused_under_a_right_tag(status: int, new_keys: Callable[[int], Keys]) -> None:
    keys = new_keys(1)
    oracle = keys.oracle()
    head, rest = reference_secure.operations(MESSAGE, [bytes(41), b"front"], 1)
    wire = oracle.operation(head) + oracle.operation(rest[:-16] + bytes([status]) + bytes(15))
    with pytest.raises(RemoteProtocolError, match="status"):
        keys.parser().feed(wire)


# ---- E9: nonces ----


@pytest.mark.contract("E9")
@each_revision
def test_the_counter_wraps_and_no_two_operations_share_a_nonce(revision: int, rng: random.Random) -> None:
    """The oracle's nonces are the core's, as the bytes agree; so what holds of those holds of these."""
    keys = Keys(rng.randbytes(16), b"fix!" + b"\xfe" + b"\xff" * 7 if revision else b"\xfe\xff\xff\xfffixed by", revision)
    oracle, parser = keys.oracle(), keys.parser()
    nonces = []

    def note(plain: bytes) -> bytes:
        nonces.append(oracle.nonce)
        return reference_secure.Sealer.operation(oracle, plain)

    frames = shapes(rng) * 2
    for segments, wire in zip(frames, keys.frames(*frames), strict=True):
        plains = reference_secure.operations(MESSAGE, segments, revision)
        assert wire.hex() == b"".join(map(note, plains)).hex()
        assert [frame.segments for frame in parser.feed(wire)] == [tuple(segments)]
    assert len(nonces) == len(set(nonces)) >= 12
    counter = slice(4, 12) if revision else slice(0, 4)
    assert not any(nonces[2][counter]), "it did not wrap"
    assert len({nonce[:4] if revision else nonce[4:] for nonce in nonces}) == 1, "it wrapped into the fixed part"


@pytest.mark.contract("E9")
@each_revision
def test_frames_replayed_swapped_or_left_out_are_refused(revision: int, new_keys: Callable[[int], Keys]) -> None:
    keys = new_keys(revision)
    a, b, c = keys.frames([bytes(41), b"a"], [bytes(41), b"b"], [bytes(41), b"c"])
    for order, good in (([a, a], 1), ([b, a], 0), ([a, c], 1), ([a, b, a], 2), ([a, b, b, c], 2), ([c], 0)):
        parser = keys.parser()
        for wire in order[:good]:
            assert len(parser.feed(wire)) == 1
        expect_refusal(parser, order[good])


@pytest.mark.contract("E9")
def test_operations_of_two_frames_cannot_be_mixed(new_keys: Callable[[int], Keys]) -> None:
    """In 2.1 each operation has a tag of its own; the order of all of them is what the nonces hold together."""
    keys = new_keys(1)
    a, b = keys.frames([bytes(41), b"a"], [bytes(41), b"b"])
    parser = keys.parser()
    with pytest.raises(RemoteProtocolError, match=REFUSED):
        parser.feed(a[:96] + b[96:])
    with pytest.raises(RemoteProtocolError, match=REFUSED):
        keys.parser().feed(b[:96] + a[96:])


# ---- arguments ----


@pytest.mark.parametrize(("key_len", "nonce_len"), [(0, 12), (15, 12), (32, 12), (16, 0), (16, 11), (16, 16)])
def test_a_cipher_says_what_it_wants(key_len: int, nonce_len: int) -> None:
    with pytest.raises(ValueError, match=f"key of {key_len} and a nonce of {nonce_len} bytes: expected 16 and 12"):
        _core.Cipher(bytes(key_len), bytes(nonce_len), seals=True)


def test_only_a_sealing_cipher_of_the_same_revision_seals() -> None:
    for seals, revision in ((False, 1), (True, 0)):
        cipher = _core.Cipher(bytes(16), bytes(12), seals=seals, revision=revision)
        with pytest.raises(ValueError, match="does not seal, or is not of revision 1"):
            _core.frame_assemble(ACK, [bytes(8)], cipher=cipher)


def test_a_refused_argument_costs_no_nonce() -> None:
    cipher, fresh = (_core.Cipher(bytes(16), bytes(12), seals=True) for _ in range(2))
    with pytest.raises(OSError):
        _core.frame_assemble(ACK, [bytes(8)], aborted=True, cipher=cipher)
    assert _core.frame_assemble(ACK, [bytes(8)], cipher=cipher) == _core.frame_assemble(ACK, [bytes(8)], cipher=fresh)
