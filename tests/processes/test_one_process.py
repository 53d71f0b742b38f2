"""What can happen to one process in the middle of traffic: Ctrl-C, signals, fork, its end, a wall clock that jumps. Each in a
process of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Deadline
from tests.processes.interrupts import CALLS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.contract("H4"),
    pytest.mark.parametrize("deadline", [90], indirect=True),
]
FORKS = [
    ("main", "leaves"), ("fast callback", "leaves"), ("fast callback", "returns"), ("queued callback", "leaves"),
    ("queued callback", "returns"),
]  # fmt: skip
HERE = Path(__file__).parent


def run(deadline: Deadline, module: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", f"tests.processes.{module}", *arguments], capture_output=True, text=True, check=False,
        timeout=deadline.remaining_s(module), env=os.environ | environment,
    )  # fmt: skip


@pytest.mark.parametrize("call", CALLS)
def test_ctrl_c_ends_a_blocking_call_and_nothing_else(call: str, deadline: Deadline) -> None:
    ended = run(deadline, "interrupts", call)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "interrupted\nalive\n", "")


def test_a_storm_of_signals(deadline: Deadline) -> None:
    ended = run(deadline, "signals", "5000")
    assert (ended.returncode, ended.stderr) == (0, "")
    (main, handled), (workers, _) = (line.split() for line in ended.stdout.splitlines())
    assert (main, workers) == ("main", "workers")
    assert int(handled) > 0


@pytest.mark.parametrize(("where", "how"), FORKS)
def test_a_fork_disturbs_nothing(where: str, how: str, deadline: Deadline) -> None:
    ended = run(deadline, "forks", where, how)
    assert (ended.returncode, ended.stdout) == (0, "child 0\nalive\n"), ended.stderr


@pytest.mark.parametrize(("how", "code"), [("returns", 0), ("exits", 7), ("raises", 1)])
def test_a_program_may_end_in_the_middle(how: str, code: int, deadline: Deadline) -> None:
    ended = run(deadline, "leaver", how)
    assert (ended.returncode, ended.stdout) == (code, "leaving\n")
    if how == "raises":
        assert ended.stderr.count("Traceback") == 1
    else:
        assert ended.stderr == ""


@pytest.mark.contract("H6")
def test_jumps_of_the_wall_clock_are_not_noticed(tmp_path: Path, deadline: Deadline) -> None:
    if not shutil.which("cc"):
        pytest.skip("no C compiler")
    library = tmp_path / "wall_clock.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, HERE / "wall_clock.c"], check=True, timeout=60)
    preloaded = os.environ.get("LD_PRELOAD", "")  # a sanitizer's, which must come first
    ended = run(deadline, "jumps", LD_PRELOAD=f"{preloaded} {library}")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "alive\n", "")
