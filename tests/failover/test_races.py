"""Both sides dial: the rows I21 to I26. The dial of the smaller address survives, wherever the other one stands."""

from __future__ import annotations

import pytest

from ceph_msgr import Policy
from ceph_msgr.testing import Breakpoint, Tag
from tests.failover.pair import Pair, Setting
from tests.failover.places import ACCEPT_SIDE, CONNECT_SIDE, R, W

at = pytest.mark.parametrize

wins = at("setting", [Setting(True), Setting(True, 2)], ids=str)
loses = at("setting", [Setting(False), Setting(False, 2)], ids=str)


@pytest.mark.contract("I21")
@wins
@at("place", [*ACCEPT_SIDE, R(Tag.CLIENT_IDENT)], ids=str)
def test_connect_and_win(place: Breakpoint, setting: Setting) -> None:
    with Pair(Policy.lossless_peer(), Policy.lossless_peer(), setting) as pair:
        pair.block(place)
        pair.peer.send()
        pair.peer_connect()
        pair.wait_blocked()
        pair.test.send()
        pair.connect()
        pair.wait_established(1)
        pair.release()
        pair.expect("cl A(1,.,.,0)", "est C(1,1,0,1)")


@pytest.mark.contract("I22")
@loses
@at("place", [*CONNECT_SIDE, W(Tag.CLIENT_IDENT)], ids=str)
def test_connect_and_lose(place: Breakpoint, setting: Setting) -> None:
    with Pair(Policy.lossless_peer(), Policy.lossless_peer(), setting) as pair:
        pair.block(place)
        pair.test.send()
        pair.connect()
        pair.wait_blocked()
        pair.peer.send()
        pair.peer_connect()
        pair.wait_replaced(1)
        pair.release()
        pair.expect("est C(1,.,.,0) A(0,0,0,1)", "rep A(1,1,0,0)")


def _second(place: Breakpoint) -> int:
    """Which time a step is that of the reconnect: the handshake before it came there too."""
    return 1 if place.what is Tag.SESSION_RECONNECT else 2


@pytest.mark.contract("I23")
@wins
@at("place", [*ACCEPT_SIDE, R(Tag.SESSION_RECONNECT)], ids=str)
def test_reconnect_and_win(place: Breakpoint, setting: Setting) -> None:
    with Pair(Policy.lossless_peer(), Policy.lossless_peer(), setting) as pair:
        pair.fault(R(Tag.MESSAGE))
        pair.block(place, occurrence=_second(place))
        pair.peer.send()
        pair.peer_connect()
        pair.wait_blocked()
        pair.test.send()
        pair.wait_established(0)
        pair.release()
        pair.expect("est C(1,0,1,1) A(1,1,0,1)", "cl A(1,.,.,0)")


@pytest.mark.contract("I24")
@loses
@at("place", [*CONNECT_SIDE, W(Tag.SESSION_RECONNECT)], ids=str)
def test_reconnect_and_lose(place: Breakpoint, setting: Setting) -> None:
    with Pair(Policy.lossless_peer(), Policy.lossless_peer(), setting) as pair:
        pair.fault(W(Tag.MESSAGE))
        pair.block(place, occurrence=_second(place))
        pair.test.send()
        pair.connect()
        pair.wait_blocked()
        pair.peer.send()
        pair.wait_replaced(1)
        pair.release()
        pair.expect("est C(2,.,.,1) A(0,0,0,1)", "rep A(1,0,1,0)")


@pytest.mark.contract("I25")
def test_connect_against_reconnect_and_lose(setting: Setting) -> None:
    with Pair(Policy.lossless_peer(), Policy.lossless_peer(), setting) as pair:
        pair.fault(R(Tag.SERVER_IDENT))
        pair.block(W(Tag.CLIENT_IDENT), occurrence=2)
        pair.test.send()
        pair.connect()
        pair.wait_blocked()
        pair.peer.send()
        pair.wait_replaced(1)
        pair.release()
        pair.expect("est C(2,2,0,0) A(0,0,0,1)", "rep A(1,1,1,0)")


@pytest.mark.contract("I26")
def test_connect_against_reconnect_and_win(setting: Setting) -> None:
    with Pair(Policy.lossless_peer(), Policy.lossless_peer(), setting) as pair:
        pair.fault(R(Tag.SERVER_IDENT))
        pair.block(R(Tag.SESSION_RECONNECT))
        pair.peer.send()
        pair.connect()
        pair.wait_blocked()
        pair.test.send()
        pair.wait_established(0)
        pair.release()
        pair.expect("est C(2,2,0,1)", "cl A(1,0,1,0)")
