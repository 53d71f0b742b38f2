"""One line on a terminal that shows how far a run is and how fast; elsewhere nothing at all."""

from __future__ import annotations

import shutil
from types import TracebackType
from typing import Self, TextIO

__all__ = ["Progress"]

_BAR_WIDTH = 30


class Progress:
    """Writes over its own line. Leaving ``with`` clears it, so that what follows starts on a clean line."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._on_terminal = stream.isatty()
        self._last_ops = 0
        self._last_ns = 0

    def __enter__(self) -> Self:
        return self

    def show(self, share_done: float, ops: int, elapsed_ns: int) -> None:
        """``ops`` and ``elapsed_ns`` count from the start; the rate shown is that since the last call."""
        if not self._on_terminal:
            return
        rate = (ops - self._last_ops) * 1e9 / max(elapsed_ns - self._last_ns, 1)
        self._last_ops, self._last_ns = ops, elapsed_ns
        share_done = min(share_done, 1.0)
        bar = ("#" * round(share_done * _BAR_WIDTH)).ljust(_BAR_WIDTH, ".")
        self._rewrite(f"[{bar}] {share_done:4.0%} {rate:>11,.0f} ops/s")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._on_terminal:
            self._rewrite("")

    def _rewrite(self, line: str) -> None:
        # One column less than the terminal has: a full line would wrap, and \r would only return to its second half.
        width = shutil.get_terminal_size().columns - 1
        self._stream.write(f"\r{line[:width]}\x1b[K")
        self._stream.flush()
