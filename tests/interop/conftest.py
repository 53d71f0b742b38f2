"""Monitors for tests that need one. Without Ceph those are skipped; with CEPH_MSGR_REQUIRE_CEPH=1 a skip fails."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator
from functools import partial
from pathlib import Path

import pytest

from ceph_msgr.protocol import handshake
from ceph_msgr.protocol.banner import Banner
from tests.interop import osd_lab
from tests.interop.lab import Auth, CephClient, MonLab, missing_programs
from tests.interop.osd_lab import OsdLab

REQUIRE_VARIABLE = "CEPH_MSGR_REQUIRE_CEPH"


def _require_ceph(*more_programs: str) -> None:
    if missing := missing_programs(*more_programs):
        pytest.skip(f"not installed: {', '.join(missing)} (Debian: ceph-mon, ceph-osd, ceph-common)")


@pytest.fixture(scope="session")
def mon_none(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MonLab]:
    """A monitor with auth none, shared by all tests of the run."""
    _require_ceph()
    with MonLab(tmp_path_factory.mktemp("mon-none"), auth="none") as lab:
        yield lab


@pytest.fixture(scope="session")
def mon_cephx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MonLab]:
    """A monitor with auth cephx, shared by all tests of the run; `admin_keyring` holds the key of client.admin."""
    _require_ceph()
    with MonLab(tmp_path_factory.mktemp("mon-cephx"), auth="cephx") as lab:
        yield lab


def make_osd_lab(tmp_path_factory: pytest.TempPathFactory, auth: Auth) -> Iterator[OsdLab]:
    _require_ceph(*osd_lab.PROGRAMS)
    with OsdLab(tmp_path_factory.mktemp(f"osd-{auth}"), auth=auth) as lab:
        yield lab


@pytest.fixture(scope="session")
def osd_none(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OsdLab]:
    """A monitor and an OSD with auth none, shared by all tests of the run."""
    yield from make_osd_lab(tmp_path_factory, "none")


@pytest.fixture(scope="session")
def osd_cephx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OsdLab]:
    """A monitor and an OSD with auth cephx, shared by all tests of the run."""
    yield from make_osd_lab(tmp_path_factory, "cephx")


@pytest.fixture(params=["none", "cephx"])
def mon(request: pytest.FixtureRequest) -> MonLab:
    """Each of the two monitors in turn, for what does not depend on authentication."""
    lab: MonLab = request.getfixturevalue(f"mon_{request.param}")
    return lab


@pytest.fixture
def own_mon(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MonLab]:
    """A monitor not started yet, for one test alone: to be stopped, broken, or given peers.

    Arguments of MonLab come by `@pytest.mark.parametrize("own_mon", [{"auth": "cephx"}], indirect=True)`.
    """
    _require_ceph()
    lab = MonLab(tmp_path, **getattr(request, "param", {}))
    yield lab
    lab.close()


@pytest.fixture
def claim_revision(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """`claim_revision(0)`: our messengers claim to know no revision of msgr2 but 2.0, so that this is spoken."""

    def claim(revision: int) -> None:
        monkeypatch.setattr(handshake, "OUR_BANNER", Banner(supported=revision))

    return claim


@pytest.fixture
def ceph_client(tmp_path: Path) -> Callable[[int], CephClient]:
    """`ceph_client(port).ping()`: the real `ceph` (auth none) against whatever listens on that loopback port."""
    _require_ceph()
    return partial(CephClient, tmp_path)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.interop)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get(REQUIRE_VARIABLE):
        report.outcome = "failed"
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.longrepr = f"skipped although {REQUIRE_VARIABLE} is set: {reason}"
    if report.failed:
        for name, value in getattr(item, "funcargs", {}).items():
            if isinstance(value, MonLab | OsdLab):
                report.sections.append((f"{name}: logs of Ceph", value.log_tail()))
    return report
