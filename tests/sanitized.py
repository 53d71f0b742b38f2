"""``python -m tests.sanitized {address,thread} [PYTEST_ARGUMENT ...]``: tests with the compiled package under sanitizers.

``address`` is AddressSanitizer with UndefinedBehaviorSanitizer, by default for the whole suite but for tests of what a sanitizer
itself changes; ``thread`` is ThreadSanitizer, by default for the tests with threads. The package is built in a copy of the tree.
The interpreter is not instrumented, but its locks are seen, so what the package does with the interpreter lock held is known to
be in order. The end code is 1 if a test fails or something was reported.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.mutant import copy_tree


@dataclass(frozen=True)
class Sanitizer:
    """``options`` go into the variable ``variable``; ``runtime`` is the compiler's library."""

    flags: str
    runtime: str
    variable: str
    options: str
    tests: tuple[str, ...]
    #: The interpreter's own allocator hides the end of its objects.
    python_malloc: str = "default"


SANITIZERS = {
    "address": Sanitizer(
        "address,undefined",
        "libasan.so",
        "ASAN_OPTIONS",
        # The interpreter keeps memory until it ends. Running out of memory is tested, and answered.
        "detect_leaks=0:allocator_may_return_null=1",
        (
            "tests",
            # Limits of address space and of memory leave no room for shadow memory; Ceph brings an allocator of its own.
            "--ignore=tests/limits", "--ignore=tests/interop",
            # They build a copy of the tree themselves.
            "--ignore=tests/mutants",
        ),
        python_malloc="malloc",
    ),
    "thread": Sanitizer(
        "thread",
        "libtsan.so",
        "TSAN_OPTIONS",
        # Some tests fork, and start threads in the child.
        "die_after_fork=0",
        (
            "tests/messenger", "tests/net", "tests/synthetic", "tests/failover/test_races.py", "tests/failover/test_mark_down.py",
            "tests/unit/test_core_dataplane.py",
        ),
    ),
}  # fmt: skip
#: Speed is not what is tested.
_PYTEST = ["-q", "-p", "no:cacheprovider"]


def _runtime(library: str) -> str:
    """The library of the compiler that setup.py uses; it must be there before the interpreter is."""
    compiler = os.environ.get("CC", "cc")
    return subprocess.run([compiler, f"-print-file-name={library}"], capture_output=True, text=True, check=True).stdout.strip()


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sanitized", description=__doc__.splitlines()[0])
    parser.add_argument("sanitizer", choices=SANITIZERS)
    options, tests = parser.parse_known_args(arguments)
    sanitizer = SANITIZERS[options.sanitizer]
    with tempfile.TemporaryDirectory() as directory:
        tree, reports = Path(directory) / "tree", Path(directory) / "report"
        copy_tree(tree)
        environment = os.environ | {"CEPH_MSGR_SANITIZE": sanitizer.flags, "PYTHONPATH": str(tree)}
        build = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
        subprocess.run(build, cwd=tree, env=environment, check=True)
        environment |= {"LD_PRELOAD": _runtime(sanitizer.runtime), "PYTHONMALLOC": sanitizer.python_malloc}
        environment[sanitizer.variable] = f"{sanitizer.options}:log_path={reports}"
        environment["UBSAN_OPTIONS"] = f"print_stacktrace=1:log_path={reports}"
        command = [sys.executable, "-m", "pytest", *_PYTEST, *(tests or sanitizer.tests)]
        code = subprocess.run(command, cwd=tree, env=environment, check=False).returncode
        found = sorted(reports.parent.glob(f"{reports.name}.*"))
        for report in found:
            print(report.read_text(errors="replace"))
        print(f"{options.sanitizer}: {len(found)} processes with reports")
        return 1 if code or found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
