"""The two messages of the perf pair: made, encoded, decoded."""

from __future__ import annotations

from ceph_msgr.messages import MOSDOp, MOSDOpReply, OSDOp

FEATURES = 0x3F01CFB9FFFDFFFF


def test_encode_osd_op(benchmark) -> None:
    message = MOSDOp("object-name", [OSDOp(0x2201, length=4096)], data=bytes(4096))
    front = benchmark(message.encode_payload, FEATURES)
    assert len(front) == 220
    assert front.endswith(FEATURES.to_bytes(8, "little"))


def test_encode_osd_op_reply(benchmark) -> None:
    request = MOSDOp("object-name", [OSDOp(0x2201, length=4096)], pool=5, tid=77)
    reply = benchmark(MOSDOpReply.for_request, request)
    assert (reply.tid, reply.pool, len(reply.encode_payload(FEATURES))) == (77, 5, 102)
