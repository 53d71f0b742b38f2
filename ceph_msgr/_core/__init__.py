"""The compiled core: EventCenter, sockets, throttles, messages and the data plane of one worker.

What each name means and promises is told in ``__init__.pyi`` beside this file.
"""

from __future__ import annotations

try:
    from ceph_msgr._core._core import (
        EVENT_NONE,
        EVENT_READABLE,
        EVENT_WRITABLE,
        Cipher,
        DispatchTable,
        EventCenter,
        Frame,
        FrameParser,
        Limits,
        Message,
        Session,
        Stream,
        Throttle,
        WorkerCore,
        aes_128_cbc,
        callback_errors,
        compress,
        compression_algorithms,
        crc32c,
        crc32c_implementation,
        decompress,
        error_from_code,
        error_name,
        error_text,
        frame_assemble,
        live_objects,
        set_exception_hook,
        tcp_accept,
        tcp_close,
        tcp_connect,
        tcp_connect_result,
        tcp_listen,
        tcp_local_addr,
        tcp_peer_addr,
        tcp_recv,
        tcp_send,
        tcp_shutdown,
    )
except ModuleNotFoundError as error:
    if error.name != "ceph_msgr._core._core":
        raise
    raise ImportError(
        "ceph_msgr's compiled core is missing: this source tree is not built for this Python. "
        "Run `make build`, or `python setup.py build_ext --inplace`.",
        name=error.name,
    ) from error

__all__ = [
    "EVENT_NONE",
    "EVENT_READABLE",
    "EVENT_WRITABLE",
    "Cipher",
    "DispatchTable",
    "EventCenter",
    "Frame",
    "FrameParser",
    "Limits",
    "Message",
    "Session",
    "Stream",
    "Throttle",
    "WorkerCore",
    "aes_128_cbc",
    "callback_errors",
    "compress",
    "compression_algorithms",
    "crc32c",
    "crc32c_implementation",
    "decompress",
    "error_from_code",
    "error_name",
    "error_text",
    "frame_assemble",
    "live_objects",
    "set_exception_hook",
    "tcp_accept",
    "tcp_close",
    "tcp_connect",
    "tcp_connect_result",
    "tcp_listen",
    "tcp_local_addr",
    "tcp_peer_addr",
    "tcp_recv",
    "tcp_send",
    "tcp_shutdown",
]
