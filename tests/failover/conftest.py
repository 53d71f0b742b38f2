"""Every case runs with either side's address being the smaller one, and with take-overs that cross workers."""

from __future__ import annotations

import pytest

from tests.failover.pair import Setting


@pytest.fixture(params=[Setting(True), Setting(False), Setting(True, 2)], ids=str)
def setting(request: pytest.FixtureRequest) -> Setting:
    return request.param  # type: ignore[no-any-return]
