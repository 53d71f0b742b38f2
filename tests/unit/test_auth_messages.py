"""MAuth and MAuthReply: their bytes, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from ceph_msgr.errors import DecodeError
from ceph_msgr.messages import MAuth, MAuthReply, registered
from ceph_msgr.wire.features import SUPPORTED_ALL

REQUEST_FRONT = bytes.fromhex("0000000000000000 ffff 0000000000000000 02000000 02000000 0004 07000000")
REPLY_FRONT = bytes.fromhex("02000000 f3ffffff 1b10000000000000 03000000 616263 02000000 6e6f")


def received(cls: type[Any], front: bytes, compat_version: int = 1) -> Any:
    message = cls.__new__(cls)
    message.front = front
    message.compat_version = compat_version
    message.decode_payload()
    return message


def test_types_and_headers() -> None:
    for message, number in (MAuth(b"", tid=5, priority=64), 17), (MAuthReply(b"", tid=5, priority=64), 18):
        assert registered[number] is type(message)
        assert (message.type, message.version, message.compat_version) == (number, 1, 1)
        assert (message.tid, message.priority) == (5, 64)


def test_a_request() -> None:
    assert MAuth(b"\x00\x04", monmap_epoch=7).encode_payload(SUPPORTED_ALL) == REQUEST_FRONT
    message = received(MAuth, REQUEST_FRONT)
    assert (message.protocol, message.auth_payload, message.monmap_epoch) == (2, b"\x00\x04", 7)


def test_a_reply() -> None:
    message = MAuthReply(b"abc", result=-13, global_id=4123, result_text="no")
    assert message.encode_payload(SUPPORTED_ALL) == REPLY_FRONT
    message = received(MAuthReply, REPLY_FRONT)
    assert (message.protocol, message.result, message.global_id) == (2, -13, 4123)
    assert (message.auth_payload, message.result_text) == (b"abc", "no")


@pytest.mark.parametrize(("cls", "front"), [(MAuth, REQUEST_FRONT), (MAuthReply, REPLY_FRONT)])
def test_cut_fronts_and_newer_readers(cls: type[Any], front: bytes) -> None:
    received(cls, front + b"of a later release", compat_version=0)
    for length in range(len(front)):
        with pytest.raises(DecodeError, match=cls.__name__):
            received(cls, front[:length])
    with pytest.raises(DecodeError, match=f"{cls.__name__}: needs a reader of version 2"):
        received(cls, front, compat_version=2)
