"""Which algorithm of on-wire compression is used with whom."""

from __future__ import annotations

from ceph_msgr.compression.registry import Algorithm, CompressionMode, CompressionRegistry

__all__ = ["Algorithm", "CompressionMode", "CompressionRegistry"]
