"""The table of connections: who is found, and who leaves it."""

from __future__ import annotations

from typing import Any

from ceph_msgr.connection.table import ConnectionTable
from ceph_msgr.wire.addr import EntityAddrVec

HERE, THERE = EntityAddrVec.parse("v2:10.0.0.1:6800/1"), EntityAddrVec.parse("v2:10.0.0.2:6800/1")


class Fake:
    """As much of a connection as the table looks at."""

    is_closed = False


def filled() -> tuple[ConnectionTable, Any, Any]:
    table, first, second = ConnectionTable(), Fake(), Fake()
    assert table.register(first, HERE, instead_of=None)  # type: ignore[arg-type]
    return table, first, second


def test_one_place_one_connection() -> None:
    table, first, second = filled()
    assert not table.register(second, HERE, instead_of=None)
    assert table.register(second, THERE, instead_of=None)
    assert (table.find(HERE), table.find(THERE)) == (first, second)


def test_a_closed_connection_is_never_found_and_gives_way() -> None:
    table, first, second = filled()
    first.is_closed = True
    assert table.find(HERE) is None
    assert table.register(second, HERE, instead_of=None)
    assert table.all() == [second, first]


def test_whoever_was_replaced_leaves_the_place_to_the_next() -> None:
    table, first, second = filled()
    assert table.register(second, HERE, instead_of=first)
    table.forget(first)
    assert table.find(HERE) is second
    table.forget(second)
    assert (table.find(HERE), table.all()) == (None, [])


def test_forgetting_twice_or_a_stranger_changes_nothing() -> None:
    table, first, second = filled()
    table.forget(second)
    assert table.all() == [first]
    for _ in range(2):
        table.forget(first)
        assert table.all() == []


def test_who_is_only_kept_is_not_found() -> None:
    table, first, second = filled()
    table.add(second)
    assert table.find(HERE) is first
    assert table.all() == [first, second]
    assert table.register(second, THERE, instead_of=None)
    assert table.all() == [first, second], "in one place only"
