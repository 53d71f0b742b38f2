"""``python -m tests.fuzz --seconds n [TARGET ...]``: runs each fuzz target so long, and tells what was reached.

Begins with the corpus of the repository, the seeds, and what earlier runs left in ``build/fuzz``; what is new stays there.
``--merge`` then keeps in the repository the fewest of all these inputs that reach the same places. Python targets need
atheris, those of the C core clang. The end code is 1 if an input was found that breaks a target; it is left in ``build/fuzz``.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.fuzz.corpus import C_CORPUS, CORPUS, load, save
from tests.fuzz.minimize import minimize
from tests.fuzz.seeds import c_seeds, python_seeds
from tests.fuzz.targets import TARGETS
from tests.test_architecture import CSRC, ROOT

_WORK = ROOT / "build" / "fuzz"

#: Longer ones are slow and reach nothing else.
_MAX_INPUT_BYTES = 4096
#: What goes into the repository is to be small.
_MAX_CORPUS_INPUT_BYTES = 1024

C_TARGETS = sorted(path.stem for path in (CSRC / "fuzz").glob("fuzz_*.c"))


@dataclass(frozen=True, slots=True)
class Report:
    target: str
    executions: int
    seconds: int
    corpus_before: int
    corpus_after: int
    #: Edges in C, branches of lines in Python, as the fuzzer counts them.
    coverage: int
    failed: bool


class Target:
    """One target: its command and its directories."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_c = name in C_TARGETS
        self.corpus = (C_CORPUS if self.is_c else CORPUS) / name
        self.work = _WORK / name
        if self.is_c:
            self.command = [str(CSRC / "build" / "libfuzzer" / name)]
        else:
            self.command = [sys.executable, "-m", "tests.fuzz.loop", name]

    def prepare(self) -> None:
        save(self.work, c_seeds(self.name) if self.is_c else python_seeds(self.name))
        save(self.work, load(self.corpus))
        if self.is_c:
            subprocess.run([str(CSRC / "build" / "release" / self.name), "--write", str(self.work)], check=True)

    def run(self, seconds: int) -> Report:
        before = len(load(self.work))
        arguments = [
            f"-max_total_time={seconds}", f"-max_len={_MAX_INPUT_BYTES}", "-print_final_stats=1", "-timeout=25",
            f"-artifact_prefix={self.work}-", str(self.work),
        ]
        # Leaks that the interpreter leaves are not ours.
        environment = {**os.environ, **({} if self.is_c else {"ASAN_OPTIONS": "detect_leaks=0"})}
        done = subprocess.run(
            self.command + arguments, cwd=ROOT, env=environment, capture_output=True, text=True, errors="replace", check=False
        )
        if done.returncode:
            print(done.stderr[-4000:], file=sys.stderr)
        found = re.findall(r"stat::number_of_executed_units:\s*(\d+)", done.stderr)
        covered = re.findall(r"cov: (\d+)", done.stderr)
        executions, coverage = int(found[-1]) if found else 0, int(covered[-1]) if covered else 0
        return Report(self.name, executions, seconds, before, len(load(self.work)), coverage, done.returncode != 0)

    def merge(self) -> None:
        """Keeps the fewest inputs that reach all that is reached."""
        inputs = self._merge_c() if self.is_c else minimize(self.name, load(self.work))
        shutil.rmtree(self.corpus, ignore_errors=True)
        save(self.corpus, inputs)

    def _merge_c(self) -> list[bytes]:
        with tempfile.TemporaryDirectory() as kept:
            command = [*self.command, "-merge=1", f"-max_len={_MAX_CORPUS_INPUT_BYTES}", kept, str(self.work)]
            subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
            return load(Path(kept))


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join([*C_TARGETS, *TARGETS]))
    parser.add_argument("--seconds", type=int, default=60, help="of each target")
    parser.add_argument("--json", metavar="FILE", help="the figures as JSON; - is standard output")
    parser.add_argument("--merge", action="store_true", help="keep the minimized corpus in the repository")
    options = parser.parse_args(arguments)
    targets = [Target(name) for name in options.targets or [*C_TARGETS, *TARGETS]]
    if any(target.is_c for target in targets):
        subprocess.run(["make", "-s", "-C", str(CSRC), "fuzzers"], check=True)
    # With the figures on standard output nothing else goes there.
    out = sys.stderr if options.json == "-" else sys.stdout
    print("| target | executions | seconds | inputs before | after | reached |\n| --- | --- | --- | --- | --- | --- |", file=out)
    reports = []
    for target in targets:
        target.prepare()
        report = target.run(options.seconds)
        reports.append(report)
        print(
            f"| {report.target} | {report.executions} | {report.seconds} | {report.corpus_before} | {report.corpus_after} |"
            f" {report.coverage}{', FAILED' if report.failed else ''} |",
            file=out,
            flush=True,
        )
        if options.merge:
            target.merge()
    if options.json:
        text = json.dumps([asdict(report) for report in reports], indent=2) + "\n"
        if options.json == "-":
            print(text, end="")
        else:
            Path(options.json).write_text(text)
    return int(any(report.failed for report in reports))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
