"""Plain sockets that say little or nothing, in a process of their own: ``python -m tests.limits.strangers ADDR``. Orders come on
standard input and are answered on standard output, a line of JSON each."""

from __future__ import annotations

import contextlib
import json
import resource
import selectors
import socket
import sys
import time

from ceph_msgr import EntityAddr

_TIMEOUT_S = 60.0

#: Under way at once when each is waited for: less than a listener's backlog.
_AT_ONCE = 256


class Strangers:
    def __init__(self, addr: tuple[str, int]) -> None:
        self._addr = addr
        self._socks: set[socket.socket] = set()
        self._selector = selectors.DefaultSelector()

    def do_dial(self, count: int, hears_banner: bool) -> None:
        """So many more; each is accepted if the banner is waited for, else the kernel may have done it alone."""
        for first in range(0, count, _AT_ONCE):
            some = [socket.create_connection(self._addr, _TIMEOUT_S) for _ in range(min(_AT_ONCE, count - first))]
            for sock in some:
                if hears_banner:
                    sock.recv(1)
                sock.setblocking(False)
                self._selector.register(sock, selectors.EVENT_READ)
            self._socks.update(some)

    def do_say(self, byte: int) -> dict[str, int]:
        """Each of them; returns how many are still connected."""
        for sock in list(self._socks):
            with contextlib.suppress(OSError):
                sock.send(bytes([byte]))
        self._read(0)
        return {"left": len(self._socks)}

    def do_wait_closed(self) -> None:
        """Until the other side has closed them all."""
        end_s = time.monotonic() + _TIMEOUT_S
        while self._socks:
            if time.monotonic() > end_s:
                raise TimeoutError(f"{len(self._socks)} are still connected after {_TIMEOUT_S:g} s")
            self._read(1)

    def _read(self, timeout_s: float) -> None:
        for key, _ in self._selector.select(timeout_s):
            sock = key.fileobj
            assert isinstance(sock, socket.socket)
            try:
                is_over = not sock.recv(1 << 16)
            except ConnectionResetError:
                is_over = True
            if is_over:
                self._forget(sock)

    def do_leave(self) -> None:
        for sock in list(self._socks):
            self._forget(sock)

    def _forget(self, sock: socket.socket) -> None:
        self._selector.unregister(sock)
        self._socks.remove(sock)
        sock.close()


def main() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    addr = EntityAddr.parse(sys.argv[1])
    strangers = Strangers((addr.ip, addr.port))
    for line in sys.stdin:
        order = json.loads(line)
        print(json.dumps(getattr(strangers, f"do_{order.pop('do')}")(**order)), flush=True)


if __name__ == "__main__":
    main()
