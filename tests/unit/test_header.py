"""The header segment of a message."""

from __future__ import annotations

import pytest

from ceph_msgr.errors import DecodeError
from ceph_msgr.wire.encoding import Decoder, to_bytes
from ceph_msgr.wire.header import MessageHeader

# Every field different, so that no two can be swapped unseen.
HEADER = MessageHeader(
    seq=0x0101, tid=0x0202, type=3, priority=4, version=5, data_pre_padding_len=6, data_off=7, ack_seq=8, flags=9,
    compat_version=10, reserved=11,
)  # fmt: skip
DATA = bytes.fromhex("0101000000000000 0202000000000000 0300 0400 0500 06000000 0700 0800000000000000 09 0a00 0b00")


def test_layout() -> None:
    assert MessageHeader.SIZE_BYTES == len(DATA) == 41
    assert to_bytes(HEADER) == DATA
    assert MessageHeader.decode(Decoder(DATA)) == HEADER


def test_defaults_are_what_msgr2_senders_put() -> None:
    header = MessageHeader(seq=1, type=2)
    assert (header.flags, header.priority, header.version, header.compat_version, header.reserved) == (3, 127, 1, 1, 0)


def test_truncated_and_longer_segments() -> None:
    for length in range(len(DATA)):
        with pytest.raises(DecodeError, match=f"header: .* needs 41 bytes, {length} left"):
            MessageHeader.decode(Decoder(DATA[:length], "header"))
    longer = Decoder(DATA + b"later")
    assert MessageHeader.decode(longer) == HEADER
    assert longer.remaining == 5


@pytest.mark.parametrize("fields", [{"seq": -1}, {"seq": 2**64}, {"type": 2**16}, {"priority": 2**16}, {"flags": 256}])
def test_values_out_of_range(fields: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="MessageHeader"):
        to_bytes(MessageHeader(**fields))
