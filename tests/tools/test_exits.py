"""Failures are one line and a number."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys

import pytest

from ceph_msgr import MessengerError
from ceph_msgr.tools.exits import EXIT_RUN_TIME, Failure, exit_of_signal, run_tool
from ceph_msgr.tools.signals import catch_signals


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (Failure("no way"), "tool: no way\n"),
        (MessengerError("on two\n  lines"), "tool: on two lines\n"),
        (OSError(errno.EADDRINUSE, "cannot listen: in use"), "tool: cannot listen: in use\n"),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), "tool: /x: Permission denied\n"),
        (OSError("of no number"), "tool: of no number\n"),
    ],
)
def test_what_a_user_can_act_on_is_one_line(error: Exception, line: str, capsys) -> None:
    def body(argv):
        raise error

    assert run_tool("tool", body, []) == EXIT_RUN_TIME
    assert capsys.readouterr() == ("", line)


def test_a_bug_stays_a_traceback() -> None:
    def body(argv):
        raise AssertionError("a bug")

    with pytest.raises(AssertionError, match="a bug"):
        run_tool("tool", body, [])


def test_arguments_come_from_the_command_line_unless_given(monkeypatch) -> None:
    monkeypatch.setattr(sys, "argv", ["tool", "a", "b"])
    assert run_tool("tool", len, None) == 2
    assert run_tool("tool", len, ["x"]) == 1


def test_a_reader_that_went_away_is_no_traceback() -> None:
    code = "import sys; from ceph_msgr.tools.exits import run_tool; sys.exit(run_tool('t', lambda argv: print('x'), []))"
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = subprocess.run([sys.executable, "-c", code], stdout=write_end, stderr=subprocess.PIPE, timeout=100, text=True)
    os.close(write_end)
    assert (done.returncode, done.stderr) == (exit_of_signal(signal.SIGPIPE), "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_are_told_and_handlers_put_back(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    told: list[signal.Signals] = []
    with catch_signals(told.append):
        signal.raise_signal(number)
        signal.raise_signal(number)
    assert told == [number, number]
    assert signal.getsignal(number) is before
