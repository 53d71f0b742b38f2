"""A perf-msgr-server of the client's own, in a process beside it.

The server announces the address it is bound to on its first line of standard output. It ends when its standard input
does, so it does not outlive a client that was killed and could not end it.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from ceph_msgr import EntityAddr
from ceph_msgr.tools.exits import Failure

__all__ = ["ServerProcess", "announcement"]

_ANNOUNCED = "listening on "
#: Generous: an interpreter starts, on a machine that may be busy.
_START_TIMEOUT_S = 20.0
_STOP_TIMEOUT_S = 5.0


def announcement(addr: object) -> str:
    """The first line of a server, once clients may dial this address."""
    return f"{_ANNOUNCED}{addr}"


class ServerProcess:
    """Runs inside ``with``; leaving it ends the process by its id, whatever happened. ``addr`` is what to dial."""

    def __init__(self, options: Sequence[str] = ()) -> None:
        command = [sys.executable, "-m", "ceph_msgr.tools.perf_msgr_server", "--bind", "127.0.0.1:0", "--until-eof"]
        self._process = subprocess.Popen(
            [*command, *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # A Ctrl-C on the terminal is for the client, which still needs its server to answer what is outstanding.
            process_group=0,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def __enter__(self) -> Self:
        try:
            self.addr = self._read_announcement(time.monotonic() + _START_TIMEOUT_S)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop()

    def _read_announcement(self, deadline: float) -> EntityAddr:
        assert self._process.stdout
        fd = self._process.stdout.fileno()
        line = b""
        # Below the buffered reader, which select knows nothing of.
        while not line.endswith(b"\n"):
            if not select.select([fd], [], [], max(deadline - time.monotonic(), 0))[0]:
                raise Failure(f"the server process was not ready after {_START_TIMEOUT_S:g} s")
            piece = os.read(fd, 1)
            if not piece:
                raise Failure(f"the server process ended before it was ready, with exit code {self._process.wait()}")
            line += piece
        return EntityAddr.parse(line.decode().strip().removeprefix(_ANNOUNCED))

    def _stop(self) -> None:
        self._process.terminate()
        try:
            # Reads its summary too, which it could otherwise not write.
            self._process.communicate(timeout=_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
