"""The fixture as users import it, and a plain connection through it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from ceph_msgr.testing.proxy import Counts, Fault, FaultProxy, Kind
from ceph_msgr.testing.proxy.fixture import fault_proxy
from tests.conftest import SEED, Deadline

__all__ = ["Wire", "fault_proxy", "read_exactly", "read_until_end", "shared_proxy", "wire"]


@dataclass(frozen=True, slots=True)
class Wire:
    """Both ends of a link, and what the proxy had counted before it."""

    proxy: FaultProxy
    link: int
    before: Counts
    client: socket.socket
    target: socket.socket

    def ends(self, direction: str) -> tuple[socket.socket, socket.socket]:
        """From where, and to where."""
        return (self.client, self.target) if direction == "to_target" else (self.target, self.client)


def read_until_end(end: socket.socket) -> bytes:
    chunks = []
    while data := end.recv(1 << 16):
        chunks.append(data)
    return b"".join(chunks)


def read_exactly(end: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = end.recv(count - len(data))
        assert more, f"the end came after {len(data)} of {count} bytes"
        data += more
    return data


@pytest.fixture(scope="module")
def shared_proxy() -> Iterator[FaultProxy]:
    """For tests that mind their own link only."""
    with FaultProxy.start(seed=SEED) as proxy:
        yield proxy


@pytest.fixture
def wire(shared_proxy: FaultProxy, deadline: Deadline) -> Iterator[Wire]:
    before = shared_proxy.counts()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        addr = shared_proxy.route(f"v2:127.0.0.1:{listener.getsockname()[1]}/0")
        listener.settimeout(deadline.remaining_s())
        client = socket.create_connection((addr.ip, addr.port), deadline.remaining_s())
        target, _ = listener.accept()
        target.settimeout(deadline.remaining_s())
        with client, target:
            yield Wire(shared_proxy, before.links, before, client, target)
    shared_proxy.plan(0)
    shared_proxy.order(Fault(Kind.RESET))  # of those that were left open
