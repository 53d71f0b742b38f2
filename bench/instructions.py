"""Instructions of fixed work, counted by valgrind: what a busy machine cannot blur.

Each program runs twice, with few and with many operations; the difference is what the operations cost, without starting and
ending. The kernel's instructions are not counted. The counts depend on the compiler and on the versions of Python and the
libraries, so these are recorded beside them, and only counts of equal surroundings are compared.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import ssl
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench import progress
from bench.process import ROOT, RunFailed, output_of, python

__all__ = ["RECORDED", "TOLERANCE", "Change", "changes", "count", "surroundings", "why_not"]

RECORDED = ROOT / "bench/instructions.json"

#: Repeated counts were within 0.01 % of each other. What is left is where things happen to lie: another path to the project moved
#: Python's by 0.06 %.
TOLERANCE = 0.01

CORE = ROOT / "csrc/build/release/count_core"
_FEW, _MANY = 640, 6400
_TIMEOUT_S = 300.0
_COLLECTED = re.compile(r"Collected\s*:\s*(\d+)")

#: What the libraries choose their code by.
_CPU_FLAGS = {"aes", "avx", "avx2", "bmi2", "pclmulqdq", "sse4_2", "crc32", "pmull"}

CASES: dict[str, list[str]] = {
    **{
        f"core {name}": [str(CORE), name]
        for name in ("assemble", "parse", "seal-and-open", "out_q", "stream-crc", "stream-secure")
    },
    "python request-and-reply": python("bench.stepped"),
}


@dataclass(frozen=True, slots=True)
class Change:
    """Instructions per operation, recorded and now; None: not counted then."""

    case: str
    recorded: float | None
    now: float

    @property
    def share(self) -> float:
        return self.now / self.recorded - 1 if self.recorded else 0.0

    @property
    def verdict(self) -> str:
        if self.recorded is None:
            return "not recorded"
        return "MORE" if self.share > TOLERANCE else "fewer, record them" if self.share < -TOLERANCE else "as recorded"


def why_not() -> str | None:
    """Why nothing can be counted here."""
    if not shutil.which("valgrind"):
        return "valgrind is not installed (on Debian: apt install valgrind)"
    return None if CORE.exists() else f"{CORE.relative_to(ROOT)} is not built: make instructions"


def count() -> dict[str, float]:
    """Instructions per operation of each case, about two minutes. ``RunFailed`` if a program fails."""
    return {case: round((_instructions(case, _MANY) - _instructions(case, _FEW)) / (_MANY - _FEW), 1) for case in CASES}


def _instructions(case: str, operations: int) -> int:
    progress.show(f"{case}, {operations} operations")
    # No chance in hash tables, no addresses at random, nothing left for the next run to find, and the same environment whoever
    # calls: its size moves the stack, which was seen to change Python's counts by 0.7 %.
    variables = ["PYTHONHASHSEED=0", "PYTHONDONTWRITEBYTECODE=1"]
    fixed = ["env", "--ignore-environment", *variables, _program("setarch"), platform.machine(), "--addr-no-randomize"]
    valgrind = [_program("valgrind"), "--tool=callgrind", "--callgrind-out-file=/dev/null", "--trace-children=no"]
    text = output_of([*fixed, *valgrind, *CASES[case], str(operations)], _TIMEOUT_S, stderr=subprocess.STDOUT)
    if not (found := _COLLECTED.search(text)):
        raise RunFailed("valgrind counted nothing")
    return int(found[1])


def _program(name: str) -> str:
    """Its path, as nothing tells the counted process where to look."""
    return shutil.which(name) or name


def surroundings() -> dict[str, str]:
    """What the counts depend on beside our own code."""
    return {
        "compiler": _first_line([os.environ.get("CC", "cc"), "--version"]),
        "valgrind": _first_line(["valgrind", "--version"]),
        "libc": " ".join(platform.libc_ver()),
        "openssl": ssl.OPENSSL_VERSION,
        "python": f"{platform.python_version()}, {platform.python_compiler()}",
        "machine": platform.machine(),
        "cpu": " ".join(sorted(_CPU_FLAGS & _flags())),
    }


def _flags() -> set[str]:
    text = Path("/proc/cpuinfo").read_text()
    found = re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
    return set(found[1].split()) if found else set()


def _first_line(command: list[str]) -> str:
    return output_of(command, 0).partition("\n")[0]


def differences(recorded: Mapping[str, str], here: Mapping[str, str]) -> Iterator[str]:
    """Why counts of these surroundings cannot be compared, a line each."""
    for name, value in here.items():
        if recorded.get(name) != value:
            yield f"{name}: recorded with {recorded.get(name)}, here {value}"


def changes(recorded: Mapping[str, float], now: Mapping[str, float]) -> list[Change]:
    return [Change(case, recorded.get(case), value) for case, value in now.items()]


def table(found: list[Change]) -> Iterator[str]:
    """A line for each case."""
    yield f"{'instructions per operation':<28} {'recorded':>11} {'now':>11} {'change':>7}"
    for change in found:
        recorded = "-" if change.recorded is None else f"{change.recorded:,.1f}"
        yield f"{change.case:<28} {recorded:>11} {change.now:>11,.1f} {change.share:>+7.1%}  {change.verdict}"


def record(now: Mapping[str, float]) -> None:
    values = {"surroundings": surroundings(), "instructions_per_operation": now}
    RECORDED.write_text(json.dumps(values, indent=2) + "\n")


def load() -> tuple[dict[str, str], dict[str, float]]:
    """Surroundings, and instructions per operation, as recorded."""
    values = json.loads(RECORDED.read_text())
    return values["surroundings"], values["instructions_per_operation"]
