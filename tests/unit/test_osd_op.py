"""MOSDOp and MOSDOpReply against bytes of real Ceph: every field, every truncation, and the perf pair's exact fronts."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ceph_msgr import _core
from ceph_msgr.errors import DecodeError
from ceph_msgr.messages.osd_op import SNAP_HEAD, MOSDOp, MOSDOpReply, OSDOp
from ceph_msgr.wire.encoding import Utime

VECTORS = Path(__file__).parent.parent / "vectors"
MESSAGES = json.loads((VECTORS / "standalone" / "messages.json").read_text())
OPS = [vector for vector in MESSAGES if vector["type"] == 42]
REPLIES = [vector for vector in MESSAGES if vector["type"] == 43]
PERF_FEATURES = 0x3F01CFB9FFFDFFFF
EAGER_LEN = 87


def origin(vector: dict[str, Any]) -> str:
    return str(vector["origin"])


def decoded(cls: type[Any], vector: dict[str, Any]) -> Any:
    header = vector["header"]
    return cls.from_segments(
        header["type"], bytes.fromhex(vector["front"]), b"", bytes.fromhex(vector["data"]),
        priority=header["prio"], tid=header["tid"], version=header["version"], compat_version=header["compat"],
    )


def expected_ops(fields: dict[str, Any]) -> list[OSDOp]:
    return [
        OSDOp(op["op"], flags=op["flags"], offset=op["offset"], length=op["length"], payload_len=op["payload_len"])
        for op in fields["ops"]
    ]


@pytest.mark.parametrize("vector", OPS, ids=origin)
def test_op_decodes_every_field(vector: dict[str, Any]) -> None:
    op, fields = decoded(MOSDOp, vector), vector["fields"]
    assert (op.pool, op.seed, op.shard) == (fields["spg"]["pool"], fields["spg"]["seed"], fields["shard"])
    assert (op.hash, op.epoch, op.flags) == (fields["hash"], fields["epoch"], int(fields["flags"], 16))
    assert op.client_inc == fields["client_inc"]
    assert op.mtime.ns / 1e9 == pytest.approx(fields["mtime"])
    assert (op.key, op.namespace, op.locator_hash) == (
        fields["oloc"]["key"], fields["oloc"]["ns"], fields["oloc"]["hash"])
    assert (op.oid, op.ops) == (fields["oid"], expected_ops(fields))
    assert (op.snapid, op.snap_seq, op.snaps) == (int(fields["snapid"], 16), fields["snap_seq"], fields["snaps"])
    assert (op.retry_attempt, op.features) == (fields["retry"], int(fields["features"], 16))


@pytest.mark.parametrize("vector", REPLIES, ids=origin)
def test_reply_decodes_every_field(vector: dict[str, Any]) -> None:
    reply, fields = decoded(MOSDOpReply, vector), vector["fields"]
    assert [reply.pool, reply.seed] == fields["pg"][:2]
    assert (reply.oid, reply.flags, reply.result) == (fields["oid"], int(fields["flags"], 16), fields["result"])
    assert list(reply.bad_replay_version) == fields["bad_replay"]
    assert list(reply.replay_version) == fields["replay"]
    assert (reply.epoch, reply.ops, reply.results) == (fields["epoch"], expected_ops(fields), fields["rvals"])
    assert (reply.retry_attempt, reply.user_version) == (fields["retry"], fields["user_version"])


@pytest.mark.parametrize("vector", OPS + REPLIES, ids=origin)
def test_encoding_what_was_decoded_gives_the_same_bytes(vector: dict[str, Any]) -> None:
    message = decoded(MOSDOp if vector["type"] == 42 else MOSDOpReply, vector)
    features = int(vector["fields"].get("features", "0"), 16)
    assert message.encode_payload(features).hex() == vector["front"]


@pytest.mark.parametrize("vector", OPS[:1] + OPS[-1:], ids=origin)
def test_every_truncation_of_an_op_is_a_decode_error_at_once_or_at_a_late_field(vector: dict[str, Any]) -> None:
    front = bytes.fromhex(vector["front"])
    for length in range(EAGER_LEN):
        with pytest.raises(DecodeError):
            MOSDOp.from_segments(42, front[:length], version=8, compat_version=3)
    for length in range(EAGER_LEN, len(front)):
        op = MOSDOp.from_segments(42, front[:length], version=8, compat_version=3)
        assert op.pool == vector["fields"]["spg"]["pool"]
        for _ in range(2):
            with pytest.raises(DecodeError):
                _ = op.oid
    assert MOSDOp.from_segments(42, front + b"more", version=8, compat_version=3).oid == vector["fields"]["oid"]


@pytest.mark.parametrize("vector", REPLIES[:2], ids=origin)
def test_every_truncation_of_a_reply_is_a_decode_error(vector: dict[str, Any]) -> None:
    front = bytes.fromhex(vector["front"])
    for length in range(len(front)):
        with pytest.raises(DecodeError):
            MOSDOpReply.from_segments(43, front[:length], version=8, compat_version=2)
    assert MOSDOpReply.from_segments(43, front + b"more", version=8, compat_version=2).oid == vector["fields"]["oid"]


def test_claimed_counts_are_compared_with_what_is_there() -> None:
    front = bytearray(MOSDOpReply(ops=[OSDOp(1)], results=[0]).encode_payload(0))
    struct.pack_into("<I", front, 4 + 17 + 8 + 4 + 12 + 4, 0xFFFFFFFF)
    with pytest.raises(DecodeError, match="needed"):
        MOSDOpReply.from_segments(43, front, version=8, compat_version=2)


@pytest.mark.parametrize(("version", "compat_version"), [(7, 3), (9, 9), (9, 0)])
def test_versions_we_cannot_read_are_refused(version: int, compat_version: int) -> None:
    front = MOSDOp("o").encode_payload(0)
    with pytest.raises(DecodeError, match="version"):
        MOSDOp.from_segments(42, front, version=version, compat_version=compat_version)


def test_a_newer_op_gives_its_first_part_only() -> None:
    op = MOSDOp.from_segments(42, MOSDOp("o", pool=5).encode_payload(0), version=9, compat_version=3)
    assert op.pool == 5
    with pytest.raises(DecodeError, match="version 9"):
        _ = op.oid


# ---- the perf pair ----


def frames_of(name: str, direction: str) -> Iterator[_core.Frame]:
    wire = (VECTORS / "streams" / name / f"{direction}.bin").read_bytes()
    for frame in _core.FrameParser(1).feed(wire[26:]):
        if frame.tag == 17:
            yield frame


@pytest.mark.parametrize("length", [0, 16, 4096])
def test_the_perf_clients_request_is_made_byte_for_byte(length: int) -> None:
    op = MOSDOp("object-name", [OSDOp(0x2201, length=length)], data=bytes(length))
    plain = op.encoded(PERF_FEATURES)
    [*frames] = frames_of(f"perf-pair-{length}", "client_to_server")
    assert len(frames) == 3
    for frame in frames:
        assert frame.segments[1] == op.encode_payload(PERF_FEATURES) == plain.front
        assert (frame.segments[3] if length else b"") == op.data == plain.data
        type_, priority, version = struct.unpack_from("<HHH", frame.segments[0], 16)
        compat_version = struct.unpack_from("<H", frame.segments[0], 37)[0]
        assert (op.type, op.priority, op.version, op.compat_version) == (type_, priority, version, compat_version)
        assert (plain.type, plain.priority, plain.version, plain.compat_version) == (
            type_, priority, version, compat_version)


@pytest.mark.parametrize("length", [0, 16, 4096])
def test_the_perf_servers_reply_is_made_byte_for_byte(length: int) -> None:
    [request, *_] = frames_of(f"perf-pair-{length}", "client_to_server")
    op = MOSDOp.from_segments(42, request.segments[1], version=8, compat_version=3)
    reply = MOSDOpReply.for_request(op)
    [*frames] = frames_of(f"perf-pair-{length}", "server_to_client")
    assert frames
    for frame in frames:
        assert frame.segments[1] == reply.encode_payload(PERF_FEATURES)
        type_, priority, version = struct.unpack_from("<HHH", frame.segments[0], 16)
        compat_version = struct.unpack_from("<H", frame.segments[0], 37)[0]
        assert (reply.type, reply.priority, reply.version, reply.compat_version) == (
            type_, priority, version, compat_version)


def test_the_reply_copies_what_the_perf_server_copies_and_nothing_else() -> None:
    op = MOSDOp("other", [OSDOp(0x1201)], pool=5, seed=9, flags=0x420027, epoch=33, retry_attempt=3, tid=77)
    request = MOSDOp.from_segments(42, op.encode_payload(0)[:EAGER_LEN], tid=77, version=8, compat_version=3)
    reply = MOSDOpReply.for_request(request)
    assert (reply.tid, reply.pool, reply.seed, reply.flags) == (77, 5, 9, 0x420020)
    assert (reply.epoch, reply.retry_attempt, reply.oid, reply.ops, reply.result) == (0, -1, "", [], 0)
    assert MOSDOpReply.for_request(op, result=-2, data=b"out").result == -2


@pytest.mark.parametrize("name", ["osd-crc-none-write", "osd-crc-none-read", "osd-crc-none-stat"])
def test_the_messages_of_a_real_osd_come_out_as_they_went_in(name: str) -> None:
    for direction, cls, type_ in (("client_to_server", MOSDOp, 42), ("server_to_client", MOSDOpReply, 43)):
        for frame in frames_of(name, direction):
            if struct.unpack_from("<H", frame.segments[0], 16)[0] != type_:
                continue
            message = cls.from_segments(type_, frame.segments[1], version=8, compat_version=2)
            features = message.features if isinstance(message, MOSDOp) else 0
            assert message.encode_payload(features) == frame.segments[1]
            break
        else:
            pytest.fail(f"no message of type {type_}")


# ---- as objects ----


def test_fields_have_defaults_and_can_be_set() -> None:
    op = MOSDOp()
    assert (op.oid, op.ops, op.snapid, op.snaps, op.retry_attempt, op.shard) == ("", [], SNAP_HEAD, [], -1, -1)
    op.oid, op.key, op.namespace, op.mtime = "caf\u00e9", "k", "ns", Utime(3, 4)
    op.ops.append(OSDOp(0x1201, offset=1, length=2, truncate_size=3, truncate_seq=4, payload_len=5))
    op.snaps = [7, 8]
    op.locator_hash = 12
    again = MOSDOp.from_segments(42, op.encode_payload(99), version=8, compat_version=3)
    for name in ("oid", "key", "namespace", "mtime", "ops", "snaps", "locator_hash"):
        assert getattr(again, name) == getattr(op, name)
    assert again.features == 99


def test_names_that_are_not_utf8_survive() -> None:
    front = MOSDOp("\udcff\udcfe").encode_payload(0)
    assert b"\xff\xfe" in front
    assert MOSDOp.from_segments(42, front, version=8, compat_version=3).oid == "\udcff\udcfe"


def test_a_locator_with_a_hash_demands_a_reader_that_knows_it() -> None:
    assert MOSDOp(locator_hash=-1).encode_payload(0)[99:101] == bytes([6, 3])
    assert MOSDOp(locator_hash=5).encode_payload(0)[99:101] == bytes([6, 6])


def test_a_reply_needs_a_result_for_each_op() -> None:
    with pytest.raises(ValueError, match="0 results for 1 ops"):
        MOSDOpReply(ops=[OSDOp(1)]).encode_payload(0)


def test_values_that_do_not_fit_are_refused() -> None:
    with pytest.raises(OverflowError):
        OSDOp(0x10000)
    with pytest.raises(OverflowError):
        MOSDOp(seed=2**32)
    with pytest.raises(OverflowError):
        MOSDOp(snapid=2**64).encode_payload(0)
    with pytest.raises(TypeError):
        MOSDOp(ops=[1]).encode_payload(0)  # type: ignore[list-item]


def test_ops_compare_by_value() -> None:
    assert OSDOp(1, offset=2) == OSDOp(1, offset=2) != OSDOp(1, offset=3)
    assert OSDOp(1) != object()
    assert "0x2201" in repr(OSDOp(0x2201))
