"""``Child``: a process of ours that is talked to in lines of JSON."""

from __future__ import annotations

import json
import select
import signal
import subprocess
import sys
import time
from types import TracebackType
from typing import Any, Self

__all__ = ["Child"]

#: Past this it is taken for dead. An answer may be 100 MB of journals.
_ANSWER_TIMEOUT_S = 120.0


class Child:
    """``python -m MODULE ARGUMENTS``; killed at the end of the context if it has not ended by then."""

    def __init__(self, module: str, *arguments: str) -> None:
        # Of a group of its own: Ctrl-C is for whoever gives the orders.
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, process_group=0
        )
        self._unread = b""

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, **order: object) -> dict[str, Any]:
        self.tell(**order)
        return self.read()

    def tell(self, **order: object) -> None:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(order).encode() + b"\n")

    def read(self) -> dict[str, Any]:
        """The next line it writes."""
        assert self._process.stdout
        end_s = time.monotonic() + _ANSWER_TIMEOUT_S
        chunks = [self._unread]
        while b"\n" not in chunks[-1]:
            if not select.select([self._process.stdout], [], [], max(0.0, end_s - time.monotonic()))[0]:
                raise TimeoutError(f"{self._process.args!r} has said nothing for {_ANSWER_TIMEOUT_S:g} s")
            data = self._process.stdout.read(1 << 20)
            if not data:
                raise EOFError(f"{self._process.args!r} has ended with {self._process.wait(_ANSWER_TIMEOUT_S)}")
            chunks.append(data)
        line, _, self._unread = b"".join(chunks).partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def send_signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, and wait."""
        self._process.kill()
        self._process.wait(_ANSWER_TIMEOUT_S)

    def close(self) -> int:
        """No more orders: it ends by itself. Returns its exit code."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        code = self._process.wait(_ANSWER_TIMEOUT_S)
        self._process.stdout.close()
        return code

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, type_: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._process.stdin and self._process.stdout
        if self._process.poll() is None:
            self.kill()
        self._process.stdin.close()
        self._process.stdout.close()
