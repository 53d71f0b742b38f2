"""One mistake: put into a copy of the tree, and the tests that are to notice it.

A copy holds what `make build` and `make -C csrc test` have made, so that only the changed source is compiled again.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tests.test_architecture import ROOT

__all__ = ["LIMIT_S", "PATCHES", "Mutant", "Outcome", "copy_tree", "load_all"]

PATCHES = Path(__file__).parent / "patches"

#: Within this time the tests must have failed; building does not count.
LIMIT_S = 60.0

#: A test that hangs is to say so itself, in time to be counted.
_DEADLINE_S = 45

_NOT_COPIED = (".git", ".venv", ".*_cache", "__pycache__", "asan", "tsan", "coverage", "libfuzzer")


@dataclass(frozen=True, slots=True)
class Outcome:
    found: bool
    #: Of the tests, without the building.
    seconds: float
    #: What the tests said.
    output: str


@dataclass(frozen=True, slots=True)
class Mutant:
    name: str
    #: What went wrong, once upon a time.
    story: str
    #: A program of the C tests, or arguments of pytest.
    finder: str
    #: Of the C library: release or asan.
    variant: str
    #: The files it changes.
    paths: tuple[str, ...]

    @classmethod
    def load(cls, patch: Path) -> Mutant:
        head, _, diff = patch.read_text().partition("--- a/")
        story, _, fields = head.partition("\n\n")
        field = dict(re.findall(r"^([\w-]+): (.+)$", fields, re.MULTILINE))
        paths = re.findall(r"^\+\+\+ b/(.+)$", diff, re.MULTILINE)
        return cls(patch.stem, story.strip(), field["Found-by"], field.get("Variant", "release"), tuple(paths))

    @property
    def is_c_test(self) -> bool:
        return not self.finder.startswith("tests/")

    @property
    def needs_extension(self) -> bool:
        return not self.is_c_test and not all(path.endswith(".py") for path in self.paths)

    @property
    def is_quick(self) -> bool:
        """Noticed within seconds, with one source to compile at most."""
        return self.variant == "release" and not self.needs_extension

    def apply(self, tree: Path) -> None:
        """``LookupError`` if the code has moved on: the patch must follow it."""
        patch = PATCHES / f"{self.name}.patch"
        command = ["git", "apply", "--whitespace=nowarn", str(patch)]
        # A repository around the tree would be taken for the one to patch.
        environment = {**os.environ, "GIT_CEILING_DIRECTORIES": str(tree.parent)}
        done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise LookupError(f"{patch.name} does not fit any more: {done.stderr.strip()}")

    def run(self, tree: Path) -> Outcome:
        """Builds what is needed and tests, in a copy of the tree."""
        command = self._c_test(tree) if self.is_c_test else self._pytest(tree)
        began = time.monotonic()
        code, output = _run(command, tree, LIMIT_S)
        return Outcome(bool(code), time.monotonic() - began, output)

    def _c_test(self, tree: Path) -> list[str]:
        program = f"build/{self.variant}/{self.finder}"
        # A mistake may leave something unused, which is not how it is to be found.
        _check(["make", "-s", "-C", "csrc", f"VARIANT={self.variant}", "CFLAGS=-Wno-error", program], tree)
        return [str(tree / "csrc" / program)]

    def _pytest(self, tree: Path) -> list[str]:
        if self.needs_extension:
            _check([sys.executable, "setup.py", "-q", "build_ext", "--inplace"], tree)
        pytest = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
        return [*pytest, f"--timeout={_DEADLINE_S}", *self.finder.split()]


def load_all() -> list[Mutant]:
    return [Mutant.load(patch) for patch in sorted(PATCHES.glob("*.patch"))]


def copy_tree(destination: Path) -> None:
    """The sources, and what was built of them, with their times."""
    shutil.copytree(ROOT, destination, symlinks=True, ignore=shutil.ignore_patterns(*_NOT_COPIED))


def _check(command: list[str], tree: Path) -> None:
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"cannot build the mutant: {' '.join(command)}\n{done.stdout}{done.stderr}")


def _run(command: list[str], tree: Path, timeout_s: float) -> tuple[int | None, str]:
    """The end code, or None if the time was over: then it and all it started are ended."""
    environment = {**os.environ, "CMSGR_TEST_DEADLINE": str(_DEADLINE_S), "PYTHONDONTWRITEBYTECODE": "1"}
    with subprocess.Popen(
        command, cwd=tree, env=environment, start_new_session=True, text=True, errors="replace",
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as process:
        try:
            output, _ = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
            return None, output
        return process.returncode, output
