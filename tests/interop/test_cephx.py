"""Method cephx with the real thing, in both modes and both revisions: at its monitor, and it at ours."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ceph_msgr import Config, EntityName, EntityType, Messenger, Policy
from ceph_msgr.auth import (
    AuthRegistry,
    CephxClient,
    CephxService,
    ClientExchange,
    ConMode,
    CryptoKey,
    Keyring,
)
from ceph_msgr.messages import MMonGetMap, MMonMap, MPing
from ceph_msgr.wire.entity import AuthEntityName
from tests.conftest import Deadline
from tests.interop.cluster_client import ADMIN, ClusterClient, fetch_rotating_secrets
from tests.interop.fake_mon import FakeMon, loopback_messenger
from tests.interop.lab import CephClient, MonLab
from tests.interop.recorder import Recorder

pytestmark = pytest.mark.contract("H7")

both_modes = pytest.mark.parametrize("mode", ["crc", "secure"])


@pytest.fixture(autouse=True)
def log_of_our_side(caplog: pytest.LogCaptureFixture) -> None:
    """Shown by pytest if the test fails, beside the peer's."""
    caplog.set_level(logging.DEBUG, "ceph_msgr")


@pytest.fixture(params=[1, 0], ids=["2.1", "2.0"])
def revision(
    request: pytest.FixtureRequest, claim_revision: Callable[[int], None], caplog: pytest.LogCaptureFixture
) -> Iterator[int]:
    """Of msgr2; we claim to know no other, and all connections of the test speak it."""
    claim_revision(request.param)
    yield request.param
    spoken = [record.getMessage() for record in caplog.get_records("call") if "the peer speaks" in record.getMessage()]
    assert spoken
    assert {message.endswith(f"msgr2.{request.param}") for message in spoken} == {True}, spoken


class Login(CephxClient):
    """That counts attempts, and whose clock can be put forward."""

    def __init__(self, name: AuthEntityName, key: CryptoKey) -> None:
        self.ahead_s = 0.0
        self.attempts = threading.Semaphore(0)
        super().__init__(name, key, clock_s=lambda: time.time() + self.ahead_s)

    def start(self, peer_type: EntityType) -> ClientExchange:
        self.attempts.release()
        return super().start(peer_type)


@pytest.fixture
def keyring(mon_cephx: MonLab) -> Keyring:
    return Keyring.load(mon_cephx.admin_keyring)


@pytest.fixture
def login(keyring: Keyring) -> Login:
    return Login(ADMIN, keyring.entry(ADMIN).key)


# ---- at the real monitor ----


@both_modes
def test_logging_in(mode: str, revision: int, mon_cephx: MonLab, login: Login, deadline: Deadline) -> None:
    with ClusterClient(login, mode=mode) as client:
        connection = client.dial(EntityType.MON, mon_cephx.address, deadline)
        assert connection.con_mode is ConMode[mode.upper()]
        monmap = client.ask(connection, MMonGetMap(), MMonMap, deadline).monmap
        assert str(monmap.fsid) == mon_cephx.fsid
        assert login.global_id > 0
        assert client.messenger.entity_name == EntityName(EntityType.CLIENT, login.global_id)
        # More than one frame, and more than one block of the cipher.
        for _ in range(50):
            assert json.loads(client.ask(connection, MPing(), MPing, deadline).text)["mon_status"]["name"] == mon_cephx.name


@both_modes
def test_renewing_tickets(mode: str, mon_cephx: MonLab, login: Login, deadline: Deadline) -> None:
    """The second login presents the ticket of the first: the global id stays, and new tickets come sealed with old keys."""
    assert login.needs_renewal()
    with ClusterClient(login, mode=mode) as client:
        client.dial(EntityType.MON, mon_cephx.address, deadline)
        assert not login.needs_renewal()
        global_id, renew_at_s = login.global_id, login.renew_at_s
        assert time.time() < renew_at_s < time.time() + 3600
        login.ahead_s = renew_at_s - time.time() + 1
        assert login.needs_renewal()
        connection = client.dial(EntityType.MON, mon_cephx.address, deadline)
        assert not login.needs_renewal()
        assert login.global_id == global_id
        assert login.renew_at_s > renew_at_s
        client.ask(connection, MMonGetMap(), MMonMap, deadline)


def test_another_login_gets_another_global_id(mon_cephx: MonLab, keyring: Keyring, deadline: Deadline) -> None:
    logins = [Login(ADMIN, keyring.entry(ADMIN).key) for _ in range(2)]
    for login in logins:
        with ClusterClient(login) as client:
            client.dial(EntityType.MON, mon_cephx.address, deadline)
    assert logins[0].global_id != logins[1].global_id


@both_modes
@pytest.mark.parametrize("name", ["client.admin", "client.nobody"])
def test_a_wrong_key_or_name_is_refused(
    name: str, mode: str, mon_cephx: MonLab, login: Login, deadline: Deadline, caplog: pytest.LogCaptureFixture
) -> None:
    """Again and again, as the key might be granted one day."""
    stranger = Login(AuthEntityName.parse(name), CryptoKey.generate())
    with ClusterClient(stranger, stranger.name, mode=mode) as client:
        connection = client.messenger.connect_to(EntityType.MON, mon_cephx.address)
        connection.send_message(MMonGetMap())
        for _ in range(3):
            assert stranger.attempts.acquire(timeout=deadline.remaining_s("another attempt"))
            assert not connection.is_connected
        client.recorder.expect_silence()
    assert "refused method 2 (EACCES)" in caplog.text
    with ClusterClient(login, mode=mode) as client:
        client.dial(EntityType.MON, mon_cephx.address, deadline)


# ---- as a service of the real cluster ----


def get_or_create(lab: MonLab, name: str) -> Keyring:
    answer = lab.client.ceph("auth", "get-or-create", name, "mon", "allow profile osd", "osd", "allow *").check()
    return Keyring.parse(answer.stdout, name)


@pytest.fixture(params=["crc", "secure"])
def service(request: pytest.FixtureRequest, mon_cephx: MonLab, deadline: Deadline) -> Iterator[Messenger]:
    """osd.7, ours: it has fetched its rotating secrets, listens, and answers pings."""
    mode: str = request.param
    secrets = fetch_rotating_secrets(mon_cephx, get_or_create(mon_cephx, "osd.7"), "osd.7", deadline, mode=mode)
    assert len(secrets.keys) == 3
    assert secrets.renew_at_s > time.time()

    def auth(config: Config) -> AuthRegistry:
        return AuthRegistry(EntityType.OSD, config, servers=[CephxService(EntityType.OSD, secrets)])

    with loopback_messenger("osd.7", Policy.stateless_server(), number=7, auth=auth, ms_service_mode=mode) as messenger:
        recorder = Recorder()
        recorder.answer = lambda message: message.connection.send_message(message)
        messenger.add_dispatcher_head(recorder)
        messenger.start()
        yield messenger


def test_tickets_of_the_monitor_open_with_its_rotating_secrets(
    service: Messenger, mon_cephx: MonLab, login: Login, deadline: Deadline
) -> None:
    [mode] = service.config.ms_service_mode
    with ClusterClient(login, mode=mode) as client:
        client.dial(EntityType.MON, mon_cephx.address, deadline)
        connection = client.dial(EntityType.OSD, str(service.myaddrs), deadline)
        assert connection.con_mode is ConMode[mode.upper()]
        client.ask(connection, MPing("through"), MPing, deadline)
        [accepted] = [one for one in service._table.all() if one.is_connected]
        assert accepted.peer_name == client.messenger.entity_name == EntityName(EntityType.CLIENT, login.global_id)


def test_without_a_login_there_is_no_ticket(service: Messenger, login: Login, deadline: Deadline) -> None:
    with ClusterClient(login) as client:
        connection = client.messenger.connect_to(EntityType.OSD, str(service.myaddrs))
        assert client.recorder.expect("reset", deadline) is connection


# ---- the real `ceph` at our monitor ----


@both_modes
def test_ceph_at_our_monitor(mode: str, revision: int, keyring: Keyring, mon_cephx: MonLab, tmp_path: Path) -> None:
    with FakeMon(keyring=keyring, mode=mode) as mon:
        ceph = CephClient(tmp_path, mon.port, auth="cephx", keyring=mon_cephx.admin_keyring)
        ping = ceph.ping(mon.name).check()
        assert json.loads(ping.stdout) == mon.status, ping
        assert {message.connection.con_mode for message in mon.messages} == {ConMode[mode.upper()]}
        fsid = ceph.fsid().check()
        assert fsid.stdout.strip() == str(mon.fsid), fsid


@both_modes
def test_ceph_with_a_wrong_key_at_our_monitor(mode: str, mon_cephx: MonLab, tmp_path: Path) -> None:
    with FakeMon(keyring=Keyring.generate(str(ADMIN)), mode=mode) as mon:
        ceph = CephClient(tmp_path, mon.port, auth="cephx", keyring=mon_cephx.admin_keyring)
        result = ceph.fsid(connect_timeout_s=2)
    assert result.status not in (0, None), result
    assert mon.messages == []
