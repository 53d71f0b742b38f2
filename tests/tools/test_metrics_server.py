"""The scrape page of the server."""

from __future__ import annotations

import socket
from http.client import HTTPConnection

import pytest

from ceph_msgr.tools.exits import Failure
from ceph_msgr.tools.metrics_server import serve_metrics


def get(port: int, path: str, timeout_s: float) -> tuple[int, str | None, str]:
    connection = HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.headers["Content-Type"], response.read().decode()
    finally:
        connection.close()


def test_every_scrape_is_a_fresh_snapshot(deadline) -> None:
    texts = iter(["requests_total 1\n", "requests_total 2\n"])
    with serve_metrics(0, lambda: next(texts)) as port:
        for expected in "requests_total 1\n", "requests_total 2\n":
            status, content_type, text = get(port, "/metrics", deadline.remaining_s())
            assert (status, text) == (200, expected)
            assert content_type is not None
            assert content_type.startswith("text/plain; version=0.0.4")


def test_other_pages_do_not_exist(deadline) -> None:
    with serve_metrics(0, lambda: "x 1\n") as port:
        assert get(port, "/secrets", deadline.remaining_s())[0] == 404


def test_it_listens_on_loopback_only() -> None:
    with serve_metrics(0, str) as port, socket.socket() as other:
        other.bind(("127.0.0.2", port))  # would be taken, had the server bound all addresses


def test_it_is_gone_afterwards(deadline) -> None:
    with serve_metrics(0, str) as port:
        pass
    with pytest.raises(ConnectionRefusedError):
        get(port, "/metrics", deadline.remaining_s())


def test_a_port_in_use_is_a_failure_that_names_it() -> None:
    with (
        serve_metrics(0, str) as port,
        pytest.raises(Failure, match=f"cannot serve metrics on 127.0.0.1:{port}: Address already in use"),
        serve_metrics(port, str),
    ):
        pytest.fail("two servers on one port")
