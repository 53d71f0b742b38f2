"""Recorded instruction counts: what is compared with what, and the programs that are counted."""

from __future__ import annotations

import subprocess
import sys

from bench import instructions
from bench.instructions import CASES, Change, changes, differences, load, table
from bench.process import ROOT, output_of


def test_every_case_is_recorded() -> None:
    recorded_at, counts = load()
    assert counts.keys() == CASES.keys() and min(counts.values()) > 0
    assert recorded_at.keys() == {"compiler", "valgrind", "libc", "openssl", "python", "machine", "cpu"}


def test_only_what_differs_is_told() -> None:
    here = {"python": "3.11.7", "libc": "glibc 2.36"}
    assert list(differences(here, here)) == []
    assert list(differences({"python": "3.12.0", "libc": "glibc 2.36"}, here)) == ["python: recorded with 3.12.0, here 3.11.7"]
    assert list(differences({"python": "3.11.7"}, here)) == ["libc: recorded with None, here glibc 2.36"]


def test_a_change_beyond_the_tolerance_is_told() -> None:
    found = changes({"a": 1000.0, "b": 1000.0, "c": 1000.0}, {"a": 1009.0, "b": 1011.0, "c": 980.0, "d": 5.0})
    assert [change.verdict for change in found] == ["as recorded", "MORE", "fewer, record them", "not recorded"]
    assert Change("b", 1000.0, 1011.0).share > instructions.TOLERANCE
    rows = list(table(found))
    assert rows[2].split() == ["b", "1,000.0", "1,011.0", "+1.1%", "MORE"]


def test_instructions_of_an_operation_are_those_of_the_difference(monkeypatch) -> None:
    # 500 instructions each, after a million to start.
    monkeypatch.setattr(instructions, "_instructions", lambda case, operations: 1_000_000 + 500 * operations)
    assert instructions.count() == dict.fromkeys(CASES, 500.0)


def test_valgrinds_sum_is_found(monkeypatch) -> None:
    text = "==7== Events    : Ir\n==7== Collected : 123456789\n==7==\n==7== I   refs:      123,456,789\n"
    monkeypatch.setattr(instructions, "output_of", lambda *command, **settings: text)
    assert instructions._instructions("core parse", 1) == 123456789


def test_without_valgrind_there_is_a_reason(monkeypatch) -> None:
    monkeypatch.setattr(instructions.shutil, "which", lambda name: None)
    assert "apt install valgrind" in str(instructions.why_not())


def test_two_messengers_without_threads_answer_everything() -> None:
    assert output_of([sys.executable, "-m", "bench.stepped", "96"], 10, stderr=subprocess.STDOUT) == ""


def test_the_counted_program_of_the_core_compiles() -> None:
    """Against today's headers; the suite does not build it otherwise."""
    folders = [f"-I{ROOT / 'csrc' / folder}" for folder in ("include", "src", "tests")]
    source = ROOT / "csrc/tests" / f"{instructions.CORE.name}.c"
    command = ["cc", "-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", *folders, str(source)]
    assert output_of(command, 30, stderr=subprocess.STDOUT) == ""
