"""Values against bytes that real Ceph peers wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from ceph_msgr.errors import DecodeError
from ceph_msgr.wire.addr import AddrType, EntityAddr, EntityAddrVec
from ceph_msgr.wire.encoding import Decoder, Encoder, from_bytes, to_bytes
from ceph_msgr.wire.entity import AuthEntityName, EntityType
from ceph_msgr.wire.features import SUPPORTED_ALL
from ceph_msgr.wire.header import MessageHeader
from ceph_msgr.wire.monmap import MonMap

STANDALONE = Path(__file__).parent.parent / "vectors" / "standalone"


def load(name: str) -> list[dict[str, Any]]:
    vectors = json.loads((STANDALONE / f"{name}.json").read_text())
    assert vectors, f"{name}.json is empty"
    return list(vectors)


ADDRESSES = load("addresses")
MESSAGES = load("messages")
FRAMES = load("frames_crc_2.1") + load("frames_crc_2.0")


def segments_of(tag_name: str) -> list[bytes]:
    """The first segment of every frame with this tag."""
    found = [bytes.fromhex(frame["segments"][0]) for frame in FRAMES if frame["name"] == tag_name]
    assert found, f"no {tag_name} among the vectors"
    return found


def addr_of(value: dict[str, Any]) -> EntityAddr:
    return EntityAddr(AddrType(value["type"]), value["ip"], value["port"], value["nonce"])


@pytest.mark.parametrize("vector", ADDRESSES, ids=lambda vector: vector["origin"])
def test_addresses(vector: dict[str, Any]) -> None:
    data = bytes.fromhex(vector["hex"])
    expected: EntityAddr | EntityAddrVec
    if vector["kind"] == "entity_addr_t":
        expected = addr_of(vector["value"])
    else:
        expected = EntityAddrVec(map(addr_of, vector["value"]))
    assert from_bytes(type(expected), data) == expected
    assert to_bytes(expected) == data
    assert type(expected).parse(str(expected)) == expected
    for length in range(len(data)):
        with pytest.raises(DecodeError):
            from_bytes(type(expected), data[:length])


@pytest.mark.parametrize("vector", MESSAGES, ids=lambda vector: f"{vector['type']} {vector['origin']}")
def test_message_headers(vector: dict[str, Any]) -> None:
    data = bytes.fromhex(vector["header_hex"])
    fields = vector["header"]
    expected = MessageHeader(
        seq=fields["seq"],
        tid=fields["tid"],
        type=fields["type"],
        priority=fields["prio"],
        version=fields["version"],
        data_pre_padding_len=fields["pad"],
        data_off=fields["off"],
        ack_seq=fields["ack"],
        flags=fields["flags"],
        compat_version=fields["compat"],
        reserved=fields["reserved"],
    )
    assert MessageHeader.decode(Decoder(data)) == expected
    assert to_bytes(expected) == data


def test_monitor_map() -> None:
    maps = [vector for vector in MESSAGES if vector["type"] == 4]
    assert maps
    for vector in maps:
        front = Decoder(bytes.fromhex(vector["front"]))
        data = front.blob()
        front.expect_end()
        monmap = from_bytes(MonMap, data)
        fields = vector["fields"]
        assert monmap.fsid == UUID(fields["fsid"])
        assert monmap.epoch == fields["epoch"]
        assert monmap.persistent_features == int(fields["persistent_features"], 16)
        assert monmap.optional_features == int(fields["optional_features"], 16)
        mons = [[name, [str(addr) for addr in info.addrs]] for name, info in monmap.mons.items()]
        assert mons == fields["mons"]
        assert monmap.ranks == tuple(monmap.mons)
        assert (monmap.min_mon_release, monmap.election_strategy, monmap.stretch_mode) == (16, 1, False)
        assert to_bytes(monmap) == data
        for length in range(len(data)):
            with pytest.raises(DecodeError):
                from_bytes(MonMap, data[:length])


def test_hello() -> None:
    """HELLO is an entity type and the address of the other side."""
    for data in segments_of("HELLO"):
        decoder = Decoder(data)
        type_ = EntityType.from_wire(decoder.u8())
        addr = EntityAddr.decode(decoder)
        decoder.expect_end()
        assert type_ in (EntityType.MON, EntityType.CLIENT, EntityType.OSD)
        assert (addr.type, addr.ip) == (AddrType.MSGR2, "127.0.0.1")
        assert bytes([type_]) + to_bytes(addr) == data


def test_client_ident() -> None:
    """It begins with the client's vector and the address it dialled, and ends with numbers of known width."""
    for data in segments_of("CLIENT_IDENT"):
        decoder = Decoder(data)
        addrs, target = EntityAddrVec.decode(decoder), EntityAddr.decode(decoder)
        assert decoder.remaining == 6 * 8
        decoder.s64(), decoder.u64()
        assert decoder.u64() == SUPPORTED_ALL
        assert not addrs.msgr2_addr().is_blank
        assert target.type == AddrType.MSGR2
        prefix = to_bytes(addrs) + to_bytes(target)
        assert data.startswith(prefix)


def test_auth_request_names_the_client() -> None:
    """Method none's payload: version, entity name, global id."""
    for data in segments_of("AUTH_REQUEST"):
        decoder = Decoder(data)
        method = decoder.u32()
        modes = decoder.list_(Decoder.u32)
        assert (method, modes) == (1, [1])
        payload = Decoder(decoder.blob())
        decoder.expect_end()
        assert payload.u8() == 1
        name = AuthEntityName.decode(payload)
        global_id = payload.u64()
        payload.expect_end()
        assert str(name) in ("client.admin", "mon.a")

        encoder = Encoder()
        encoder.u8(1)
        encoder.value(name)
        encoder.u64(global_id)
        assert data.endswith(encoder.to_bytes())
