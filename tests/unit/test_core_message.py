"""Message as an object: arguments, fields, and what a subclass may rely on."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest

from ceph_msgr._core import Message
from ceph_msgr.errors import DecodeError


def test_fields_have_the_defaults_of_the_wire() -> None:
    message = Message(2)
    assert (message.type, message.tid, message.priority, message.version, message.compat_version) == (2, 0, 127, 1, 1)
    assert (message.front, message.middle, message.data) == (b"", b"", b"")
    assert (message.seq, message.received_ns, message.connection, message.src) == (0, 0, None, None)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"type": -1}, "type -1"),
        ({"type": 0x10000}, "type 65536"),
        ({"type": 1, "priority": -1}, "priority -1"),
        ({"type": 1, "priority": 0x10000}, "priority 65536"),
        ({"type": 1, "tid": -1}, "tid -1"),
        ({"type": 1, "tid": 2**64}, "tid 18446744073709551616"),
        ({"type": 1, "version": 2**16}, "version 65536"),
        ({"type": 1, "compat_version": 2**80}, "compat_version"),
    ],
)
def test_numbers_that_do_not_fit_are_named(arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Message(**arguments)


@pytest.mark.parametrize("name", ["front", "middle", "data"])
@pytest.mark.parametrize("value", ["text", 5, None, [1, 2]])
def test_segments_must_be_buffers(name: str, value: Any) -> None:
    with pytest.raises(TypeError, match=name):
        Message(1, **{name: value})
    with pytest.raises(TypeError, match=name):
        setattr(Message(1), name, value)


def test_what_was_given_is_kept_as_it_is() -> None:
    data = bytearray(b"data")
    message = Message(1, front=b"front", data=data, tid=2**64 - 1)
    assert message.data is data
    assert message.tid == 2**64 - 1


def test_setters_check_too() -> None:
    message = Message(1)
    message.tid, message.priority, message.version, message.compat_version = 7, 63, 8, 3
    assert (message.tid, message.priority, message.version, message.compat_version) == (7, 63, 8, 3)
    with pytest.raises(ValueError, match="priority"):
        message.priority = 70000


def test_the_base_encodes_its_front_and_decodes_nothing() -> None:
    message = Message(1, front=b"front")
    assert message.encode_payload(5) == b"front"
    message.decode_payload()
    assert message.front == b"front"


class Pair(Message):
    """Text in the front, whose encoding depends on the features."""

    text: str = "?"

    def encode_payload(self, features: int) -> bytes:
        return f"{self.text}/{features}".encode()

    def decode_payload(self) -> None:
        if not self.front:
            raise DecodeError("Pair: empty front")
        self.text = bytes(self.front).decode()


def test_a_received_object_is_made_without_init() -> None:
    pair = Pair.from_segments(9, b"hello", tid=4)
    assert (type(pair), pair.text, pair.type, pair.tid) == (Pair, "hello", 9, 4)
    with pytest.raises(DecodeError):
        Pair.from_segments(9, b"")


def test_encoded_gives_a_plain_message_with_the_same_header() -> None:
    pair = Pair(9, data=b"data", tid=5, version=3)
    pair.text = "x"
    plain = pair.encoded(7)
    assert type(plain) is Message
    assert (plain.type, plain.tid, plain.version, plain.front, plain.data) == (9, 5, 3, b"x/7", b"data")


def test_messages_can_be_weakly_referenced_and_collected() -> None:
    message = Pair(1)
    message.connection = message  # a cycle
    reference = weakref.ref(message)
    del message
    gc.collect()
    assert reference() is None


def test_dispatched_is_harmless_for_a_message_made_here() -> None:
    message = Message(1)
    message.dispatched()
    message.dispatched()


def test_repr_tells_type_tid_and_lengths() -> None:
    assert repr(Pair(9, b"abc", tid=5)) == "<Pair type=9 tid=5 seq=0 segments=3+0+0>"
