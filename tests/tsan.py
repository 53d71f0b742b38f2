"""``python -m tests.tsan [PYTEST_ARGUMENT ...]``: tests with the compiled package under ThreadSanitizer.

Those with threads, unless told otherwise. The package is built in a copy of the tree. The interpreter is not instrumented, but
its locks are seen, so what the package does with the interpreter lock held is known to be in order. The end code is 1 if a test
fails or a race was reported.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.mutants.mutant import copy_tree

_TESTS = [
    "tests/messenger", "tests/net", "tests/synthetic", "tests/failover/test_races.py", "tests/failover/test_mark_down.py",
    "tests/unit/test_core_dataplane.py",
]  # fmt: skip
#: Some tests fork, and start threads in the child.
_OPTIONS = "die_after_fork=0"
#: Speed is not what is tested.
_PYTEST = ["-q", "-p", "no:cacheprovider"]


def _runtime() -> str:
    """The library of the compiler that setup.py uses; it must be there before the interpreter is."""
    compiler = os.environ.get("CC", "cc")
    return subprocess.run([compiler, "-print-file-name=libtsan.so"], capture_output=True, text=True, check=True).stdout.strip()


def main(arguments: list[str]) -> int:
    with tempfile.TemporaryDirectory() as directory:
        tree, reports = Path(directory) / "tree", Path(directory) / "race"
        copy_tree(tree)
        environment = os.environ | {"CEPH_MSGR_SANITIZE": "thread", "PYTHONPATH": str(tree)}
        build = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
        subprocess.run(build, cwd=tree, env=environment, check=True)
        environment |= {"LD_PRELOAD": _runtime(), "TSAN_OPTIONS": f"{_OPTIONS} log_path={reports}"}
        tests = [sys.executable, "-m", "pytest", *_PYTEST, *(arguments or _TESTS)]
        code = subprocess.run(tests, cwd=tree, env=environment, check=False).returncode
        races = sorted(reports.parent.glob(f"{reports.name}.*"))
        for race in races:
            print(race.read_text(errors="replace"))
        print(f"ThreadSanitizer: {sum(race.read_text(errors='replace').count('SUMMARY') for race in races)} reports")
        return 1 if code or races else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
