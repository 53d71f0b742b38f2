"""Our messenger as a client of the real monitor, without encryption."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from uuid import UUID

import pytest

from ceph_msgr import Config, Connection, EntityName, EntityType, Messenger, Policy
from ceph_msgr.auth.base import ClientExchange, ConMode
from ceph_msgr.auth.none import NoneClient
from ceph_msgr.auth.registry import AuthRegistry
from ceph_msgr.messages import MMonCommand, MMonCommandAck, MMonGetMap, MMonMap, MPing
from ceph_msgr.wire.entity import AuthEntityName
from ceph_msgr.wire.features import SUPPORTED_ALL
from tests.conftest import Deadline
from tests.interop.lab import MonLab
from tests.interop.recorder import Recorder

NAME = AuthEntityName.parse("client.admin")

pytestmark = pytest.mark.contract("H7")


class CountingLogin(NoneClient):
    """Method none that tells how often it was asked: once for each attempt that came as far as the monitor's HELLO."""

    def __init__(self) -> None:
        super().__init__(NAME)
        self.attempts = threading.Semaphore(0)

    def start(self, peer_type: EntityType) -> ClientExchange:
        self.attempts.release()
        return super().start(peer_type)


class Client:
    """client.admin with one lossy connection to a monitor, not dialled yet."""

    def __init__(self) -> None:
        self.recorder = Recorder()
        self.login = CountingLogin()
        # Redials come so fast that one too many would be noticed.
        config = Config(ms_initial_backoff=0.01, ms_max_backoff=0.05)
        auth = AuthRegistry(EntityType.CLIENT, config, [self.login])
        self.messenger = Messenger.create(str(NAME), config=config, auth=auth)
        self.messenger.set_default_policy(Policy.lossy_client())
        self.messenger.add_dispatcher_head(self.recorder)
        self.messenger.start()

    def dial(self, lab: MonLab, deadline: Deadline, *, anon: bool = False) -> Connection:
        """A connection that is ready."""
        connection = self.messenger.connect_to(EntityType.MON, lab.address, anon=anon)
        connected: Connection = self.recorder.expect("connect", deadline)
        assert connected is connection
        return connected

    def ping(self, connection: Connection, deadline: Deadline) -> MPing:
        connection.send_message(MPing())
        reply = self.recorder.expect_message(MPing, deadline)
        assert reply.connection is connection
        return reply

    def command(self, connection: Connection, lab: MonLab, deadline: Deadline, **words: str) -> MMonCommandAck:
        text = json.dumps(words)
        connection.send_message(MMonCommand(UUID(lab.fsid), [text], tid=7))
        ack = self.recorder.expect_message(MMonCommandAck, deadline)
        assert (ack.tid, ack.command, ack.result) == (7, [text], 0), ack.status
        return ack

    def redials(self) -> int:
        """By all messengers of the process, so far."""
        return sum(worker.perf.get("msgr_reconnects") for worker in self.messenger.stack.workers)

    def close(self, deadline: Deadline) -> None:
        self.messenger.shutdown()
        assert self.messenger.wait(deadline.remaining_s("the messenger's end"))


@pytest.fixture(autouse=True)
def log_of_our_side(caplog: pytest.LogCaptureFixture) -> None:
    """Shown by pytest if the test fails, beside the monitor's."""
    caplog.set_level(logging.DEBUG, "ceph_msgr")


@pytest.fixture
def client() -> Iterator[Client]:
    client = Client()
    yield client
    client.close(Deadline(30))


def test_logging_in(mon_none: MonLab, client: Client, deadline: Deadline) -> None:
    connection = client.dial(mon_none, deadline)
    assert client.login.global_id > 0
    assert connection.is_connected
    assert str(connection.peer_addrs) == mon_none.address
    assert connection.peer_name == EntityName(EntityType.MON, 0)
    assert connection.con_mode is ConMode.CRC
    assert connection.features == SUPPORTED_ALL
    assert client.messenger.myaddrs[0].ip == "127.0.0.1", "the monitor has told how it sees us"


def test_monitor_map(mon_none: MonLab, client: Client, deadline: Deadline) -> None:
    """As the real client gets it."""
    dump = json.loads(mon_none.client.ceph("mon", "dump", "--format", "json").check().stdout)
    connection = client.dial(mon_none, deadline)
    connection.send_message(MMonGetMap())
    monmap = client.recorder.expect_message(MMonMap, deadline).monmap
    assert str(monmap.fsid) == dump["fsid"] == mon_none.fsid
    assert monmap.epoch == dump["epoch"] > 0
    assert monmap.min_mon_release == dump["min_mon_release"] == 16
    assert list(monmap.ranks) == list(monmap.mons) == [mon["name"] for mon in dump["mons"]] == [mon_none.name]
    assert str(monmap.mons[mon_none.name].addrs) == mon_none.address
    assert monmap.election_strategy == dump["election_strategy"]
    assert datetime.fromtimestamp(monmap.created.seconds, UTC) == datetime.fromisoformat(dump["created"]).replace(microsecond=0)


def test_ping(mon_none: MonLab, client: Client, deadline: Deadline) -> None:
    connection = client.dial(mon_none, deadline)
    answer = json.loads(client.ping(connection, deadline).text)
    assert answer["mon_status"]["name"] == mon_none.name
    assert answer["mon_status"]["monmap"]["fsid"] == mon_none.fsid
    assert "status" in answer["health"]


def test_command(mon_none: MonLab, client: Client, deadline: Deadline) -> None:
    connection = client.dial(mon_none, deadline)
    assert bytes(client.command(connection, mon_none, deadline, prefix="fsid").data).decode().strip() == mon_none.fsid


def test_many_requests_at_once(mon_none: MonLab, client: Client, deadline: Deadline) -> None:
    connection = client.dial(mon_none, deadline)
    for _ in range(200):
        connection.send_message(MMonGetMap())
    answers = [client.recorder.expect_message(MMonMap, deadline) for _ in range(200)]
    assert [answer.seq for answer in answers] == list(range(1, 201))
    assert len({bytes(answer.front) for answer in answers}) == 1


def test_keepalive(mon_none: MonLab, client: Client, deadline: Deadline) -> None:
    connection = client.dial(mon_none, deadline)
    before = time.time()
    connection.send_keepalive()
    while (sent := connection.last_keepalive_ack) is None:
        client.ping(connection, deadline)  # each round trip gives the monitor time to answer
    assert before <= sent <= time.time()


def session_nonces(lab: MonLab) -> set[int]:
    """By the nonces of their addresses, the sessions the monitor has; asked through its admin socket."""
    answer = lab.client.ceph("--admin-daemon", str(lab.directory / f"mon.{lab.name}.asok"), "sessions").check()
    return {addr["nonce"] for session in json.loads(answer.stdout) for addr in session["addrs"]["addrvec"]}


def test_mark_down(mon_none: MonLab, client: Client, deadline: Deadline) -> None:
    connection = client.dial(mon_none, deadline)
    nonce = client.messenger.myaddrs[0].nonce
    assert nonce in session_nonces(mon_none)
    connection.mark_down()
    assert not connection.is_connected
    connection.send_message(MPing())  # dropped without a word
    while nonce in session_nonces(mon_none):
        deadline.remaining_s("the monitor to forget us")
    assert client.dial(mon_none, deadline) is not connection
    client.close(deadline)
    assert client.recorder.expect("reset", deadline) is not connection  # shutdown tells, mark_down does not
    client.recorder.expect_silence()


def test_two_connections(mon_none: MonLab, client: Client, deadline: Deadline) -> None:
    """Not registered, so each is new; the second login presents the global id of the first."""
    first = client.dial(mon_none, deadline, anon=True)
    global_id = client.login.global_id
    second = client.dial(mon_none, deadline, anon=True)
    assert first is not second
    assert client.login.global_id == global_id
    for connection in (first, second, first):
        client.ping(connection, deadline)
    first.mark_down()
    client.ping(second, deadline)


def test_a_monitor_is_no_osd(mon_none: MonLab, client: Client, deadline: Deadline) -> None:
    redials = client.redials()
    connection = client.messenger.connect_to(EntityType.OSD, mon_none.address)
    assert client.recorder.expect("reset", deadline) is connection
    assert not connection.is_connected
    # The messenger works on. These round trips take longer than the pause before a redial.
    other = client.dial(mon_none, deadline)
    assert other is not connection
    for _ in range(50):
        client.ping(other, deadline)
    assert client.redials() == redials


def test_a_wrong_nonce_is_tried_for_ever(mon_none: MonLab, client: Client, deadline: Deadline) -> None:
    """The monitor authenticates us and closes without an answer when it reads whom we meant to reach."""
    stranger = mon_none.address.removesuffix("/0") + "/7"
    connection = client.messenger.connect_to(EntityType.MON, stranger)
    connection.send_message(MPing())
    for _ in range(4):
        assert client.login.attempts.acquire(timeout=deadline.remaining_s("another attempt"))
        assert not connection.is_connected
    connection.mark_down()
    # The address itself is good, and its connection another one.
    client.ping(client.dial(mon_none, deadline), deadline)
    client.recorder.expect_silence()


@pytest.mark.parametrize("deadline", [60], indirect=True)
def test_monitor_restarts(own_mon: MonLab, client: Client, deadline: Deadline) -> None:
    """A lossy connection ends with the monitor; a new one is dialled until the monitor is back."""
    own_mon.start()
    first = client.dial(own_mon, deadline)
    client.ping(first, deadline)
    own_mon.stop()
    assert client.recorder.expect("reset", deadline) is first
    second = client.messenger.connect_to(EntityType.MON, own_mon.address)
    assert second is not first
    second.send_message(MMonGetMap())
    assert client.recorder.expect("refused", deadline) is second
    own_mon.start()
    assert client.recorder.skip_to("connect", deadline) is second
    monmap = client.recorder.expect_message(MMonMap, deadline).monmap
    assert str(monmap.fsid) == own_mon.fsid
