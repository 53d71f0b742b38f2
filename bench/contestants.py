"""Who is compared. Each runs as two processes, a server and a client, for so many seconds, and both are ended by then."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from bench.case import REPLY_BYTES, Case
from bench.ceph import Ceph
from bench.process import ROOT, Server, json_of, process_cpu_ns, python
from bench.sample import Sample
from ceph_msgr.tools.security import keyring_file, make_keyring

__all__ = ["FLOOR", "Contestant", "Floor", "Pair", "Peer", "contestants"]

FLOOR = ROOT / "build/floor"

#: How long a polling floor looks before it sleeps: as the messenger's adaptive polling at most.
POLL_US = 50


class Contestant(Protocol):
    """One column of the comparison."""

    @property
    def name(self) -> str: ...

    def missing(self) -> str | None:
        """Why it cannot run here, and what to install."""

    def serves(self, case: Case) -> bool:
        """Is there something to compare in this case?"""

    def run(self, case: Case, seconds: float) -> Sample:
        """``RunFailed`` if it did not do its part."""


@dataclass(frozen=True, slots=True)
class Pair:
    """perf-msgr-client against perf-msgr-server. ``poll_us`` as ``ms_async_poll_us``: -1 adaptive, 0 off."""

    name: str
    poll_us: int = -1
    workers: int = 1
    lossless: bool = False

    def missing(self) -> str | None:
        return None

    def serves(self, case: Case) -> bool:
        return True

    def run(self, case: Case, seconds: float) -> Sample:
        words = ["--mode", case.mode] + ["--lossless"] * self.lossless
        with ExitStack() as cleanup:
            if case.mode == "secure":
                words += ["--keyring", str(cleanup.enter_context(keyring_file(make_keyring())))]
            bind = ["--bind", "127.0.0.1:0", "--until-eof", "--workers", str(self.workers)]
            server = cleanup.enter_context(Server(self._tool("server", *bind, *words)))
            before_ns = process_cpu_ns(server.pid)
            load = [f"--msg-len={case.payload_bytes}", f"--concurrency={case.in_flight}", f"--jobs={case.jobs}"]
            result = json_of(
                self._tool("client", f"--server={server.address}", "--json=-", f"--seconds={seconds}", *load, *words), seconds
            )
            return sample(result, process_cpu_ns(server.pid) - before_ns)

    def _tool(self, role: str, *words: str) -> list[str]:
        return python("bench.peers.tool", self.poll_us, self.workers, role, *words)


@dataclass(frozen=True, slots=True)
class Floor:
    """The C epoll pair. ``protection`` is "", "crc" or "gcm"; ``shape`` is perf, the pair's bytes, or echo, all both ways."""

    name: str
    protection: str = ""
    poll_us: int = POLL_US
    shape: str = "perf"

    def missing(self) -> str | None:
        return None if FLOOR.exists() else f"{FLOOR.relative_to(ROOT)} is not built: make floor"

    def serves(self, case: Case) -> bool:
        return case.jobs == 1 and (case.mode == "secure") == (self.protection == "gcm")

    def run(self, case: Case, seconds: float) -> Sample:
        # The number of an echo is its least payload.
        size = max(case.payload_bytes, 8) if self.shape == "echo" else case.payload_bytes
        words = [f"--{self.shape}={size}", f"--in-flight={case.in_flight}", f"--seconds={seconds}", f"--poll-us={self.poll_us}"]
        result = json_of([str(FLOOR), "pair", *words, *[f"--{self.protection}"] * bool(self.protection)], seconds)
        cpu_us = result["cpu_us_per_op"]
        return sample(result | {"cpu_us_per_op": cpu_us["client"]}, cpu_us["server"] * 1000 * result["ops"])


@dataclass(frozen=True, slots=True)
class Peer:
    """A program of ``bench.peers``, of plain bytes on one connection. ``package`` is what it needs, as pip names it."""

    name: str
    module: str
    words: Sequence[str] = ()
    package: str = ""
    imported: str = ""

    def missing(self) -> str | None:
        if not self.imported or importlib.util.find_spec(self.imported):
            return None
        return f"not installed: pip install {self.package}, or all peers by pip install ceph-msgr[bench]"

    def serves(self, case: Case) -> bool:
        return case.jobs == 1 and case.mode == "crc"

    def run(self, case: Case, seconds: float) -> Sample:
        sizes = [f"--request-bytes={case.request_bytes}", f"--reply-bytes={REPLY_BYTES}"]
        with Server(python(self.module, *self.words, "server", *sizes)) as server:
            before_ns = process_cpu_ns(server.pid)
            load = [f"--port={server.address}", f"--in-flight={case.in_flight}", f"--seconds={seconds}"]
            result = json_of(python(self.module, *self.words, "client", *sizes, *load), seconds)
            return sample(result, process_cpu_ns(server.pid) - before_ns)


def sample(result: dict[str, Any], server_cpu_ns: float) -> Sample:
    """Of what a client printed, in the keys of perf-msgr-client."""
    latency_us = result["latency_us"]
    return Sample(
        result["ops_per_s"], latency_us["p50"], latency_us["p99"], result["cpu_us_per_op"], server_cpu_ns / 1000 / result["ops"]
    )


def contestants(ceph: Path | None) -> list[Contestant]:
    """All of them. The first that serves a case is what the others are held against there. ``ceph`` is the directory of Ceph's
    perf programs."""
    return [
        Floor("floor"),
        Floor("floor-crc", "crc"),
        Floor("floor-gcm", "gcm"),
        Floor("floor-sleeping", poll_us=0),
        Floor("floor-crc-sleeping", "crc", poll_us=0),
        Floor("floor-gcm-sleeping", "gcm", poll_us=0),
        Floor("echo", shape="echo"),
        Floor("echo-sleeping", shape="echo", poll_us=0),
        Pair("pair"),
        Pair("pair-sleeping", poll_us=0),
        Pair("pair-lossless", lossless=True),
        Peer("uvloop", "bench.peers.stream", ["uvloop"], "uvloop", "uvloop"),
        Peer("asyncio", "bench.peers.stream", ["asyncio"]),
        Peer("pyzmq", "bench.peers.zeromq", package="pyzmq", imported="zmq"),
        Peer("grpc", "bench.peers.grpc_aio", package="grpcio", imported="grpc"),
        Ceph("ceph", ceph),
    ]
