"""Who a peer is: its entity type, its numbered name in messages, its textual name in authentication."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum
from typing import Self

from ceph_msgr.errors import DecodeError
from ceph_msgr.wire.encoding import Decoder, Encoder

__all__ = ["AuthEntityName", "EntityName", "EntityType"]


class EntityType(IntEnum):
    """Entity types as numbered on the wire. ``str()`` gives Ceph's word: ``mon``, ``osd``, ``client``."""

    #: In names that nobody filled in, such as the request id of an operation.
    NONE = 0
    MON = 1
    MDS = 2
    OSD = 4
    CLIENT = 8
    MGR = 16
    #: Only as a service id of cephx, never as a peer.
    AUTH = 32

    def __str__(self) -> str:
        return self.name.lower()

    def __format__(self, spec: str) -> str:
        # An IntEnum would format as its number.
        return format(str(self), spec)

    @classmethod
    def parse(cls, text: str) -> Self:
        for member in cls:
            if str(member) == text:
                return member
        raise ValueError(f'"{text}" is not an entity type, expected one of {", ".join(map(str, cls))}')

    @classmethod
    def from_wire(cls, number: int) -> Self:
        """The type with this number, or ``DecodeError``."""
        try:
            return cls(number)
        except ValueError:
            raise DecodeError(f"{number} is not an entity type") from None


def _split(text: str, example: str) -> tuple[EntityType, str]:
    prefix, dot, rest = text.partition(".")
    if not dot:
        raise ValueError(f'"{text}" is not an entity name, expected TYPE.{example}')
    return EntityType.parse(prefix), rest


@dataclass(frozen=True, slots=True)
class EntityName:
    """A numbered name such as ``osd.0``. Number -1 means "not known yet"."""

    type: EntityType
    num: int = -1

    @classmethod
    def parse(cls, text: str) -> Self:
        """From ``"osd.0"`` or ``"client.-1"``."""
        type_, number = _split(text, "NUMBER such as osd.0")
        if not re.fullmatch("-1|[0-9]+", number):
            raise ValueError(f'"{text}" is not a numbered entity name, expected TYPE.NUMBER such as osd.0')
        return cls(type_, int(number))

    def __str__(self) -> str:
        return f"{self.type}.{self.num}"

    def encode(self, encoder: Encoder) -> None:
        encoder.u8(self.type)
        encoder.s64(self.num)

    @classmethod
    def decode(cls, decoder: Decoder) -> Self:
        return cls(EntityType.from_wire(decoder.u8()), decoder.s64())


@dataclass(frozen=True, slots=True)
class AuthEntityName:
    """A textual name such as ``client.admin``. The monitors' shared key is ``mon.``, with an empty id."""

    type: EntityType
    id: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """From ``"client.admin"``; the id is all behind the first dot."""
        return cls(*_split(text, "ID such as client.admin"))

    def __str__(self) -> str:
        return f"{self.type}.{self.id}"

    def encode(self, encoder: Encoder) -> None:
        encoder.u32(self.type)
        encoder.str_(self.id)

    @classmethod
    def decode(cls, decoder: Decoder) -> Self:
        return cls(EntityType.from_wire(decoder.u32()), decoder.str_())
