"""Simulations run in processes of their own: who has entered the simulated world cannot leave it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

_PATIENCE_S = 300


def run_python(*arguments: str, hash_seed: int = 0) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "PYTHONHASHSEED": str(hash_seed)}
    return subprocess.run(
        [sys.executable, *arguments], env=environ, capture_output=True, text=True, timeout=_PATIENCE_S, check=False
    )


def run_command(*arguments: str, hash_seed: int = 0) -> subprocess.CompletedProcess[str]:
    return run_python("-m", "ceph_msgr.testing.simulator", *arguments, hash_seed=hash_seed)


def figures(*arguments: str) -> tuple[int, dict[str, Any], str]:
    """Exit status, JSON, and what it said besides."""
    done = run_command("--json", "-", *arguments)
    return done.returncode, json.loads(done.stdout or "{}"), done.stderr
