"""``--mode`` and ``--keyring`` between two processes, and everything that is refused."""

from __future__ import annotations

import json
import os
import re
import select
from pathlib import Path

import pytest

from ceph_msgr.auth import Keyring
from ceph_msgr.tools import perf_msgr_client
from ceph_msgr.tools.security import CLIENT, keyring_file, make_keyring
from tests.tools.conftest import finish

slow_start = pytest.mark.parametrize("deadline", [60], indirect=True)


@pytest.fixture
def keyring(tmp_path: Path) -> Path:
    """With a key for the client."""
    path = tmp_path / "perf.keyring"
    make_keyring().save(path)
    return path


@pytest.fixture
def own_tmpdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the keyrings made for a run lie, and nothing else."""
    directory = tmp_path / "tmp"
    directory.mkdir()
    monkeypatch.setenv("TMPDIR", str(directory))
    monkeypatch.setattr("tempfile.tempdir", None)  # found anew
    return directory


# ---- what works ----


@pytest.mark.slow
@slow_start
@pytest.mark.parametrize("options", ["", "--lossless", "--jobs 3 --msg-len 100000"])
def test_secure_mode_in_one_command(options: str, start_tool, own_tmpdir: Path, deadline) -> None:
    line = f"--mode secure --ios 50 --json - {options}"
    code, out, err = finish(start_tool("perf_msgr_client", *line.split()), deadline)
    assert (code, err) == (0, "")
    values = json.loads(out)
    assert (values["ops"], values["errors"]) == (50 * values["parameters"]["jobs"], 0)
    assert values["parameters"]["mode"] == "secure"
    assert list(own_tmpdir.iterdir()) == []


@pytest.mark.slow
@slow_start
@pytest.mark.parametrize("mode", ["crc", "secure"])
def test_two_processes_with_one_keyring_file(mode: str, start_tool, start_server, keyring: Path, deadline) -> None:
    options = "--mode", mode, "--keyring", str(keyring)
    _, addr = start_server(*options)
    code, out, err = finish(start_tool("perf_msgr_client", "--server", addr, "--ios", "50", "--json", "-", *options), deadline)
    assert (code, err) == (0, "")
    assert json.loads(out)["parameters"]["mode"] == mode


@pytest.mark.slow
@slow_start
def test_its_own_server_takes_the_keyring_given(start_tool, keyring: Path, deadline) -> None:
    code, _, err = finish(start_tool("perf_msgr_client", "--ios", "20", "--keyring", str(keyring)), deadline)
    assert (code, err) == (0, "")
    assert keyring.exists()


# ---- what is refused ----


@pytest.mark.slow
@slow_start
@pytest.mark.parametrize(
    ("server_mode", "client", "reason"),
    [
        ("secure", "--mode secure --keyring other.keyring", r"refused method 2 \(EACCES\).*; our name or key is wrong"),
        ("crc", "--mode crc --keyring other.keyring", r"refused method 2 \(EACCES\).*; our name or key is wrong"),
        ("secure", "--mode crc --keyring perf.keyring", r"refused method 2 \(ENOTSUP\)"),
        ("crc", "--mode secure --keyring perf.keyring", r"refused method 2 \(ENOTSUP\)"),
        ("secure", "--mode crc", r"refused method 1 \(ENOTSUP\)"),
    ],
)
def test_a_client_that_is_not_let_in(server_mode, client, reason, start_tool, start_server, keyring, deadline) -> None:
    """The tools run in the directory of the keyrings."""
    make_keyring().save(keyring.with_name("other.keyring"))
    _, addr = start_server("--mode", server_mode, "--keyring", str(keyring))
    code, out, err = finish(
        start_tool("perf_msgr_client", "--server", addr, "--connect-timeout", "2", *client.split()), deadline
    )
    assert (code, out) == (1, "")
    assert re.fullmatch(rf"perf-msgr-client: 1 of 1 jobs are not connected after 2 s \(.*{reason}.*\)\n", err), err
    assert Keyring.load(keyring).entry(CLIENT).key.to_base64() not in err


@pytest.mark.parametrize("tool", ["perf_msgr_client", "perf_msgr_server"])
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "No such file or directory"),
        ("", f"has no key for {CLIENT}, only for nobody"),
        ("[client.x]\nkey = AQAAAAAAAAAAABAAAAECAwQFBgcICQoLDA0ODw==\n", f"has no key for {CLIENT}, only for client.x"),
        ("this is none\n", "line 1: expected [NAME]"),
    ],
)
def test_a_keyring_that_is_of_no_use(tool: str, text: str | None, reason: str, tmp_path: Path, capsys) -> None:
    path = tmp_path / "some.keyring"
    if text is not None:
        path.write_text(text)
    main = __import__(f"ceph_msgr.tools.{tool}", fromlist=["main"]).main
    where = ["--server", "127.0.0.1:1"] if tool == "perf_msgr_client" else ["--bind", "127.0.0.1:0"]
    assert main([*where, "--mode", "secure", "--keyring", str(path)]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1, printed.err
    assert str(path) in printed.err
    assert reason in printed.err


# ---- the keyring made for a run ----


def test_only_we_may_read_it_and_it_goes_away() -> None:
    keyring = make_keyring()
    with pytest.raises(ZeroDivisionError), keyring_file(keyring) as path:
        assert path.stat().st_mode & 0o777 == 0o600
        assert Keyring.load(path).entry(CLIENT) == keyring.entry(CLIENT)
        raise ZeroDivisionError
    assert not path.exists()


def test_it_goes_away_when_the_server_does_not_start(own_tmpdir: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr("ceph_msgr.tools.server_process.sys.executable", "/bin/false")
    assert perf_msgr_client.main(["--mode", "secure"]) == 1
    assert "ended before it was ready, with exit code 1" in capsys.readouterr().err
    assert list(own_tmpdir.iterdir()) == []


@pytest.mark.slow
@slow_start
def test_it_is_gone_while_the_run_goes_on(start_tool, own_tmpdir: Path, deadline) -> None:
    """So that a client which is killed leaves none behind; its server ends too."""
    client = start_tool("perf_msgr_client", "--mode", "secure", "--seconds", "600")
    children = Path(f"/proc/{client.pid}/task/{client.pid}/children")
    while not (pids := children.read_text().split()):
        deadline.remaining_s("the client to start its server")
    server = os.pidfd_open(int(pids[0]))
    while list(own_tmpdir.iterdir()) or not has_sockets(client.pid):
        deadline.remaining_s("the client to dial")
    client.kill()
    client.wait(deadline.remaining_s())
    assert select.select([server], [], [], deadline.remaining_s())[0], "the server goes on"
    os.close(server)
    assert list(own_tmpdir.iterdir()) == []


def has_sockets(pid: int) -> bool:
    links = []
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        try:
            links.append(os.readlink(fd))
        except FileNotFoundError:
            continue
    return any(link.startswith("socket:") for link in links)
