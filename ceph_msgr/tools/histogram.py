"""Latencies as a histogram: bounded memory however long the run, percentiles at the end.

Below 256 ns each nanosecond has a bucket of its own; above, every power of two is divided into 128 buckets of equal
width. So any value read from the histogram is within 0.4 % of the true one, from nanoseconds to hours.
"""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["LatencyHistogram"]

_SUB_BITS = 7
_EXACT = (2 << _SUB_BITS) - 1
_LONGEST_BITS = 44  # 2**44 ns are almost five hours
_BUCKETS = (_LONGEST_BITS - _SUB_BITS + 1) << _SUB_BITS


class LatencyHistogram:
    """Counts of latencies in nanoseconds. One thread records; read it when that thread has stopped."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts = [0] * _BUCKETS

    def record(self, latency_ns: int) -> None:
        """Called for each operation, hence without a check: 0 <= latency_ns < 2**44."""
        shift = (latency_ns | _EXACT).bit_length() - _SUB_BITS - 1
        self._counts[(shift << _SUB_BITS) + (latency_ns >> shift)] += 1

    def merge(self, other: LatencyHistogram) -> None:
        """Add what another one has counted."""
        self._counts = [mine + theirs for mine, theirs in zip(self._counts, other._counts, strict=True)]

    def __len__(self) -> int:
        """How many latencies were recorded."""
        return sum(self._counts)

    def buckets(self) -> Iterator[tuple[float, int]]:
        """(middle in nanoseconds, count) of every bucket that is not empty, in rising order."""
        for index, count in enumerate(self._counts):
            if count:
                shift = max((index >> _SUB_BITS) - 1, 0)
                first_ns = (index - (shift << _SUB_BITS)) << shift
                yield first_ns + ((1 << shift) - 1) / 2, count

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
