"""Entity types and the two kinds of names."""

from __future__ import annotations

import pytest

from ceph_msgr.errors import DecodeError
from ceph_msgr.wire.encoding import from_bytes, to_bytes
from ceph_msgr.wire.entity import AuthEntityName, EntityName, EntityType


def test_types_have_their_wire_numbers_and_words() -> None:
    numbers = {"none": 0, "mon": 1, "mds": 2, "osd": 4, "client": 8, "mgr": 16, "auth": 32}
    assert {str(type_): int(type_) for type_ in EntityType} == numbers
    assert [EntityType.parse(word) for word in numbers] == list(EntityType)
    assert f"{EntityType.OSD}" == "osd"


def test_unknown_types() -> None:
    with pytest.raises(ValueError, match=r'^"osb" is not an entity type, expected one of none, mon, mds'):
        EntityType.parse("osb")
    with pytest.raises(DecodeError, match=r"^3 is not an entity type$"):
        EntityType.from_wire(3)


@pytest.mark.parametrize(
    ("text", "name", "hex_"),
    [
        ("osd.0", EntityName(EntityType.OSD, 0), "04 0000000000000000"),
        ("client.-1", EntityName(EntityType.CLIENT), "08 ffffffffffffffff"),
        ("none.0", EntityName(EntityType.NONE, 0), "00 0000000000000000"),
    ],
)
def test_numbered_name(text: str, name: EntityName, hex_: str) -> None:
    data = bytes.fromhex(hex_)
    assert EntityName.parse(text) == name
    assert str(name) == text
    assert to_bytes(name) == data
    assert from_bytes(EntityName, data) == name
    for length in range(len(data)):
        with pytest.raises(DecodeError):
            from_bytes(EntityName, data[:length])
    with pytest.raises(DecodeError):
        from_bytes(EntityName, data + b"\0")


@pytest.mark.parametrize("text", ["", "osd", "osd.", "osd.-2", "osd.+1", "osd.1_0", "osd. 1", "osd.x", "Osd.1", ".1"])
def test_bad_numbered_names(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        EntityName.parse(text)


@pytest.mark.parametrize(
    ("text", "name", "hex_"),
    [
        ("client.admin", AuthEntityName(EntityType.CLIENT, "admin"), "08000000 05000000" + b"admin".hex()),
        ("mon.", AuthEntityName(EntityType.MON, ""), "01000000 00000000"),
        ("client.a.b", AuthEntityName(EntityType.CLIENT, "a.b"), "08000000 03000000" + b"a.b".hex()),
    ],
)
def test_textual_name(text: str, name: AuthEntityName, hex_: str) -> None:
    data = bytes.fromhex(hex_)
    assert AuthEntityName.parse(text) == name
    assert str(name) == text
    assert to_bytes(name) == data
    assert from_bytes(AuthEntityName, data) == name
    for length in range(len(data)):
        with pytest.raises(DecodeError):
            from_bytes(AuthEntityName, data[:length])


@pytest.mark.parametrize("text", ["", "client", "admin.client"])
def test_bad_textual_names(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        AuthEntityName.parse(text)


def test_names_with_an_unknown_type_are_refused() -> None:
    with pytest.raises(DecodeError, match="5 is not an entity type"):
        from_bytes(EntityName, b"\5" + bytes(8))
    with pytest.raises(DecodeError, match="264 is not an entity type"):
        from_bytes(AuthEntityName, b"\x08\x01\0\0" + bytes(4))
