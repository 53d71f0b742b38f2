"""``Processor``: the listening sockets of one messenger."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from functools import partial

from ceph_msgr._core import EVENT_READABLE, EventCenter
from ceph_msgr.config import Config
from ceph_msgr.errors import MessengerError
from ceph_msgr.log import get_logger
from ceph_msgr.net.posix import ConnectedSocket, ServerSocket, SocketOptions
from ceph_msgr.net.worker import Worker
from ceph_msgr.wire.addr import EntityAddr, EntityAddrVec

__all__ = ["Processor"]

_log = get_logger("net")

#: While accept fails, it is tried again after so long, doubling up to the second number.
_FIRST_PAUSE_NS, _LAST_PAUSE_NS = 10_000_000, 500_000_000

#: Errors of the connection at the head of the backlog: Linux hands them to accept, and the next one may be fine.
_GO_ON = frozenset(
    getattr(errno, name)
    for name in "EINTR ECONNABORTED EPROTO ENOPROTOOPT ENETDOWN EHOSTDOWN ENONET ENETUNREACH EHOSTUNREACH".split()
)


class Processor:
    """Listens on one worker, and hands what it accepts to the least loaded one.

    ``on_accept(worker, fd, peer_addr)`` is called on the thread of the worker that was chosen; it owns the socket, and
    one reference of the worker, from then on. If it raises, both are given back. A call may be under way while
    ``stop()`` returns.

    Two things bound it. While accept fails for want of descriptors or memory, it pauses, 10 ms at first and half a second at
    most. And no more than ``ms_accept_max_handshakes`` accepted sockets are unfinished at once: the user calls
    ``handshake_finished()`` once for each socket it was given, when the session is ready or the socket is closed.
    """

    def __init__(
        self,
        worker: Worker,
        get_worker: Callable[[], Worker],
        config: Config,
        on_accept: Callable[[Worker, int, EntityAddr], object],
        *,
        priority: int = -1,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self.worker = worker
        self._get_worker = get_worker
        self._config = config
        self._on_accept = on_accept
        self._options = SocketOptions.from_config(config, priority=priority)
        self._sleep = sleep
        self._listeners: list[_Listener] = []
        self._lock = threading.Lock()
        self._handshakes = 0
        self._is_full = False

    # ---- binding ----

    def bind(self, addrs: Iterable[EntityAddr], avoid_ports: Collection[int] = ()) -> EntityAddrVec:
        """Listens at each address and returns where; connections wait in the kernel until ``start()``.

        An address without an ip becomes the wildcard of IPv6 if ``ms_bind_ipv6``, else of IPv4. Port 0 becomes the
        first free one of ``ms_bind_port_min`` to ``ms_bind_port_max`` that is not to be avoided. An address that fails
        is tried again ``ms_bind_retry_count`` times, ``ms_bind_retry_delay`` seconds apart: this call may sleep. If
        one fails for good, none is listened at, and the ``OSError`` names it. Not on a worker.
        """
        listeners: list[_Listener] = []
        try:
            for addr in addrs:
                if not addr.ip:
                    addr = replace(addr, ip="::" if self._config.ms_bind_ipv6 else "0.0.0.0")
                socket = self._listen_patiently(addr, avoid_ports)
                listeners.append(_Listener(self, socket, replace(addr, port=socket.local_addr().port)))
        except BaseException:
            for listener in listeners:
                listener.socket.close()
            raise
        with self._lock:
            self._listeners = [*self._listeners, *listeners]
        return EntityAddrVec(listener.addr for listener in listeners)

    def _listen_patiently(self, addr: EntityAddr, avoid_ports: Collection[int]) -> ServerSocket:
        for _ in range(self._config.ms_bind_retry_count):
            try:
                return self._listen(addr, avoid_ports)
            except OSError as error:
                _log.warning("%s; trying again in %g s", error.strerror, self._config.ms_bind_retry_delay)
                self._sleep(self._config.ms_bind_retry_delay)
        return self._listen(addr, avoid_ports)

    def _listen(self, addr: EntityAddr, avoid_ports: Collection[int]) -> ServerSocket:
        ports: Sequence[int] = [addr.port]
        where = str(addr)
        if not addr.port:
            first, last = self._config.ms_bind_port_min, self._config.ms_bind_port_max
            ports = [port for port in range(first, last + 1) if port not in avoid_ports]
            where = f"{addr} with any port from {first} to {last}"
        code = errno.EADDRINUSE
        for port in ports:
            try:
                return self.worker.listen(replace(addr, port=port), self._options)
            except OSError as error:
                code = error.errno or errno.EIO
                if code not in (errno.EADDRINUSE, errno.EACCES):  # the ip's fault: no port will do
                    break
        raise OSError(code, f"cannot listen on {where}: {os.strerror(code)}")

    # ---- accepting ----

    def start(self) -> None:
        """Begins to accept."""
        self._for_each(self._listeners, _Listener.watch)

    def stop(self, *, nowait: bool = False) -> None:
        """Stops accepting and closes the listening sockets; ``bind()`` may follow. Connections nobody has accepted are
        reset.

        ``nowait``: only posted to the worker, as it must be on another worker's thread.
        """
        with self._lock:
            listeners, self._listeners = self._listeners, []
        self._for_each(listeners, _Listener.close, nowait=nowait)

    def _for_each(self, listeners: Iterable[_Listener], do: Callable[[_Listener], None], *, nowait: bool = False) -> None:
        def run() -> None:
            for listener in listeners:
                do(listener)

        self.worker.submit_to(run, nowait=nowait)

    def handshake_finished(self) -> None:
        """An accepted socket has become a ready session or was closed: accepting may go on. Any thread."""
        with self._lock:
            self._handshakes -= 1
            was_full, self._is_full = self._is_full, False
        if was_full:
            self._for_each(self._listeners, _Listener.accept, nowait=True)

    def _begin_handshake(self) -> bool:
        with self._lock:
            if self._handshakes < self._config.ms_accept_max_handshakes:
                self._handshakes += 1
                return True
            if not self._is_full:
                self.worker.perf.inc("msgr_accept_stalls")
            self._is_full = True
            return False

    def _deliver(self, listener: _Listener, socket: ConnectedSocket, peer_addr: EntityAddr) -> None:
        worker = self._get_worker()
        worker.submit_to(partial(self._hand_over, listener, worker, socket, peer_addr), nowait=True)

    def _hand_over(self, listener: _Listener, worker: Worker, socket: ConnectedSocket, peer_addr: EntityAddr) -> None:
        """On the chosen worker."""
        if not listener.is_closed:
            try:
                self._on_accept(worker, socket.fd, peer_addr)
                socket.detach()
                return
            except MessengerError as error:
                _log.info("accepted connection from %s dropped: %s", peer_addr, error)
            except Exception:
                _log.exception("accepted connection from %s dropped", peer_addr)
        socket.close()
        worker.release()
        self.handshake_finished()


class _Listener:
    """One listening socket. Everything but the constructor on the processor's worker."""

    def __init__(self, processor: Processor, socket: ServerSocket, addr: EntityAddr) -> None:
        self.processor = processor
        self.socket = socket
        self.addr = addr
        self.is_closed = False
        self._failures = 0
        self._pause_ns = _FIRST_PAUSE_NS
        self._retry_timer = 0

    def watch(self) -> None:
        if not self.is_closed:
            self._center.create_file_event(self.socket.fd, EVENT_READABLE, self._on_readable)

    def close(self) -> None:
        self.is_closed = True
        self._center.delete_file_event(self.socket.fd, EVENT_READABLE)
        self.socket.close()

    def accept(self) -> None:
        """Until nobody waits: the event comes once for all who are there."""
        if self.is_closed or self._retry_timer:
            return
        while self.processor._begin_handshake():
            try:
                accepted = self.socket.accept(self.processor._options)
            except OSError as error:
                self.processor.handshake_finished()
                if error.errno in _GO_ON:
                    continue
                self._pause(error)
                return
            if accepted is None:
                self.processor.handshake_finished()
                return
            self._failures, self._pause_ns = 0, _FIRST_PAUSE_NS
            self.processor._deliver(self, *accepted)

    def _on_readable(self, fd: int, mask: int) -> None:
        self.accept()

    def _pause(self, error: OSError) -> None:
        """Not watched meanwhile: each newcomer would make us fail again."""
        self._failures += 1
        self.processor.worker.perf.inc("msgr_accept_errors", label=errno.errorcode.get(error.errno or 0, "unknown"))
        is_lasting = self._failures == self.processor._config.ms_max_accept_failures
        log = _log.error if is_lasting else _log.warning if self._failures == 1 else _log.debug
        pause_ms = self._pause_ns // 1_000_000
        log("%s: accept failed %d times in a row, next try in %d ms: %s", self.addr, self._failures, pause_ms, error)
        self._center.delete_file_event(self.socket.fd, EVENT_READABLE)
        self._retry_timer = self._center.create_time_event(self._pause_ns, self._resume)
        self._pause_ns = min(2 * self._pause_ns, _LAST_PAUSE_NS)

    def _resume(self) -> None:
        self._retry_timer = 0
        self.watch()  # tells at once of those who came meanwhile

    @property
    def _center(self) -> EventCenter:
        return self.processor.worker.center
