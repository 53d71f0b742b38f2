"""The messages of a monitor client's conversation, byte by byte."""

from __future__ import annotations

from uuid import UUID

import pytest

from ceph_msgr import Message
from ceph_msgr.errors import DecodeError
from ceph_msgr.messages import MConfig, MMonCommand, MMonCommandAck, MMonSubscribe, Subscription, class_for
from ceph_msgr.wire.features import SUPPORTED_ALL

FSID = UUID("8d543fca-8018-4930-b14c-dfdece947f0e")
NO_STATE = "0000000000000000 ffff 0000000000000000"
COMMAND = "01000000 02000000 7b7d"

#: A message, and its front as the wire has it.
CASES: dict[str, tuple[Message, str]] = {
    "subscribe": (
        MMonSubscribe({"osdmap": Subscription(7, onetime=True), "config": Subscription()}, "host"),
        "02000000 06000000 636f6e666967 0000000000000000 00 06000000 6f73646d6170 0700000000000000 01 04000000 686f7374",
    ),
    "config": (MConfig({"debug_ms": "0"}), "01000000 08000000 64656275675f6d73 01000000 30"),
    "no config": (MConfig({}), "00000000"),
    "command": (MMonCommand(FSID, ["{}"]), f"{NO_STATE} {FSID.hex} {COMMAND}"),
    "ack": (MMonCommandAck(["{}"], -22, "no"), f"{NO_STATE} eaffffff 02000000 6e6f {COMMAND}"),
    "ack with a version": (MMonCommandAck([], 0, state_version=9), "09" + NO_STATE[2:] + "00000000 00000000 00000000"),
}

FIELDS = {
    MMonSubscribe: ("what", "hostname"),
    MConfig: ("options",),
    MMonCommand: ("fsid", "command", "state_version"),
    MMonCommandAck: ("command", "result", "status", "state_version"),
}

each_case = pytest.mark.parametrize(("message", "front"), CASES.values(), ids=CASES)


def received(message: Message, front: bytes, **header: int) -> Message:
    cls = type(message)
    header = {"version": message.version, "compat_version": 1} | header
    return cls.from_segments(message.type, front, b"", b"input or output", **header)


@each_case
def test_encoding(message: Message, front: str) -> None:
    assert message.encode_payload(SUPPORTED_ALL).hex(" ") == bytes.fromhex(front).hex(" ")


@each_case
def test_decoding(message: Message, front: str) -> None:
    assert class_for(message.type) is type(message)
    got = received(message, bytes.fromhex(front))
    for field in FIELDS[type(message)]:
        assert getattr(got, field) == getattr(message, field), field
    assert got.data == b"input or output"
    # What a later version appends is not read.
    received(message, bytes.fromhex(front) + b"new", version=message.version + 1)


@each_case
def test_truncated(message: Message, front: str) -> None:
    data = bytes.fromhex(front)
    for length in range(len(data)):
        with pytest.raises(DecodeError, match=type(message).__name__):
            received(message, data[:length])


@each_case
def test_for_newer_readers(message: Message, front: str) -> None:
    with pytest.raises(DecodeError, match=f"needs a reader of version 4, this one reads up to {message.version}"):
        received(message, bytes.fromhex(front), version=4, compat_version=4)


def test_older_subscribers_do_not_say_where_they_are() -> None:
    message, front = CASES["subscribe"]
    got = received(message, bytes.fromhex(front)[: -len("host") - 4], version=2)
    assert isinstance(got, MMonSubscribe)
    assert (set(got.what), got.hostname) == ({"osdmap", "config"}, "")
