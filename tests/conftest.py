"""What every test may rely on: a deadline for its waits, a random source that can be repeated, contract rows by name.

The net under all tests (`timeout`, `faulthandler_timeout` in pyproject.toml) catches a hang; it is not a way to wait.
A test that waits asks `deadline` how long it still may.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Generator

import pytest

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell has that for what runs in its background, and children inherit it: those that are tested with Ctrl-C must not.
    signal.signal(signal.SIGINT, signal.default_int_handler)

SEED_VARIABLE = "CEPH_MSGR_TEST_SEED"
SEED = int(os.environ.get(SEED_VARIABLE) or random.SystemRandom().randrange(2**32))


class Deadline:
    """A moment all waits of one test share, so that ten waits cannot take ten times as long as one."""

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._end_s = time.monotonic() + timeout_s

    def remaining_s(self, waiting_for: str = "the condition") -> float:
        """Seconds left, always above 0: to be given to the next blocking call. Past the end the test fails."""
        left_s = self._end_s - time.monotonic()
        if left_s <= 0:
            pytest.fail(f"waited {self.timeout_s} s for {waiting_for}", pytrace=True)
        return left_s


@pytest.fixture
def deadline(request: pytest.FixtureRequest) -> Deadline:
    """Half a minute, which no wait takes, or what the test asks for with
    `@pytest.mark.parametrize("deadline", [60], indirect=True)`."""
    return Deadline(getattr(request, "param", 30.0))


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> random.Random:
    """A random source that depends on the run's seed and the test's name, not on which tests ran before."""
    return random.Random(f"{SEED}:{request.node.nodeid}")


def pytest_report_header() -> str:
    return f"seed: {SEED} (set {SEED_VARIABLE} to repeat)"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed and "rng" in getattr(item, "fixturenames", ()):
        report.sections.append(("seed", f"{SEED_VARIABLE}={SEED}"))
    return report


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A contract mark without rows, or with something that is not a row, stands for nothing."""
    for item in items:
        for mark in item.iter_markers("contract"):
            if not mark.args or not all(isinstance(row, str) and row for row in mark.args):
                raise pytest.UsageError(f"{item.nodeid}: contract() wants rows of the test contract, has {mark.args}")
