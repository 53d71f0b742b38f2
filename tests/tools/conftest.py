"""The tools as processes: started by this Python, ended by their id, never waited for without a deadline."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]

StartTool = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start_python(tmp_path: Path) -> Generator[StartTool]:
    """``start_python("-m", "some.module")``. Whatever still runs at the end of the test is killed."""
    # The package must be found from any directory, also where it is not installed.
    path = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), str(ROOT))))
    with ExitStack() as cleanup:

        def start(*arguments: str, **settings: Any) -> subprocess.Popen[str]:
            pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
            command = [sys.executable, *arguments]
            environment = os.environ | {"PYTHONPATH": path}
            process = subprocess.Popen(command, text=True, cwd=tmp_path, env=environment, **(pipes | settings))
            cleanup.enter_context(process)  # waits, and closes the pipes
            cleanup.callback(process.kill)  # before that
            return process

        yield start


@pytest.fixture
def start_tool(start_python: StartTool) -> StartTool:
    """``start_tool("perf_msgr_client", "--jobs", "2")``."""
    return lambda tool, *options, **settings: start_python("-m", f"ceph_msgr.tools.{tool}", *options, **settings)


@pytest.fixture
def start_example(start_python: StartTool) -> StartTool:
    """``start_example("ping_server.py")``."""
    return lambda name, *arguments: start_python(str(ROOT / "examples" / name), *arguments)


@pytest.fixture
def start_server(start_tool):
    """A server that listens: the process, and the address to dial."""

    def start(*options: str) -> tuple[subprocess.Popen[str], str]:
        process = start_tool("perf_msgr_server", "--bind", "127.0.0.1:0", *options)
        line = process.stdout.readline()
        assert line.startswith("listening on v2:127.0.0.1:"), line + process.stderr.read()
        return process, line.removeprefix("listening on ").strip()

    return start


def finish(process: subprocess.Popen[str], deadline) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=deadline.remaining_s("the end of a tool"))
    return process.returncode, out, err
