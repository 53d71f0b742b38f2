"""The tools as processes: started by this Python, ended by their id, never waited for without a deadline."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import ExitStack
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

StartTool = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start_tool(tmp_path: Path) -> Generator[StartTool]:
    """``start_tool("perf_msgr_client", "--jobs", "2")``. Whatever still runs at the end of the test is killed."""
    # The tools must be found wherever they are started, also when the package is not installed.
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([os.environ.get("PYTHONPATH", ""), str(ROOT)]).lstrip(os.pathsep)}
    with ExitStack() as cleanup:

        def start(tool: str, *options: str, **settings) -> subprocess.Popen[str]:
            pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
            process = subprocess.Popen(
                [sys.executable, "-m", f"ceph_msgr.tools.{tool}", *options],
                text=True,
                cwd=tmp_path,
                env=environment,
                **(pipes | settings),
            )
            cleanup.enter_context(process)  # waits, and closes the pipes
            cleanup.callback(process.kill)  # before that
            return process

        yield start
