"""Authentication, sans-I/O: payload in, payload out. Frames, sockets and states belong to ``protocol``.

``base`` tells what a method is, ``registry`` which ones a messenger offers and accepts, ``none`` and ``cephx`` are methods, and
``keyring`` reads the files with the keys of cephx.
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
from ceph_msgr.auth.cephx.client import CephxClient
from ceph_msgr.auth.cephx.keys import CryptoKey
from ceph_msgr.auth.cephx.monitor import CephxMonitor
from ceph_msgr.auth.cephx.rotating import RotatingSecrets, rotating_request
from ceph_msgr.auth.cephx.service import CephxService
from ceph_msgr.auth.cephx.tickets import ALL_SERVICES, AuthCaps
from ceph_msgr.auth.keyring import Keyring, KeyringEntry
from ceph_msgr.auth.none import DummyClient, DummyServer, NoneClient, NoneServer
from ceph_msgr.auth.registry import AuthRegistry

__all__ = [
    "ALL_SERVICES",
    "AuthBusy",
    "AuthCaps",
    "AuthMethod",
    "AuthRefused",
    "AuthRegistry",
    "CephxClient",
    "CephxMonitor",
    "CephxService",
    "ClientAuth",
    "ClientExchange",
    "ConMode",
    "Credentials",
    "CryptoKey",
    "DummyClient",
    "DummyServer",
    "Keyring",
    "KeyringEntry",
    "NoneClient",
    "NoneServer",
    "RotatingSecrets",
    "ServerAuth",
    "ServerDone",
    "ServerExchange",
    "ServerMore",
    "rotating_request",
]
