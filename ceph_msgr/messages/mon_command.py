"""Commands to a monitor, as the ``ceph`` program sends them, and their results."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from ceph_msgr._core import Message
from ceph_msgr.wire.encoding import Buffer, Decoder, Encoder, require_readable
from ceph_msgr.wire.header import PRIO_DEFAULT

__all__ = ["MMonCommand", "MMonCommandAck"]

_NO_FSID = UUID(int=0)


def _encode_version(encoder: Encoder, version: int) -> None:
    """The head of messages that change the monitors' state: what the sender knows of it, and two fields without use."""
    encoder.u64(version)
    encoder.s16(-1)
    encoder.u64(0)


def _decode_version(decoder: Decoder) -> int:
    version = decoder.u64()
    decoder.s16()
    decoder.u64()
    return version


class MMonCommand(Message):
    """A command, normally one text of JSON; its input is the data segment. The answer carries the same tid."""

    TYPE = 50
    HEAD_VERSION = 1

    fsid: UUID = _NO_FSID
    command: Sequence[str] = ()
    state_version: int = 0

    def __init__(
        self, fsid: UUID, command: Sequence[str], data: Buffer = b"", *, state_version: int = 0, priority: int = PRIO_DEFAULT,
        tid: int = 0,
    ) -> None:
        super().__init__(self.TYPE, data=data, priority=priority, tid=tid, version=self.HEAD_VERSION)
        self.fsid = fsid
        self.command = command
        self.state_version = state_version

    def encode_payload(self, features: int) -> bytes:
        encoder = Encoder()
        _encode_version(encoder, self.state_version)
        encoder.raw(self.fsid.bytes)
        encoder.list_(self.command, Encoder.str_)
        return encoder.to_bytes()

    def decode_payload(self) -> None:
        require_readable("MMonCommand", self.compat_version, self.HEAD_VERSION)
        front = Decoder(self.front, "MMonCommand")
        self.state_version = _decode_version(front)
        self.fsid = UUID(bytes=front.raw(16))
        self.command = front.list_(Decoder.str_)


class MMonCommandAck(Message):
    """The result of a command; its output is the data segment."""

    TYPE = 51
    HEAD_VERSION = 1

    #: 0 or a negative errno.
    result: int = 0
    #: For the user to read.
    status: str = ""
    command: Sequence[str] = ()
    state_version: int = 0

    def __init__(
        self, command: Sequence[str], result: int, status: str = "", data: Buffer = b"", *, state_version: int = 0,
        priority: int = PRIO_DEFAULT, tid: int = 0,
    ) -> None:
        super().__init__(self.TYPE, data=data, priority=priority, tid=tid, version=self.HEAD_VERSION)
        self.command = command
        self.result = result
        self.status = status
        self.state_version = state_version

    def encode_payload(self, features: int) -> bytes:
        encoder = Encoder()
        _encode_version(encoder, self.state_version)
        encoder.s32(self.result)
        encoder.str_(self.status)
        encoder.list_(self.command, Encoder.str_)
        return encoder.to_bytes()

    def decode_payload(self) -> None:
        require_readable("MMonCommandAck", self.compat_version, self.HEAD_VERSION)
        front = Decoder(self.front, "MMonCommandAck")
        self.state_version = _decode_version(front)
        self.result = front.s32()
        self.status = front.str_()
        self.command = front.list_(Decoder.str_)
