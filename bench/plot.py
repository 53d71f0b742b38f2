"""The cells as a picture: a panel for each case, a bar for each contestant. Needs matplotlib."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from bench.compare import OURS, Cell
from bench.sample import medians

__all__ = ["can_plot", "plot"]

_COLUMNS = 2


def can_plot() -> bool:
    return importlib.util.find_spec("matplotlib") is not None


def plot(path: Path, cells: Sequence[Cell], title: str) -> None:
    """Rates on a logarithmic scale, with the CPU time of an operation behind each."""
    from matplotlib.figure import Figure

    rows = -(-len(cells) // _COLUMNS)
    figure = Figure(figsize=(7 * _COLUMNS, 3.2 * rows), layout="constrained")
    figure.suptitle(title)
    for number, cell in enumerate(cells, 1):
        axes = figure.add_subplot(rows, _COLUMNS, number)
        names = list(cell.samples)
        middles = [medians(cell.samples[name]) for name in names]
        rates = [middle.ops_per_s for middle in middles]
        colours = ["tab:orange" if name.startswith(OURS) else "tab:grey" if "floor" in name else "tab:blue" for name in names]
        bars = axes.barh(names, rates, color=colours)
        axes.bar_label(bars, [f"{middle.ops_per_s:,.0f}, {middle.cpu_us:,.1f} us CPU" for middle in middles], padding=3)
        axes.set_xscale("log")
        axes.set_xlim(min(rates) / 2, max(rates) * 8)
        axes.set_xlabel("operations/s; CPU of both sides per operation")
        axes.invert_yaxis()
        axes.set_title(str(cell.case))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
