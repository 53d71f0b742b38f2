"""The real `rados` served by an OSD of ours, which stands where a real one stood, so that the cluster's map leads to it."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from ceph_msgr import Config, EntityType
from ceph_msgr.auth import AuthRegistry, CephxService, ConMode, Keyring, RotatingSecrets
from ceph_msgr.messages import object_hash
from tests.conftest import Deadline
from tests.interop.cluster_client import fetch_rotating_secrets
from tests.interop.conftest import make_osd_lab
from tests.interop.fake_osd import FakeOsd, OpCode
from tests.interop.osd_lab import OsdLab

pytestmark = [pytest.mark.contract("H7"), pytest.mark.slow]


@pytest.fixture(autouse=True)
def log_of_our_side(caplog: pytest.LogCaptureFixture) -> None:
    """Shown by pytest if the test fails, beside the peer's."""
    caplog.set_level(logging.DEBUG, "ceph_msgr")


@pytest.fixture(scope="module")
def none(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OsdLab]:
    """A cluster whose OSD has died and is not missed yet."""
    for lab in make_osd_lab(tmp_path_factory, "none"):
        lab.kill_osd()
        yield lab


@pytest.fixture(scope="module")
def cephx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OsdLab]:
    for lab in make_osd_lab(tmp_path_factory, "cephx"):
        lab.kill_osd()
        yield lab


@pytest.fixture(params=["none-crc", "cephx-crc", "cephx-secure"])
def lab(request: pytest.FixtureRequest) -> OsdLab:
    found: OsdLab = request.getfixturevalue(request.param.partition("-")[0])
    return found


def service(secrets: RotatingSecrets, config: Config) -> AuthRegistry:
    return AuthRegistry(EntityType.OSD, config, servers=[CephxService(EntityType.OSD, secrets)])


@pytest.fixture
def osd(request: pytest.FixtureRequest, lab: OsdLab) -> Iterator[FakeOsd]:
    """It stands there, with the dead one's key."""
    mode = request.node.callspec.params["lab"].partition("-")[2]
    auth = None
    if lab.mon.auth == "cephx":
        auth = partial(service, fetch_rotating_secrets(lab.mon, Keyring.load(lab.keyring), "osd.0", Deadline(30), mode=mode))
    with FakeOsd(lab.address, auth=auth, mode=mode) as osd:
        yield osd
        if osd.requests:
            assert {request.connection.con_mode for request in osd.requests} == {ConMode[mode.upper()]}


def test_put_stat_get(osd: FakeOsd, lab: OsdLab, tmp_path: Path, rng: random.Random) -> None:
    data = rng.randbytes(100_000)
    (tmp_path / "put").write_bytes(data)
    lab.rados("put", "thing", str(tmp_path / "put")).check()
    assert osd.objects["thing"].data == data
    assert f"{lab.pool}/thing mtime " in (stat := lab.rados("stat", "thing").check()).stdout
    assert f", size {len(data)}" in stat.stdout
    lab.rados("get", "thing", str(tmp_path / "got")).check()
    assert (tmp_path / "got").read_bytes() == data
    for request in osd.requests:
        assert (request.pool, request.seed, request.hash) == (lab.pool_id, 0, object_hash("thing"))
        assert request.encode_payload(request.features) == request.front
    assert {op.op for request in osd.requests for op in request.ops} >= {OpCode.STAT, OpCode.READ}


def test_more_than_one_request(osd: FakeOsd, lab: OsdLab, tmp_path: Path, rng: random.Random) -> None:
    """`rados` sends and asks for 4 MiB at a time."""
    data = rng.randbytes(9_000_001)
    (tmp_path / "put").write_bytes(data)
    lab.rados("put", "large", str(tmp_path / "put")).check()
    assert osd.objects["large"].data == data
    lab.rados("get", "large", str(tmp_path / "got")).check()
    assert (tmp_path / "got").read_bytes() == data
    assert len(osd.requests) >= 6


def test_what_is_not_there(osd: FakeOsd, lab: OsdLab, tmp_path: Path) -> None:
    result = lab.rados("get", "nosuch", str(tmp_path / "got"))
    assert result.status == 1
    assert "(2) No such file or directory" in result.stderr
    (tmp_path / "put").write_bytes(b"x")
    lab.rados("put", "short-lived", str(tmp_path / "put")).check()
    lab.rados("rm", "short-lived").check()
    assert "short-lived" not in osd.objects
