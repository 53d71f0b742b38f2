"""From a payload to the bytes of its frame, as they go over the wire in crc mode.

The control plane hands payloads down and never frames bytes itself, but a handshake signature covers them as they
appear on the wire; that is what this is for. The only module of ``protocol`` that sees the compiled core.
"""

from __future__ import annotations

__all__ = ["assemble_control"]


def assemble_control(tag: int, payload: bytes, revision: int) -> bytes:
    """One control frame of msgr2.``revision`` in crc mode."""
    # Late, so that the state machines run, and are tested, without the core.
    from ceph_msgr._core import frame_assemble

    return frame_assemble(tag, [payload], revision)
