"""Kernel TCP sockets: non-blocking, close-on-exec, never a SIGPIPE. All system calls go through the core's driver.

An object here belongs to one thread at a time, usually a worker's. Nothing blocks. Failures are ``OSError``; "would
block" is not one, each method says how it tells it. To learn when to try again, watch ``fd`` with an EventCenter.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self

from ceph_msgr import _core
from ceph_msgr.config import Config
from ceph_msgr.wire.addr import EntityAddr

if TYPE_CHECKING:
    from ceph_msgr._core import Buffer

__all__ = ["ConnectedSocket", "ServerSocket", "SocketOptions", "connect", "listen"]


@dataclass(frozen=True, slots=True)
class SocketOptions:
    """How sockets are set up. The defaults are those of ``Config``."""

    nodelay: bool = True
    #: SO_RCVBUF in bytes, 0 leaves it to the system.
    rcvbuf: int = 0
    #: SO_PRIORITY and the matching type of service; -1 leaves both alone.
    priority: int = -1
    #: TCP_USER_TIMEOUT, 0 leaves it to the system.
    user_timeout_ms: int = 30_000
    backlog: int = 512

    @classmethod
    def from_config(cls, config: Config, *, priority: int = -1) -> Self:
        return cls(
            nodelay=config.ms_tcp_nodelay,
            rcvbuf=config.ms_tcp_rcvbuf,
            priority=priority,
            user_timeout_ms=round(config.ms_tcp_user_timeout * 1000),
            backlog=config.ms_tcp_listen_backlog,
        )


class _Socket:
    """Owns a file descriptor; -1 once it is closed or given away."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def detach(self) -> int:
        """Gives the descriptor away: closing it is now the caller's business."""
        fd, self.fd = self.fd, -1
        return fd

    def close(self) -> None:
        """Idempotent. Unregister it from its EventCenter before."""
        if self.fd >= 0:
            _core.tcp_close(self.detach())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, type_: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def __del__(self) -> None:
        if self.fd >= 0:
            warnings.warn(f"unclosed {self!r}", ResourceWarning, stacklevel=2, source=self)
            self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} fd={self.fd}>"


class ConnectedSocket(_Socket):
    """One end of a stream, or of a connect that is still under way."""

    def is_connected(self) -> bool:
        """False while the connect is under way; ``OSError`` (such as ``ConnectionRefusedError``) when it has failed."""
        return _core.tcp_connect_result(self.fd) == 1

    def read(self, len_bytes: int) -> bytes | None:
        """At most so many bytes; ``b""`` at the end of the stream, None if there is nothing yet."""
        return _core.tcp_recv(self.fd, len_bytes)

    def send(self, buffers: list[Buffer], *, more: bool = False) -> int:
        """Sends from the front of the list, and removes from it what was taken; returns how many bytes that was.

        Less than all, and 0, mean that it would block. ``more`` tells that other data follows at once. After
        ``shutdown()``: ``BrokenPipeError``.
        """
        _remove_front(buffers, 0)
        taken_bytes = 0
        while buffers and (sent_bytes := _core.tcp_send(self.fd, buffers, more=more)):
            _remove_front(buffers, sent_bytes)
            taken_bytes += sent_bytes
        return taken_bytes

    def shutdown(self) -> None:
        """Ends the stream in both directions; the descriptor stays open."""
        _core.tcp_shutdown(self.fd)

    def local_addr(self) -> EntityAddr:
        return _core.tcp_local_addr(self.fd)

    def peer_addr(self) -> EntityAddr:
        return _core.tcp_peer_addr(self.fd)


class ServerSocket(_Socket):
    """A listening socket."""

    def accept(self, options: SocketOptions) -> tuple[ConnectedSocket, EntityAddr] | None:
        """The next connection and its peer's address, None if nobody waits. ``OSError`` may mean that trying again
        helps."""
        accepted = _core.tcp_accept(
            self.fd,
            nodelay=options.nodelay,
            rcvbuf=options.rcvbuf,
            priority=options.priority,
            user_timeout_ms=options.user_timeout_ms,
        )
        if accepted is None:
            return None
        fd, peer_addr = accepted
        return ConnectedSocket(fd), peer_addr

    def local_addr(self) -> EntityAddr:
        """Where it listens, with the port the kernel chose if none was asked for."""
        return _core.tcp_local_addr(self.fd)


def connect(addr: EntityAddr, options: SocketOptions, *, bind_to: EntityAddr | None = None) -> ConnectedSocket:
    """Begins to connect; ``is_connected()`` tells how it went, once the socket has become writable."""
    return ConnectedSocket(
        _core.tcp_connect(
            addr,
            bind_to=bind_to,
            nodelay=options.nodelay,
            rcvbuf=options.rcvbuf,
            priority=options.priority,
            user_timeout_ms=options.user_timeout_ms,
        )
    )


def listen(addr: EntityAddr, options: SocketOptions) -> ServerSocket:
    """Listens at an address with an ip; port 0 lets the kernel choose."""
    return ServerSocket(_core.tcp_listen(addr, backlog=options.backlog, nodelay=options.nodelay, rcvbuf=options.rcvbuf))


def _remove_front(buffers: list[Buffer], len_bytes: int) -> None:
    """Drops so many bytes, and the empty buffers behind them."""
    done = 0
    for buffer in buffers:
        view = memoryview(buffer).cast("B")
        if view.nbytes > len_bytes:
            buffers[done] = view[len_bytes:]
            break
        len_bytes -= view.nbytes
        done += 1
    del buffers[:done]
