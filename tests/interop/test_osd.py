"""Our messenger as a client of a real OSD: objects go both ways, checked against the real `rados`."""

from __future__ import annotations

import errno
import logging
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ceph_msgr import Connection, EntityName, EntityType
from ceph_msgr.auth import CephxClient, ConMode
from ceph_msgr.messages import MOSDOp, MOSDOpReply, OSDOp, object_hash
from ceph_msgr.wire.encoding import Decoder, Utime
from tests.conftest import Deadline
from tests.interop.cluster_client import ClusterClient, login_of
from tests.interop.fake_osd import OpCode
from tests.interop.osd_lab import OsdLab

pytestmark = pytest.mark.contract("H7")

#: As librados has them: the result is wanted on disk, redirects are understood.
READ_FLAGS, WRITE_FLAGS = 0x400014, 0x400024


@pytest.fixture(autouse=True)
def log_of_our_side(caplog: pytest.LogCaptureFixture) -> None:
    """Shown by pytest if the test fails, beside the peer's."""
    caplog.set_level(logging.DEBUG, "ceph_msgr")


class Rados:
    """The pool of a lab, through one connection to its OSD."""

    def __init__(self, lab: OsdLab, client: ClusterClient, connection: Connection, deadline: Deadline) -> None:
        self.lab = lab
        self.client = client
        self.connection = connection
        self.deadline = deadline
        #: Which writes tell, as it is the client's clock that counts.
        self.mtime = Utime(1_600_000_000, 123_456_789)
        self._last_tid = 0

    def ask(self, oid: str, op: OSDOp, data: bytes = b"") -> MOSDOpReply:
        self._last_tid += 1
        op.payload_len = len(data)
        flags = WRITE_FLAGS if op.op & 0x2000 else READ_FLAGS
        request = MOSDOp(
            oid, [op], data=data, pool=self.lab.pool_id, hash=object_hash(oid), epoch=self.lab.epoch, flags=flags,
            mtime=self.mtime, tid=self._last_tid,
        )
        self.connection.send_message(request)
        # An OSD may send its map before it answers.
        reply = self.client.recorder.skip_to_message(MOSDOpReply, self.deadline)
        assert (reply.tid, reply.oid, len(reply.ops)) == (request.tid, oid, 1)
        return reply

    def write(self, oid: str, data: bytes, offset: int = 0) -> None:
        assert self.ask(oid, OSDOp(OpCode.WRITE, offset=offset, length=len(data)), data).result == 0

    def read(self, oid: str, offset: int = 0, length: int = 0) -> bytes:
        reply = self.ask(oid, OSDOp(OpCode.READ, offset=offset, length=length))
        assert reply.result >= 0, reply.result
        return bytes(reply.data)

    def stat(self, oid: str) -> tuple[int, Utime]:
        """Its size in bytes, and its mtime."""
        reply = self.ask(oid, OSDOp(OpCode.STAT))
        assert reply.result == 0, reply.result
        decoder = Decoder(reply.data, "stat")
        return decoder.u64(), decoder.utime()


@pytest.fixture(params=["none-crc-2.1", "cephx-crc-2.1", "cephx-secure-2.1", "cephx-crc-2.0", "cephx-secure-2.0"])
def rados(request: pytest.FixtureRequest, claim_revision: Callable[[int], None]) -> Iterator[Rados]:
    """Logged in at the monitor, and let in by the OSD."""
    auth, mode, revision = request.param.split("-")
    claim_revision(int(revision[-1]))
    lab: OsdLab = request.getfixturevalue(f"osd_{auth}")
    deadline = Deadline(30)  # which does not count the start of the lab
    with ClusterClient(login_of(lab.mon), mode=mode) as client:
        client.dial(EntityType.MON, lab.mon.address, deadline)
        connection = client.dial(EntityType.OSD, lab.address, deadline)
        assert connection.con_mode is ConMode[mode.upper()]
        yield Rados(lab, client, connection, deadline)


def test_the_osd_knows_us_by_our_global_id(rados: Rados) -> None:
    assert rados.connection.peer_name == EntityName(EntityType.OSD, 0)
    rados.write("whoami", b"x")
    own_name = rados.client.messenger.entity_name
    assert own_name.num == rados.client.login.global_id > 0
    nonce = rados.client.messenger.myaddrs[0].nonce
    line = f"<== {own_name} 127.0.0.1:0/{nonce} 1 ==== osd_op({own_name}"
    while line not in rados.lab.log_file.read_text(errors="replace"):  # a thread of its own writes the log
        rados.deadline.remaining_s("the OSD's log to tell")


def test_write_read_stat(rados: Rados) -> None:
    rados.write("ours", b"hello")
    rados.write("ours", b" world", offset=5)
    assert rados.read("ours") == b"hello world"
    assert rados.read("ours", 6, 3) == b"wor"
    assert rados.stat("ours") == (11, rados.mtime)


def test_what_we_write_rados_gets(rados: Rados, tmp_path: Path, rng: random.Random) -> None:
    """A few cipher blocks, and more than a socket takes at once."""
    for length in (1, 4096, 3_000_001):
        data = rng.randbytes(length)
        rados.write(f"to-rados-{length}", data)
        rados.lab.rados("get", f"to-rados-{length}", str(tmp_path / "got")).check()
        assert (tmp_path / "got").read_bytes() == data


def test_what_rados_puts_we_read(rados: Rados, tmp_path: Path, rng: random.Random) -> None:
    data = rng.randbytes(2_000_003)
    (tmp_path / "put").write_bytes(data)
    rados.lab.rados("put", "from-rados", str(tmp_path / "put")).check()
    assert rados.stat("from-rados")[0] == len(data)
    assert rados.read("from-rados") == data


def test_an_object_that_is_not_there(rados: Rados) -> None:
    for op in (OpCode.STAT, OpCode.READ):
        assert rados.ask("nosuch", OSDOp(op)).result == -errno.ENOENT
    rados.write("gone", b"x")
    assert rados.ask("gone", OSDOp(OpCode.DELETE)).result == 0
    assert rados.ask("gone", OSDOp(OpCode.STAT)).result == -errno.ENOENT


def test_many_at_once(rados: Rados) -> None:
    """The OSD answers all, whatever their order."""
    data = {tid: f"object {tid}".encode() for tid in range(1, 201)}
    for tid, text in data.items():
        oid, op = f"many-{tid}", OSDOp(OpCode.WRITEFULL, length=len(text), payload_len=len(text))
        rados.connection.send_message(
            MOSDOp(
                oid, [op], data=text, pool=rados.lab.pool_id, hash=object_hash(oid), epoch=rados.lab.epoch, flags=WRITE_FLAGS,
                tid=tid,
            )
        )
    replies = [rados.client.recorder.skip_to_message(MOSDOpReply, rados.deadline) for _ in data]
    assert {reply.tid for reply in replies} == set(data)
    assert {reply.result for reply in replies} == {0}
    assert rados.read("many-200") == b"object 200"


@pytest.mark.parametrize(
    "name", ["o", "obj1", "exactly twelve"[:12], "a name of more than two blocks of the hash", "Grüße", "x" * 300]
)
def test_hash_of_names(osd_none: OsdLab, name: str) -> None:
    assert object_hash(name) == osd_none.raw_hash(name)


def test_without_a_ticket_for_osds(osd_cephx: OsdLab, deadline: Deadline) -> None:
    """Who has not logged in has nothing to present, and is told so at once."""
    login = login_of(osd_cephx.mon)
    assert isinstance(login, CephxClient)
    with ClusterClient(login) as client:
        connection = client.messenger.connect_to(EntityType.OSD, osd_cephx.address)
        assert client.recorder.expect("reset", deadline) is connection
