"""Typed messages: one file per family, and the registry that finds a class by type number."""

from __future__ import annotations

from ceph_msgr.messages.auth import MAuth, MAuthReply
from ceph_msgr.messages.base import Message
from ceph_msgr.messages.mon import MMonGetMap, MMonMap
from ceph_msgr.messages.mon_command import MMonCommand, MMonCommandAck
from ceph_msgr.messages.mon_subscribe import MConfig, MMonSubscribe, Subscription
from ceph_msgr.messages.object_hash import object_hash, placement_group
from ceph_msgr.messages.osd_op import MOSDOp, MOSDOpReply, OSDOp
from ceph_msgr.messages.ping import MPing
from ceph_msgr.messages.registry import class_for, register, registered

__all__ = [
    "MAuth",
    "MAuthReply",
    "MConfig",
    "MMonCommand",
    "MMonCommandAck",
    "MMonGetMap",
    "MMonMap",
    "MMonSubscribe",
    "MOSDOp",
    "MOSDOpReply",
    "MPing",
    "Message",
    "OSDOp",
    "Subscription",
    "class_for",
    "object_hash",
    "placement_group",
    "register",
    "registered",
]

for _cls in (
    MPing,
    MMonMap,
    MMonGetMap,
    MMonSubscribe,
    MConfig,
    MMonCommand,
    MMonCommandAck,
    MAuth,
    MAuthReply,
    MOSDOp,
    MOSDOpReply,
):
    register(_cls.TYPE, _cls)
