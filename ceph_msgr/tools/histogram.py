"""Latencies as a histogram: bounded memory however long the run, percentiles at the end.

Up to 16.8 ms there is a bucket for every 64 ns, so that recording is one shift and one addition. Above, every power of two is
divided into 128 buckets of equal width. So any value read from the histogram is within 32 ns or 0.4 % of the true one.
"""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["FINE_SHIFT", "LatencyHistogram"]

#: Nanoseconds to a bucket's index in ``LatencyHistogram.fine``.
FINE_SHIFT = 6
_FINE_BITS = 24
_SUB_BITS = 7
_LONGEST_BITS = 44  # 2**44 ns are almost five hours
_COARSE_BUCKETS = (_LONGEST_BITS - _FINE_BITS) << _SUB_BITS


class LatencyHistogram:
    """Counts of latencies in nanoseconds. One thread records; read it when that thread has stopped.

    ``fine[latency_ns >> FINE_SHIFT] += 1`` is what ``record`` does for all but the longest: where every call counts, write
    it out and leave the ``IndexError`` to ``record``.
    """

    __slots__ = ("_coarse", "fine")

    def __init__(self) -> None:
        self.fine = [0] * (1 << (_FINE_BITS - FINE_SHIFT))
        self._coarse = [0] * _COARSE_BUCKETS

    def record(self, latency_ns: int) -> None:
        """0 <= latency_ns < 2**44."""
        try:
            self.fine[latency_ns >> FINE_SHIFT] += 1
        except IndexError:
            shift = latency_ns.bit_length() - _SUB_BITS - 1
            power = latency_ns.bit_length() - 1 - _FINE_BITS
            self._coarse[(power << _SUB_BITS) + (latency_ns >> shift) - (1 << _SUB_BITS)] += 1

    def merge(self, other: LatencyHistogram) -> None:
        """Add what another one has counted."""
        self.fine = [mine + theirs for mine, theirs in zip(self.fine, other.fine, strict=True)]
        self._coarse = [mine + theirs for mine, theirs in zip(self._coarse, other._coarse, strict=True)]

    def __len__(self) -> int:
        """How many latencies were recorded."""
        return sum(self.fine) + sum(self._coarse)

    def buckets(self) -> Iterator[tuple[float, int]]:
        """(middle in nanoseconds, count) of every bucket that is not empty, in rising order."""
        for index, count in enumerate(self.fine):
            if count:
                yield (index << FINE_SHIFT) + (1 << FINE_SHIFT) / 2, count
        for index, count in enumerate(self._coarse):
            if count:
                power = (index >> _SUB_BITS) + _FINE_BITS
                width_ns = 1 << (power - _SUB_BITS)
                yield (1 << power) + (index & ((1 << _SUB_BITS) - 1)) * width_ns + width_ns / 2, count

    def mean_ns(self) -> float:
        """0 if nothing was recorded."""
        return sum(middle_ns * count for middle_ns, count in self.buckets()) / max(len(self), 1)

    def quantile_ns(self, per_mille: int) -> float:
        """The smallest latency that ``per_mille`` in 1000 do not exceed: 500 gives the median, 1000 the longest.

        0 if nothing was recorded.
        """
        wanted = max(-(-len(self) * per_mille // 1000), 1)  # rounded up, in integers: 99.9 % of 1000 is the 999th
        for middle_ns, count in self.buckets():
            wanted -= count
            if wanted <= 0:
                return middle_ns
        return 0.0
