"""The notations: exact bytes, every truncation refused, no claimed length believed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import pytest

from ceph_msgr.errors import DecodeError
from ceph_msgr.wire.encoding import Decoder, Encoder, Utime, from_bytes, require_readable, to_bytes

INTEGERS = [
    ("u8", 1, 0, 2**8 - 1),
    ("u16", 2, 0, 2**16 - 1),
    ("u32", 4, 0, 2**32 - 1),
    ("u64", 8, 0, 2**64 - 1),
    ("s8", 1, -(2**7), 2**7 - 1),
    ("s16", 2, -(2**15), 2**15 - 1),
    ("s32", 4, -(2**31), 2**31 - 1),
    ("s64", 8, -(2**63), 2**63 - 1),
]

# (name of the method on both sides, value, bytes)
SIMPLE = [
    ("u16", 0x0102, "0201"),
    ("u32", 0x01020304, "04030201"),
    ("s64", -1, "ff" * 8),
    ("s32", -2, "feffffff"),
    ("bool_", True, "01"),
    ("bool_", False, "00"),
    ("blob", b"", "00000000"),
    ("blob", b"\x00\xff", "0200000000ff"),
    ("str_", "", "00000000"),
    ("str_", "osd", "03000000" + b"osd".hex()),
    ("str_", "ü", "02000000c3bc"),
    ("utime", Utime(1, 2), "0100000002000000"),
]


@pytest.mark.parametrize(("name", "size", "lowest", "highest"), INTEGERS)
def test_integers_reach_exactly_their_range(name: str, size: int, lowest: int, highest: int) -> None:
    for value in lowest, 0, 1, highest:
        encoder = Encoder()
        getattr(encoder, name)(value)
        assert len(encoder) == size
        decoder = Decoder(encoder.to_bytes())
        assert getattr(decoder, name)() == value
        decoder.expect_end()
    for value in lowest - 1, highest + 1:
        with pytest.raises(ValueError, match=f"^{value} does not fit {name}$"):
            getattr(Encoder(), name)(value)


@pytest.mark.parametrize(("name", "value", "hex_"), SIMPLE)
def test_simple_values(name: str, value: object, hex_: str) -> None:
    data = bytes.fromhex(hex_)
    encoder = Encoder()
    getattr(encoder, name)(value)
    assert encoder.to_bytes() == data

    decoder = Decoder(data + b"tail")
    assert getattr(decoder, name)() == value
    assert decoder.remaining == 4

    for length in range(len(data)):
        with pytest.raises(DecodeError):
            getattr(Decoder(data[:length]), name)()


def test_an_error_names_what_is_wanted_and_what_is_there() -> None:
    decoder = Decoder(b"\x01\x02\x03", "HELLO")
    decoder.u8()
    with pytest.raises(DecodeError, match=r"^HELLO: u32 at byte 1 needs 4 bytes, 2 left$"):
        decoder.u32()
    assert decoder.u16() == 0x0302, "a refused field takes nothing"


def test_any_buffer_will_do_and_results_are_copies() -> None:
    buffer = bytearray(b"\x02\x00\x00\x00ab")
    for source in bytes(buffer), buffer, memoryview(buffer), memoryview(buffer).toreadonly():
        assert Decoder(source).blob() == b"ab"
    value = Decoder(buffer).blob()
    buffer[:] = bytes(len(buffer))
    assert value == b"ab"


def test_strings_that_are_not_utf8_survive() -> None:
    data = b"\x02\x00\x00\x00\xff\xfe"
    encoder = Encoder()
    encoder.str_(Decoder(data).str_())
    assert encoder.to_bytes() == data


def test_raw_bytes_have_no_length() -> None:
    encoder = Encoder()
    encoder.raw(memoryview(b"abc"))
    assert encoder.to_bytes() == b"abc"
    assert Decoder(b"abc").raw(2) == b"ab"
    with pytest.raises(DecodeError, match="needs 4 bytes, 3 left"):
        Decoder(b"abc").raw(4)


def test_blob_length_counts_bytes_not_items() -> None:
    encoder = Encoder()
    encoder.blob(memoryview(b"abcdefgh").cast("I"))
    assert encoder.to_bytes() == b"\x08\x00\x00\x00abcdefgh"


def test_utime_converts_nanoseconds() -> None:
    assert Utime.from_ns(1_500_000_007) == Utime(1, 500_000_007)
    assert Utime(1, 500_000_007).ns == 1_500_000_007


def test_list() -> None:
    data = bytes.fromhex("02000000 01000000 61 00000000")
    encoder = Encoder()
    encoder.list_(["a", ""], Encoder.str_)
    assert encoder.to_bytes() == data
    assert Decoder(data).list_(Decoder.str_) == ["a", ""]
    for length in range(len(data)):
        with pytest.raises(DecodeError):
            Decoder(data[:length]).list_(Decoder.str_)


@pytest.mark.parametrize("kind", ["list", "map"])
def test_an_impossible_count_is_refused_before_the_first_item(kind: str) -> None:
    def unwanted(_: Decoder) -> None:
        pytest.fail("an item was decoded")

    decoder = Decoder(b"\xff\xff\xff\xff" + bytes(100), "X")
    with pytest.raises(DecodeError, match=f"^X: {kind} of 4294967295 items at byte 0 needs at least .* 100 left$"):
        decoder.list_(unwanted) if kind == "list" else decoder.map_(unwanted, unwanted)


def test_list_counts_are_bounded_by_the_shortest_item() -> None:
    data = b"\x03\x00\x00\x00" + bytes(11)
    with pytest.raises(DecodeError, match="list of 3 items at byte 0 needs at least 12 bytes, 11 left"):
        Decoder(data).list_(Decoder.u32, min_item_bytes=4)


def test_map_is_written_in_ascending_order_and_read_in_any() -> None:
    encoder = Encoder()
    encoder.map_({"b": 2, "a": 1}, Encoder.str_, Encoder.u8)
    assert encoder.to_bytes() == bytes.fromhex("02000000 01000000 61 01 01000000 62 02")
    data = bytes.fromhex("02000000 01000000 62 02 01000000 61 01")
    assert Decoder(data).map_(Decoder.str_, Decoder.u8) == {"a": 1, "b": 2}
    for length in range(len(data)):
        with pytest.raises(DecodeError):
            Decoder(data[:length]).map_(Decoder.str_, Decoder.u8)


@dataclass(frozen=True)
class Point:
    """A versioned value as we know it: version 2, readable by readers of version 1."""

    x: int
    y: int = 0

    def encode(self, encoder: Encoder) -> None:
        with encoder.versioned(2, 1):
            encoder.u16(self.x)
            encoder.u16(self.y)

    @classmethod
    def decode(cls, decoder: Decoder) -> Self:
        version, body = decoder.versioned("Point", 2)
        return cls(body.u16(), body.u16() if version >= 2 else 0)


def test_versioned_body() -> None:
    data = bytes.fromhex("02 01 04000000 0100 0200")
    assert to_bytes(Point(1, 2)) == data
    assert from_bytes(Point, data) == Point(1, 2)
    for length in range(len(data)):
        with pytest.raises(DecodeError):
            from_bytes(Point, data[:length])


def test_versioned_bodies_nest() -> None:
    encoder = Encoder()
    with encoder.versioned(1, 1):
        encoder.value(Point(1, 2))
        encoder.u8(9)
    assert encoder.to_bytes() == bytes.fromhex("01 01 0b000000  02 01 04000000 0100 0200  09")


def test_versioned_older_and_newer_bodies() -> None:
    assert from_bytes(Point, bytes.fromhex("01 01 02000000 0100")) == Point(1)
    newer = bytes.fromhex("03 02 06000000 0100 0200 beef")
    decoder = Decoder(newer + b"next")
    assert Point.decode(decoder) == Point(1, 2)
    assert decoder.raw(4) == b"next", "the unknown tail is skipped"


def test_versioned_too_new_is_refused() -> None:
    with pytest.raises(DecodeError, match=r"^Point: needs a reader of version 3, this one reads up to 2$"):
        from_bytes(Point, bytes.fromhex("03 03 04000000 0100 0200"))


def test_versioned_body_cannot_be_overrun() -> None:
    with pytest.raises(DecodeError, match=r"^Point: u16 at byte 2 needs 2 bytes, 1 left$"):
        from_bytes(Point, bytes.fromhex("02 01 03000000 0100 02") + bytes(10))


def test_require_readable() -> None:
    require_readable("MPing", 0, 1)
    require_readable("MPing", 1, 1)
    with pytest.raises(DecodeError, match="MPing: needs a reader of version 2, this one reads up to 1"):
        require_readable("MPing", 2, 1)


def test_trailing_bytes_are_refused_where_the_end_is_expected() -> None:
    with pytest.raises(DecodeError, match=r"^Point: ends at byte 10, 3 bytes follow$"):
        from_bytes(Point, to_bytes(Point(1)) + b"abc")
