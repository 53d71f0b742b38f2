"""The protocol-neutral layer: a stack of workers, each an event loop on a thread of its own, and the sockets they
serve.

Nothing here knows what travels over a socket: one that was accepted goes to a callback.
"""

from __future__ import annotations

from ceph_msgr._core import EVENT_NONE, EVENT_READABLE, EVENT_WRITABLE, EventCenter
from ceph_msgr.net.posix import ConnectedSocket, ServerSocket, SocketOptions
from ceph_msgr.net.processor import Processor
from ceph_msgr.net.stack import Stack
from ceph_msgr.net.worker import Worker

__all__ = [
    "EVENT_NONE",
    "EVENT_READABLE",
    "EVENT_WRITABLE",
    "ConnectedSocket",
    "EventCenter",
    "Processor",
    "ServerSocket",
    "SocketOptions",
    "Stack",
    "Worker",
]
