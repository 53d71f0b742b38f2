"""The client's own server: found by what it announces, ended on every way out."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from ceph_msgr import EntityAddr
from ceph_msgr.tools import server_process
from ceph_msgr.tools.exits import Failure
from ceph_msgr.tools.server_process import ServerProcess, announcement

ADDR = EntityAddr.parse("v2:127.0.0.1:10001/0")


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch):
    """Runs some Python in place of the server."""

    def use(code: str) -> None:
        program = tmp_path / "python"
        program.write_text(f"#!{sys.executable}\n{code}")
        program.chmod(0o755)
        monkeypatch.setattr(server_process.sys, "executable", str(program))

    return use


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_it_is_found_by_its_announcement_and_ended_by_its_id(stand_in) -> None:
    stand_in(f"import sys; print({announcement(ADDR)!r}, flush=True); sys.stdin.read()")
    with ServerProcess() as server:
        assert server.addr == ADDR
        assert not is_gone(server.pid)
    assert is_gone(server.pid)


def test_it_is_ended_when_the_client_fails(stand_in) -> None:
    stand_in(f"import sys; print({announcement(ADDR)!r}, flush=True); sys.stdin.read()")
    with pytest.raises(ZeroDivisionError), ServerProcess() as server:
        raise ZeroDivisionError
    assert is_gone(server.pid)


def test_one_that_ignores_sigterm_is_killed(stand_in, monkeypatch) -> None:
    monkeypatch.setattr(server_process, "_STOP_TIMEOUT_S", 0.05)
    stand_in(
        f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint({announcement(ADDR)!r}, flush=True); signal.pause()"
    )
    with ServerProcess() as server:
        pass
    assert is_gone(server.pid)


def test_one_that_ends_at_once_is_a_failure_with_its_exit_code(stand_in) -> None:
    stand_in("raise SystemExit(7)")
    with pytest.raises(Failure, match="ended before it was ready, with exit code 7"), ServerProcess():
        pytest.fail("it was never ready")


def test_one_that_announces_nothing_is_a_failure_and_ended(stand_in, monkeypatch) -> None:
    monkeypatch.setattr(server_process, "_START_TIMEOUT_S", 0.05)
    stand_in("import sys; print('listening', end='', flush=True); sys.stdin.read()")
    server = ServerProcess()
    with pytest.raises(Failure, match=r"not ready after 0\.05 s"):
        server.__enter__()
    assert is_gone(server.pid)


def test_it_is_told_what_its_options_are(stand_in) -> None:
    stand_in(
        "import sys; options = ' '.join(sys.argv[1:])\n"
        "expected = '-m ceph_msgr.tools.perf_msgr_server --bind 127.0.0.1:0 --until-eof --lossless'\n"
        f"print({announcement(ADDR)!r} if options == expected else options, flush=True); sys.stdin.read()"
    )
    with ServerProcess(["--lossless"]) as server:
        assert server.addr == ADDR
