"""mypy on a user's program: correct use passes, and each line marked ``# error: CODE`` is an error of that kind."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

api = pytest.importorskip("mypy.api", reason="mypy is not installed: pip install -e .[lint]")

ROOT = Path(__file__).parent.parent.parent
USAGE = Path(__file__).parent / "usage.py"


@pytest.mark.slow
def test_mypy_agrees_with_the_marks(tmp_path: Path) -> None:
    marks = {
        (number, code.strip())
        for number, line in enumerate(USAGE.read_text().splitlines(), 1)
        if (mark := re.search(r"# error: (.*)", line))
        for code in mark[1].split(",")
    }
    output, complaint, _ = api.run(
        ["--config-file", str(ROOT / "pyproject.toml"), "--cache-dir", str(tmp_path), "--no-error-summary", str(USAGE)]
    )
    assert not complaint
    found = re.findall(r"^(\S+?):(\d+): error: (.*)  \[([\w-]+)\]$", output, re.MULTILINE)
    assert {(int(line), code) for _, line, _, code in found} == marks, output
    assert marks, "without an error to find this test would prove nothing"
