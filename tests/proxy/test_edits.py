"""Altered streams: what is not what was sent is refused, and in secure mode also what was sent before or will be.

``CEPH_MSGR_PROXY=full`` tries every offset and every pair of frames.
"""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Callable, Iterator

import pytest

from ceph_msgr.protocol.tags import Tag
from ceph_msgr.testing.proxy import Direction, Fault, FaultProxy, Kind
from tests.conftest import Deadline
from tests.proxy.lossy_pair import LossyPair

FULL = os.environ.get("CEPH_MSGR_PROXY") == "full"

FRAMES = 100
#: The trailer of a msgr2.1 frame in crc mode: a status, of which the upper half means nothing, and three checksums.
TRAILER_BYTES = 13
#: What a client says before, in crc mode: HELLO, AUTH_REQUEST, AUTH_SIGNATURE, CLIENT_IDENT.
FIRST_MESSAGE = 4
#: It has no checksum; what a bit of it does is the banner's matter.
BANNER_BYTES = 26

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600 if FULL else 120),
    pytest.mark.parametrize("deadline", [3600 if FULL else 60], indirect=True),
]
both_modes = pytest.mark.parametrize("mode", ["crc", "secure"])

PairMaker = Callable[..., LossyPair]
Sampler = Callable[[str, list, int], list]


@pytest.fixture
def make_pair(shared_proxy: FaultProxy, deadline: Deadline) -> Iterator[PairMaker]:
    pairs: list[LossyPair] = []

    def make(mode: str, **how: object) -> LossyPair:
        pairs.append(LossyPair(shared_proxy, mode, deadline, **how))
        return pairs[-1]

    yield make
    for pair in pairs:
        with pair:
            pass


@pytest.fixture
def sample(rng: random.Random, record_property: Callable[[str, object], None]) -> Sampler:
    """So many of the cases, all if FULL. How many of which kind is recorded."""

    def choose(kind: str, cases: list, count: int) -> list:
        chosen = cases if FULL else rng.sample(cases, min(count, len(cases)))
        record_property(kind, len(chosen))
        return chosen

    return choose


# ---- bytes ----


@both_modes
@pytest.mark.contract("E4")
def test_a_flipped_bit_is_seen(mode: str, make_pair: PairMaker, sample: Sampler, rng: random.Random) -> None:
    """All but the upper half of a late status, which means nothing (E4): the frame is the same with it."""
    count = 5
    pair = make_pair(mode)
    first, size = pair.frame_layout()
    for at in sample("flips", list(range(first, first + size * (count - 1))), 25):
        bit = rng.randrange(8)
        outcome = pair.run(count, Fault(Kind.FLIP, at=at, size=bit))
        assert not outcome.is_altered
        assert outcome.received == list(range(len(outcome.received)))
        means_nothing = mode == "crc" and (at - first) % size == size - TRAILER_BYTES and bit >= 4
        assert outcome.was_reset != means_nothing, f"bit {bit} of byte {at - first} behind the handshake, frames of {size} bytes"


@both_modes
@pytest.mark.parametrize("direction", list(Direction))
def test_a_flipped_bit_of_the_handshake_costs_a_dial_at_most(
    mode: str, direction: Direction, make_pair: PairMaker, sample: Sampler, rng: random.Random
) -> None:
    # What a flipped length makes the other side wait for comes never: the time-outs end it.
    pair = make_pair(mode, ms_connection_ready_timeout=0.5, ms_accept_handshake_timeout=0.5)
    first, _ = pair.frame_layout()
    for at in sample("flips", list(range(BANNER_BYTES, first)), 15):
        outcome = pair.run(3, Fault(Kind.FLIP, direction, at=at, size=rng.randrange(8)))
        assert (outcome.received, outcome.is_altered, outcome.was_reset) == ([0, 1, 2], False, False)


@both_modes
def test_missing_bytes_are_seen(mode: str, make_pair: PairMaker, sample: Sampler, rng: random.Random) -> None:
    count = 5
    pair = make_pair(mode, ms_keepalive_interval=0.1, ms_keepalive_timeout=0.3)
    first, size = pair.frame_layout()
    for at in sample("truncations", list(range(first, first + size * (count - 1))), 15):
        outcome = pair.run_to_the_reset(count, Fault(Kind.TRUNCATE, at=at, size=rng.randint(1, size - 1)))
        assert not outcome.is_altered
        assert outcome.received == list(range(len(outcome.received)))


@both_modes
@pytest.mark.contract("E6")
def test_a_stream_may_be_split_everywhere(mode: str, make_pair: PairMaker, shared_proxy: FaultProxy) -> None:
    """Handshake and three messages, with a pause at every byte, both ways; and again in pieces of one byte."""
    pair = make_pair(mode)
    first, size = pair.frame_layout()
    for direction in Direction:
        end = first + 3 * size if direction is Direction.TO_TARGET else first
        pauses = [Fault(Kind.STALL, direction, at=at, seconds=0.0) for at in range(end)]
        before = shared_proxy.counts().total
        outcome = pair.run(3, *pauses)
        assert (outcome.received, outcome.is_altered, outcome.was_reset) == ([0, 1, 2], False, False)
        assert shared_proxy.counts().total - before > first // 2
        outcome = pair.run(3, Fault(Kind.RECHUNK, direction, at=0, size=1))
        assert (outcome.received, outcome.is_altered, outcome.was_reset) == ([0, 1, 2], False, False)


# ---- frames in crc mode, where only numbers protect ----


@pytest.mark.parametrize("kind", [Kind.DUPLICATE_FRAME, Kind.REPLAY_FRAME])
def test_crc_mode_drops_messages_that_came_before(kind: Kind, make_pair: PairMaker, sample: Sampler, rng: random.Random) -> None:
    pair = make_pair("crc", has_frames=True)
    for number in sample("crc_edits", list(range(1, FRAMES)), 10):
        outcome = pair.run(FRAMES, Fault(kind, at=FIRST_MESSAGE + number, size=rng.randint(1, number)))
        assert (outcome.received, outcome.is_altered, outcome.was_reset) == (list(range(FRAMES)), False, False)


def test_crc_mode_keeps_the_order_of_swapped_messages(make_pair: PairMaker, sample: Sampler, rng: random.Random) -> None:
    """The later one is taken, with a gap; those that it overtook come too late."""
    pair = make_pair("crc", has_frames=True)
    for number in sample("crc_edits", list(range(FRAMES - 10)), 10):
        size = rng.randint(1, 9)
        outcome = pair.run(FRAMES, Fault(Kind.SWAP_FRAMES, at=FIRST_MESSAGE + number, size=size), lost=size)
        assert (outcome.received, outcome.is_altered) == ([*range(number), *range(number + size, FRAMES)], False)


def test_crc_mode_accepts_a_gap(make_pair: PairMaker) -> None:
    outcome = make_pair("crc", has_frames=True).run(FRAMES, Fault(Kind.DROP_FRAME, at=FIRST_MESSAGE + 7), lost=1)
    assert outcome.received == [number for number in range(FRAMES) if number != 7]


@pytest.mark.parametrize("tag", [Tag.HELLO, Tag.CLIENT_IDENT, Tag.SERVER_IDENT, Tag.WAIT, Tag.SESSION_RECONNECT_OK, 99])
def test_crc_mode_refuses_a_forged_frame_that_does_not_belong_here(tag: int, make_pair: PairMaker) -> None:
    pair = make_pair("crc", has_frames=True)
    forged = Fault(Kind.FORGE_FRAME, at=FIRST_MESSAGE + 10, tag=tag, payload=b"nothing that makes sense")
    assert pair.run_to_the_reset(FRAMES, forged).received == list(range(10))


# ---- frames in secure mode: each has its place ----


@pytest.fixture
def secure_pair(make_pair: PairMaker) -> LossyPair:
    """Whose proxy knows where the frames of messages end: frame 0 is the first message's."""
    return make_pair("secure", blocks=make_pair("secure").frame_layout())


def check_refused(pair: LossyPair, fault: Fault, good: int) -> None:
    outcome = pair.run_to_the_reset(FRAMES, fault)
    assert (outcome.received, outcome.is_altered) == (list(range(good)), False), fault


@pytest.mark.contract("E9")
def test_secure_mode_refuses_every_swap(secure_pair: LossyPair, sample: Sampler) -> None:
    for first, second in sample("swaps", list(itertools.combinations(range(FRAMES), 2)), 20):
        check_refused(secure_pair, Fault(Kind.SWAP_FRAMES, at=first, size=second - first), good=first)


@pytest.mark.contract("E9")
def test_secure_mode_refuses_every_replay(secure_pair: LossyPair, sample: Sampler) -> None:
    for earlier, number in sample("replays", list(itertools.combinations(range(FRAMES), 2)), 20):
        check_refused(secure_pair, Fault(Kind.REPLAY_FRAME, at=number, size=number - earlier), good=number + 1)


@pytest.mark.contract("E9")
def test_secure_mode_refuses_every_duplicate(secure_pair: LossyPair, sample: Sampler) -> None:
    for number in sample("duplicates", list(range(FRAMES)), 10):
        check_refused(secure_pair, Fault(Kind.DUPLICATE_FRAME, at=number), good=number + 1)


def test_secure_mode_notices_every_gap(secure_pair: LossyPair, sample: Sampler) -> None:
    """But behind the last frame, where nothing tells that there was one: what follows does."""
    for number in sample("gaps", list(range(FRAMES - 1)), 10):
        check_refused(secure_pair, Fault(Kind.DROP_FRAME, at=number), good=number)


def test_secure_mode_refuses_a_forged_frame(secure_pair: LossyPair) -> None:
    check_refused(secure_pair, Fault(Kind.FORGE_FRAME, at=50, tag=Tag.ACK, payload=bytes(8)), good=50)
