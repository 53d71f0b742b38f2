"""Typed messages: one file per family, and the registry that finds a class by type number."""

from __future__ import annotations

from ceph_msgr.messages.base import Message
from ceph_msgr.messages.mon import MMonGetMap, MMonMap
from ceph_msgr.messages.osd_op import MOSDOp, MOSDOpReply, OSDOp
from ceph_msgr.messages.ping import MPing
from ceph_msgr.messages.registry import class_for, register, registered

__all__ = [
    "MMonGetMap",
    "MMonMap",
    "MOSDOp",
    "MOSDOpReply",
    "MPing",
    "Message",
    "OSDOp",
    "class_for",
    "register",
    "registered",
]

for _cls in (MPing, MMonMap, MMonGetMap, MOSDOp, MOSDOpReply):
    register(_cls.TYPE, _cls)
