"""The banner, and what else may come in its place."""

from __future__ import annotations

import pytest

from ceph_msgr.errors import DecodeError
from ceph_msgr.protocol.banner import OUR_BANNER, Banner

PREFIX = b"ceph v2\n"


def test_our_banner_offers_revision_1_and_nothing_else() -> None:
    assert OUR_BANNER.encode() == PREFIX + b"\x10\x00" + b"\x01" + bytes(7) + bytes(8)


def test_compression_is_offered_only_where_it_is_wanted() -> None:
    assert OUR_BANNER.with_compression().encode() == PREFIX + b"\x10\x00" + b"\x03" + bytes(7) + bytes(8)


@pytest.mark.parametrize(("ours", "theirs", "is_negotiated"), [(3, 3, True), (3, 1, False), (1, 3, False), (2, 2**64 - 1, True)])
def test_compression_is_negotiated_only_if_both_offer_it(ours: int, theirs: int, is_negotiated: bool) -> None:
    assert Banner(ours).negotiates_compression_with(Banner(theirs)) is is_negotiated


def test_a_banner_comes_back_as_it_was() -> None:
    banner = Banner(supported=2**64 - 1, required=2)
    assert Banner.parse(banner.encode()) == banner


def test_a_longer_payload_is_read_in_part() -> None:
    wire = PREFIX + b"\x18\x00" + b"\x03" + bytes(7) + b"\x01" + bytes(7) + b"\xff" * 8
    assert Banner.parse(wire) == Banner(3, 1)


@pytest.mark.contract("H2")
@pytest.mark.parametrize("payload_bytes", range(16))
def test_a_shorter_payload_is_refused(payload_bytes: int) -> None:
    with pytest.raises(DecodeError, match=f"payload has {payload_bytes} bytes, expected at least 16"):
        Banner.parse(PREFIX + bytes([payload_bytes, 0]) + bytes(payload_bytes))


@pytest.mark.contract("H2")
@pytest.mark.parametrize(
    ("start", "text"),
    [
        (b"ceph v027\x00\x00", "msgr1"),
        (b"GET / HTTP/1.1\r\n", "HTTP request"),
        (b"HTTP/1.1 400 ", "answers in HTTP"),
        (b"\x16\x03\x01\x02\x00", "TLS"),
        (b"SSH-2.0-OpenSSH", "SSH"),
        (b"garbage and more", "not a banner, expected b'ceph v2"),
        (b"", "not a banner"),
    ],
)
def test_a_stranger_is_recognised(start: bytes, text: str) -> None:
    with pytest.raises(DecodeError, match=text):
        Banner.parse(start)


@pytest.mark.parametrize(("ours", "theirs", "revision"), [(1, 1, 1), (1, 3, 1), (1, 0, 0), (0, 1, 0), (1, 2, 0)])
def test_the_revision_is_2_1_only_if_both_say_so(ours: int, theirs: int, revision: int) -> None:
    assert Banner(ours).revision_with(Banner(theirs)) == revision


def test_a_required_feature_that_the_other_lacks_is_a_mismatch() -> None:
    assert Banner(1).mismatch_with(Banner(3)) == ""
    assert "the peer requires protocol features 0x2" in Banner(1).mismatch_with(Banner(3, required=3))
    assert "we require protocol features 0x1" in Banner(1, required=1).mismatch_with(Banner(2))


@pytest.mark.parametrize("ours", [OUR_BANNER, OUR_BANNER.with_compression()])
@pytest.mark.parametrize("bit", range(2, 64))
def test_a_required_feature_without_a_name_is_a_mismatch(ours: Banner, bit: int) -> None:
    assert f"the peer requires protocol features {1 << bit:#x}" in ours.mismatch_with(Banner(3, required=1 << bit))
