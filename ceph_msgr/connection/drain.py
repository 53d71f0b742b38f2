"""``DrainWaiters``: threads that wait for a connection's send queue to shrink."""

from __future__ import annotations

import threading
from collections.abc import Callable

__all__ = ["DrainWaiters"]


class DrainWaiters:
    """Threads wait for "at most so many bytes"; the core is asked to tell about the largest such number.

    ``queued_bytes()`` tells how much there is now, ``notify(limit_bytes)`` asks for one call of ``drained()`` once there is
    not more than that.
    """

    def __init__(self, queued_bytes: Callable[[], int], notify: Callable[[int], None]) -> None:
        self._queued_bytes = queued_bytes
        self._notify = notify
        self._changed = threading.Condition()
        self._limits: list[int] = []
        #: What ``drained`` shall report, once; None if nothing.
        self._expected: int | None = None
        self._is_closed = False

    def wait(self, limit_bytes: int, timeout: float | None) -> bool:
        """False after ``timeout`` seconds, or once closed."""
        with self._changed:
            self._limits.append(limit_bytes)
        self.rearm()
        try:
            with self._changed:
                self._changed.wait_for(lambda: self._is_closed or self._queued_bytes() <= limit_bytes, timeout)
                return not self._is_closed and self._queued_bytes() <= limit_bytes
        finally:
            with self._changed:
                self._limits.remove(limit_bytes)

    def expect(self, limit_bytes: int) -> None:
        """Let ``drained`` return True once there are at most so many bytes."""
        with self._changed:
            self._expected = limit_bytes
        self.rearm()

    def rearm(self) -> None:
        """Ask the core again, if anybody waits."""
        with self._changed:  # also around notify: a late, smaller limit must not replace a newer one
            limits = [*self._limits] if self._expected is None else [*self._limits, self._expected]
            if limits:
                self._notify(max(limits))

    def drained(self) -> bool:
        """The core told: wake everybody, and ask again for those who want still less. True if it was expected."""
        with self._changed:
            self._changed.notify_all()
            queued = self._queued_bytes()
            is_expected = self._expected is not None and queued <= self._expected
            if is_expected:
                self._expected = None
            limits = [limit for limit in (*self._limits, self._expected) if limit is not None and limit < queued]
            if limits:
                self._notify(max(limits))
        return is_expected

    def close(self) -> None:
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
