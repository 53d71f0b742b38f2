"""Many sessions at one server: what an idle one costs in memory and CPU, and what it costs the active ones."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from bench import progress
from bench.process import RunFailed, Server, json_of, process_cpu_ns, python

__all__ = ["Crowd", "run_crowd"]

ACTIVE = 32
IDLE_SESSIONS = 1000
CROWD = 10_000

#: What a process has open beside its connections, generously.
_OTHER_FILES = 200
_SETTLE_S, _WATCH_S = 1.0, 5.0


@dataclass(frozen=True, slots=True)
class Crowd:
    """``rates_alone`` and ``rates_in_crowd``: operations/s of 32 connections, without others and beside idle ones that make up
    ``connections``, round by round. Memory is the server's resident memory per idle ready session. ``idle_cpu`` is the share of
    a core that server and client use while there are only ``idle_sessions``."""

    connections: int
    rates_alone: Sequence[float]
    rates_in_crowd: Sequence[float]
    session_bytes: float
    idle_sessions: int
    idle_cpu: Sequence[float]

    @property
    def ratio(self) -> float:
        return median(crowd / alone for crowd, alone in zip(self.rates_in_crowd, self.rates_alone, strict=True))

    def as_json(self) -> dict[str, object]:
        return asdict(self) | {"ratio": round(self.ratio, 3)}

    def table(self) -> Iterator[str]:
        yield f"{ACTIVE} connections, one request of 4 KiB in flight on each"
        yield f"  without others     {median(self.rates_alone):>10,.0f} ops/s"
        yield f"  beside idle ones   {median(self.rates_in_crowd):>10,.0f} ops/s with {self.connections:,} connections in all"
        yield f"  ratio              {self.ratio:>10.2f}"
        yield f"server memory        {self.session_bytes / 1024:>10.1f} KiB per idle ready session"
        server_cpu, client_cpu = self.idle_cpu
        yield f"CPU of {self.idle_sessions:,} idle sessions: server {server_cpu:.2%}, client {client_cpu:.2%} of a core"


def run_crowd(rounds: int, seconds: float) -> Crowd:
    """Takes about a minute beside the rounds: 10 000 handshakes."""
    connections = min(CROWD, _raise_file_limit() - _OTHER_FILES)
    if connections < CROWD:
        progress.say(f"only {connections} connections: the limit of open files is low (ulimit -Hn)")
    if connections <= IDLE_SESSIONS:
        raise RunFailed("too few open files are allowed (ulimit -Hn)")
    with ExitStack() as cleanup:
        alone = cleanup.enter_context(_server())
        progress.show(f"{IDLE_SESSIONS} idle sessions")
        with _sessions(alone, IDLE_SESSIONS) as client:
            idle = _watch_idle(alone, client)
        crowded = cleanup.enter_context(_server())
        before_bytes = _resident_bytes(crowded.pid)
        progress.show(f"{connections} sessions")
        cleanup.enter_context(_sessions(crowded, connections - ACTIVE))
        session_bytes = (_resident_bytes(crowded.pid) - before_bytes) / (connections - ACTIVE)
        rates: tuple[list[float], list[float]] = ([], [])
        for number in range(1, rounds + 1):
            for server, taken in zip((alone, crowded), rates, strict=True):
                progress.show(f"{ACTIVE} active of {connections if server is crowded else ACTIVE}; round {number} of {rounds}")
                taken.append(_rate(server, seconds))
    progress.clear()
    return Crowd(connections, *rates, session_bytes, IDLE_SESSIONS, idle)


def _server() -> Server:
    return Server(python("bench.peers.tool", -1, 1, "server", "--bind", "127.0.0.1:0", "--until-eof"))


def _sessions(server: Server, count: int) -> Server:
    """A process that holds so many idle sessions; it announces that all are ready."""
    return Server(python("bench.peers.sessions", server.address, count), start_timeout_s=120)


def _rate(server: Server, seconds: float) -> float:
    words = [f"--server={server.address}", f"--jobs={ACTIVE}", "--concurrency=1", "--json=-", f"--seconds={seconds}"]
    return float(json_of(python("bench.peers.tool", -1, 1, "client", *words), seconds)["ops_per_s"])


def _watch_idle(*processes: Server) -> list[float]:
    """The share of a core each uses, once the last handshake is over."""
    time.sleep(_SETTLE_S)
    before_ns = [process_cpu_ns(process.pid) for process in processes]
    time.sleep(_WATCH_S)
    return [(process_cpu_ns(process.pid) - ns) / 1e9 / _WATCH_S for process, ns in zip(processes, before_ns, strict=True)]


def _resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


def _raise_file_limit() -> int:
    """As many open files as the system allows, for us and the children; returns how many that is."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    most = CROWD + _OTHER_FILES if hard == resource.RLIM_INFINITY else min(hard, CROWD + _OTHER_FILES)
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))
    return max(soft, most)
