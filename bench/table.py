"""A cell as lines of text."""

from __future__ import annotations

from bench.compare import OURS, Cell
from bench.sample import medians, spread

__all__ = ["table"]

_HEAD = (
    f"{'':<20} {'ops/s':>11} {'spread':>6} {'to':>6} {'pair':>7} {'p50':>9} {'p99':>9} {'client':>8} {'server':>8}\n"
    f"{'':<20} {'':>11} {'':>6} {'first':>6} {'to it':>7} {'us':>9} {'us':>9} {'CPU us':>8} {'CPU us':>8}"
)


def table(cell: Cell) -> str:
    """A title, two lines of heads, a line for each contestant."""
    return "\n".join([str(cell.case), _HEAD, *(_row(cell, name) for name in cell.samples)])


def _row(cell: Cell, name: str) -> str:
    samples = cell.samples[name]
    middle = medians(samples)
    return (
        f"{name:<20} {middle.ops_per_s:>11,.0f} {spread(samples):>6.0%} {_number(cell.ratio(name, cell.first), 6, 2)} "
        f"{_number(cell.ratio(OURS, name), 7, 2)} {_number(middle.p50_us, 9, 1)} {_number(middle.p99_us, 9, 1)} "
        f"{middle.client_cpu_us:>8.2f} {middle.server_cpu_us:>8.2f}"
    )


def _number(value: float | None, width: int, digits: int) -> str:
    return f"{'-' if value is None else f'{value:,.{digits}f}':>{width}}"
