"""Ceph's own perf pair, where somebody has built it: ``ceph_perf_msgr_server`` and ``ceph_perf_msgr_client``.

Distributions do not package them. The client counts no latencies, knows no time limit and prints one line at its end, so it runs
twice: a short run tells how many operations fill the time, and what starting costs.
"""

from __future__ import annotations

import os
import re
import resource
import socket
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bench.case import Case
from bench.process import RunFailed, child, output_of, process_cpu_ns
from bench.sample import Sample

__all__ = ["ENVIRONMENT", "Ceph", "parse_output"]

#: Names the directory where no option does.
ENVIRONMENT = "CEPH_PERF_DIR"

_SERVER, _CLIENT = "ceph_perf_msgr_server", "ceph_perf_msgr_client"
_PROBE_OPS = 2000
_READY_TIMEOUT_S = 20.0
_RETRY_S = 0.05
_RESULT = re.compile(r"run time (\d+) ?us")


@dataclass(frozen=True, slots=True)
class Ceph:
    """``directory`` holds the two programs."""

    name: str
    directory: Path | None

    def missing(self) -> str | None:
        if self.directory is None:
            return f"no package has its perf programs; build Ceph, then --ceph DIR or {ENVIRONMENT}=DIR"
        absent = [name for name in (_SERVER, _CLIENT) if not os.access(self.directory / name, os.X_OK)]
        return f"{self.directory} has no program {' and no '.join(absent)}" if absent else None

    def serves(self, case: Case) -> bool:
        return True

    def run(self, case: Case, seconds: float) -> Sample:
        assert self.directory
        address = f"127.0.0.1:{_free_port()}"
        mode = [f"--ms_{who}_mode={case.mode}" for who in ("cluster", "service", "client")]
        server, client = [str(self.directory / _SERVER), address, "1", "0", *mode], self.directory / _CLIENT
        with child(server, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            _wait_until_listening(process, address)

            def drive(ops_per_job: int) -> tuple[int, float, int, int]:
                """Operations, their seconds, and the CPU time of both sides, nanoseconds."""
                # It keeps one more in flight than it is told.
                words = [address, case.jobs, case.in_flight - 1, ops_per_job, 0, case.payload_bytes]
                before_ns, children_ns = process_cpu_ns(process.pid), _children_cpu_ns()
                took_s = parse_output(output_of([str(client), *map(str, words), *mode], seconds, stderr=subprocess.STDOUT))
                used_ns = _children_cpu_ns() - children_ns, process_cpu_ns(process.pid) - before_ns
                return ops_per_job * case.jobs, took_s, *used_ns

            probe = drive(_PROBE_OPS)
            full = drive(_PROBE_OPS + int(_PROBE_OPS / probe[1] * seconds))
        ops = full[0] - probe[0]
        client_us, server_us = ((full[i] - probe[i]) / 1000 / ops for i in (2, 3))
        return Sample(full[0] / full[1], None, None, client_us, server_us)


def parse_output(text: str) -> float:
    """The seconds all jobs took. ``RunFailed`` if the line is not there."""
    if not (found := _RESULT.search(text)):
        raise RunFailed(f'{_CLIENT} printed no line with "run time ...us"')
    if not int(found[1]):
        raise RunFailed(f"{_CLIENT} measured no time")
    return int(found[1]) / 1e6


def _children_cpu_ns() -> int:
    """CPU time of all children that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return int((usage.ru_utime + usage.ru_stime) * 1e9)


def _free_port() -> int:
    """The program cannot tell which port it got, so it is given one that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _wait_until_listening(process: subprocess.Popen[bytes], address: str) -> None:
    host, _, port = address.partition(":")
    deadline_s = time.monotonic() + _READY_TIMEOUT_S
    while True:
        with suppress(OSError):  # nobody listens yet
            socket.create_connection((host, int(port)), timeout=1).close()
            return
        try:
            process.wait(_RETRY_S)
            raise RunFailed(f"{_SERVER} ended with exit code {process.returncode}")
        except subprocess.TimeoutExpired:
            if time.monotonic() > deadline_s:
                raise RunFailed(f"{_SERVER} does not listen on {address}") from None
