"""Every row of the test contract has a test or an excuse, and never both."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.contract import DOCUMENT, Row, complaints, count_c, parse
from tests.test_architecture import ROOT


@pytest.mark.slow
def test_every_row_has_a_test_or_an_excuse() -> None:
    """In a process of its own, as it collects all tests."""
    command = [sys.executable, "-m", "tests.contract"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert (run.returncode, run.stderr) == (0, "")


def test_the_document_has_all_rows() -> None:
    numbers = {"A": range(1, 25), "C": range(1, 12), "D": range(1, 7), "E": range(1, 12), "F": range(1, 6), "H": range(1, 8)}
    numbers |= {"I": range(1, 40), "J": range(1, 25)}
    expected = [f"{letter}{number}" for letter, range_ in numbers.items() for number in range_]
    rows = parse(DOCUMENT.read_text())
    assert sorted(row.id for row in rows) == sorted([*expected, "G", "I0a", "I0b", "I0c"])
    assert all(row.title for row in rows)


@pytest.mark.parametrize(
    ("row", "tests", "complaint"),
    [
        (Row("A1", "x"), {"A1": 2}, ""),
        (Row("A1", "x"), {}, "A1 (x) has no test and no excuse"),
        (Row("A1", "x", "too early"), {}, ""),
        (Row("A1", "x", "too early"), {"A1": 2}, "A1 is excused (too early) and has 2 tests"),
        (Row("A1", "x", "in part: no y"), {"A1": 2}, ""),
        (Row("A1", "x", "in part: no y"), {}, "A1 (x) has no test and no excuse"),
        (Row("A1", "x"), {"A1": 2, "A11": 1}, "A11 is marked in 1 tests and is no row"),
    ],
)
def test_what_is_complained_of(row: Row, tests: dict[str, int], complaint: str) -> None:
    assert complaints([row], tests) == ([complaint] if complaint else [])


def test_a_row_that_stands_twice() -> None:
    assert complaints([Row("A1", "x"), Row("A1", "y")], {"A1": 1}) == ["A1 stands twice in test-contract.md"]


def test_rows_in_c_tests() -> None:
    source = """/* Contract H1: the heading of a file stands for nothing. */
/* E4, E5: any bit wrong,
 * any end (E8). */
static void test_bits(void)
/* C6: told twice, counted once. */
static void test_C6_timers(void)
static void test_E1_E2_frames(int revision)
/* Unlike C7, this is no row. */
static void test_other(void)
/* C9: of a helper. */
static void helper(void)
static void test_last(void)
"""
    assert count_c([source]) == dict.fromkeys(("E4", "E5", "E8", "C6", "E1", "E2"), 1)
