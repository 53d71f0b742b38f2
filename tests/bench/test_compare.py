"""The arithmetic and the order of the comparison, with contestants whose figures are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest

from bench.case import CASES, Case, by_name
from bench.compare import Cell, measure, present, seconds_of
from bench.contestants import contestants
from bench.process import RunFailed
from bench.sample import Sample, medians, ratio, spread
from bench.table import table

SAMPLE = Sample(ops_per_s=100.0, p50_us=1.0, p99_us=2.0, client_cpu_us=3.0, server_cpu_us=4.0)


def samples(*rates: float) -> list[Sample]:
    return [replace(SAMPLE, ops_per_s=rate) for rate in rates]


@dataclass
class Known:
    """Tells what was run in a list shared with others."""

    name: str
    ran: list[tuple[str, str]]
    modes: Sequence[str] = ("crc", "secure")
    fails_at: set[int] = field(default_factory=set)
    absence: str | None = None

    def missing(self) -> str | None:
        return self.absence

    def serves(self, case: Case) -> bool:
        return case.mode in self.modes

    def run(self, case: Case, seconds: float) -> Sample:
        self.ran.append((self.name, case.name))
        if len(self.ran) in self.fails_at:
            raise RunFailed("no luck")
        return SAMPLE


def test_the_ratio_is_the_median_of_the_rounds() -> None:
    # In the second round both were disturbed. Medians of each would give 30/100.
    assert ratio(samples(30, 20, 80), samples(100, 40, 200)) == 0.4


def test_spread_is_a_share_of_the_median() -> None:
    assert spread(samples(80, 100, 130)) == 0.5
    assert spread(samples(100)) == 0


def test_each_figure_has_its_own_median() -> None:
    low, high = replace(SAMPLE, p50_us=9.0), replace(SAMPLE, p99_us=9.0)
    assert medians([low, high, SAMPLE]) == SAMPLE


def test_what_is_not_told_has_no_median_and_no_ratio() -> None:
    silent = replace(SAMPLE, p50_us=None)
    assert medians([silent, silent]).p50_us is None
    cell = Cell(CASES[0], {"pair": [SAMPLE], "ceph": [silent]})
    assert cell.ratio("pair", "ceph", "p50_us") is None
    assert cell.ratio("pair", "ceph") == 1
    assert cell.ratio("pair", "absent") is None


def test_contestants_take_turns_in_every_case() -> None:
    ran: list[tuple[str, str]] = []
    cells = list(measure([by_name("64b"), by_name("4k-secure")], [Known("a", ran), Known("b", ran, modes=["crc"])], 2, 1.0))
    assert ran == [("a", "64b"), ("b", "64b")] * 2 + [("a", "4k-secure")] * 2
    assert [{name: len(rounds) for name, rounds in cell.samples.items()} for cell in cells] == [{"a": 2, "b": 2}, {"a": 2}]


def test_only_the_first_round_is_run_when_the_time_is_up(capsys) -> None:
    ran: list[tuple[str, str]] = []
    cells = list(measure([by_name("64b"), by_name("4k")], [Known("a", ran), Known("b", ran)], 3, 1.0, budget_s=-1.0))
    assert ran == [("a", "64b"), ("b", "64b"), ("a", "4k"), ("b", "4k")]
    assert [len(cell.samples["b"]) for cell in cells] == [1, 1]
    assert "1 of 3 rounds in 64b: the time is up\n" in capsys.readouterr().err


def test_one_that_fails_is_left_out_of_its_case(capsys) -> None:
    ran: list[tuple[str, str]] = []
    case = by_name("64b")
    [cell] = measure([case], [Known("a", ran), Known("b", ran, fails_at={4})], 3, 1.0)
    assert list(cell.samples) == ["a"] and len(cell.samples["a"]) == 3
    assert ran == [("a", "64b"), ("b", "64b"), ("a", "64b"), ("b", "64b"), ("a", "64b")]
    assert "without b in 64b: no luck\n" in capsys.readouterr().err


def test_one_that_is_missing_costs_one_line(capsys) -> None:
    here, absent = Known("here", []), Known("absent", [], absence="pip install absent")
    assert present([here, absent, Known("unasked", [], absence="?")], ["here", "absent"]) == [here]
    assert capsys.readouterr().err == "without absent: pip install absent\n"


def test_the_time_counts_only_who_plays() -> None:
    one = seconds_of([CASES[0]], [Known("a", [])], 1, 1.0)
    assert seconds_of([by_name("64b"), by_name("4k-secure")], [Known("a", []), Known("b", [], modes=["crc"])], 3, 1.0) == 9 * one


def test_columns_stand_under_their_heads() -> None:
    rows = table(Cell(by_name("4k"), {"floor": samples(187_682.0), "ceph": [replace(SAMPLE, p50_us=None)]})).splitlines()
    assert rows[0] == "4k: 4096 bytes, 33 in flight, crc"
    assert len({len(row) for row in rows[1:]}) == 1


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_case_has_a_floor_or_tells_that_only_the_pair_has_jobs(case: Case) -> None:
    serving = [contestant.name for contestant in contestants(None) if contestant.serves(case)]
    assert "pair" in serving
    if case.jobs == 1:
        assert serving[0].startswith("floor")
