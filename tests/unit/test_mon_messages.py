"""The monitor map as a value, the typed messages around it, and the registry of types."""

from __future__ import annotations

import random
from types import ModuleType
from typing import Any
from uuid import UUID

import pytest

from ceph_msgr.errors import DecodeError
from ceph_msgr.wire.addr import EntityAddrVec
from ceph_msgr.wire.encoding import Decoder, Encoder, Utime, from_bytes, to_bytes
from ceph_msgr.wire.features import SUPPORTED_ALL
from ceph_msgr.wire.monmap import MonInfo, MonMap

MONMAP = MonMap(
    fsid=UUID("8d543fca-8018-4930-b14c-dfdece947f0e"),
    epoch=3,
    last_changed=Utime(1000, 1),
    created=Utime(900, 2),
    persistent_features=0xFF,
    optional_features=1,
    mons={
        "a": MonInfo("a", EntityAddrVec.parse("[v2:10.0.0.1:3300/0,v1:10.0.0.1:6789/0]"), 1, 2, {"root": "default"}),
        "b": MonInfo("b", EntityAddrVec.parse("v2:[fd00::2]:3300/0")),
    },
    ranks=("b", "a"),
    min_mon_release=16,
    removed_ranks=(2, 5),
    election_strategy=3,
    disallowed_leaders=("a",),
    stretch_mode=True,
    tiebreaker="b",
    stretch_marked_down=("a",),
)


def cut_down(encoded: bytes, version: int, compat_version: int, drop_bytes: int) -> bytes:
    """A versioned value as an older writer would have written it: without its last fields."""
    body = encoded[6 : len(encoded) - drop_bytes]
    return bytes([version, compat_version]) + len(body).to_bytes(4, "little") + body


def test_monmap_round_trip() -> None:
    data = to_bytes(MONMAP)
    assert from_bytes(MonMap, data) == MONMAP
    for length in range(len(data)):
        with pytest.raises(DecodeError):
            from_bytes(MonMap, data[:length])
    with pytest.raises(DecodeError, match="1 bytes follow"):
        from_bytes(MonMap, data + b"\0")


def test_monmap_of_older_and_newer_versions() -> None:
    plain = MonMap(epoch=1, min_mon_release=14)
    data = to_bytes(plain)
    stretch_bytes, election_bytes, release_bytes = 1 + 4 + 4, 4 + 1 + 4, 1
    assert from_bytes(MonMap, cut_down(data, 8, 6, stretch_bytes)) == plain
    assert from_bytes(MonMap, cut_down(data, 7, 6, stretch_bytes + election_bytes)) == plain
    oldest = cut_down(data, 6, 6, stretch_bytes + election_bytes + release_bytes)
    assert from_bytes(MonMap, oldest) == MonMap(epoch=1)
    with pytest.raises(DecodeError, match="monitor map: version 5 is older than 6, the oldest we read"):
        from_bytes(MonMap, cut_down(data, 5, 5, 0))

    assert from_bytes(MonMap, cut_down(data + b"new", 10, 6, 0)) == plain
    with pytest.raises(DecodeError, match="monitor map: needs a reader of version 10, this one reads up to 9"):
        from_bytes(MonMap, cut_down(data, 10, 10, 0))


def test_monitor_info_of_older_versions() -> None:
    data = to_bytes(MonInfo("a", priority=7, weight=8))
    assert from_bytes(MonInfo, data) == MonInfo("a", priority=7, weight=8)
    assert from_bytes(MonInfo, cut_down(data, 4, 1, 4)) == MonInfo("a", priority=7, weight=8)
    assert from_bytes(MonInfo, cut_down(data, 3, 1, 4 + 2)) == MonInfo("a", priority=7)
    assert from_bytes(MonInfo, cut_down(data, 1, 1, 4 + 2 + 2)) == MonInfo("a")


@pytest.mark.parametrize("seed", range(3))
def test_damaged_monmaps_give_a_value_or_a_decode_error(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(300):
        data = bytearray(to_bytes(MONMAP))
        for _ in range(chance.randint(1, 4)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        try:
            decoded = from_bytes(MonMap, data)
        except DecodeError:
            continue
        assert from_bytes(MonMap, to_bytes(decoded)) == decoded


# ---- what needs the compiled Message ----


@pytest.fixture
def messages() -> ModuleType:
    core = pytest.importorskip("ceph_msgr._core", exc_type=ImportError)
    if not hasattr(core, "Message"):
        pytest.skip("the C core is not built")
    import ceph_msgr.messages

    return ceph_msgr.messages


def received(cls: type[Any], front: bytes, compat_version: int = 1) -> Any:
    """A message as it arrives: made without ``__init__``, bytes attached, decoded."""
    message = cls.__new__(cls)
    message.front = front
    message.compat_version = compat_version
    message.decode_payload()
    return message


def blob(data: bytes) -> bytes:
    encoder = Encoder()
    encoder.blob(data)
    return encoder.to_bytes()


def test_types_and_headers(messages: ModuleType) -> None:
    for message, type_number in (
        (messages.MPing(tid=5, priority=64), 2),
        (messages.MMonMap(MONMAP, tid=5, priority=64), 4),
        (messages.MMonGetMap(tid=5, priority=64), 5),
    ):
        assert (message.type, message.version, message.compat_version) == (type_number, 1, 1)
        assert (message.tid, message.priority) == (5, 64)
        assert messages.class_for(type_number) is type(message)


def test_ping(messages: ModuleType) -> None:
    ping = messages.MPing()
    assert (ping.text, ping.encode_payload(SUPPORTED_ALL)) == ("", b"")
    answer = messages.MPing('{"health":{}}')
    front = answer.encode_payload(SUPPORTED_ALL)
    assert front == blob(b'{"health":{}}')
    assert received(messages.MPing, b"").text == ""
    # A monitor's answer says compat_version 0.
    assert received(messages.MPing, front, compat_version=0).text == answer.text
    for length in range(1, len(front)):
        with pytest.raises(DecodeError, match="MPing"):
            received(messages.MPing, front[:length])


def test_mon_get_map_is_empty(messages: ModuleType) -> None:
    assert messages.MMonGetMap().encode_payload(SUPPORTED_ALL) == b""
    received(messages.MMonGetMap, b"")


def test_mon_map(messages: ModuleType) -> None:
    front = messages.MMonMap(MONMAP).encode_payload(SUPPORTED_ALL)
    assert Decoder(front).blob() == to_bytes(MONMAP)
    assert received(messages.MMonMap, front).monmap == MONMAP
    for length in range(len(front)):
        with pytest.raises(DecodeError):
            received(messages.MMonMap, front[:length])


@pytest.mark.parametrize("name", ["MPing", "MMonGetMap", "MMonMap"])
def test_a_message_for_newer_readers_is_refused(messages: ModuleType, name: str) -> None:
    with pytest.raises(DecodeError, match=f"{name}: needs a reader of version 2, this one reads up to 1"):
        received(getattr(messages, name), blob(to_bytes(MONMAP)), compat_version=2)


def test_registry(messages: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    from ceph_msgr._core import Message
    from ceph_msgr.messages import registry

    class Mine(Message):
        pass

    class Other(Message):
        pass

    taken = dict(registry._classes)
    monkeypatch.setattr(registry, "_classes", taken)

    assert messages.class_for(60000) is None
    messages.register(60000, Mine)
    messages.register(60000, Mine)
    assert messages.class_for(60000) is Mine
    with pytest.raises(ValueError, match=r"^message type 60000 is already Mine, it cannot become Other$"):
        messages.register(60000, Other)
    assert messages.class_for(60000) is Mine
    for type_number in -1, 65536:
        with pytest.raises(ValueError, match=f"message type {type_number} is not within 0..65535"):
            messages.register(type_number, Mine)
    with pytest.raises(TypeError, match="dict is not a subclass of Message"):
        messages.register(60001, dict)


def test_the_view_of_the_registry_is_current_and_read_only(messages: ModuleType) -> None:
    assert {2, 4, 5} <= set(messages.registered)
    assert all(messages.class_for(number) is cls for number, cls in messages.registered.items())
    with pytest.raises(TypeError):
        messages.registered[60000] = messages.MPing
