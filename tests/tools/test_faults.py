"""The cause of a fault finds its way from the library's log into a tool's last line."""

from __future__ import annotations

import logging

from ceph_msgr.tools.faults import remember_faults

connection_log = logging.getLogger("ceph_msgr.connection")


def test_the_last_cause_is_remembered_and_other_lines_are_not() -> None:
    with remember_faults() as faults:
        assert faults == []
        connection_log.info("%s fault: %s", "client.0 >> v2:127.0.0.1:1/0", "the peer reset it")
        connection_log.warning("%s fault: %s", "client.0 >> v2:127.0.0.1:1/0", "the peer answers in HTTP")
        connection_log.info("%s ready, lossy", "client.0 >> v2:127.0.0.1:1/0")
        assert faults == ["the peer answers in HTTP"]


def test_afterwards_logging_is_as_it_was() -> None:
    before = connection_log.level, list(connection_log.handlers)
    with remember_faults() as faults:
        pass
    connection_log.warning("x fault: y")
    assert faults == []
    assert (connection_log.level, connection_log.handlers) == before
