"""SIGINT and SIGTERM as news in a mailbox, so that one loop of the main thread hears of everything."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from types import FrameType
from typing import TypeVar

__all__ = ["catch_signals", "wait_for"]

#: A signal that comes just before a wait begins does not end it: no wait is longer than this.
_TICK_S = 0.2


T = TypeVar("T")


def wait_for(mailbox: SimpleQueue[T]) -> T:
    """The next piece of news, however long that takes."""
    while True:
        try:
            return mailbox.get(timeout=_TICK_S)
        except Empty:
            continue


@contextmanager
def catch_signals(tell: Callable[[signal.Signals], object]) -> Iterator[None]:
    """Inside ``with``, SIGINT and SIGTERM call ``tell`` and do nothing else. Main thread only.

    ``tell`` runs between two bytecodes of whatever the main thread is doing, so it may take no lock that the main
    thread could be holding: ``queue.SimpleQueue.put`` qualifies, ``threading.Event.set`` does not.
    """

    def on_signal(number: int, frame: FrameType | None) -> None:
        tell(signal.Signals(number))

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
