"""Children of the bench: what they print, how they fail, and that none is left."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from bench import process
from bench.case import Case
from bench.ceph import Ceph, parse_output
from bench.process import RunFailed, Server, json_of, process_cpu_ns


def code(text: str) -> list[str]:
    return [sys.executable, "-c", text]


def test_a_server_is_gone_after_its_context() -> None:
    with Server(code("print('listening on 7', flush=True); input()")) as server:
        assert server.address == "7"
        os.kill(server.pid, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(server.pid, 0)


def test_a_server_that_does_not_start_tells_why() -> None:
    with pytest.raises(RunFailed, match=r"^no port left$"), Server(code("raise SystemExit('no port left')")):
        pass


def test_a_server_that_stays_silent_is_ended() -> None:
    with pytest.raises(RunFailed, match=r"not ready after 0.2 s"), Server(code("input()"), start_timeout_s=0.2):
        pass


def test_a_client_that_hangs_is_ended(monkeypatch) -> None:
    monkeypatch.setattr(process, "_GRACE_S", 0.2)
    with pytest.raises(RunFailed, match=r"did not end within 0.3 s"):
        json_of(code("import signal; signal.pause()"), 0.1)


def test_a_client_that_fails_tells_why() -> None:
    with pytest.raises(RunFailed, match=r"^lost$"):
        json_of(code("import sys; print('first', file=sys.stderr); sys.exit('lost')"), 1)
    with pytest.raises(RunFailed, match=r"printed no JSON"):
        json_of(code("print('ops')"), 1)


def test_the_cpu_time_of_another_process_is_read() -> None:
    before_ns = time.process_time_ns()
    read_ns = process_cpu_ns(os.getpid())
    assert before_ns <= read_ns <= time.process_time_ns()


def test_the_output_of_cephs_client_is_read() -> None:
    assert parse_output(" using ms-public-type async+posix\n numjobs 1\n Total op 5000 run time 1250000us.\n") == 1.25
    for text in "", "Total op 5 run time", "Total op 5 run time 0us.":
        with pytest.raises(RunFailed):
            parse_output(text)


def test_cephs_programs_are_looked_for_where_they_should_be(tmp_path: Path) -> None:
    assert "--ceph DIR" in str(Ceph("ceph", None).missing())
    (tmp_path / "ceph_perf_msgr_server").touch(0o755)
    assert str(Ceph("ceph", tmp_path).missing()) == f"{tmp_path} has no program ceph_perf_msgr_client"


_FAKE_SERVER = """
import socket, sys
host, port = sys.argv[1].split(":")
with socket.create_server((host, int(port))) as listener:
    while True:
        listener.accept()[0].close()
"""

_FAKE_CLIENT = """
import sys, time
address, jobs, told_in_flight, ops, think_us, payload = sys.argv[1:7]
assert (jobs, told_in_flight, think_us, payload) == ("2", "32", "0", "4096"), sys.argv
end_ns = time.process_time_ns() + int(ops) * 20_000
while time.process_time_ns() < end_ns:
    pass
print(f" Total op {ops} run time {int(ops) * 100}us.", file=sys.stderr)
"""


def test_cephs_pair_is_run_and_ended(tmp_path: Path) -> None:
    for name, text in ("server", _FAKE_SERVER), ("client", _FAKE_CLIENT):
        program = tmp_path / f"ceph_perf_msgr_{name}"
        program.write_text(f"#!{sys.executable}{text}")
        program.chmod(0o755)
    ceph = Ceph("ceph", tmp_path)
    assert ceph.missing() is None
    sample = ceph.run(Case("4k", 4096, 33, jobs=2), 0.5)
    # 100 us for an operation of each of two jobs.
    assert sample.ops_per_s == pytest.approx(20_000)
    assert sample.p50_us is None
    # 20 us of CPU for an operation of both jobs; the start of the program is in neither figure, but wavers.
    assert sample.client_cpu_us == pytest.approx(10, rel=0.5)
