"""Sockets that break: the rows I1 to I20, faults at one step of a connection after the other."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ceph_msgr import Policy
from ceph_msgr.testing import Breakpoint, Tag
from tests.failover.pair import Pair, Setting
from tests.failover.places import ACCEPT_SIDE, ACCEPTED, CONNECT_SIDE, R, W

at = pytest.mark.parametrize


# ---- lossy ----


@pytest.mark.contract("I1")
@at("place", CONNECT_SIDE, ids=str)
def test_lossy_early_connect(place: Breakpoint, setting: Setting) -> None:
    with Pair(Policy.lossy_client(), Policy.stateless_server(), setting) as pair:
        pair.fault(place)
        pair.test.send()
        pair.connect()
        pair.expect("est C(2,1,0,1)")


@pytest.mark.contract("I2")
@at("place", [W(Tag.CLIENT_IDENT), R(Tag.SERVER_IDENT)], ids=str)
def test_lossy_connect(place: Breakpoint, setting: Setting) -> None:
    with Pair(Policy.lossy_client(), Policy.stateless_server(), setting) as pair:
        pair.fault(place)
        pair.test.send()
        pair.connect()
        pair.expect("est C(2,2,0,1)")


@pytest.mark.contract("I3")
@at("place", [W(Tag.MESSAGE), R(Tag.MESSAGE)], ids=str)
def test_lossy_connected(place: Breakpoint, setting: Setting) -> None:
    with Pair(Policy.lossy_client(), Policy.stateless_server(), setting) as pair:
        pair.fault(place)
        pair.send_both()
        pair.connect()
        pair.expect("cl C(1,1,0,1) R(1,0)", delivered=False)


@pytest.mark.contract("I4")
@at("place", [place for place in ACCEPT_SIDE if place != ACCEPTED], ids=str)
def test_lossy_early_accept(place: Breakpoint, setting: Setting) -> None:
    with Pair(Policy.stateless_server(), Policy.lossy_client(), setting) as pair:
        pair.fault(place)
        pair.peer.send()
        pair.peer_connect()
        pair.expect("cl A(1,0,0,0)", "est A(1,1,0,1)")


@pytest.mark.contract("I5")
def test_lossy_accept(setting: Setting) -> None:
    with Pair(Policy.stateless_server(), Policy.lossy_client(), setting) as pair:
        pair.fault(R(Tag.CLIENT_IDENT))
        pair.peer.send()
        pair.peer_connect()
        pair.expect("cl A(1,1,0,0)", "est A(1,1,0,1)")


@pytest.mark.contract("I6")
def test_lossy_establishing(setting: Setting) -> None:
    with Pair(Policy.stateless_server(), Policy.lossy_client(), setting) as pair:
        pair.fault(W(Tag.SERVER_IDENT))
        pair.peer.send()
        pair.peer_connect()
        pair.expect("cl A(1,1,0,1) R(1,0)", "est A(1,1,0,1)")


@pytest.mark.contract("I7")
@at("place", [W(Tag.MESSAGE), R(Tag.MESSAGE)], ids=str)
def test_lossy_accepted(place: Breakpoint, setting: Setting) -> None:
    with Pair(Policy.stateless_server(), Policy.lossy_client(), setting) as pair:
        pair.fault(place)
        pair.send_both()
        pair.peer_connect()
        pair.expect("cl A(1,1,0,1) R(1,0)", delivered=False)


# ---- lossless client and stateful server ----


@pytest.mark.contract("I8")
@at("place", [W(Tag.CLIENT_IDENT), R(Tag.SERVER_IDENT)], ids=str)
def test_lossless_connect(place: Breakpoint, setting: Setting) -> None:
    with Pair(Policy.lossless_client(), Policy.stateful_server(), setting) as pair:
        pair.fault(place)
        pair.send_both()
        pair.connect()
        pair.expect("est C(2,2,0,1)")


@pytest.mark.contract("I9")
@at("place", [W(Tag.MESSAGE), R(Tag.MESSAGE)], ids=str)
def test_lossless_connected(place: Breakpoint, setting: Setting) -> None:
    with Pair(Policy.lossless_client(), Policy.stateful_server(), setting) as pair:
        pair.fault(place)
        pair.send_both()
        pair.connect()
        pair.expect("est C(2,1,1,2)")


@pytest.mark.contract("I10")
@at("way", [R, W], ids=["read", "write"])
@at("tag", [Tag.ACK, Tag.KEEPALIVE2, Tag.KEEPALIVE2_ACK], ids=str)
def test_lossless_connected_small_frames(tag: Tag, way: Callable[[Tag], Breakpoint], setting: Setting) -> None:
    with Pair(Policy.lossless_client(), Policy.stateful_server(), setting) as pair:
        pair.fault(way(tag))
        pair.connect()
        pair.wait_connected()
        for side in (pair.test, pair.peer):
            side.send()
            side.keepalive()
            pair.wait_delivered()
        pair.test.send()
        pair.wait_delivered()
        pair.peer.send()
        pair.expect("est C(2,1,1,2)")


@pytest.mark.contract("I11")
@at(
    "places",
    [(W(Tag.MESSAGE), W(Tag.SESSION_RECONNECT)), (W(Tag.MESSAGE), R(Tag.SESSION_RECONNECT_OK))],
    ids=lambda places: ", ".join(map(str, places)),
)
def test_lossless_reconnect(places: tuple[Breakpoint, ...], setting: Setting) -> None:
    with Pair(Policy.lossless_client(), Policy.stateful_server(), setting) as pair:
        pair.fault(*places)
        pair.send_both()
        pair.connect()
        pair.expect("est C(3,1,2,2)")


@pytest.mark.contract("I12")
def test_lossless_accept(setting: Setting) -> None:
    with Pair(Policy.stateful_server(), Policy.lossless_client(), setting) as pair:
        pair.fault(R(Tag.CLIENT_IDENT))
        pair.send_both()
        pair.peer_connect()
        pair.expect("cl A(1,1,0,0)", "est A(1,1,0,1)")


@pytest.mark.contract("I13")
def test_lossless_establishing(setting: Setting) -> None:
    with Pair(Policy.stateful_server(), Policy.lossless_client(), setting) as pair:
        pair.fault(W(Tag.SERVER_IDENT))
        pair.send_both()
        pair.peer_connect()
        pair.expect("est A(1,1,0,2)", "rep A(1,1,0,0)")


@pytest.mark.contract("I14")
@at("place", [W(Tag.MESSAGE), R(Tag.MESSAGE)], ids=str)
def test_lossless_accepted(place: Breakpoint, setting: Setting) -> None:
    with Pair(Policy.stateful_server(), Policy.lossless_client(), setting) as pair:
        pair.fault(place)
        pair.send_both()
        pair.peer_connect()
        pair.expect("est A(1,1,0,2)", "rep A(1,.,.,0)")


@pytest.mark.contract("I15")
@at(
    ("place", "first", "second"),
    [
        (R(Tag.SESSION_RECONNECT), "est A(1,1,0,2)", "cl A(1,0,1,0)"),
        (W(Tag.SESSION_RECONNECT_OK), "est A(1,1,0,3)", "rep A(1,0,1,0)"),
    ],
    ids=str,
)
def test_lossless_reaccept(place: Breakpoint, first: str, second: str, setting: Setting) -> None:
    with Pair(Policy.stateful_server(), Policy.lossless_client(), setting) as pair:
        pair.fault(R(Tag.MESSAGE), place)
        pair.send_both()
        pair.peer_connect()
        pair.expect(first, second, "rep A(1,0,1,0)")


# ---- lossless peers ----


@pytest.mark.contract("I16")
@at("place", [W(Tag.CLIENT_IDENT), R(Tag.SERVER_IDENT)], ids=str)
def test_peer_connect(place: Breakpoint, setting: Setting) -> None:
    with Pair(Policy.lossless_peer(), Policy.lossless_peer(), setting) as pair:
        pair.fault(place)
        pair.test.send()
        pair.connect()
        pair.expect("est C(2,2,0,1)")


@pytest.mark.contract("I17")
def test_peer_accept(setting: Setting) -> None:
    with Pair(Policy.lossless_peer(), Policy.lossless_peer(), setting) as pair:
        pair.fault(R(Tag.CLIENT_IDENT))
        pair.peer.send()
        pair.peer_connect()
        pair.expect("cl A(1,1,0,0)", "est A(1,1,0,1)")


@pytest.mark.contract("I18")
def test_peer_establishing(setting: Setting) -> None:
    with Pair(Policy.lossless_peer(), Policy.lossless_peer(), setting) as pair:
        pair.fault(W(Tag.SERVER_IDENT))
        pair.peer.send()
        pair.peer_connect()
        pair.expect("est A(1,1,0,2)", "rep A(1,1,0,0)")


@pytest.mark.contract("I19")
def test_peer_fault_and_we_reconnect(setting: Setting) -> None:
    with Pair(Policy.lossless_peer(), Policy.lossless_peer(), setting) as pair:
        pair.fault(W(Tag.MESSAGE))
        pair.test.send()
        pair.connect()
        pair.expect("est C(2,1,1,2)")


@pytest.mark.contract("I20")
def test_peer_fault_and_they_reconnect(setting: Setting) -> None:
    with Pair(Policy.lossless_peer(), Policy.lossless_peer(), setting) as pair:
        pair.fault(R(Tag.MESSAGE))
        pair.peer.send()
        pair.connect()
        pair.expect("est C(1,1,0,1) A(0,0,0,1)", "rep A(1,0,1,0)")
