"""A hundred connections are cut at once, or their link is down for a while: all come back, and what was queued arrives.

How soon is printed, and measured in full size by ``python -m tests.recovery``.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from tests.recovery.run import Link, percentile

CONNECTIONS = 100

pytestmark = [pytest.mark.slow, pytest.mark.contract("H1")]


@pytest.fixture(scope="module")
def link() -> Iterator[Link]:
    with Link.between(CONNECTIONS) as link:
        yield link


def show(seconds: list[float]) -> None:
    assert len(seconds) == CONNECTIONS
    print(f"p50 {1e3 * percentile(seconds, 0.5):.1f} ms, last {1e3 * max(seconds):.1f} ms")


def test_all_are_cut_at_once(link: Link) -> None:
    for _ in range(2):
        show(link.cut())


def test_the_link_is_down_for_a_while(link: Link, rng: random.Random) -> None:
    for _ in range(2):
        show(link.interrupt(rng))


def test_the_percentile_is_one_of_the_values() -> None:
    values = [float(number) for number in range(100, 0, -1)]
    assert [percentile(values, share) for share in (0, 0.5, 0.99, 1)] == [1, 51, 100, 100]
    assert percentile([7.0], 0.99) == 7
