"""Addresses as text, as bytes, as socket addresses, and in order."""

from __future__ import annotations

import random

import pytest

from ceph_msgr.errors import DecodeError
from ceph_msgr.wire.addr import FAMILY_IPV4, FAMILY_IPV6, FAMILY_NONE, AddrType, EntityAddr, EntityAddrVec
from ceph_msgr.wire.encoding import Decoder, Encoder, from_bytes, to_bytes

V2 = AddrType.MSGR2

# (text, value); the text is canonical
CANONICAL = [
    ("-", EntityAddr()),
    ("v2:127.0.0.1:6800/0", EntityAddr(V2, "127.0.0.1", 6800)),
    ("v1:10.0.0.1:6789/7", EntityAddr(AddrType.LEGACY, "10.0.0.1", 6789, 7)),
    ("any:127.0.0.1:0/825924260", EntityAddr(AddrType.ANY, "127.0.0.1", 0, 825924260)),
    ("none:1.2.3.4:5/6", EntityAddr(AddrType.NONE, "1.2.3.4", 5, 6)),
    ("v2:[::1]:6800/3", EntityAddr(V2, "::1", 6800, 3)),
    ("v2:[fe80::1%4]:6800/3", EntityAddr(V2, "fe80::1", 6800, 3, scope_id=4)),
    ("v2:-/9", EntityAddr(V2, nonce=9)),
    ("none:-/9", EntityAddr(nonce=9)),
    ("v2:255.255.255.255:65535/4294967295", EntityAddr(V2, "255.255.255.255", 65535, 4294967295)),
]

# (text, its canonical spelling)
ABBREVIATED = [
    ("127.0.0.1:6800", "v2:127.0.0.1:6800/0"),
    ("127.0.0.1", "v2:127.0.0.1:0/0"),
    ("127.0.0.1/5", "v2:127.0.0.1:0/5"),
    ("v1:127.0.0.1:1", "v1:127.0.0.1:1/0"),
    ("[::1]", "v2:[::1]:0/0"),
    ("[::1]:6800", "v2:[::1]:6800/0"),
    ("any:[FD00:0:0::01]:6800/1", "any:[fd00::1]:6800/1"),
]

BAD_TEXTS = [
    "",
    " 127.0.0.1:6800",
    "127.0.0.1:6800 ",
    "v3:127.0.0.1:6800/0",
    "V2:127.0.0.1:6800/0",
    "v2:",
    "v2:127.0.0.1:/0",
    "v2:127.0.0.1:6800/",
    "v2:127.0.0.1:6800/0/0",
    "v2:127.0.0.1:-1/0",
    "v2:127.0.0.1:65536/0",
    "v2:127.0.0.1:6800/4294967296",
    "v2:127.0.0.1:٦٨٠٠/0",
    "v2:127.0.0:6800/0",
    "v2:256.0.0.1:6800/0",
    "localhost:6800",
    "::1:6800",
    "v2:[::1:6800",
    "v2:[127.0.0.1]:6800/0",
    "v2:[::1%eth0]:6800/0",
    "v2:[::1%4294967296]:6800/0",
    "v2:-:6800/0",
]


@pytest.mark.parametrize(("text", "addr"), CANONICAL)
def test_text_round_trip(text: str, addr: EntityAddr) -> None:
    assert EntityAddr.parse(text) == addr
    assert str(addr) == text


@pytest.mark.parametrize(("text", "canonical"), ABBREVIATED)
def test_abbreviated_text(text: str, canonical: str) -> None:
    assert str(EntityAddr.parse(text)) == canonical


@pytest.mark.parametrize("text", BAD_TEXTS)
def test_bad_text_is_refused_with_what_was_expected(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        EntityAddr.parse(text)
    message = str(caught.value)
    assert message.startswith(f'"{text}" is not an address')
    assert "expected TYPE:IP:PORT/NONCE such as v2:127.0.0.1:6800/0" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    "fields",
    [
        {"ip": "127.0.0.1", "port": 65536},
        {"ip": "127.0.0.1", "port": -1},
        {"nonce": 2**32},
        {"ip": "nonsense"},
        {"ip": "fe80::1%eth0"},
        {"port": 1},
        {"ip": "127.0.0.1", "scope_id": 1},
        {"flow_info": 1},
    ],
)
def test_impossible_values_cannot_be_made(fields: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        EntityAddr(V2, **fields)  # type: ignore[arg-type]


def test_spellings_of_one_ip_are_one_address() -> None:
    long, short = EntityAddr(V2, "0:0:0:0:0:0:0:1", 1), EntityAddr(V2, "::1", 1)
    assert long == short
    assert len({long, short}) == 1


@pytest.mark.parametrize(
    ("text", "family", "blank", "blank_ip"),
    [
        ("-", FAMILY_NONE, True, True),
        ("v2:-/0", FAMILY_NONE, False, True),
        ("v2:0.0.0.0:6800/0", FAMILY_IPV4, False, True),
        ("v2:[::]:6800/0", FAMILY_IPV6, False, True),
        ("v2:127.0.0.1:0/0", FAMILY_IPV4, False, False),
        ("v2:[::1]:0/0", FAMILY_IPV6, False, False),
    ],
)
def test_family_and_blankness(text: str, family: int, blank: bool, blank_ip: bool) -> None:
    addr = EntityAddr.parse(text)
    assert (addr.family, addr.is_blank, addr.is_blank_ip) == (family, blank, blank_ip)


# ---- for the socket layer ----


def test_sockaddr_both_ways() -> None:
    ipv4 = EntityAddr(V2, "127.0.0.1", 6800, 5)
    assert ipv4.sockaddr() == ("127.0.0.1", 6800)
    assert EntityAddr.from_sockaddr(V2, ("127.0.0.1", 6800), 5) == ipv4

    ipv6 = EntityAddr(V2, "fe80::1", 6800, 5, flow_info=2, scope_id=3)
    assert ipv6.sockaddr() == ("fe80::1", 6800, 2, 3)
    assert EntityAddr.from_sockaddr(V2, ("fe80::1%lo", 6800, 2, 3), 5) == ipv6


def test_no_ip_no_sockaddr() -> None:
    with pytest.raises(ValueError, match=r"^v2:-/9 has no ip"):
        EntityAddr(V2, nonce=9).sockaddr()


# ---- bytes ----

# (value, bytes of the modern form)
MODERN = [
    (
        EntityAddr(V2, "127.0.0.1", 6800, 14035),
        "01 01 01 1c000000 02000000 d3360000 10000000 0200 1a90 7f000001 0000000000000000",
    ),
    (
        EntityAddr(V2, "fd00::1", 3300, 7, flow_info=0x01020304, scope_id=5),
        "01 01 01 28000000 02000000 07000000 1c000000 0a00 0ce4 04030201 fd000000000000000000000000000001 05000000",
    ),
    (EntityAddr(), "01 01 01 28000000 00000000 00000000 1c000000" + "00" * 28),
]


@pytest.mark.parametrize(("addr", "hex_"), MODERN)
def test_modern_form(addr: EntityAddr, hex_: str) -> None:
    data = bytes.fromhex(hex_)
    assert to_bytes(addr) == data
    assert from_bytes(EntityAddr, data) == addr
    for length in range(len(data)):
        with pytest.raises(DecodeError):
            from_bytes(EntityAddr, data[:length])
    with pytest.raises(DecodeError, match="1 bytes follow"):
        from_bytes(EntityAddr, data + b"\0")


LEGACY = [
    (
        EntityAddr(AddrType.LEGACY, "10.1.2.3", 6789, 7),
        bytes.fromhex("00000000 07000000 0002 1a85 0a010203") + bytes(120),
    ),
    (
        EntityAddr(AddrType.LEGACY, "fd00::1", 6789, 7, flow_info=1, scope_id=5),
        bytes.fromhex("00000000 07000000 000a 1a85 01000000 fd000000000000000000000000000001 05000000") + bytes(100),
    ),
    (EntityAddr(AddrType.LEGACY), bytes(136)),
]


@pytest.mark.parametrize(("addr", "data"), LEGACY)
def test_legacy_form(addr: EntityAddr, data: bytes) -> None:
    assert len(data) == 136
    encoder = Encoder()
    addr.encode_legacy(encoder)
    assert encoder.to_bytes() == data
    assert from_bytes(EntityAddr, data) == addr
    for length in range(len(data)):
        with pytest.raises(DecodeError):
            from_bytes(EntityAddr, data[:length])


def modern(sockaddr: bytes, type_: int = 2) -> bytes:
    """A modern address around these bytes, whatever they are."""
    encoder = Encoder()
    encoder.u8(1)
    with encoder.versioned(1, 1):
        encoder.u32(type_)
        encoder.u32(3)
        encoder.blob(sockaddr)
    return encoder.to_bytes()


@pytest.mark.parametrize(
    ("sockaddr", "text"),
    [
        (b"", "v2:-/3"),
        (b"\0\0", "v2:-/3"),
        (b"\2\0", "v2:0.0.0.0:0/3"),
        (b"\2\0\x1a\x90\x7f", "v2:127.0.0.0:6800/3"),
        (b"\2\0\x1a\x90\x7f\0\0\1" + b"garbage!", "v2:127.0.0.1:6800/3"),
        (b"\x0a\0\x1a\x90", "v2:[::]:6800/3"),
    ],
)
def test_short_socket_addresses_are_filled_up(sockaddr: bytes, text: str) -> None:
    assert str(from_bytes(EntityAddr, modern(sockaddr))) == text


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (modern(b"\2"), "socket address of 1 byte"),
        (modern(b"\2\0" + bytes(15)), "17 bytes is longer than its family allows"),
        (modern(b"\x0a\0" + bytes(27)), "29 bytes is longer than its family allows"),
        (modern(bytes(29)), "29 bytes is longer than its family allows"),
        (modern(b"\1\0abc"), "address family 1 is neither"),
        (modern(b"", type_=4), "4 is not an address type"),
        (b"\3" + bytes(200), "3 is not the marker of an address"),
        (b"\1\2\2" + bytes(200), "address: needs a reader of version 2"),
    ],
)
def test_bad_bytes_are_refused(data: bytes, error: str) -> None:
    with pytest.raises(DecodeError, match=error):
        EntityAddr.decode(Decoder(data))


def test_fields_a_newer_version_adds_are_skipped() -> None:
    data = bytearray(modern(b"\2\0\x1a\x90\x7f\0\0\1") + b"new")
    data[1], data[3] = 2, data[3] + 3
    assert str(from_bytes(EntityAddr, data)) == "v2:127.0.0.1:6800/3"


@pytest.mark.parametrize("seed", range(3))
def test_damaged_bytes_give_a_value_or_a_decode_error(seed: int) -> None:
    chance = random.Random(seed)
    vector = to_bytes(EntityAddrVec(addr for _, addr in CANONICAL))
    for _ in range(500):
        data = bytearray(vector)
        for _ in range(chance.randint(1, 4)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        try:
            decoded = from_bytes(EntityAddrVec, data)
        except DecodeError:
            continue
        assert from_bytes(EntityAddrVec, to_bytes(decoded)) == decoded


# ---- order ----


def test_order_is_that_of_the_bytes_in_memory() -> None:
    ascending = [
        EntityAddr(),
        EntityAddr(AddrType.LEGACY, "9.9.9.9", 9, 9),
        EntityAddr(V2, "::", 65535, 256),  # the nonce sorts by its little-endian bytes
        EntityAddr(V2, "0.0.0.0", 0, 1),
        EntityAddr(V2, "1.0.0.0", 255, 1),
        EntityAddr(V2, "0.0.0.0", 256, 1),  # the port as a number
        EntityAddr(V2, "0.0.0.1", 256, 1),
        EntityAddr(V2, "0.0.1.0", 256, 1),
        EntityAddr(V2, "::", 0, 1),  # the family before port and ip
        EntityAddr(V2, "::", 0, 1, scope_id=1),
        EntityAddr(V2, "::1", 0, 1),
        EntityAddr(AddrType.ANY),
    ]
    shuffled = ascending[::2] + ascending[1::2]
    assert sorted(shuffled) == ascending
    for index, addr in enumerate(ascending):
        assert addr >= addr
        assert not addr < addr
        assert all(addr > smaller for smaller in ascending[:index])


def test_order_only_among_addresses() -> None:
    with pytest.raises(TypeError):
        EntityAddr() < "v2:127.0.0.1:6800/0"  # type: ignore[operator]  # noqa: B015


# ---- vectors ----


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("[]", "[]"),
        ("v2:10.0.0.1:3300/0", "v2:10.0.0.1:3300/0"),
        ("[v2:10.0.0.1:3300/0]", "v2:10.0.0.1:3300/0"),
        ("[10.0.0.1:3300]", "v2:10.0.0.1:3300/0"),
        ("[::1]", "v2:[::1]:0/0"),
        ("[::1]:6800", "v2:[::1]:6800/0"),
        ("[[::1]:6800]", "v2:[::1]:6800/0"),
        ("[v2:[::1]:3300/0,v1:[::1]:6789/0]", "[v2:[::1]:3300/0,v1:[::1]:6789/0]"),
        ("[v2:10.0.0.1:3300/0, v1:10.0.0.1:6789/0]", "[v2:10.0.0.1:3300/0,v1:10.0.0.1:6789/0]"),
        ("-", "-"),
    ],
)
def test_vector_text(text: str, canonical: str) -> None:
    vector = EntityAddrVec.parse(text)
    assert str(vector) == canonical
    assert EntityAddrVec.parse(canonical) == vector


@pytest.mark.parametrize(
    "text", ["", "[", "]", "[,]", "[v2:10.0.0.1:3300/0,]", "v2:10.0.0.1:1/0,v2:10.0.0.1:2/0", "[::g]"]
)
def test_bad_vector_text(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not an address.*, expected TYPE:IP:PORT/NONCE"):
        EntityAddrVec.parse(text)


def test_vector_is_a_key() -> None:
    one = EntityAddrVec.parse("[v2:10.0.0.1:3300/0,v1:10.0.0.1:6789/0]")
    other = EntityAddrVec(EntityAddr.parse(text) for text in ("v2:10.0.0.1:3300", "v1:10.0.0.1:6789"))
    assert {one: "found"}[other] == "found"
    assert one != EntityAddrVec(reversed(one))
    assert eval(repr(one), {"EntityAddrVec": EntityAddrVec}) == one


def test_vector_bytes() -> None:
    assert to_bytes(EntityAddrVec()) == bytes.fromhex("02 00000000")
    vector = EntityAddrVec.parse("[v2:10.0.0.1:3300/0,v1:[::1]:6789/0]")
    data = to_bytes(vector)
    assert data == bytes.fromhex("02 02000000") + to_bytes(vector[0]) + to_bytes(vector[1])
    assert from_bytes(EntityAddrVec, data) == vector
    for length in range(len(data)):
        with pytest.raises(DecodeError):
            from_bytes(EntityAddrVec, data[:length])
    with pytest.raises(DecodeError, match="2 bytes follow"):
        from_bytes(EntityAddrVec, data + b"xx")


def test_a_single_address_is_read_as_a_vector_of_one() -> None:
    for addr, data in [(MODERN[0][0], to_bytes(MODERN[0][0])), LEGACY[0]]:
        assert from_bytes(EntityAddrVec, data) == EntityAddrVec([addr])


def test_a_vector_of_impossible_length_is_refused_at_once() -> None:
    with pytest.raises(DecodeError, match="list of 1000000 items at byte 1 needs at least 19000000 bytes"):
        from_bytes(EntityAddrVec, b"\2" + (1_000_000).to_bytes(4, "little") + bytes(1000))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[v1:10.0.0.1:6789/0,any:10.0.0.1:1/0,v2:10.0.0.1:3300/0,v2:10.0.0.2:3300/0]", "v2:10.0.0.1:3300/0"),
        ("[v1:10.0.0.1:6789/0,any:10.0.0.1:1/0]", "any:10.0.0.1:1/0"),
        ("v1:10.0.0.1:6789/0", "-"),
        ("[]", "-"),
    ],
)
def test_msgr2_addr(text: str, expected: str) -> None:
    assert str(EntityAddrVec.parse(text).msgr2_addr()) == expected
