"""Message: what every message is, typed or not.

A typed message is a subclass with ``encode_payload`` (its fields to a front) and ``decode_payload`` (front, middle and data
to fields), registered for its type number. A plain ``Message`` carries three segments of bytes.
"""

from __future__ import annotations

from ceph_msgr._core import Message

__all__ = ["Message"]
