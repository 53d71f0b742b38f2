"""The messages of the two tools, those of Ceph's own pair: a write of zeros is asked for and confirmed."""

from __future__ import annotations

from ceph_msgr.messages import MOSDOp, MOSDOpReply, OSDOp

__all__ = ["REPLY_TYPE", "REQUEST_TYPE", "make_reply", "make_request"]

REQUEST_TYPE: int = MOSDOp.TYPE
REPLY_TYPE: int = MOSDOpReply.TYPE

_WRITE = 0x2201


def make_request(msg_len_bytes: int) -> MOSDOp:
    """A front of 220 bytes, no middle, and so many bytes of data."""
    return MOSDOp("object-name", [OSDOp(_WRITE, length=msg_len_bytes)], data=bytes(msg_len_bytes))


#: Made of a request: its tid, placement group and flags are copied, nothing is looked up, nothing is written.
make_reply = MOSDOpReply.for_request
