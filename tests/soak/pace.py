"""``Pace``: how many messages are due now, at so many a second."""

from __future__ import annotations

__all__ = ["Pace"]

#: What could not be sent within this time is forgone: a process that was frozen does not make up for it in one burst.
_FORGONE_AFTER_S = 0.5


class Pace:
    """One thread. ``now_s`` is a clock that does not go back."""

    def __init__(self, per_s: float, now_s: float) -> None:
        self._per_s = per_s
        self._last_s = now_s
        self._due = 0.0

    def due(self, now_s: float) -> int:
        self._due = min(self._due + (now_s - self._last_s) * self._per_s, _FORGONE_AFTER_S * self._per_s)
        self._last_s = now_s
        return int(self._due)

    def took(self, count: int) -> None:
        self._due -= count
