"""Taking over a socket of another worker: what the old socket brought is dispatched before anything of the new one."""

from __future__ import annotations

import array
import fcntl
import termios
import threading
from typing import Any

import pytest

from ceph_msgr import Policy
from ceph_msgr.protocol.frames import SessionReconnectFrame
from ceph_msgr.protocol.states import State
from ceph_msgr.protocol.tags import Tag
from ceph_msgr.wire.addr import EntityAddr, EntityAddrVec
from tests.messenger.dispatchers import RAW_FAST
from tests.messenger.lab import Lab, Node
from tests.messenger.raw_peer import RawPeer, message_segments
from tests.session.reference_codec import assemble

_COOKIE = 77


def be_handed_over(
    lab: Lab, server: Node, old: RawPeer, new: RawPeer, server_cookie: int, *tids: int, global_seq: int = 2, newcomers: int = 1
) -> None:
    """``new`` reconnects the session of ``old``, and sends messages behind it; until the server's first worker must act, for so
    many newcomers."""
    own = EntityAddr.parse(f"any:127.0.0.1:0/{old.addr.port}")
    new.send_frame(SessionReconnectFrame(EntityAddrVec([own]), _COOKIE, server_cookie, global_seq, global_seq - 1, 0))
    for tid in tids:
        new.send_message(RAW_FAST, tid, tid=tid)

    def are_there() -> bool:
        states = [connection._protocol.state for connection in server.connections()]
        return states.count(State.HANDED_OVER) == newcomers

    lab.wait_until(are_there, "the hand-over")


def get_ready_to_reconnect(peer: RawPeer, addr: EntityAddr) -> None:
    peer.exchange_banners()
    peer.say_hello_to(addr)
    peer.log_in()
    peer.sign()


def send_unread(lab: Lab, peer: RawPeer, accepted: Any, *tids: int) -> None:
    """Messages that lie in the socket of a worker that stands still. Sent is not arrived: a busy kernel may deliver what comes
    over another socket first."""
    frames = b"".join(assemble(Tag.MESSAGE, message_segments(RAW_FAST, tid, tid=tid)) for tid in tids)
    peer.send(frames)
    unread = array.array("i", [0])

    def has_arrived() -> bool:
        fcntl.ioctl(accepted._stream.fd, termios.FIONREAD, unread)
        return unread[0] == len(frames)

    lab.wait_until(has_arrived, f"{len(frames)} bytes in the socket")


@pytest.mark.contract("H1")
@pytest.mark.parametrize("lab", [2], indirect=True)
def test_the_old_workers_batch_goes_first(lab: Lab) -> None:
    """Found by a synthetic run (seed 5000 and on): the take-over moved the session away from its worker while messages of the
    same turn were still to be dispatched there, so that later ones could overtake them on the other worker."""
    server = lab.server(Policy.stateful_server())
    addr = server.addrs[0]
    overtaken = threading.Event()

    def on_message(message: Any) -> None:
        if message.tid == 1:
            overtaken.wait(0.2)
        elif message.tid == 3:
            overtaken.set()

    server.seen.hooks["ms_fast_dispatch"] = on_message
    with RawPeer.dial(addr, lab.deadline) as old, RawPeer.dial(addr, lab.deadline) as new:
        ident = old.become_client(addr, cookie=_COOKIE)
        get_ready_to_reconnect(new, addr)
        with lab.stopped():
            send_unread(lab, old, server.seen.last_accepted, 1, 2)
            be_handed_over(lab, server, old, new, ident.cookie, 3)
        lab.wait_until(lambda: len(server.seen.messages) == 3, "three messages")
        assert [call.tid for call in server.seen.messages] == [1, 2, 3]
        threads = [call.thread for call in server.seen.messages]
        assert threads == ["msgr-worker-0", "msgr-worker-0", "msgr-worker-1"]


@pytest.mark.parametrize("lab", [2], indirect=True)
def test_a_mark_down_before_the_first_hop_refuses_the_newcomer(lab: Lab) -> None:
    server = lab.server(Policy.stateful_server())
    addr = server.addrs[0]
    with RawPeer.dial(addr, lab.deadline) as old, RawPeer.dial(addr, lab.deadline) as new:
        ident = old.become_client(addr, cookie=_COOKIE)
        accepted: Any = server.seen.last_accepted
        # The message is dispatched between the decision to take over and the first hop.
        server.seen.hooks["ms_fast_dispatch"] = lambda message: accepted.mark_down()
        get_ready_to_reconnect(new, addr)
        with lab.stopped():
            send_unread(lab, old, accepted, 1)
            be_handed_over(lab, server, old, new, ident.cookie)
        assert new.recv_raw_frame("an answer").tag == Tag.SESSION_RESET
        assert accepted.is_closed


@pytest.mark.contract("H5")
@pytest.mark.parametrize("lab", [3], indirect=True)
def test_each_of_two_newcomers_has_its_own_answer(lab: Lab) -> None:
    """The second asks before the first hop of the first: it is refused, and its socket stays its own. Found by all calls at
    random from eight threads."""
    server = lab.server(Policy.stateful_server())
    addr = server.addrs[0]
    with (
        RawPeer.dial(addr, lab.deadline) as old,
        RawPeer.dial(addr, lab.deadline) as first,
        RawPeer.dial(addr, lab.deadline) as second,
    ):
        ident = old.become_client(addr, cookie=_COOKIE)
        get_ready_to_reconnect(first, addr)
        get_ready_to_reconnect(second, addr)
        with lab.stopped():
            be_handed_over(lab, server, old, first, ident.cookie)
            be_handed_over(lab, server, old, second, ident.cookie, global_seq=3, newcomers=2)
        assert first.recv_raw_frame("an answer").tag == Tag.SESSION_RECONNECT_OK
        assert second.recv_raw_frame("an answer").tag == Tag.SESSION_RETRY_GLOBAL
        assert server.seen.last_accepted.is_connected
