"""The lab of each test, and the rule that nothing may go wrong unnoticed in it."""

from __future__ import annotations

import gc
import logging
from collections.abc import Generator, Iterator
from typing import Any

import pytest

from tests.conftest import Deadline
from tests.messenger.lab import Lab

_has_failed = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    item.stash[_has_failed] = item.stash.get(_has_failed, False) or report.failed
    return report


@pytest.fixture(scope="module", autouse=True)
def unfreeze() -> Iterator[None]:
    """Undoes what the labs did to the garbage collector."""
    yield
    gc.unfreeze()


@pytest.fixture
def expected_errors() -> list[str]:
    """Parts of the error lines a test provokes; any other line of level error fails it."""
    return []


@pytest.fixture
def rendered_log() -> Iterator[None]:
    """Log records hold text and not the objects they tell about, which would live as long as pytest keeps the records."""
    former = logging.getLogRecordFactory()
    formatter = logging.Formatter()

    def make_record(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = former(*args, **kwargs)
        record.msg, record.args = record.getMessage(), ()
        if record.exc_info:
            record.exc_text, record.exc_info = formatter.formatException(record.exc_info), None
        return record

    logging.setLogRecordFactory(make_record)
    yield
    logging.setLogRecordFactory(former)


@pytest.fixture
def lab(
    request: pytest.FixtureRequest,
    rendered_log: None,
    deadline: Deadline,
    caplog: pytest.LogCaptureFixture,
    expected_errors: list[str],
) -> Iterator[Lab]:
    """With one worker, or as many as ``@pytest.mark.parametrize("lab", [2], indirect=True)`` asks for."""
    caplog.set_level(logging.INFO, "ceph_msgr")
    lab = Lab(deadline, workers=getattr(request, "param", 1))
    try:
        yield lab
    finally:
        try:
            lab.close()
            # A failed test's traceback holds what the test held.
            if not request.node.stash.get(_has_failed, False):
                unexpected = [line for line in _errors(caplog) if not any(part in line for part in expected_errors)]
                assert not unexpected
                lab.check_clean()
        finally:
            lab.stop_stacks()


def _errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    records = [record for when in ("setup", "call", "teardown") for record in caplog.get_records(when)]
    return [record.getMessage() for record in records if record.levelno >= logging.ERROR]
