"""Mark-down walks: the rows I32 to I39. Set up; the dialling side marks down and dials again; the accepting side marks down;
dial again. The side that marks down is never called back."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ceph_msgr import Policy
from ceph_msgr.net.worker import Worker
from ceph_msgr.protocol.states import State
from ceph_msgr.testing import Breakpoint, Tag
from tests.failover.pair import TIMEOUT_S, Pair, Setting
from tests.failover.places import ACCEPT_SIDE, CONNECT_SIDE, R, W


def dial_and_talk(pair: Pair, sessions: int) -> None:
    """From test; the peer's dispatcher has been told of so many sessions then."""
    pair.connect()
    pair.wait_accepted(pair.peer, sessions)
    pair.send_both()


def be_dialled_and_talk(pair: Pair, sessions: int) -> None:
    pair.peer_connect()
    pair.wait_accepted(pair.test, sessions)
    pair.send_both()


@pytest.mark.contract("I32")
def test_lossy_client(setting: Setting) -> None:
    with Pair(Policy.lossy_client(), Policy.stateless_server(), setting) as pair:
        dial_and_talk(pair, 1)
        pair.expect("est C(1,1,0,1)")
        pair.test.mark_down()
        dial_and_talk(pair, 2)
        pair.expect("cl C(1,1,0,1)", "est C(1,1,0,1)")
        pair.peer.mark_down()
        pair.expect("cl C(1,1,0,1)", "cl C(1,1,0,1) R(1,0)")
        dial_and_talk(pair, 3)
        pair.expect("cl C(1,1,0,1)", "cl C(1,1,0,1) R(1,0)", "est C(1,1,0,1)")


@pytest.mark.contract("I33")
def test_stateless_server(setting: Setting) -> None:
    with Pair(Policy.stateless_server(), Policy.lossy_client(), setting) as pair:
        be_dialled_and_talk(pair, 1)
        pair.expect("est A(1,1,0,1)")
        pair.peer.mark_down()
        be_dialled_and_talk(pair, 2)
        pair.expect("cl A(1,1,0,1) R(1,0)", "est A(1,1,0,1)")
        pair.test.mark_down()
        pair.wait(lambda: pair.peer.connection is None, "the peer's reset")
        pair.expect("cl A(1,1,0,1) R(1,0)", "cl A(1,1,0,1)")
        be_dialled_and_talk(pair, 3)
        pair.expect("cl A(1,1,0,1) R(1,0)", "cl A(1,1,0,1)", "est A(1,1,0,1)")


@pytest.mark.contract("I34")
def test_lossless_client(setting: Setting) -> None:
    with Pair(Policy.lossless_client(), Policy.stateful_server(), setting) as pair:
        dial_and_talk(pair, 1)
        pair.expect("est C(1,1,0,1)")
        pair.test.mark_down()
        dial_and_talk(pair, 2)
        pair.expect("cl C(1,1,0,1)", "est C(1,1,0,1)")
        pair.peer.mark_down()
        pair.expect("cl C(1,1,0,1)", "est C(2,2,1,2) R(0,1)")
        dial_and_talk(pair, 3)
        pair.expect("cl C(1,1,0,1)", "est C(2,2,1,2) R(0,1)")


@pytest.mark.contract("I35")
def test_stateful_server(setting: Setting) -> None:
    with Pair(Policy.stateful_server(), Policy.lossless_client(), setting) as pair:
        be_dialled_and_talk(pair, 1)
        pair.expect("est A(1,1,0,1)")
        pair.peer.mark_down()
        be_dialled_and_talk(pair, 2)
        pair.expect("est A(1,1,0,2) R(0,1)", "rep A(1,1,0,0)")
        pair.test.mark_down()
        pair.expect("cl A(1,1,0,2) R(0,1)", "rep A(1,1,0,0)", "est A(1,1,1,1)")
        be_dialled_and_talk(pair, 3)
        pair.expect("cl A(1,1,0,2) R(0,1)", "rep A(1,1,0,0)", "est A(1,1,1,1)")


PEERS = pytest.mark.parametrize(
    ("policy", "remote_resets"),
    [
        pytest.param(Policy.lossless_peer_reuse(), 1, marks=pytest.mark.contract("I36", "I37"), id="reuse"),
        # No reset check: that the other side has begun anew is not told.
        pytest.param(Policy.lossless_peer(), 0, marks=pytest.mark.contract("I38", "I39"), id="plain"),
    ],
)


@PEERS
def test_peer_dialling(policy: Policy, remote_resets: int, setting: Setting) -> None:
    with Pair(policy, policy, setting) as pair:
        dial_and_talk(pair, 1)
        pair.expect("est C(1,1,0,1)")
        pair.test.mark_down()
        dial_and_talk(pair, 2)
        pair.expect("cl C(1,1,0,1)", "est C(1,1,0,1)")
        pair.peer.mark_down()
        pair.expect("cl C(1,1,0,1)", "standby C(1,1,0,1)")
        pair.test.send_in_vain()
        pair.expect("cl C(1,1,0,1)", "est C(2,2,1,2) R(0,1)")
        pair.wait_accepted(pair.peer, 3)
        pair.send_both()
        pair.expect("cl C(1,1,0,1)", "est C(2,2,1,2) R(0,1)")


@PEERS
def test_peer_accepting(policy: Policy, remote_resets: int, setting: Setting) -> None:
    with Pair(policy, policy, setting) as pair:
        be_dialled_and_talk(pair, 1)
        pair.expect("est A(1,1,0,1)")
        pair.peer.mark_down()
        be_dialled_and_talk(pair, 2)
        pair.expect(f"est A(1,1,0,2) R(0,{remote_resets})", "rep A(1,1,0,0)")
        pair.test.mark_down()
        pair.expect(f"cl A(1,1,0,2) R(0,{remote_resets})", "rep A(1,1,0,0)")
        pair.peer.send_in_vain()
        pair.expect(f"cl A(1,1,0,2) R(0,{remote_resets})", "rep A(1,1,0,0)", "est A(1,1,1,1)")
        pair.send_both()
        pair.expect(f"cl A(1,1,0,2) R(0,{remote_resets})", "rep A(1,1,0,0)", "est A(1,1,1,1)")


# ---- against a take-over, which spans two workers: it wins at each hop ----


class Occupation:
    """Keeps a worker busy from where it stands in the worker's queue: what is posted later runs after ``end``, in order."""

    def __init__(self, worker: Worker) -> None:
        self._has_begun, self._may_end = threading.Event(), threading.Event()
        worker.submit_to(self._run, nowait=True)

    def _run(self) -> None:
        self._has_begun.set()
        self._may_end.wait(TIMEOUT_S)

    def wait_begun(self) -> None:
        assert self._has_begun.wait(TIMEOUT_S)

    def end(self) -> None:
        self._may_end.set()


def is_in(pair: Pair, number: int, state: State) -> bool:
    return pair.test.records[number].connection.history[-1].new is state


@contextmanager
def blocked_take_over(place: Breakpoint) -> Iterator[Pair]:
    """Connection 0 stands by on one worker; 1, on the other, is the peer's way back to the session, and has come this far."""
    with Pair(Policy.lossless_peer(), Policy.lossless_peer(), Setting(test_workers=2)) as pair:
        pair.fault(R(Tag.MESSAGE))
        pair.block(place, occurrence=2 if place in CONNECT_SIDE else 1)  # 0 came by the former on its own way
        pair.peer.send_in_vain()
        pair.connect()
        pair.wait_blocked(place)
        yield pair


@pytest.fixture
def before_take_over() -> Iterator[Pair]:
    """1 is about to hear that the peer wants the session back."""
    with blocked_take_over(R(Tag.SESSION_RECONNECT)) as pair:
        yield pair


@pytest.mark.contract("H5")
@pytest.mark.parametrize("place", [*ACCEPT_SIDE, R(Tag.SESSION_RECONNECT)], ids=str)
def test_mark_down_while_the_newcomer_is_on_its_way(place: Breakpoint) -> None:
    """The newcomer finds no session, and begins one of its own."""
    with blocked_take_over(place) as pair:
        pair.test.mark_down()
        pair.release()
        pair.expect("cl C(1,1,0,1)", "est A(1,1,1,1)")


@pytest.mark.contract("H5")
def test_mark_down_before_the_answer_on_the_new_socket() -> None:
    with blocked_take_over(W(Tag.SESSION_RECONNECT_OK)) as pair:
        pair.test.mark_down()
        pair.release()
        pair.expect("cl C(1,1,0,1) A(0,0,0,1)", "rep A(1,0,1,0)", "est A(1,1,1,1)")


@pytest.mark.contract("H5")
def test_mark_down_before_the_first_hop(before_take_over: Pair) -> None:
    pair = before_take_over
    old = Occupation(pair.test.records[0].connection.worker)
    old.wait_begun()
    pair.release()
    pair.wait(lambda: is_in(pair, 1, State.HANDED_OVER), "the take-over to be asked for")
    pair.test.mark_down()
    old.end()
    pair.expect("cl C(1,1,0,1)", "est A(1,1,1,1)")


@pytest.mark.contract("H5")
def test_mark_down_before_the_second_hop(before_take_over: Pair) -> None:
    pair = before_take_over
    worker = pair.test.records[1].connection.worker
    before = Occupation(worker)
    before.wait_begun()
    pair.release()
    between = Occupation(worker)
    before.end()
    between.wait_begun()
    pair.wait(lambda: is_in(pair, 0, State.REPLACING), "the first hop")
    pair.test.mark_down()
    between.end()
    pair.expect("cl C(1,1,0,1)", "rep A(1,0,1,0)", "est A(1,1,1,1)")
