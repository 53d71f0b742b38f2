"""The line on the terminal, and the silence elsewhere."""

from __future__ import annotations

import io

import pytest

from ceph_msgr.tools.progress import Progress

SECOND_NS = 1_000_000_000


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True

    def lines(self) -> list[str]:
        """What one sees after each rewriting of the line."""
        first, *lines = self.getvalue().split("\r")
        assert first == ""
        assert all(line.endswith("\x1b[K") for line in lines)
        return [line.removesuffix("\x1b[K") for line in lines]


def test_it_shows_the_share_and_the_rate_since_the_last_look(monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    terminal = Terminal()
    with Progress(terminal) as progress:
        progress.show(0.25, 1000, SECOND_NS)
        progress.show(0.5, 4000, 2 * SECOND_NS)
        progress.show(1.7, 4000, 3 * SECOND_NS)
    first, second, third, last = terminal.lines()
    assert first.split() == ["[########......................]", "25%", "1,000", "ops/s"]
    assert second.split()[1:] == ["50%", "3,000", "ops/s"]
    assert third.split()[1:] == ["100%", "0", "ops/s"], "draining takes longer than the run, not more than all of it"
    assert last == "", "the line is gone at the end"


@pytest.mark.parametrize("columns", [1, 20, 40])
def test_it_never_fills_a_narrow_terminal(columns: int, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    terminal = Terminal()
    Progress(terminal).show(0.5, 10**12, SECOND_NS)
    assert max(map(len, terminal.lines())) < columns


def test_elsewhere_it_writes_nothing() -> None:
    stream = io.StringIO()
    with Progress(stream) as progress:
        progress.show(0.5, 10, 10)
    assert stream.getvalue() == ""
