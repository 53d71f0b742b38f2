"""Which rows of the test contract have tests: ``python -m tests.contract``, or ``make contract``.

Rows, and why some have no test, stand in docs/test-contract.md. Prints each row with the number of its tests, as pytest
counts them, and of those in C; the end code is 1 if that is not what the document says.
"""

from __future__ import annotations

import contextlib
import io
import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pytest

from tests.test_architecture import CSRC, ROOT

__all__ = ["Row", "complaints", "count_c", "count_pytest", "parse"]

DOCUMENT = ROOT / "docs" / "test-contract.md"

_ID = r"[A-J]\d+[abc]?"
_TABLE_ROW = re.compile(r"^\| *([A-J]\w*) *\|(.*)\|(.*)\|$", re.MULTILINE)
_C_TEST = re.compile(r"(?:^/\* ((?:(?!\*/).)*) \*/\n)?^static void (test_\w+)\(", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Row:
    id: str
    title: str
    #: Why it has no test, or after "in part:" what its tests leave out.
    note: str = ""

    @property
    def is_excused(self) -> bool:
        return bool(self.note) and not self.note.startswith("in part:")


def parse(document: str) -> list[Row]:
    return [Row(id_, title.strip(), note.strip()) for id_, title, note in _TABLE_ROW.findall(document)]


# ---- counting ----


class _Collector:
    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def pytest_itemcollected(self, item: pytest.Item) -> None:
        self.counts.update({row for mark in item.iter_markers("contract") for row in mark.args})


def count_pytest() -> Counter[str]:
    """Collects all tests, so not inside of pytest. ``SystemExit``, with what pytest says, if that fails."""
    collector, said = _Collector(), io.StringIO()
    with contextlib.redirect_stdout(said):
        code = pytest.main(["--collect-only", "-qq", "--rootdir", str(ROOT), str(ROOT / "tests")], [collector])
    if code != pytest.ExitCode.OK:
        raise SystemExit(said.getvalue())
    return collector.counts


def count_c(sources: Iterable[str]) -> Counter[str]:
    """Rows in the names of test functions, and in comments right above them that begin with a row."""
    counts: Counter[str] = Counter()
    for source in sources:
        for comment, name in _C_TEST.findall(source):
            told = comment if re.match(rf"{_ID}\b", comment) else ""
            counts.update({*re.findall(rf"_({_ID})(?=_)", name), *re.findall(rf"\b{_ID}\b", told)})
    return counts


# ---- comparing ----


def complaints(rows: Iterable[Row], counts: Mapping[str, int]) -> list[str]:
    """One line for each row that is not as the document says."""
    found, ids = [], set()
    for row in rows:
        if row.id in ids:
            found.append(f"{row.id} stands twice in {DOCUMENT.name}")
        ids.add(row.id)
        if row.is_excused and counts.get(row.id):
            found.append(f"{row.id} is excused ({row.note}) and has {counts[row.id]} tests")
        elif not row.is_excused and not counts.get(row.id):
            found.append(f"{row.id} ({row.title}) has no test and no excuse")
    return found + [f"{id_} is marked in {counts[id_]} tests and is no row" for id_ in sorted(counts.keys() - ids)]


def main() -> int:
    rows = parse(DOCUMENT.read_text())
    python = count_pytest()
    c = count_c(path.read_text() for path in sorted((CSRC / "tests").glob("test_*.c")))
    print("row   pytest   C  what must hold")
    for row in rows:
        counts = f"{'-':>7} {'-':>3}" if row.is_excused else f"{python[row.id]:7} {c[row.id]:3}"
        print(f"{row.id:5}{counts}  {row.title}")
        if row.note:
            print(f"{'':17}{'not covered: ' if row.is_excused else ''}{row.note}")
    excused = [row.id for row in rows if row.is_excused]
    print(f"{len(rows)} rows, {len(excused)} not covered: {' '.join(excused) or 'none'}")
    found = complaints(rows, python + c)
    print(*found, sep="\n", end="\n" if found else "", file=sys.stderr)
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
