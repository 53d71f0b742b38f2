"""Every control frame: round trip, truncated at each length, with bytes behind it."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from ceph_msgr.errors import DecodeError
from ceph_msgr.protocol import frames as f
from ceph_msgr.protocol.tags import DATA_TAGS, Tag, describe_tag
from ceph_msgr.wire.addr import EntityAddr, EntityAddrVec
from ceph_msgr.wire.entity import EntityType

ADDR = EntityAddr.parse("v2:127.0.0.1:6800/14035")
ADDRS = EntityAddrVec.parse("[v2:127.0.0.1:6800/14035,v1:[fd00::1]:6801/14035]")
U64 = 2**64 - 1

#: One of each, with the length its payload must have.
SAMPLES: dict[f.ControlFrame, int] = {
    f.HelloFrame(EntityType.OSD, ADDR): 1 + 35,
    f.AuthRequestFrame(2, (2, 1), b"payload"): 4 + 4 + 8 + 4 + 7,
    f.AuthBadMethodFrame(2, -95, (1, 2), (2, 1)): 8 + 12 + 12,
    f.AuthReplyMoreFrame(b"challenge"): 13,
    f.AuthRequestMoreFrame(b""): 4,
    f.AuthDoneFrame(U64, 1, b"x"): 8 + 4 + 5,
    f.AuthSignatureFrame(bytes(range(32))): 32,
    f.ClientIdentFrame(ADDRS, ADDR, -1, 1, U64, 0, 1, 7): (5 + 35 + 47) + 35 + 48,
    f.ServerIdentFrame(EntityAddrVec([ADDR]), 3, 1, 2, 3, 0, U64): (5 + 35) + 48,
    f.IdentMissingFeaturesFrame(0x2601020042046201): 8,
    f.SessionReconnectFrame(EntityAddrVec([ADDR]), 1, 2, 3, 4, 5): 40 + 40,
    f.SessionResetFrame(True): 1,
    f.SessionRetryFrame(4): 8,
    f.SessionRetryGlobalFrame(5000): 8,
    f.SessionReconnectOkFrame(2): 8,
    f.WaitFrame(): 0,
    f.CompressionRequestFrame(False, (1, 4)): 1 + 12,
    f.CompressionDoneFrame(False, 0): 5,
}

EACH = pytest.mark.parametrize("frame", SAMPLES, ids=lambda frame: str(frame.tag))


def test_every_control_tag_has_its_class() -> None:
    assert set(f.FRAMES) == {frame.tag for frame in SAMPLES} == set(Tag) - DATA_TAGS


@EACH
def test_a_frame_comes_back_as_it_was(frame: f.ControlFrame) -> None:
    payload = frame.payload()
    assert len(payload) == SAMPLES[frame]
    assert f.FRAMES[frame.tag].parse(payload) == frame


@EACH
def test_bytes_behind_the_last_field_are_ignored(frame: f.ControlFrame) -> None:
    assert type(frame).parse(frame.payload() + b"from a later release") == frame


@EACH
def test_a_truncated_payload_is_refused(frame: f.ControlFrame) -> None:
    payload = frame.payload()
    for end in range(len(payload)):
        with pytest.raises(DecodeError, match="payload"):
            type(frame).parse(payload[:end])


@EACH
def test_a_number_that_does_not_fit_is_not_sent(frame: f.ControlFrame) -> None:
    for item in fields(frame):  # type: ignore[arg-type]
        if type(getattr(frame, item.name)) is int:
            with pytest.raises(ValueError, match="does not fit"):
                replace(frame, **{item.name: 2**64}).payload()  # type: ignore[type-var]


@pytest.mark.contract("H2")
@pytest.mark.parametrize("kind", [f.AuthRequestFrame, f.AuthDoneFrame, f.AuthReplyMoreFrame, f.ClientIdentFrame])
def test_a_length_that_claims_more_than_there_is_costs_nothing(kind: type[f.ControlFrame]) -> None:
    with pytest.raises(DecodeError, match=r"needs|marker"):
        kind.parse(b"\xff" * 24)


def test_a_hello_of_an_unknown_type_is_refused() -> None:
    payload = f.HelloFrame(EntityType.OSD, ADDR).payload()
    with pytest.raises(DecodeError, match="77 is not an entity type"):
        f.HelloFrame.parse(b"\x4d" + payload[1:])


def test_any_byte_but_zero_is_true() -> None:
    assert f.SessionResetFrame.parse(b"\x02").full
    assert not f.SessionResetFrame.parse(b"\x00").full


def test_tags_have_names() -> None:
    assert str(Tag.SESSION_RETRY_GLOBAL) == "SESSION_RETRY_GLOBAL"
    assert describe_tag(16) == "WAIT"
    assert describe_tag(99) == "tag 99"
