"""The notations of Ceph's encoding: integers, blob, str, list, map, utime and versioned bodies.

Everything is little endian. The decoder trusts no length: whatever a field claims is compared with the bytes that are
there before anything is allocated. What does not fit raises ``DecodeError``; a value that cannot be encoded raises
``ValueError``. What a decoder returns is a copy, never a view of its buffer.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple, Protocol, Self, TypeAlias, TypeVar

from ceph_msgr.errors import DecodeError

__all__ = ["Buffer", "Decoder", "Encodable", "Encoder", "Utime", "from_bytes", "require_readable", "to_bytes"]

#: What a decoder reads from. Any contiguous object with the buffer interface works.
Buffer: TypeAlias = bytes | bytearray | memoryview

T = TypeVar("T")
K = TypeVar("K")
V = TypeVar("V")

# Ceph's strings are bytes. Those that are not UTF-8 must survive a round trip.
_TEXT_ERRORS = "surrogateescape"

_NS_PER_SECOND = 1_000_000_000


class Encodable(Protocol):
    """A value that writes itself with an encoder and is read back with a decoder."""

    def encode(self, encoder: Encoder) -> None: ...

    @classmethod
    def decode(cls, decoder: Decoder) -> Self: ...


E = TypeVar("E", bound=Encodable)


def to_bytes(value: Encodable) -> bytes:
    """The encoding of one value."""
    encoder = Encoder()
    value.encode(encoder)
    return encoder.to_bytes()


def from_bytes(kind: type[E], buffer: Buffer) -> E:
    """One value of this kind, which must fill the buffer exactly."""
    decoder = Decoder(buffer, kind.__name__)
    value = kind.decode(decoder)
    decoder.expect_end()
    return value


def require_readable(what: str, compat_version: int, known_version: int) -> None:
    """Refuse an encoding whose oldest possible reader is newer than ours."""
    if compat_version > known_version:
        raise DecodeError(f"{what}: needs a reader of version {compat_version}, this one reads up to {known_version}")


class Utime(NamedTuple):
    """A point in time as Ceph sends it. Kept in its two parts, so that any stamp can be echoed unchanged."""

    seconds: int = 0
    nanoseconds: int = 0

    @classmethod
    def from_ns(cls, time_ns: int) -> Self:
        """From nanoseconds since the epoch, as ``time.time_ns()`` gives them."""
        return cls(*divmod(time_ns, _NS_PER_SECOND))

    @property
    def ns(self) -> int:
        """Nanoseconds since the epoch."""
        return self.seconds * _NS_PER_SECOND + self.nanoseconds


class Encoder:
    """Appends values to a growing buffer."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    def to_bytes(self) -> bytes:
        return bytes(self._buffer)

    def __len__(self) -> int:
        return len(self._buffer)

    def _integer(self, kind: str, size: int, value: int, signed: bool = False) -> None:
        try:
            self._buffer += value.to_bytes(size, "little", signed=signed)
        except OverflowError:
            raise ValueError(f"{value} does not fit {kind}") from None

    def u8(self, value: int) -> None:
        self._integer("u8", 1, value)

    def u16(self, value: int) -> None:
        self._integer("u16", 2, value)

    def u32(self, value: int) -> None:
        self._integer("u32", 4, value)

    def u64(self, value: int) -> None:
        self._integer("u64", 8, value)

    def s8(self, value: int) -> None:
        self._integer("s8", 1, value, signed=True)

    def s16(self, value: int) -> None:
        self._integer("s16", 2, value, signed=True)

    def s32(self, value: int) -> None:
        self._integer("s32", 4, value, signed=True)

    def s64(self, value: int) -> None:
        self._integer("s64", 8, value, signed=True)

    def bool_(self, value: bool) -> None:
        self._buffer.append(1 if value else 0)

    def raw(self, data: Buffer) -> None:
        """Bytes without a length."""
        self._buffer += data

    def blob(self, data: Buffer) -> None:
        self.u32(memoryview(data).nbytes)
        self._buffer += data

    def str_(self, text: str) -> None:
        self.blob(text.encode("utf-8", _TEXT_ERRORS))

    def utime(self, time: Utime) -> None:
        self.u32(time.seconds)
        self.u32(time.nanoseconds)

    def value(self, value: Encodable) -> None:
        """Any value that knows its own encoding."""
        value.encode(self)

    def list_(self, items: Collection[T], encode_item: Callable[[Encoder, T], None]) -> None:
        """For example ``encoder.list_(names, Encoder.str_)`` or ``encoder.list_(addrs, Encoder.value)``."""
        self.u32(len(items))
        for item in items:
            encode_item(self, item)

    def map_(
        self,
        mapping: Mapping[K, V],
        encode_key: Callable[[Encoder, K], None],
        encode_value: Callable[[Encoder, V], None],
    ) -> None:
        self.u32(len(mapping))
        for key in sorted(mapping):  # type: ignore[type-var]  # every key type Ceph has is ordered
            encode_key(self, key)
            encode_value(self, mapping[key])

    @contextmanager
    def versioned(self, version: int, compat_version: int) -> Iterator[None]:
        """What is encoded inside ``with`` becomes the body; its length is filled in at the end."""
        self.u8(version)
        self.u8(compat_version)
        self.u32(0)
        start = len(self._buffer)
        yield
        self._buffer[start - 4 : start] = (len(self._buffer) - start).to_bytes(4, "little")


class Decoder:
    """Takes values from the front of a buffer. ``what`` names the thing being decoded in errors."""

    __slots__ = ("_position", "_view", "_what")

    def __init__(self, buffer: Buffer, what: str = "value") -> None:
        self._view = memoryview(buffer).cast("B")
        self._position = 0
        self._what = what

    @property
    def remaining(self) -> int:
        """Bytes not yet taken."""
        return len(self._view) - self._position

    def _take(self, kind: str, size: int) -> memoryview:
        start = self._position
        end = start + size
        if end > len(self._view):
            raise DecodeError(f"{self._what}: {kind} at byte {start} needs {size} bytes, {self.remaining} left")
        self._position = end
        return self._view[start:end]

    def u8(self) -> int:
        return int.from_bytes(self._take("u8", 1), "little")

    def u16(self) -> int:
        return int.from_bytes(self._take("u16", 2), "little")

    def u32(self) -> int:
        return int.from_bytes(self._take("u32", 4), "little")

    def u64(self) -> int:
        return int.from_bytes(self._take("u64", 8), "little")

    def s8(self) -> int:
        return int.from_bytes(self._take("s8", 1), "little", signed=True)

    def s16(self) -> int:
        return int.from_bytes(self._take("s16", 2), "little", signed=True)

    def s32(self) -> int:
        return int.from_bytes(self._take("s32", 4), "little", signed=True)

    def s64(self) -> int:
        return int.from_bytes(self._take("s64", 8), "little", signed=True)

    def bool_(self) -> bool:
        return self._take("bool", 1)[0] != 0

    def raw(self, size_bytes: int) -> bytes:
        """Bytes without a length."""
        return bytes(self._take("raw bytes", size_bytes))

    def blob(self) -> bytes:
        return bytes(self._take("body of blob", self.u32()))

    def str_(self) -> str:
        return str(self._take("body of str", self.u32()), "utf-8", _TEXT_ERRORS)

    def utime(self) -> Utime:
        return Utime(self.u32(), self.u32())

    def _count(self, kind: str, min_item_bytes: int) -> int:
        start = self._position
        count = self.u32()
        needed = count * min_item_bytes
        if needed > self.remaining:
            raise DecodeError(
                f"{self._what}: {kind} of {count} items at byte {start} needs at least {needed} bytes, "
                f"{self.remaining} left"
            )
        return count

    def list_(self, decode_item: Callable[[Decoder], T], min_item_bytes: int = 1) -> list[T]:
        """For example ``decoder.list_(Decoder.str_)`` or ``decoder.list_(EntityAddr.decode)``.

        ``min_item_bytes`` (at least 1) is what the shortest item takes: a count that cannot be true is refused at once.
        """
        return [decode_item(self) for _ in range(self._count("list", min_item_bytes))]

    def map_(self, decode_key: Callable[[Decoder], K], decode_value: Callable[[Decoder], V]) -> dict[K, V]:
        """Keys are taken in any order; of equal keys the last one counts."""
        result = {}
        for _ in range(self._count("map", 2)):
            key = decode_key(self)
            result[key] = decode_value(self)
        return result

    def versioned(self, what: str, known_version: int) -> tuple[int, Decoder]:
        """The version and a decoder of the body alone.

        This decoder is already behind the body, so fields that a newer version added at its end are skipped by simply
        not being read.
        """
        version = self.u8()
        require_readable(what, self.u8(), known_version)
        return version, Decoder(self._take(f"body of {what}", self.u32()), what)

    def expect_end(self) -> None:
        """Refuse bytes that nothing asked for."""
        if self.remaining:
            raise DecodeError(f"{self._what}: ends at byte {self._position}, {self.remaining} bytes follow")
