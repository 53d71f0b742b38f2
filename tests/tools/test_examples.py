"""The examples do what they say."""

from __future__ import annotations

import re
import signal

import pytest

from tests.tools.conftest import finish

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("deadline", [60], indirect=True)
def test_the_ping_pair(start_example, deadline) -> None:
    server = start_example("ping_server.py", "127.0.0.1:0")
    addr = server.stdout.readline().removeprefix("listening on ").strip()
    code, out, err = finish(start_example("ping_client.py", addr), deadline)
    assert (code, err) == (0, "")
    assert [line.partition(":")[0] for line in out.splitlines()] == [f"ping {number}" for number in range(1, 6)]
    server.send_signal(signal.SIGINT)
    assert finish(server, deadline) == (0, "", "")


@pytest.mark.parametrize("deadline", [60], indirect=True)
def test_the_ping_client_alone(start_example, deadline) -> None:
    code, out, err = finish(start_example("ping_client.py", "127.0.0.1:1"), deadline)
    assert (code, out, err) == (1, "", "nobody listens on v2:127.0.0.1:1/0\n")


@pytest.mark.parametrize("deadline", [60], indirect=True)
def test_the_lossless_service(start_example, deadline) -> None:
    code, out, err = finish(start_example("lossless_service.py", "2000"), deadline)
    assert (code, err) == (0, "")
    told, cut = out.splitlines()
    assert told == "2000 requests, 2000 answers in order, the last balance is 2001000"
    found = re.fullmatch(r"the socket was cut (\d+) times, the client connected (\d+) times", cut)
    assert found, cut
    cuts, connects = map(int, found.groups())
    assert cuts >= 10
    # A cut that comes before the socket is up again is no cut.
    assert connects >= cuts
