"""The monitor map: which monitors a cluster has and where they listen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self
from uuid import UUID

from ceph_msgr.errors import DecodeError
from ceph_msgr.wire.addr import EntityAddrVec
from ceph_msgr.wire.encoding import Decoder, Encoder, Utime

__all__ = ["MonInfo", "MonMap"]

_NO_FSID = UUID(int=0)
_NO_ADDRS = EntityAddrVec()
_NEVER = Utime()

_MAP_VERSION = 9
_MAP_COMPAT_VERSION = 6
_INFO_VERSION = 5
_INFO_COMPAT_VERSION = 1


@dataclass(frozen=True, slots=True)
class MonInfo:
    """One monitor of the map."""

    name: str
    addrs: EntityAddrVec = _NO_ADDRS
    priority: int = 0
    weight: int = 0
    crush_location: Mapping[str, str] = field(default_factory=dict)

    def encode(self, encoder: Encoder) -> None:
        with encoder.versioned(_INFO_VERSION, _INFO_COMPAT_VERSION):
            encoder.str_(self.name)
            encoder.value(self.addrs)
            encoder.u16(self.priority)
            encoder.u16(self.weight)
            encoder.map_(self.crush_location, Encoder.str_, Encoder.str_)

    @classmethod
    def decode(cls, decoder: Decoder) -> Self:
        version, body = decoder.versioned("monitor info", _INFO_VERSION)
        return cls(
            name=body.str_(),
            addrs=EntityAddrVec.decode(body),
            priority=body.u16() if version >= 2 else 0,
            weight=body.u16() if version >= 4 else 0,
            crush_location=body.map_(Decoder.str_, Decoder.str_) if version >= 5 else {},
        )


@dataclass(frozen=True, slots=True)
class MonMap:
    """A monitor map as of Ceph 16.2 (version 9). Of newer ones what they add is skipped, of older ones (from version 6)
    what they lack has its default."""

    fsid: UUID = _NO_FSID
    epoch: int = 0
    last_changed: Utime = _NEVER
    created: Utime = _NEVER
    persistent_features: int = 0
    optional_features: int = 0
    #: By name.
    mons: Mapping[str, MonInfo] = field(default_factory=dict)
    #: Names in the order of their ranks: the first one is mon rank 0.
    ranks: tuple[str, ...] = ()
    #: Number of the oldest release that may join, 16 for Pacific.
    min_mon_release: int = 0
    removed_ranks: tuple[int, ...] = ()
    election_strategy: int = 1
    disallowed_leaders: tuple[str, ...] = ()
    stretch_mode: bool = False
    tiebreaker: str = ""
    stretch_marked_down: tuple[str, ...] = ()

    def encode(self, encoder: Encoder) -> None:
        with encoder.versioned(_MAP_VERSION, _MAP_COMPAT_VERSION):
            encoder.raw(self.fsid.bytes)
            encoder.u32(self.epoch)
            encoder.utime(self.last_changed)
            encoder.utime(self.created)
            _encode_mon_features(encoder, self.persistent_features)
            _encode_mon_features(encoder, self.optional_features)
            encoder.map_(self.mons, Encoder.str_, Encoder.value)
            encoder.list_(self.ranks, Encoder.str_)
            encoder.u8(self.min_mon_release)
            encoder.list_(self.removed_ranks, Encoder.u32)
            encoder.u8(self.election_strategy)
            encoder.list_(self.disallowed_leaders, Encoder.str_)
            encoder.bool_(self.stretch_mode)
            encoder.str_(self.tiebreaker)
            encoder.list_(self.stretch_marked_down, Encoder.str_)

    @classmethod
    def decode(cls, decoder: Decoder) -> Self:
        version, body = decoder.versioned("monitor map", _MAP_VERSION)
        if version < _MAP_COMPAT_VERSION:
            raise DecodeError(f"monitor map: version {version} is older than {_MAP_COMPAT_VERSION}, the oldest we read")
        # Keyword arguments are evaluated, and so the fields read, in the order written.
        return cls(
            fsid=UUID(bytes=body.raw(16)),
            epoch=body.u32(),
            last_changed=body.utime(),
            created=body.utime(),
            persistent_features=_decode_mon_features(body),
            optional_features=_decode_mon_features(body),
            mons=body.map_(Decoder.str_, MonInfo.decode),
            ranks=tuple(body.list_(Decoder.str_)),
            min_mon_release=body.u8() if version >= 7 else 0,
            removed_ranks=tuple(body.list_(Decoder.u32)) if version >= 8 else (),
            election_strategy=body.u8() if version >= 8 else 1,
            disallowed_leaders=tuple(body.list_(Decoder.str_)) if version >= 8 else (),
            stretch_mode=body.bool_() if version >= 9 else False,
            tiebreaker=body.str_() if version >= 9 else "",
            stretch_marked_down=tuple(body.list_(Decoder.str_)) if version >= 9 else (),
        )


def _encode_mon_features(encoder: Encoder, features: int) -> None:
    with encoder.versioned(1, 1):
        encoder.u64(features)


def _decode_mon_features(decoder: Decoder) -> int:
    return decoder.versioned("monitor features", 1)[1].u64()
