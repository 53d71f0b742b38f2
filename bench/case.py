"""What is measured: so many bytes, so many requests in flight."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CASES", "Case", "by_name"]

#: Wire bytes of the perf pair's messages in crc mode, beside the payload of the request.
REQUEST_HEAD_BYTES = 310
REPLY_BYTES = 192


@dataclass(frozen=True, slots=True)
class Case:
    """``in_flight`` is per job, and each job has a connection of its own."""

    name: str
    payload_bytes: int
    in_flight: int
    jobs: int = 1
    mode: str = "crc"

    @property
    def request_bytes(self) -> int:
        return REQUEST_HEAD_BYTES + self.payload_bytes

    def __str__(self) -> str:
        words = [f"{self.payload_bytes} bytes", f"{self.in_flight} in flight"]
        words += [f"{self.jobs} jobs"] * (self.jobs > 1) + [self.mode]
        return f"{self.name}: {', '.join(words)}"


_KiB, _MiB = 1 << 10, 1 << 20

# One more than a round number where Ceph's client, which keeps one more than it is told, was measured with that number.
CASES = (
    Case("0b", 0, 32),
    Case("64b", 64, 32),
    Case("4k-1", 4 * _KiB, 1),
    Case("4k", 4 * _KiB, 33),
    Case("4k-4jobs", 4 * _KiB, 33, jobs=4),
    Case("64k", 64 * _KiB, 33),
    Case("1m", 1 * _MiB, 33),
    Case("4m", 4 * _MiB, 33),
    Case("4k-secure", 4 * _KiB, 33, mode="secure"),
    Case("64k-secure", 64 * _KiB, 33, mode="secure"),
    Case("1m-secure", 1 * _MiB, 33, mode="secure"),
)

_BY_NAME = {case.name: case for case in CASES}


def by_name(name: str) -> Case:
    """``KeyError`` if there is none."""
    return _BY_NAME[name]
