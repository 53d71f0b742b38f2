"""MAuth and MAuthReply: what an authenticated client still asks a monitor, such as the rotating secrets of its service."""

from __future__ import annotations

from ceph_msgr._core import Message
from ceph_msgr.wire.encoding import Decoder, Encoder, require_readable
from ceph_msgr.wire.header import PRIO_DEFAULT

__all__ = ["MAuth", "MAuthReply"]

_CEPHX = 2


class MAuth(Message):
    """A request to the monitor's authentication service; MAuthReply is the answer.

    ``auth_payload`` belongs to the method, whose number is ``protocol``. ``monmap_epoch`` is that of the map we have, 0 for
    none.
    """

    TYPE = 17
    HEAD_VERSION = 1

    protocol: int = 0
    auth_payload: bytes = b""
    monmap_epoch: int = 0

    def __init__(
        self,
        auth_payload: bytes,
        *,
        protocol: int = _CEPHX,
        monmap_epoch: int = 0,
        priority: int = PRIO_DEFAULT,
        tid: int = 0,
    ) -> None:
        super().__init__(self.TYPE, priority=priority, tid=tid, version=self.HEAD_VERSION)
        self.protocol = protocol
        self.auth_payload = auth_payload
        self.monmap_epoch = monmap_epoch

    def encode_payload(self, features: int) -> bytes:
        encoder = Encoder()
        # The prefix of messages for monitors: version, and who sent it first.
        encoder.u64(0)
        encoder.s16(-1)
        encoder.u64(0)
        encoder.u32(self.protocol)
        encoder.blob(self.auth_payload)
        encoder.u32(self.monmap_epoch)
        return encoder.to_bytes()

    def decode_payload(self) -> None:
        require_readable("MAuth", self.compat_version, self.HEAD_VERSION)
        decoder = Decoder(self.front, "MAuth")
        decoder.u64(), decoder.s16(), decoder.u64()
        self.protocol = decoder.u32()
        self.auth_payload = decoder.blob()
        self.monmap_epoch = decoder.u32()


class MAuthReply(Message):
    """The answer to MAuth: ``result`` is 0 or a negative errno, ``result_text`` the reason in words."""

    TYPE = 18
    HEAD_VERSION = 1

    protocol: int = 0
    result: int = 0
    global_id: int = 0
    auth_payload: bytes = b""
    result_text: str = ""

    def __init__(
        self,
        auth_payload: bytes,
        *,
        protocol: int = _CEPHX,
        result: int = 0,
        global_id: int = 0,
        result_text: str = "",
        priority: int = PRIO_DEFAULT,
        tid: int = 0,
    ) -> None:
        super().__init__(self.TYPE, priority=priority, tid=tid, version=self.HEAD_VERSION)
        self.protocol = protocol
        self.result = result
        self.global_id = global_id
        self.auth_payload = auth_payload
        self.result_text = result_text

    def encode_payload(self, features: int) -> bytes:
        encoder = Encoder()
        encoder.u32(self.protocol)
        encoder.s32(self.result)
        encoder.u64(self.global_id)
        encoder.blob(self.auth_payload)
        encoder.str_(self.result_text)
        return encoder.to_bytes()

    def decode_payload(self) -> None:
        require_readable("MAuthReply", self.compat_version, self.HEAD_VERSION)
        decoder = Decoder(self.front, "MAuthReply")
        self.protocol = decoder.u32()
        self.result = decoder.s32()
        self.global_id = decoder.u64()
        self.auth_payload = decoder.blob()
        self.result_text = decoder.str_()
