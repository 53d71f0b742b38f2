"""What is going on, on standard error: one line that is written over on a terminal, a line for each step elsewhere."""

from __future__ import annotations

import sys

__all__ = ["clear", "say", "show"]


def show(text: str) -> None:
    """What is running now."""
    if sys.stderr.isatty():
        print(f"\r{text}\x1b[K", end="", file=sys.stderr, flush=True)
    else:
        say(text)


def clear() -> None:
    """Before something is written below."""
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def say(text: str) -> None:
    """A line that stays."""
    clear()
    print(text, file=sys.stderr, flush=True)
