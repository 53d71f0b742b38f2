"""MAuth and MAuthReply."""

from __future__ import annotations

import pytest

from ceph_msgr.errors import DecodeError
from ceph_msgr.messages import MAuth, MAuthReply, registered
from ceph_msgr.wire.features import SUPPORTED_ALL


def received(cls: type, front: bytes) -> object:
    message = cls.__new__(cls)
    return message


FRONTS = {
    MAuth: "0000000000000000 ffff 0000000000000000 02000000 02000000 0004 07000000",
    MAuthReply: "02000000 f3ffffff 1b10000000000000 03000000 616263 02000000 6e6f",
}


def test_both_are_registered() -> None:
    assert registered[17] is MAuth
    assert registered[18] is MAuthReply


def test_their_fronts() -> None:
    request = MAuth(b"\x00\x04", monmap_epoch=7)
    reply = MAuthReply(b"abc", result=-13, global_id=4123, result_text="no")
    assert request.encode_payload(SUPPORTED_ALL) == bytes.fromhex(FRONTS[MAuth])
    assert reply.encode_payload(SUPPORTED_ALL) == bytes.fromhex(FRONTS[MAuthReply])
