"""Authentication, sans-I/O: payload in, payload out. Frames, sockets and states belong to ``protocol``.

``base`` tells what a method is, ``registry`` which ones a messenger offers and accepts, the other modules are methods.
"""

from __future__ import annotations

from ceph_msgr.auth.base import (
    AuthBusy,
    AuthMethod,
    AuthRefused,
    ClientAuth,
    ClientExchange,
    ConMode,
    Credentials,
    ServerAuth,
    ServerDone,
    ServerExchange,
    ServerMore,
)
from ceph_msgr.auth.none import DummyClient, DummyServer, NoneClient, NoneServer
from ceph_msgr.auth.registry import AuthRegistry

__all__ = [
    "AuthBusy",
    "AuthMethod",
    "AuthRefused",
    "AuthRegistry",
    "ClientAuth",
    "ClientExchange",
    "ConMode",
    "Credentials",
    "DummyClient",
    "DummyServer",
    "NoneClient",
    "NoneServer",
    "ServerAuth",
    "ServerDone",
    "ServerExchange",
    "ServerMore",
]
