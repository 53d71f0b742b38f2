"""Child processes of a run: each is ended by its id, whatever happened, and none is waited for without a deadline."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

__all__ = ["ROOT", "RunFailed", "Server", "child", "json_of", "output_of", "process_cpu_ns", "python"]

ROOT = Path(__file__).resolve().parents[1]

#: What starting and ending may take on top of the seconds asked for.
_GRACE_S = 60.0
_START_TIMEOUT_S = 30.0
_STOP_TIMEOUT_S = 5.0


class RunFailed(Exception):
    """A contestant did not do its part. One line."""


def python(module: str, *words: object) -> list[str]:
    """The command that runs this module with this interpreter."""
    return [sys.executable, "-m", module, *map(str, words)]


class Server:
    """Serves inside ``with``. The last word of its first line of output is its ``address``. It is to end when its standard
    input does, so that it does not outlive us."""

    def __init__(self, command: Sequence[str], *, start_timeout_s: float = _START_TIMEOUT_S) -> None:
        self._command = command
        self._start_timeout_s = start_timeout_s

    def __enter__(self) -> Self:
        pipe = subprocess.PIPE
        with ExitStack() as cleanup:
            self._process = cleanup.enter_context(child(self._command, stdin=pipe, stdout=pipe, stderr=pipe))
            self.pid = self._process.pid
            self.address = self._read_line(time.monotonic() + self._start_timeout_s).split()[-1]
            self._cleanup = cleanup.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._cleanup.close()

    def _read_line(self, deadline_s: float) -> str:
        assert self._process.stdout
        fd = self._process.stdout.fileno()
        line = b""
        # Below the buffered reader, which select knows nothing of.
        while not line.endswith(b"\n"):
            if not select.select([fd], [], [], max(deadline_s - time.monotonic(), 0))[0]:
                raise RunFailed(f"{_name(self._command)} was not ready after {self._start_timeout_s:g} s")
            piece = os.read(fd, 1)
            if not piece:
                errors = self._process.communicate(timeout=_STOP_TIMEOUT_S)[1]
                raise RunFailed(_last_line(errors) or f"{_name(self._command)} ended before it was ready")
            line += piece
        return line.decode()


def json_of(command: Sequence[str], seconds: float) -> dict[str, Any]:
    """What a program that runs for so long prints. ``RunFailed`` if it fails or hangs."""
    try:
        result: dict[str, Any] = json.loads(output_of(command, seconds))
    except json.JSONDecodeError as error:
        raise RunFailed(f"{_name(command)} printed no JSON: {error}") from None
    return result


def output_of(command: Sequence[str], seconds: float, *, stderr: int = subprocess.PIPE) -> str:
    """The same as text. ``subprocess.STDOUT`` adds its standard error."""
    with child(command, stdout=subprocess.PIPE, stderr=stderr) as process:
        try:
            out, errors = process.communicate(timeout=seconds + _GRACE_S)
        except subprocess.TimeoutExpired:
            raise RunFailed(f"{_name(command)} did not end within {seconds + _GRACE_S:g} s") from None
    if process.returncode:
        raise RunFailed(_last_line(errors or out) or f"{_name(command)} failed with exit code {process.returncode}")
    return out.decode()


@contextmanager
def child(
    command: Sequence[str], *, stdin: int = subprocess.DEVNULL, stdout: int, stderr: int
) -> Iterator[subprocess.Popen[bytes]]:
    """A process that ends with the context. In a group of its own: a Ctrl-C on the terminal is for us, who end it."""
    process = subprocess.Popen(command, stdin=stdin, stdout=stdout, stderr=stderr, cwd=ROOT, process_group=0)
    try:
        yield process
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Also reads what it still says, which it could otherwise not write."""
    if process.poll() is None:
        process.terminate()
    try:
        process.communicate(timeout=_STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
    except ValueError:
        process.wait()  # the pipes were read to their end


def _name(command: Sequence[str]) -> str:
    """The program, or the module that Python runs."""
    return command[2] if command[0] == sys.executable else Path(command[0]).name


def _last_line(text: bytes) -> str:
    lines = text.decode(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def process_cpu_ns(pid: int) -> int:
    """CPU time of another process so far, in nanoseconds where /proc has hundredths of a second.

    Linux numbers the CPU clock of every process: the complement of its id, then two for "scheduled time".
    """
    return time.clock_gettime_ns(~pid << 3 | 2)
