"""Our messenger dialled by the real thing: by librados as a monitor, and by a real monitor as its lossless peer."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from ceph_msgr import Config, EntityType, Message, Policy, _core
from ceph_msgr.auth import AuthRegistry, CephxClient, CephxMonitor, Keyring
from ceph_msgr.connection.async_connection import AsyncConnection
from ceph_msgr.messages import MMonCommand, MMonGetMap, MMonSubscribe, MPing
from ceph_msgr.protocol.tags import Tag
from ceph_msgr.testing import Answer, Breakpoint, Interceptor
from ceph_msgr.wire.features import SUPPORTED_ALL
from tests.conftest import Deadline
from tests.interop.fake_mon import FakeMon, loopback_messenger
from tests.interop.lab import CephClient, MonLab
from tests.interop.recorder import Recorder

#: mon.a probes the peers it misses every two seconds, with this message, which we have no class for.
MON_PROBE = 67

Ceph = Callable[[int], CephClient]

pytestmark = pytest.mark.contract("H7")


@pytest.fixture(autouse=True)
def log_of_our_side(caplog: pytest.LogCaptureFixture) -> None:
    """Shown by pytest if the test fails, beside the peer's."""
    caplog.set_level(logging.DEBUG, "ceph_msgr")


# ---- librados ----


@pytest.fixture
def fake_mon() -> Iterator[FakeMon]:
    with FakeMon() as mon:
        yield mon


def test_ping(fake_mon: FakeMon, ceph_client: Ceph) -> None:
    result = ceph_client(fake_mon.port).ping(fake_mon.name).check()
    assert json.loads(result.stdout) == fake_mon.status, result
    assert [type(message) for message in fake_mon.messages] == [MMonGetMap, MPing]


def test_log_in_and_command(fake_mon: FakeMon, ceph_client: Ceph) -> None:
    result = ceph_client(fake_mon.port).fsid().check()
    assert result.stdout.strip() == str(fake_mon.fsid), result
    assert {type(message) for message in fake_mon.messages} == {MMonGetMap, MMonSubscribe, MMonCommand}
    for message in fake_mon.messages:
        assert message.encode_payload(SUPPORTED_ALL) == message.front
    commands = [message for message in fake_mon.messages if isinstance(message, MMonCommand)]
    assert [json.loads(message.command[0])["prefix"] for message in commands] == ["get_command_descriptions", "fsid"]


def test_long_answer(fake_mon: FakeMon, ceph_client: Ceph) -> None:
    """More than a socket takes at once: the rest goes when the client has read."""
    fake_mon.status["health"] = "x" * 8_000_000
    result = ceph_client(fake_mon.port).ping(fake_mon.name).check()
    assert json.loads(result.stdout) == fake_mon.status


def test_long_request(fake_mon: FakeMon, ceph_client: Ceph, tmp_path: Path) -> None:
    """The input of a command is its data segment."""
    text = "line of input\n" * 500_000
    (tmp_path / "input").write_text(text)
    result = ceph_client(fake_mon.port).ceph("fsid", "-i", str(tmp_path / "input")).check()
    assert result.stdout.strip() == str(fake_mon.fsid), result
    assert fake_mon.messages[-1].data == text.encode()


def test_client_that_lacks_features(ceph_client: Ceph) -> None:
    """It is told which, and comes again and again; it is never let in."""
    missing = 1 << 17
    with FakeMon(Policy.stateless_server(features_required=missing)) as mon:
        result = ceph_client(mon.port).fsid(connect_timeout_s=3)
    assert result.status == 1, result
    assert result.stderr.count(f"client does not support all server features: {missing:x}") > 1, result
    assert mon.messages == []


# ---- a monitor ----


class PeerMon:
    """mon.b: listens, and keeps the session that mon.a opens with it. With the monitors' keyring it speaks cephx."""

    def __init__(self, lab: MonLab, mode: str) -> None:
        self._lab = lab
        self.recorder = Recorder()
        self.messenger = loopback_messenger(
            "mon.b",
            Policy.lossless_peer_reuse(),
            number=1,
            auth=self._cephx if lab.auth == "cephx" else None,
            ms_mon_cluster_mode=mode,
        )
        self.messenger.add_dispatcher_head(self.recorder)
        #: Of the messages of the session.
        self.last_seq = 0

    def _cephx(self, config: Config) -> AuthRegistry:
        self._lab.make_keyrings()
        keyring = Keyring.load(self._lab.mon_keyring)
        return AuthRegistry(EntityType.MON, config, [CephxClient.from_keyring(keyring, "mon.b")], [CephxMonitor(keyring)])

    @property
    def port(self) -> int:
        return self.messenger.myaddrs[0].port

    def expect_probe(self, deadline: Deadline) -> None:
        message = self.recorder.expect_message(Message, deadline)
        assert message.type == MON_PROBE
        self.count(message)

    def skip_probes_to(self, word: str, deadline: Deadline) -> Any:
        """The subject of the next callback that is no probe, which must be this one. Probes come every two seconds, also while
        a busy machine is at something else."""
        while (event := self.recorder.next(word, deadline))[0] == "message" and event[1].type == MON_PROBE:
            self.count(event[1])
        got, subject = event
        assert got == word, f"{got} of {subject!r}, expected {word}"
        return subject

    def count(self, message: Message) -> None:
        """Nothing is lost, and nothing comes twice."""
        self.last_seq += 1
        assert message.seq == self.last_seq
        if message.type == MON_PROBE:
            assert bytes(message.front[:16]) == UUID(self._lab.fsid).bytes


@pytest.fixture
def peer_mon(request: pytest.FixtureRequest, own_mon: MonLab) -> Iterator[PeerMon]:
    """mon.a has it in its map, and is not started yet. The parameter is the only mode it allows."""
    peer = PeerMon(own_mon, getattr(request, "param", "crc"))
    own_mon.other_mons["b"] = peer.port
    with peer.messenger:
        peer.messenger.start()
        yield peer


def cut(connection: AsyncConnection, then: Callable[[], object] = lambda: None) -> None:
    """Both sides find the socket closed; ours does when `then` has been called."""

    def on_worker() -> None:
        assert connection._stream
        _core.tcp_shutdown(connection._stream.fd)
        then()

    connection.worker.submit_to(on_worker)


with_cephx = pytest.mark.parametrize(
    ("own_mon", "peer_mon"),
    [({"auth": "none"}, "crc"), ({"auth": "cephx"}, "crc"), ({"auth": "cephx"}, "secure")],
    indirect=True,
    ids=["none-crc", "cephx-crc", "cephx-secure"],
)
for_60_s = pytest.mark.parametrize("deadline", [60], indirect=True)


@pytest.mark.slow
@with_cephx
@for_60_s
def test_monitor_reconnects(own_mon: MonLab, peer_mon: PeerMon, deadline: Deadline) -> None:
    own_mon.start(wait_for_quorum=False)
    connection = peer_mon.recorder.expect("accept", deadline)
    assert str(connection.peer_addrs) == own_mon.address
    peer_mon.expect_probe(deadline)
    for _ in range(2):
        cut(connection)
        assert peer_mon.skip_probes_to("accept", deadline) is connection
        peer_mon.expect_probe(deadline)


@pytest.mark.slow
@with_cephx
@for_60_s
def test_monitor_sends_a_lost_message_again(own_mon: MonLab, peer_mon: PeerMon, deadline: Deadline) -> None:
    """The socket breaks when we have read its first message, and before we count it."""
    interceptor = Interceptor()
    interceptor.set(Breakpoint.read(Tag.MESSAGE), Answer.FAULT)
    peer_mon.messenger.interceptor = interceptor
    own_mon.start(wait_for_quorum=False)
    connection = peer_mon.recorder.expect("accept", deadline)
    assert peer_mon.recorder.expect("accept", deadline) is connection
    for _ in range(2):
        peer_mon.expect_probe(deadline)
    assert interceptor.not_hit == []


@pytest.mark.slow
@with_cephx
@for_60_s
def test_we_redial_the_monitor_that_dialled_us(own_mon: MonLab, peer_mon: PeerMon, deadline: Deadline) -> None:
    own_mon.start(wait_for_quorum=False)
    connection = peer_mon.recorder.expect("accept", deadline)
    peer_mon.expect_probe(deadline)
    cut(connection, then=lambda: connection.send_message(MPing()))
    assert peer_mon.skip_probes_to("connect", deadline) is connection
    answer = peer_mon.skip_probes_to("message", deadline)
    assert isinstance(answer, MPing)
    peer_mon.count(answer)
    assert json.loads(answer.text)["mon_status"]["name"] == own_mon.name
    peer_mon.expect_probe(deadline)


@pytest.mark.slow
@for_60_s
def test_monitor_restarts(own_mon: MonLab, peer_mon: PeerMon, deadline: Deadline) -> None:
    """Its new cookie tells us that our session is forgotten."""
    own_mon.start(wait_for_quorum=False)
    connection = peer_mon.recorder.expect("accept", deadline)
    peer_mon.expect_probe(deadline)
    own_mon.stop()
    own_mon.start(wait_for_quorum=False)
    assert peer_mon.skip_probes_to("remote reset", deadline) is connection
    assert peer_mon.recorder.expect("accept", deadline) is connection
    peer_mon.last_seq = 0
    peer_mon.expect_probe(deadline)
