"""Both tools as their users run them: two processes, loopback, signals, exit codes."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import socket
import subprocess
import time
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.tools.conftest import finish

pytestmark = pytest.mark.slow

SIGNALS = [signal.SIGINT, signal.SIGTERM]
#: Requests in flight, unless the client is told otherwise.
CONCURRENCY = 32
#: Interpreters start in this, several of them, on a busy machine.
slow_start = pytest.mark.parametrize("deadline", [60], indirect=True)


def wait_for_replies(port: int, deadline) -> None:
    """Until a server with this metrics port has received more requests than are in flight at once: the client has a reply."""
    while True:
        connection = HTTPConnection("127.0.0.1", port, timeout=deadline.remaining_s("the metrics"))
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        connection.close()
        received = [line.split()[-1] for line in text.splitlines() if line.startswith("ceph_msgr_recv_messages_total")]
        assert received, text
        if sum(map(int, received)) > CONCURRENCY:
            return


# ---- the client ----


@slow_start
def test_one_command_runs_the_main_job(start_tool, deadline) -> None:
    code, out, err = finish(start_tool("perf_msgr_client", "--ios", "200"), deadline)
    assert (code, err) == (0, "")
    title, *table = out.splitlines()
    assert title.startswith("1 x 32 requests of 4096 bytes in flight to v2:127.0.0.1:")
    assert table[0].split()[:3] == ["requests", "answered", "200"]
    assert table[-1].split() == ["errors", "0"]


@slow_start
@pytest.mark.parametrize("options", ["--msg-len 64", "--msg-len 0", "--msg-len 100000", "--think-time 100", "--lossless"])
def test_json_tells_what_was_measured_and_with_what(options: str, start_tool, deadline) -> None:
    line = f"--jobs 3 --concurrency 4 --ios 50 --json - {options}"
    code, out, err = finish(start_tool("perf_msgr_client", *line.split()), deadline)
    assert (code, err) == (0, "")
    values = json.loads(out)
    assert (values["ops"], values["errors"]) == (150, 0)
    assert values["seconds"] > 0
    assert values["ops_per_s"] == pytest.approx(150 / values["seconds"], rel=0.01)
    assert values["cpu_us_per_op"] > 0
    latency_us = values["latency_us"]
    assert 0 < latency_us["p50"] <= latency_us["p90"] <= latency_us["p99"] <= latency_us["p999"] <= latency_us["max"]
    parameters = values["parameters"]
    assert (parameters["jobs"], parameters["concurrency"], parameters["ios"]) == (3, 4, 50)
    assert parameters["lossless"] == ("--lossless" in options)


@slow_start
def test_json_in_a_file_leaves_the_table_on_standard_output(start_tool, tmp_path: Path, deadline) -> None:
    file = tmp_path / "result.json"
    code, out, _ = finish(start_tool("perf_msgr_client", "--ios", "20", "--json", str(file)), deadline)
    assert code == 0
    assert "requests answered" in out
    assert json.loads(file.read_text())["ops"] == 20


@slow_start
def test_seconds_bound_the_run(start_tool, deadline) -> None:
    code, out, _ = finish(start_tool("perf_msgr_client", "--seconds", "0.3", "--json", "-"), deadline)
    assert code == 0
    assert 0.2 < json.loads(out)["seconds"] < deadline.timeout_s


@slow_start
@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_ends_the_client_with_its_summary(number: signal.Signals, start_tool, start_server, deadline) -> None:
    server, addr = start_server("--metrics-port", "0")
    port = int(server.stdout.readline().strip().removesuffix("/metrics").rpartition(":")[2])
    client = start_tool("perf_msgr_client", "--server", addr, "--seconds", "600", "--json", "-")
    wait_for_replies(port, deadline)
    client.send_signal(number)
    code, out, err = finish(client, deadline)
    assert (code, err) == (0, "")
    values = json.loads(out)
    assert values["ops"] > 0
    assert values["errors"] == 0
    assert server.poll() is None, "a server the client did not start is none of its business"


@slow_start
@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_before_anything_was_measured(number: signal.Signals, start_tool, deadline) -> None:
    # Somebody accepts, and says nothing.
    with socket.create_server(("127.0.0.1", 0)) as listener:
        addr = f"127.0.0.1:{listener.getsockname()[1]}"
        client = start_tool("perf_msgr_client", "--server", addr, "--connect-timeout", "600")
        listener.settimeout(deadline.remaining_s())
        accepted, _ = listener.accept()  # the client is dialling, so its handlers are in place
        with accepted:
            client.send_signal(number)
            assert finish(client, deadline) == (128 + number, "", "")


@slow_start
def test_a_refused_port(start_tool, deadline) -> None:
    client = start_tool("perf_msgr_client", "--server", "127.0.0.1:1", "--connect-timeout", "30")
    code, out, err = finish(client, deadline)
    assert (code, out) == (1, "")
    assert re.fullmatch(r"perf-msgr-client: cannot connect to v2:127.0.0.1:1/0 \(.*Connection refused\)\n", err), err


@slow_start
def test_a_peer_that_says_nothing(start_tool, deadline) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        addr = f"127.0.0.1:{listener.getsockname()[1]}"
        client = start_tool("perf_msgr_client", "--server", addr, "--jobs", "2", "--connect-timeout", "0.5")
        code, out, err = finish(client, deadline)
    assert (code, out) == (1, "")
    assert err == "perf-msgr-client: 2 of 2 jobs are not connected after 0.5 s\n"


@slow_start
def test_a_peer_of_another_protocol_is_named(start_tool, deadline) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        addr = f"127.0.0.1:{listener.getsockname()[1]}"
        client = start_tool("perf_msgr_client", "--server", addr, "--connect-timeout", "3")
        listener.settimeout(deadline.remaining_s())
        accepted, _ = listener.accept()
        with accepted:
            accepted.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            code, out, err = finish(client, deadline)
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert "not connected" in err
    assert "HTTP" in err


@slow_start
@pytest.mark.parametrize("lossless", [[], ["--lossless"]])
def test_a_server_that_dies_leaves_a_line_and_the_summary_so_far(lossless, start_tool, start_server, deadline) -> None:
    server, addr = start_server("--metrics-port", "0", *lossless)
    port = int(server.stdout.readline().strip().removesuffix("/metrics").rpartition(":")[2])
    client = start_tool("perf_msgr_client", "--server", addr, "--seconds", "600", *lossless)
    wait_for_replies(port, deadline)
    server.kill()
    code, out, err = finish(client, deadline)
    assert code == 1
    assert "requests answered" in out
    assert re.fullmatch(rf"perf-msgr-client: .* {addr} .*\n", err), err


@slow_start
def test_its_own_server_does_not_survive_a_killed_client(start_tool, deadline) -> None:
    client = start_tool("perf_msgr_client", "--seconds", "600")
    children = Path(f"/proc/{client.pid}/task/{client.pid}/children")
    while not (pids := children.read_text().split()):
        deadline.remaining_s("the client to start its server")
    server = os.pidfd_open(int(pids[0]))
    client.kill()
    client.wait(deadline.remaining_s())
    assert select.select([server], [], [], deadline.remaining_s())[0], "the server goes on"
    os.close(server)


# ---- the server ----


@slow_start
@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_ends_the_server_with_its_summary(number: signal.Signals, start_tool, start_server, deadline) -> None:
    server, addr = start_server()
    client = start_tool("perf_msgr_client", addr, "2", "4", "10")
    assert finish(client, deadline)[0] == 0
    server.send_signal(number)
    code, out, err = finish(server, deadline)
    assert (code, err) == (0, "")
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines()}
    assert rows["connections"][0] == "2"
    assert rows["requests"][0] == rows["replies"][0] == "20"


@slow_start
def test_an_address_in_use(start_tool, start_server, deadline) -> None:
    _, addr = start_server()
    started = time.monotonic()
    code, out, err = finish(start_tool("perf_msgr_server", "--bind", addr), deadline)
    assert (code, out) == (1, "")
    assert err == f"perf-msgr-server: cannot listen on {addr}: Address already in use\n"
    assert time.monotonic() - started < 15, "it must not try again and again, as a daemon does: three times, every 5 s"


@slow_start
def test_an_address_that_is_not_ours(start_tool, deadline) -> None:
    code, out, err = finish(start_tool("perf_msgr_server", "--bind", "192.0.2.1:10001"), deadline)
    assert (code, out) == (1, "")
    assert err == "perf-msgr-server: cannot listen on v2:192.0.2.1:10001/0: Cannot assign requested address\n"


@slow_start
def test_think_time_is_part_of_the_latency(start_tool, start_server, deadline) -> None:
    _, addr = start_server("--think-time", "20000", "--workers", "2")
    line = f"--server {addr} --ios 8 --concurrency 2 --json -"
    code, out, _ = finish(start_tool("perf_msgr_client", *line.split()), deadline)
    assert code == 0
    assert json.loads(out)["latency_us"]["mean"] > 19_900


@slow_start
def test_the_end_of_standard_input_ends_the_server_if_asked(start_tool, deadline) -> None:
    server = start_tool("perf_msgr_server", "--bind", "127.0.0.1:0", "--until-eof", stdin=subprocess.PIPE)
    assert server.stdout.readline().startswith("listening on")
    server.stdin.close()
    server.stdin = None
    assert finish(server, deadline)[0] == 0
