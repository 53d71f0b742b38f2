"""The arithmetic and the order of the loopback bench, with contestants whose figures are known."""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import replace

from bench import contestants, loopback
from bench.contestants import Sample

SAMPLE = Sample(ops_per_s=100.0, p50_us=1.0, p99_us=2.0, client_cpu_us=3.0, server_cpu_us=4.0)


def samples(*rates: float) -> list[Sample]:
    return [replace(SAMPLE, ops_per_s=rate) for rate in rates]


def test_the_ratio_is_the_median_of_the_rounds() -> None:
    # In the second round both were disturbed. Medians of each would give 30/100.
    cell = loopback.Cell(64, 1, floor=samples(100, 40, 200), pair=samples(30, 20, 80))
    assert cell.ratio == 0.4


def test_spread_is_a_share_of_the_median() -> None:
    assert loopback.spread(samples(80, 100, 130)) == 0.5
    assert loopback.spread(samples(100)) == 0


def test_each_figure_has_its_own_median() -> None:
    low, high = replace(SAMPLE, p50_us=9.0), replace(SAMPLE, p99_us=9.0)
    assert loopback.medians([low, high, SAMPLE]) == SAMPLE


def test_floor_and_pair_alternate_in_every_cell(monkeypatch) -> None:
    ran: list[tuple[str, int, int]] = []

    def contestant(name: str):
        class Contestant:
            def __init__(self, *_) -> None:
                self.name = name

            def run(self, msg_len_bytes: int, concurrency: int, seconds: float) -> Sample:
                ran.append((name, msg_len_bytes, concurrency))
                return SAMPLE

        return Contestant

    monkeypatch.setattr(loopback, "Floor", contestant("floor"))
    monkeypatch.setattr(loopback, "Pair", contestant("pair"))
    options = argparse.Namespace(floor=None, shape="perf", msg_len=[64, 4096], concurrency=[1], rounds=2, seconds=1.0)
    cells = list(loopback.measure(options))
    one_cell = [("floor", 64, 1), ("pair", 64, 1)] * 2
    assert ran == one_cell + [(name, 4096, 1) for name, _, _ in one_cell]
    assert [(cell.msg_len_bytes, len(cell.floor), len(cell.pair)) for cell in cells] == [(64, 2, 2), (4096, 2, 2)]


def test_a_row_stands_under_its_heads() -> None:
    row = loopback.row(loopback.Cell(4096, 128, samples(187_682.0), samples(92_345.0)))
    bars = [[at for at, char in enumerate(line) if char == "|"] for line in (*loopback.HEAD.splitlines(), row)]
    assert bars[0] == bars[1] == bars[2]


def test_a_missing_floor_is_one_line(tmp_path, capsys) -> None:
    code = loopback.run_tool("bench.loopback", loopback.run, ["--floor", str(tmp_path / "floor")])
    assert code == 1
    assert capsys.readouterr().err == f"bench.loopback: {tmp_path / 'floor'} is missing: make floor\n"


def test_the_cpu_time_of_another_process_is_read() -> None:
    before_ns = time.process_time_ns()
    read_ns = contestants._process_cpu_ns(os.getpid())
    assert before_ns <= read_ns <= time.process_time_ns()
