"""Ceph's async messenger for Python, with a C core.

Everything listed in ``__all__`` is public; ``docs/embedding.md`` is the guide. Nothing else is promised.
"""

from __future__ import annotations

from ceph_msgr import auth, messages, metrics
from ceph_msgr._core import Message
from ceph_msgr.config import Config
from ceph_msgr.connection.connection import Connection
from ceph_msgr.dispatch.dispatcher import Dispatcher
from ceph_msgr.errors import (
    AuthError,
    ConnectionFault,
    DecodeError,
    LocalProtocolError,
    MessengerError,
    ProtocolError,
    RemoteProtocolError,
    SendQueueFull,
    Throttled,
)
from ceph_msgr.messenger import Messenger
from ceph_msgr.net import EventCenter, Processor, Stack, Worker
from ceph_msgr.policy import Policy
from ceph_msgr.throttle import Throttle
from ceph_msgr.wire.addr import EntityAddr, EntityAddrVec
from ceph_msgr.wire.entity import EntityName, EntityType

__version__ = "0.1.0"

__all__ = [
    "AuthError",
    "Config",
    "Connection",
    "ConnectionFault",
    "DecodeError",
    "Dispatcher",
    "EntityAddr",
    "EntityAddrVec",
    "EntityName",
    "EntityType",
    "EventCenter",
    "LocalProtocolError",
    "Message",
    "Messenger",
    "MessengerError",
    "Policy",
    "Processor",
    "ProtocolError",
    "RemoteProtocolError",
    "SendQueueFull",
    "Stack",
    "Throttle",
    "Throttled",
    "Worker",
    "auth",
    "messages",
    "metrics",
]
