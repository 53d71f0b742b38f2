"""``Campaign``: a command that is run in slices, from seed to seed, each of which tells figures."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from tests.test_architecture import ROOT

__all__ = ["Campaign", "Figures", "Outcome", "Violation"]

#: Numbers that add up over slices; of those named max_... the largest counts.
Figures = dict[str, float]

_SLICE_S = 60.0
#: A slice that takes so many times its time, and this besides, is stuck.
_STUCK_FACTOR, _STUCK_S = 10.0, 900.0
#: For its figures, after Ctrl-C.
_LAST_WORDS_S = 60.0
_TAIL_CHARACTERS = 2000


@dataclass(frozen=True, slots=True)
class Violation:
    #: What repeats it, and what it said at its end.
    command: str
    what: str


@dataclass(slots=True)
class Outcome:
    """Of a slice."""

    next_seed: int
    figures: Figures = field(default_factory=dict)
    violations: list[Violation] = field(default_factory=list)
    seconds: float = 0.0
    #: Ctrl-C came. The figures are those reached until then, if the command told them.
    was_interrupted: bool = False


class Campaign(ABC):
    name: ClassVar[str]
    #: Of the time, in proportion to the other campaigns'.
    share: ClassVar[float]

    def __init__(self, work: Path) -> None:
        """``work`` is where commands leave their output."""
        self.work = work

    def missing(self) -> str:
        """What it needs and is not there; empty if it can run."""
        return ""

    def slice_seconds(self, share_s: float) -> float:
        """How long a slice is to take, about, of so much time that the campaign has in all."""
        return min(_SLICE_S, share_s)

    @abstractmethod
    def command(self, seed: int, seconds: float) -> list[str]:
        """It begins at this seed. An exit status that is not 0 is a violation."""

    def environment(self, seed: int) -> Mapping[str, str]:
        return {}

    @abstractmethod
    def figures(self, output: str) -> Figures:
        """From what the command has printed."""

    def next_seed(self, seed: int, output: str) -> int:
        return seed + 1

    def violations(self, seed: int, seconds: float, output: str) -> list[Violation]:
        """Of a command that failed: by default, that it did, and how to do it again."""
        assigned = [f"{name}={shlex.quote(value)}" for name, value in self.environment(seed).items()]
        command = " ".join([*assigned, shlex.join(self.command(seed, seconds))])
        return [Violation(command, self._errors.read_text(errors="replace")[-_TAIL_CHARACTERS:] or output[-_TAIL_CHARACTERS:])]

    # ---- a slice ----

    def run(self, seed: int, seconds: float) -> Outcome:
        began_s = time.monotonic()
        self.work.mkdir(parents=True, exist_ok=True)
        with self._output.open("wb") as output, self._errors.open("wb") as errors:
            # In a session of its own: Ctrl-C is for whoever runs the campaigns.
            process = subprocess.Popen(
                self.command(seed, seconds), cwd=ROOT, env=os.environ | self.environment(seed), stdin=subprocess.DEVNULL,
                stdout=output, stderr=errors, start_new_session=True,
            )  # fmt: skip
            was_interrupted = self._wait(process, seconds * _STUCK_FACTOR + _STUCK_S)
        said = self._output.read_text(errors="replace")
        outcome = Outcome(seed, seconds=time.monotonic() - began_s, was_interrupted=was_interrupted)
        try:
            outcome.figures, outcome.next_seed = self.figures(said), self.next_seed(seed, said)
        except (ValueError, LookupError) as error:
            if not was_interrupted:
                outcome.next_seed = seed + 1
                outcome.violations = self.violations(seed, seconds, f"{error!r} in what it printed:\n{said}")
        if process.returncode and not was_interrupted:
            outcome.violations = self.violations(seed, seconds, said)
        return outcome

    def _wait(self, process: subprocess.Popen[bytes], patience_s: float) -> bool:
        """Until it ends. Ctrl-C is passed on once, and the command may end by itself; returns whether it came."""
        was_interrupted = False
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(patience_s)
        except KeyboardInterrupt:
            was_interrupted = True
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_LAST_WORDS_S)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)  # its exit status tells
                process.wait()
        return was_interrupted

    @property
    def _output(self) -> Path:
        return self.work / f"{self.name}.out"

    @property
    def _errors(self) -> Path:
        return self.work / f"{self.name}.err"
