"""The scaling set: how the pair's rate follows depth, payload, jobs, workers and connections."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from bench import sweep
from bench.case import by_name
from bench.compare import measure
from bench.contestants import Pair
from bench.crowd import run_crowd
from bench.sweep import SWEEPS, Sweep, run_sweep
from bench.table import table

__all__ = ["SETS"]

_WORKER_CASES = [
    by_name("4k-4jobs"),
    replace(by_name("1m"), name="1m-4jobs", jobs=4),
    replace(by_name("64k-secure"), name="64k-secure-4jobs", jobs=4),
]


def _sweep(swept: Sweep, rounds: int, seconds: float) -> tuple[str, dict[str, object]]:
    points = run_sweep(swept, Pair("pair").run, rounds, seconds)
    return "\n".join(sweep.table(swept, points)), sweep.as_json(swept, points)


def _workers(rounds: int, seconds: float) -> tuple[str, dict[str, object]]:
    cells = list(measure(_WORKER_CASES, [Pair("1 worker"), Pair("2 workers", workers=2)], rounds, seconds))
    return "\n\n".join(map(table, cells)), {"cells": [cell.as_json() for cell in cells]}


def _connections(rounds: int, seconds: float) -> tuple[str, dict[str, object]]:
    crowd = run_crowd(rounds, seconds)
    return "\n".join(crowd.table()), crowd.as_json()


#: Each takes rounds and seconds, and returns lines to print and what goes into the JSON.
SETS: dict[str, Callable[[int, float], tuple[str, dict[str, object]]]] = {
    **{swept.name: partial(_sweep, swept) for swept in SWEEPS},
    "workers": _workers,
    "connections": _connections,
}
