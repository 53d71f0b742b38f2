"""Agreeing on compression: COMPRESSION_REQUEST and COMPRESSION_DONE behind the signatures ("Compression")."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from ceph_msgr.auth.base import ConMode
from ceph_msgr.config import Config
from ceph_msgr.policy import Policy
from ceph_msgr.protocol import actions as act
from ceph_msgr.protocol import events as ev
from ceph_msgr.protocol import frames as f
from ceph_msgr.protocol.banner import OUR_BANNER
from ceph_msgr.protocol.states import State
from ceph_msgr.protocol.tags import Tag
from ceph_msgr.wire.entity import EntityType
from tests.session.machine import (
    CLIENT_HELLO,
    CLIENT_IDENT,
    COMPRESSING,
    COMPRESSING_BANNER,
    DIAL_STEPS,
    SERVER,
    SERVER_IDENT,
    ZEROS,
    Machine,
    accepted_compressing,
    acceptor,
    dialled_compressing,
    dialler,
    walk,
)
from tests.session.simulation import Connection, World

SNAPPY, ZLIB, ZSTD, LZ4, BROTLI = 1, 2, 3, 4, 5
OSD_HELLO = f.HelloFrame(EntityType.OSD, SERVER)
AGREED = act.SetCompression(ZSTD, 1024)


def kinds(actions: Sequence[act.Action]) -> list[type]:
    return [type(action) for action in actions]


# ---- dialling ----


def test_the_dialler_asks_behind_the_signatures_and_identifies_itself_after_the_answer() -> None:
    machine = dialled_compressing()
    assert machine.sent() == [f.CompressionRequestFrame(True, (ZSTD, SNAPPY))]
    machine.frame(f.CompressionDoneFrame(True, ZSTD))
    assert machine.state is State.SESSION_CONNECTING
    # In this order: CLIENT_IDENT may be compressed already.
    assert kinds(machine.actions) == [act.SetCompression, act.SendFrame, act.Continue]
    assert machine.actions[0] == AGREED
    machine.frame(SERVER_IDENT)
    assert machine.state is State.READY


@pytest.mark.parametrize("algorithm", [0, ZSTD])
def test_a_server_may_decline(algorithm: int) -> None:
    machine = dialled_compressing()
    machine.frame(f.CompressionDoneFrame(False, algorithm))
    assert machine.state is State.SESSION_CONNECTING
    assert act.SetCompression not in kinds(machine.actions)


@pytest.mark.parametrize("algorithm", [0, ZLIB, BROTLI, 99])
def test_an_answer_that_was_not_offered_is_refused(algorithm: int) -> None:
    machine = dialled_compressing()
    machine.frame(f.CompressionDoneFrame(True, algorithm))
    assert machine.state is State.BACKOFF
    assert f"the server chose compression {algorithm}, offered were [3, 1]" in str(machine.session.last_error)


def test_a_dialler_that_wants_none_any_more_says_so() -> None:
    """Its banner is out when the option changes."""
    machine = walk(dialler(config=Config(**COMPRESSING)), DIAL_STEPS, State.BANNER_CONNECTING)
    machine.session.config.ms_osd_compress_mode = "none"
    machine.on(ev.BannerReceived(COMPRESSING_BANNER))
    walk(machine, [*DIAL_STEPS[3:5], (State.COMPRESS_CONNECTING, lambda m: m.frame(ZEROS))], State.COMPRESS_CONNECTING)
    assert machine.sent() == [f.CompressionRequestFrame(False, ())]
    machine.frame(f.CompressionDoneFrame(True, ZSTD))
    assert machine.state is State.BACKOFF


def test_a_peer_that_does_not_announce_it_is_not_asked() -> None:
    machine = walk(dialler(config=Config(**COMPRESSING)), DIAL_STEPS, State.SESSION_CONNECTING)
    assert act.SetCompression not in kinds(machine.actions)


# ---- accepting ----


@pytest.mark.parametrize(
    ("offered", "chosen"), [((ZSTD, SNAPPY), ZSTD), ((BROTLI, 99, SNAPPY, ZSTD), SNAPPY), ((ZLIB,), 0), ((), 0)]
)
def test_the_acceptor_takes_the_first_it_allows(offered: tuple[int, ...], chosen: int) -> None:
    machine = accepted_compressing(OSD_HELLO)
    assert not machine.sent()
    machine.frame(f.CompressionRequestFrame(True, offered))
    assert machine.state is State.SESSION_ACCEPTING
    assert machine.sent() == [f.CompressionDoneFrame(bool(chosen), chosen)]
    # In this order: the answer itself goes as it is.
    expected = [act.SendFrame, act.SetCompression, act.Continue] if chosen else [act.SendFrame, act.Continue]
    assert kinds(machine.actions) == expected
    machine.frame(CLIENT_IDENT)
    assert machine.state is State.READY


@pytest.mark.parametrize(
    ("hello", "is_wanted"),
    [(OSD_HELLO, False), (CLIENT_HELLO, True), (f.HelloFrame(EntityType.MON, SERVER), True)],
    ids=["not wanted", "a client", "a monitor"],
)
def test_the_acceptor_declines(hello: f.HelloFrame, is_wanted: bool) -> None:
    machine = accepted_compressing(hello)
    machine.frame(f.CompressionRequestFrame(is_wanted, (ZSTD, SNAPPY)))
    assert machine.state is State.SESSION_ACCEPTING
    assert machine.sent() == [f.CompressionDoneFrame(False, 0)]
    assert act.SetCompression not in kinds(machine.actions)


@pytest.mark.parametrize("is_allowed", [False, True])
def test_encrypted_connections_are_asked_for_apart(is_allowed: bool) -> None:
    machine = accepted_compressing(OSD_HELLO)
    machine.session.config.ms_compress_secure = is_allowed
    handshake = machine.session._handshake
    assert handshake
    handshake.con_mode = ConMode.SECURE
    machine.frame(f.CompressionRequestFrame(True, (ZSTD,)))
    assert machine.sent() == [f.CompressionDoneFrame(is_allowed, ZSTD if is_allowed else 0)]


@pytest.mark.parametrize("is_dialler", [False, True])
def test_by_default_the_banner_offers_nothing(is_dialler: bool) -> None:
    machine = dialler() if is_dialler else acceptor()
    if is_dialler:
        machine.on(ev.DialRequested())
    machine.on(ev.SocketConnected(SERVER) if is_dialler else ev.Accepted(SERVER))
    assert machine.only(act.SendBytes).data == OUR_BANNER.encode()


@pytest.mark.parametrize("side", [dialled_compressing, accepted_compressing])
def test_an_answer_or_request_that_never_comes_runs_out_of_time(side: Callable[[], Machine]) -> None:
    machine = side()
    machine.on(ev.TimerFired(ev.Timer.HANDSHAKE))
    assert machine.state in (State.BACKOFF, State.CLOSED)


# ---- both ----


def pair(
    ours: dict[str, object], theirs: dict[str, object], chunk_bytes: int | None = None
) -> tuple[World, Connection, Connection]:
    world = World(chunk_bytes=chunk_bytes)
    one = world.messenger("osd.0", "v2:10.0.0.1:6800/1", policy=Policy.lossless_peer(), config=Config(**ours))
    other = world.messenger("osd.1", "v2:10.0.0.2:6800/2", policy=Policy.lossless_peer(), config=Config(**theirs))
    connection = one.connect_to(other)
    connection.send("hello")
    world.run()
    assert other.connections[0].queue.received == ["hello"]
    return world, connection, other.connections[0]


@pytest.mark.parametrize("chunk_bytes", [None, 1])
def test_both_sides_agree_on_the_same(chunk_bytes: int | None) -> None:
    _, connection, accepted = pair(COMPRESSING, {**COMPRESSING, "ms_osd_compression_algorithm": "snappy zstd"}, chunk_bytes)
    for side in (connection, accepted):
        assert [action for action in side.actions if isinstance(action, act.SetCompression)] == [AGREED]
    assert Tag.COMPRESSION_REQUEST in connection.frames_sent
    assert Tag.COMPRESSION_DONE in accepted.frames_sent


@pytest.mark.parametrize("compresses", ["us", "them", "nobody"])
def test_one_side_alone_does_not_negotiate(compresses: str) -> None:
    _, connection, accepted = pair(COMPRESSING if compresses == "us" else {}, COMPRESSING if compresses == "them" else {})
    assert Tag.COMPRESSION_REQUEST not in connection.frames_sent
    assert Tag.COMPRESSION_DONE not in accepted.frames_sent


def test_a_reconnect_agrees_anew() -> None:
    world, connection, accepted = pair(COMPRESSING, COMPRESSING)
    world.break_link()
    world.advance(5.0)
    connection.send("and again")
    world.advance(5.0)
    assert accepted.queue.received == ["hello", "and again"]
    assert connection.actions.count(AGREED) == 2
    assert Tag.SESSION_RECONNECT in connection.frames_sent
