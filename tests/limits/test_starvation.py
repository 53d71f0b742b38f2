"""Descriptors run out, at accept, at connect and where a loop is made: nothing aborts or spins, and all goes on afterwards.

Three times here; ``CEPH_MSGR_LIMITS=full`` does it a hundred times, and prints the figures.
"""

from __future__ import annotations

import errno
import random
import time

import pytest

from bench.process import process_cpu_ns
from tests.conftest import Deadline
from tests.limits.setting import FULL, Process, strangers

ROUNDS = 100 if FULL else 3
SPARE, COMERS = 8, 24
WATCH_S = 1.0 if FULL else 0.5
MAX_CPU = 0.05

pytestmark = [pytest.mark.slow, pytest.mark.contract("H3"), pytest.mark.timeout(1200 if FULL else 120)]


def test_no_descriptor_for_accept(friend: Process, deadline: Deadline, rng: random.Random) -> None:
    """Who is there already is served meanwhile; those who come wait in the kernel, and get in as soon as there is room."""
    shares, pauses_s = [], []
    with Process() as server, strangers(server) as comers:
        friend.ask(do="dial", addr=str(server.addr))
        friend.ask(do="wait_answers")
        files = server.ask(do="files")
        for number in range(2, ROUNDS + 2):
            errors = server.stats()["accept_errors"]
            server.ask(do="limit_files", spare=SPARE)
            comers.ask(do="dial", count=COMERS, hears_banner=False)
            server.wait_until(deadline, lambda now, errors=errors: now["accept_errors"] > errors, "accept to fail")
            shares.append(watch_cpu(server.pid, rng.uniform(0.5, 1.5) * WATCH_S))
            friend.ask(do="ask")
            friend.ask(do="dial", addr=str(server.addr))
            comers.ask(do="leave")
            left_s = time.monotonic()
            friend.ask(do="wait_answers")
            pauses_s.append(time.monotonic() - left_s)
            server.ask(do="limit_files", spare=None)
            friend.ask(do="hang_up", keep=1)
            server.wait_until(deadline, lambda now: now["connections"] == 1, "the others to have left")
            assert server.stats()["accepts"] == number
        assert server.ask(do="files") == files
    print(f"{ROUNDS} times: at most {max(shares):.2%} of a core while starved, accepting after {max(pauses_s):.3f} s at most")
    assert max(shares) < MAX_CPU


def watch_cpu(pid: int, seconds: float) -> float:
    """The share of a core it uses. However long it is watched, it may be anywhere between two tries of accept afterwards."""
    began_ns, used_ns = time.monotonic_ns(), process_cpu_ns(pid)
    time.sleep(seconds)
    return (process_cpu_ns(pid) - used_ns) / (time.monotonic_ns() - began_ns)


def test_no_descriptor_for_connect(friend: Process, deadline: Deadline) -> None:
    """A dial that cannot have one is tried again; nobody is told, and what was queued is sent at last."""
    with Process() as starved:
        files = starved.ask(do="files")
        for _ in range(ROUNDS):
            before = starved.stats()
            starved.ask(do="limit_files", spare=0)
            starved.ask(do="dial", addr=str(friend.addr))
            now = starved.wait_until(deadline, lambda now, before=before: now["faults"] >= before["faults"] + 3, "three dials")
            assert [now[name] - before[name] for name in ("answers", "resets", "connects")] == [0, 0, 0]
            starved.ask(do="limit_files", spare=None)
            starved.ask(do="wait_answers")
            starved.ask(do="hang_up", keep=0)
            starved.wait_until(deadline, lambda now: now["connections"] == 0, "the connection to be gone")
        assert starved.ask(do="files") == files


def test_no_descriptor_for_a_loop() -> None:
    """Each takes two. What was made before the one that could not be had is given back."""
    with Process() as starved:
        files = starved.ask(do="files")
        for spare in (0, 1, 2, 3) * ROUNDS:
            starved.ask(do="limit_files", spare=spare)
            assert starved.ask(do="make_stack") == {"errno": errno.EMFILE}
        for spare in 4, None:
            starved.ask(do="limit_files", spare=spare)
            assert starved.ask(do="make_stack") == {"errno": 0}
        assert starved.ask(do="files") == files
