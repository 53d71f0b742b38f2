"""What a run of the client measured, as a table for people and as JSON for programs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ceph_msgr.tools.histogram import LatencyHistogram

__all__ = ["Result"]

#: Name in the JSON and in the table, and per mille of the requests.
_QUANTILES = {"p50": 500, "p90": 900, "p99": 990, "p999": 999, "max": 1000}
_TABLE_NAMES = {"mean": "mean", "p50": "p50", "p99": "p99", "p999": "p99.9", "max": "max"}


@dataclass(frozen=True, slots=True)
class Result:
    """One run. ``seconds`` is from the first request until the last reply, so every counted operation is inside."""

    ops: int
    seconds: float
    #: Data bytes of one request; fronts, headers and replies are not counted.
    msg_len_bytes: int
    latency: LatencyHistogram
    #: User and system time of the whole client process in those seconds.
    cpu_ns: int
    errors: int
    parameters: Mapping[str, object]

    # Rates are 0 where nothing was measured: never a division by zero, and never NaN, which JSON does not know.

    @property
    def ops_per_s(self) -> float:
        return self.ops / self.seconds if self.seconds else 0.0

    @property
    def mb_per_s(self) -> float:
        """Megabytes (10^6) of data per second."""
        return self.ops_per_s * self.msg_len_bytes / 1e6

    @property
    def cpu_us_per_op(self) -> float:
        return self.cpu_ns / 1000 / self.ops if self.ops else 0.0

    @property
    def latency_us(self) -> dict[str, float]:
        values_ns = {"mean": self.latency.mean_ns()}
        values_ns |= {name: self.latency.quantile_ns(per_mille) for name, per_mille in _QUANTILES.items()}
        return {name: round(value_ns / 1000, 3) for name, value_ns in values_ns.items()}

    def as_json(self) -> dict[str, object]:
        return {
            "ops": self.ops,
            "seconds": round(self.seconds, 6),
            "ops_per_s": round(self.ops_per_s, 1),
            "mb_per_s": round(self.mb_per_s, 3),
            "latency_us": self.latency_us,
            "cpu_us_per_op": round(self.cpu_us_per_op, 3),
            "errors": self.errors,
            "parameters": dict(self.parameters),
        }

    def table(self) -> str:
        """Some lines, each a name, a number and its unit."""
        latency_us = self.latency_us
        rows = [
            ("requests answered", f"{self.ops:,}", f"in {self.seconds:.3f} s"),
            ("operations", f"{self.ops_per_s:,.0f}", "/s"),
            ("data sent", f"{self.mb_per_s:,.1f}", "MB/s"),
            *((f"latency {shown}", f"{latency_us[name]:,.1f}", "us") for name, shown in _TABLE_NAMES.items()),
            ("client CPU", f"{self.cpu_us_per_op:,.2f}", "us per operation"),
            ("errors", f"{self.errors:,}", ""),
        ]
        return "\n".join(f"{name:<17} {value:>14} {unit}".rstrip() for name, value, unit in rows)
