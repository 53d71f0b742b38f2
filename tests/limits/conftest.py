"""More time than other tests have: each waits for processes, and the full size takes minutes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import Deadline
from tests.limits.setting import FULL, Process


@pytest.fixture
def deadline() -> Deadline:
    return Deadline(1000 if FULL else 90)


@pytest.fixture(scope="session")
def only_friend() -> Iterator[Process]:
    with Process() as process:
        yield process


@pytest.fixture
def friend(only_friend: Process, deadline: Deadline) -> Iterator[Process]:
    """A process that is never starved of anything, and has no connection yet."""
    yield only_friend
    only_friend.ask(do="hang_up", keep=0)
    only_friend.wait_until(deadline, lambda now: now["connections"] == 0, "its connections to be gone")
