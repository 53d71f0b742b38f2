"""The messages of the two tools, as Ceph's own pair sends them: a write of zeros asked for, an empty reply."""

from __future__ import annotations

from ceph_msgr import Message
from ceph_msgr.messages import MOSDOp, MOSDOpReply

__all__ = ["REPLY_TYPE", "REQUEST_TYPE", "make_reply", "make_request"]

REQUEST_TYPE: int = MOSDOp.TYPE
REPLY_TYPE: int = MOSDOpReply.TYPE


def make_request(msg_len_bytes: int) -> MOSDOp:
    return MOSDOp(data=bytes(msg_len_bytes))


#: The reply to a request: its tid and placement group copied, result 0.
make_reply = MOSDOpReply
