"""The figures of docs/perf.md, from JSON as the commands write it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import aims
from bench.aims import AIMS, Results
from bench.case import by_name
from bench.compare import Cell
from bench.crowd import Crowd
from bench.figures import DOCUMENT, figures, replace_figures
from bench.machine import machine
from bench.process import RunFailed
from bench.sample import Sample
from bench.sweep import SWEEPS, Point, as_json

PAIR, CEPH = Sample(200.0, 3.0, 4.0, 1.0, 2.0), Sample(100.0, None, None, 10.0, 20.0)


def write(folder: Path, name: str, result: object) -> None:
    values = {"machine": machine(), "rounds": 3, "seconds": 0.5, name: result}
    (folder / f"{name}.json").write_text(json.dumps(values))


def test_what_was_measured_becomes_tables(tmp_path: Path) -> None:
    cells = [Cell(by_name("64b"), {"pair": [PAIR]}), Cell(by_name("4k"), {"pair": [PAIR], "ceph": [CEPH]})]
    write(tmp_path, "compare", [cell.as_json() for cell in cells])
    write(tmp_path, "aims", aims.as_json(AIMS, Results(crowd=Crowd(10_000, [100.0], [90.0], 15_360.0, 1000, [0.0, 0.01]))))
    points = [Point(1, 4096, [CEPH]), Point(2, 4096, [PAIR])]
    crowd = Crowd(10_000, [100.0], [90.0], 15_360.0, 1000, [0.0, 0.01])
    write(tmp_path, "scale", {"depth": as_json(SWEEPS[0], points), "connections": crowd.as_json()})
    lines = figures(tmp_path).splitlines()
    for line in (
        "| operations/s (spread) | 64b | 4k |",
        "| pair | 200 (0%) | 200 (0%) |",
        "| ceph |  | 2.00 |",
        "| ceph |  | 10.0 + 20.0 |",
        "| pair | 3 / 4 | 3 / 4 |",
        "| connections | server memory of an idle session, KiB | <= 16 | 15 |  | reached |",
        "| 2 | 200 (0%) | 1 | 2.00 |",
    ):
        assert line in lines, line
    assert lines[-1].startswith("With 10,000 connections, 32 of them active, the rate is 0.90")


def test_figures_of_a_busy_machine_come_with_a_warning(tmp_path: Path) -> None:
    for slowest, warned in (160.0, False), (140.0, True):
        rounds = [Sample(rate, 3.0, 4.0, 1.0, 2.0) for rate in (slowest, 200.0)]
        write(tmp_path, "compare", [Cell(by_name("4k"), {"pair": rounds}).as_json()])
        assert ("**The machine was busy: the rounds lie up to 35% apart.**" in figures(tmp_path)) == warned


def test_without_figures_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match="there are no figures"):
        figures(tmp_path)


def test_figures_are_replaced_between_their_marks() -> None:
    document = DOCUMENT.read_text()
    replaced = replace_figures(document, r"new \1")
    assert "<!-- figures: begin -->\n\nnew \\1\n\n<!-- figures: end -->" in replaced
    assert replaced.split("<!--")[0] == document.split("<!--")[0]
    assert replaced.rsplit("-->", 1)[1] == document.rsplit("-->", 1)[1]
    with pytest.raises(RunFailed):
        replace_figures("# Performance", "new")
