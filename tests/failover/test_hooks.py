"""The hooks themselves: what an ``Interceptor`` counts, and what blocking, stalling and failing mean."""

from __future__ import annotations

import pytest

from ceph_msgr import Policy
from ceph_msgr.testing import Answer, Breakpoint, Interceptor, Moment, Record, Tag
from tests.failover.notation import describe, matches
from tests.failover.pair import Pair, Setting
from tests.failover.places import ACCEPT_SIDE, CONNECT_SIDE, R, W

TWO_WORKERS = Setting(test_workers=2)


def peers(setting: Setting = TWO_WORKERS) -> Pair:
    return Pair(Policy.lossless_peer(), Policy.lossless_peer(), setting)


def test_every_step_of_a_handshake_is_a_breakpoint() -> None:
    with peers() as pair:
        pair.connect()
        pair.wait_connected()
        [dialled], [accepted] = pair.test.records, pair.peer.records
        assert dialled.path == [*CONNECT_SIDE, W(Tag.CLIENT_IDENT), R(Tag.SERVER_IDENT)]
        # Each side signs as soon as it can, so these two may come in either order on the accepting side.
        assert sorted(accepted.path, key=str) == sorted([*ACCEPT_SIDE, R(Tag.CLIENT_IDENT), W(Tag.SERVER_IDENT)], key=str)
        del dialled, accepted


@pytest.mark.parametrize(
    ("place", "is_sent"),
    [(W(Tag.MESSAGE), True), (R(Tag.MESSAGE), False), (W(Tag.ACK), False), (R(Tag.ACK), True)],
    ids=str,
)
def test_a_blocked_data_frame_goes_on_when_released(place: Breakpoint, is_sent: bool) -> None:
    with peers() as pair:
        pair.block(place)
        pair.connect()
        pair.wait_connected()
        (pair.test if is_sent else pair.peer).send()
        pair.wait_blocked()
        if place.what is Tag.MESSAGE:
            assert not pair.test.received and not pair.peer.received
        pair.release()
        pair.expect("est C(1,1,0,1)")


def test_what_is_blocked_can_be_blocked_again_at_once() -> None:
    with peers() as pair:
        pair.block(Breakpoint(Moment.BANNER_READ), Breakpoint(Moment.BANNER_PAYLOAD_READ))
        pair.connect()
        for moment in (Moment.BANNER_READ, Moment.BANNER_PAYLOAD_READ):
            pair.wait_blocked(Breakpoint(moment))
            pair.release()
        pair.expect("est C(1,1,0,1)")


def test_the_nth_occurrence_is_meant() -> None:
    with peers() as pair:
        pair.fault(W(Tag.MESSAGE), occurrence=3)
        pair.connect()
        pair.wait_connected()
        for _ in range(2):
            pair.test.send()
        pair.wait_delivered()
        assert pair.test.not_hit == ["MESSAGE write, occurrence 3"]
        pair.test.send()
        pair.expect("est C(2,1,1,2)")


@pytest.mark.parametrize("answer", [Answer.BLOCK, Answer.STALL], ids=lambda answer: answer.value)
@pytest.mark.parametrize("place", [*CONNECT_SIDE, W(Tag.CLIENT_IDENT), R(Tag.SERVER_IDENT)], ids=str)
def test_mark_down_of_a_blocked_dial(place: Breakpoint, answer: Answer) -> None:
    with peers() as pair:
        pair.set(answer, place)
        pair.connect()
        pair.wait_blocked()
        gate = pair.test.records[0].connection.gate
        pair.test.mark_down()
        pair.wait(lambda: not pair.test.records[0].blocked_at, "the dial to be given up")
        gate.release()
        pair.release()
        pair.expect("cl C(1,.,0,0)")
        del gate


@pytest.mark.parametrize("place", [*ACCEPT_SIDE, R(Tag.CLIENT_IDENT), W(Tag.SERVER_IDENT)], ids=str)
def test_shutdown_while_an_accepted_socket_is_blocked(place: Breakpoint) -> None:
    with peers() as pair:
        pair.block(place)
        pair.peer_connect()
        pair.wait_blocked()


def test_a_stall_is_noticed_by_the_peer_only() -> None:
    with peers() as pair:
        pair.stall(R(Tag.SERVER_IDENT))
        pair.connect()
        pair.wait_blocked()
        pair.wait(lambda: pair.peer.is_idle and not pair.peer.records[0].connection.is_connected, "the peer to notice")
        assert matches(pair.test.records[0], "underway C(1,1,0,0)")
        pair.test.send()
        pair.release()
        pair.expect("est C(2,1,1,2)")


def test_a_take_over_goes_from_worker_to_worker() -> None:
    with peers() as pair:
        pair.fault(R(Tag.MESSAGE))
        pair.peer.send()
        pair.connect()
        pair.expect("est C(1,1,0,1) A(0,0,0,1)", "rep A(1,0,1,0)")
        first = pair.test.records[0].connection
        assert pair.test.workers[id(first)] == {0, 1}
        del first


def test_occurrences_begin_at_one() -> None:
    with pytest.raises(ValueError, match="the first one is 1"):
        Interceptor().set(R(Tag.MESSAGE), Answer.FAULT, occurrence=0)


def test_without_an_interceptor_there_is_no_gate() -> None:
    with peers() as pair:
        pair.test.messenger.interceptor = None
        pair.connect()
        pair.test.send()
        pair.wait(lambda: pair.peer.received == [0], "the message")
        assert not any(record.path for record in pair.test.records)
        assert pair.test.connection and not pair.test.connection.gate  # type: ignore[attr-defined]


# ---- the short form ----


class FakeConnection:
    history = ()
    gate = None


def test_the_short_form() -> None:
    record = Record(FakeConnection())
    for group, what in (("dials", "sockets"), ("accepts", "accept_callbacks"), ("accepts", "accept_callbacks")):
        record.count(group, what)
    assert matches(record, "underway C(1,0,0,0) A(0,0,0,2)")
    assert matches(record, "underway C(.,0,0,0) A(0,0,0,>=1) R(0,0)")
    assert not matches(record, "underway C(1,0,0,0)")
    assert not matches(record, "underway C(1,0,0,0) A(0,0,0,2) R(0,1)")
    assert not matches(record, "underway C(2,0,0,0) A(0,0,0,2)")
    assert not matches(record, "est C(1,0,0,0) A(0,0,0,2)")
    for wrong in ("est C(1)", "est C(1,1,1,1) X(1)", "est C(1,1,1,1)A(1,1,1,1)"):
        with pytest.raises(ValueError, match=r"C has|the short form"):
            matches(record, wrong)


def test_a_record_is_described_in_the_short_form() -> None:
    record = Record(FakeConnection())
    record.count("dials", "sockets")

    class Blocked:
        blocked_at = R(Tag.HELLO)

    record.connection.gate = Blocked()
    assert describe(record) == "underway C(1,0,0,0) [blocked at HELLO read]"
