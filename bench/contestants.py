"""Who is compared on loopback: the two tools, and the floor. Each runs as two processes for so many seconds."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ceph_msgr.tools.server_process import ServerProcess

__all__ = ["Floor", "Pair", "Sample"]

#: What starting and ending may take on top of the seconds asked for.
_GRACE_S = 60.0


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of one contestant. CPU is user and system time of the whole process per operation."""

    ops_per_s: float
    p50_us: float
    p99_us: float
    client_cpu_us: float
    server_cpu_us: float


@dataclass(frozen=True, slots=True)
class Pair:
    """perf-msgr-client against perf-msgr-server."""

    name = "pair"

    def run(self, msg_len_bytes: int, concurrency: int, seconds: float) -> Sample:
        with ServerProcess() as server:
            before_ns = _process_cpu_ns(server.pid)
            client = [sys.executable, "-m", "ceph_msgr.tools.perf_msgr_client", f"--server={server.addr}", "--json=-"]
            result = _json_of(
                [*client, f"--msg-len={msg_len_bytes}", f"--concurrency={concurrency}", f"--seconds={seconds}"], seconds
            )
            server_cpu_ns = _process_cpu_ns(server.pid) - before_ns
        return _sample(result, result["cpu_us_per_op"], server_cpu_ns / 1000 / result["ops"])


@dataclass(frozen=True, slots=True)
class Floor:
    """The C epoll pair, in the shape of the perf pair or as an echo."""

    program: Path
    shape: str
    name = "floor"

    def run(self, msg_len_bytes: int, concurrency: int, seconds: float) -> Sample:
        # An echo carries a number of eight bytes.
        size = max(msg_len_bytes, 8) if self.shape == "echo" else msg_len_bytes
        options = [f"--{self.shape}={size}", f"--in-flight={concurrency}", f"--seconds={seconds}"]
        result = _json_of([str(self.program), "pair", *options], seconds)
        return _sample(result, result["cpu_us_per_op"]["client"], result["cpu_us_per_op"]["server"])


def _sample(result: dict[str, Any], client_cpu_us: float, server_cpu_us: float) -> Sample:
    latency_us = result["latency_us"]
    return Sample(result["ops_per_s"], latency_us["p50"], latency_us["p99"], client_cpu_us, server_cpu_us)


def _json_of(command: Sequence[str], seconds: float) -> dict[str, Any]:
    """``CalledProcessError`` if it failed (its own line is on standard error), ``TimeoutExpired`` if it hung."""
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=seconds + _GRACE_S)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def _process_cpu_ns(pid: int) -> int:
    """CPU time of another process so far, in nanoseconds where /proc has hundredths of a second.

    Linux numbers the CPU clock of every process: the complement of its id, then two for "scheduled time".
    """
    return time.clock_gettime_ns(~pid << 3 | 2)
