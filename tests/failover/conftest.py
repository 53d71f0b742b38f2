"""Every case runs with either side's address being the smaller one, and with take-overs that cross workers."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from tests.failover.pair import Setting


@pytest.fixture(params=[Setting(True), Setting(False), Setting(True, 2)], ids=str)
def setting(request: pytest.FixtureRequest) -> Setting:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(autouse=True)
def captured_logs_hold_no_connections() -> Iterator[None]:
    """An error that is logged refers to the frames it was raised in: were it kept until the test's report, so were they."""

    def spell_out(record: logging.LogRecord) -> bool:
        record.msg, record.args, record.exc_info = record.getMessage(), (), None
        return True

    logger = logging.getLogger("ceph_msgr.connection")
    logger.addFilter(spell_out)
    yield
    logger.removeFilter(spell_out)
