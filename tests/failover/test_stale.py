"""Sockets that one side thinks gone and the other does not: the rows I27 to I31."""

from __future__ import annotations

import pytest

from ceph_msgr import Policy
from ceph_msgr.testing import Tag
from tests.failover.pair import Pair, Setting
from tests.failover.places import R, W


@pytest.mark.contract("I27")
def test_stale_connect(setting: Setting) -> None:
    with Pair(Policy.lossless_peer(), Policy.lossless_peer(), setting) as pair:
        pair.stall(R(Tag.SERVER_IDENT))
        pair.connect()
        pair.wait_blocked()
        pair.peer.send()
        pair.wait_replaced(1)
        pair.release()
        pair.expect("est C(1,1,0,0) A(0,0,0,1)", "rep A(1,1,1,0)")


@pytest.mark.contract("I28")
def test_stale_reconnect(setting: Setting) -> None:
    with Pair(Policy.lossless_peer(), Policy.lossless_peer(), setting) as pair:
        pair.fault(W(Tag.MESSAGE))
        pair.stall(R(Tag.SESSION_RECONNECT_OK))
        pair.test.send()
        pair.connect()
        pair.wait_blocked()
        pair.peer.send()
        pair.wait_replaced(1)
        pair.release()
        pair.expect("est C(2,1,1,1) A(0,0,0,1)", "rep A(1,0,1,0)")


@pytest.mark.contract("I29")
def test_stale_accept(setting: Setting) -> None:
    with Pair(Policy.lossless_peer(), Policy.lossless_peer(), setting) as pair:
        pair.stall(R(Tag.CLIENT_IDENT))
        pair.peer.send()
        pair.peer_connect()
        pair.wait_blocked()
        pair.wait_established(1)
        pair.release()
        pair.expect("cl A(1,1,0,0)", "est A(1,1,0,1)")


@pytest.mark.contract("I30")
def test_stale_establishing(setting: Setting) -> None:
    with Pair(Policy.lossless_peer(), Policy.lossless_peer(), setting) as pair:
        pair.stall(W(Tag.SERVER_IDENT))
        pair.peer.send()
        pair.peer_connect()
        pair.wait_replaced(1)
        pair.release()
        pair.expect("est A(1,1,0,2)", "rep A(1,.,.,0)")


@pytest.mark.contract("I31")
def test_stale_reaccept(setting: Setting) -> None:
    with Pair(Policy.lossless_peer(), Policy.lossless_peer(), setting) as pair:
        pair.fault(R(Tag.MESSAGE))
        pair.stall(W(Tag.SESSION_RECONNECT_OK))
        pair.peer.send()
        pair.peer_connect()
        pair.wait_replaced(2)
        pair.release()
        pair.expect("est A(1,1,0,3)", "rep A(1,0,1,0)", "rep A(1,0,>=1,0)")
