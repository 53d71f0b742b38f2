"""A run as a picture: how latencies are spread, and how the rate went over time. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

from ceph_msgr.tools.result import Result

__all__ = ["can_plot", "plot"]


def can_plot() -> bool:
    """Whether matplotlib is installed; asked before a run that would otherwise be lost."""
    return find_spec("matplotlib") is not None


def plot(path: Path, title: str, result: Result, samples: Sequence[tuple[int, int]]) -> None:
    """Write a PNG. ``samples`` are (nanoseconds since the start, requests answered until then). May raise OSError."""
    from matplotlib.figure import Figure  # late: most runs do without, and it takes a second to load

    # A bare Figure draws without a display, and without the global state of pyplot.
    figure = Figure(figsize=(10, 4), layout="constrained")
    figure.suptitle(title)
    spread, rate = figure.subplots(1, 2)

    middles_us, counts = zip(*((ns / 1000, count) for ns, count in result.latency.buckets()), strict=True)
    spread.hist(middles_us, bins=_log_bins(middles_us[0], middles_us[-1]), weights=counts)
    for name in "p50", "p99", "p999":
        spread.axvline(result.latency_us[name], color="black", linestyle=":", linewidth=1)
        spread.annotate(name, (result.latency_us[name], 1), xycoords=("data", "axes fraction"), rotation=90, va="top")
    spread.set(xscale="log", xlabel="latency, us", ylabel="requests")
    spread.tick_params(axis="x", which="minor", labelbottom=False)

    times_s, rates = [], []
    for (from_ns, before), (until_ns, after) in pairwise(samples):
        if until_ns > from_ns:
            times_s.append(until_ns / 1e9)
            rates.append((after - before) * 1e9 / (until_ns - from_ns))
    rate.plot(times_s, rates)
    rate.set(xlabel="seconds", ylabel="operations/s", ylim=(0, None))
    figure.savefig(path, format="png", dpi=120)


def _log_bins(shortest: float, longest: float, count: int = 60) -> list[float]:
    ratio = max(longest / shortest, 1.01)
    return [shortest * ratio ** (edge / count) for edge in range(count)] + [max(longest, shortest * ratio)]
