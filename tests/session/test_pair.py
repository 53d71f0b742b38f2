"""Two machines on a fake wire: handshakes, lost links, races, take-overs.

Result notation of the contract's failover suite: C(dials, idents sent, reconnects sent, connects), A(idents read, reconnects
read, accepts), R(resets, remote resets).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from ceph_msgr.config import Config
from ceph_msgr.policy import Policy
from ceph_msgr.protocol.actions import ArmTimer, Notice
from ceph_msgr.protocol.events import SocketLost, TakeOverRequested, Timer
from ceph_msgr.protocol.states import State
from ceph_msgr.protocol.tags import Tag
from tests.session.simulation import Connection, Cut, End, Messenger, World

CONNECTED = [Notice.CONNECT, Notice.FAST_CONNECT]
ACCEPTED = [Notice.ACCEPT, Notice.FAST_ACCEPT]

CLIENT = "any:-:0/7"
LOW, HIGH = "v2:10.0.0.1:6800/1", "v2:10.0.0.2:6800/2"


def counts(connection: Connection) -> str:
    """``C(2,2,0,1) A(0,0,0) R(0,0)``."""
    sent, received, notices = connection.frames_sent, connection.frames_received, connection.notices
    c = connection.dials, sent.count(Tag.CLIENT_IDENT), sent.count(Tag.SESSION_RECONNECT), notices.count(Notice.CONNECT)
    a = received.count(Tag.CLIENT_IDENT), received.count(Tag.SESSION_RECONNECT), notices.count(Notice.ACCEPT)
    r = notices.count(Notice.RESET), notices.count(Notice.REMOTE_RESET)
    return f"C({','.join(map(str, c))}) A({','.join(map(str, a))}) R({','.join(map(str, r))})"


@dataclass
class Pair:
    """A dialler, a listener, and the connection between them as the dialler knows it."""

    world: World
    dialler: Messenger
    listener: Messenger
    connection: Connection

    @property
    def accepted(self) -> list[Connection]:
        return self.listener.connections


def make_pair(
    dialler_policy: Policy,
    listener_policy: Policy,
    *,
    dialler_addr: str = CLIENT,
    listener_addr: str = LOW,
    chunk_bytes: int | None = None,
    config: Config | None = None,
) -> Pair:
    world = World(chunk_bytes=chunk_bytes)
    name = "client.-1" if dialler_addr == CLIENT else "osd.1"
    dialler = world.messenger(name, dialler_addr, policy=dialler_policy, config=config)
    listener = world.messenger("osd.0", listener_addr, policy=listener_policy, config=config)
    return Pair(world, dialler, listener, dialler.connect_to(listener))


def cut_once(tag: int, how: str, *, nth: int = 1, by_dialler: bool) -> Callable[[End, int], str]:
    """Breaks the link when the dialling (or accepting) side writes this tag for the nth time, 0 being the banner."""
    seen = 0

    def cut(end: End, written: int) -> str:
        nonlocal seen
        # The dialling end is the one whose address is an ephemeral port.
        if written != tag or (end.addr.port >= 40000) != by_dialler:
            return Cut.NO
        seen += 1
        return how if seen == nth else Cut.NO

    return cut


# ---- one handshake ----


@pytest.mark.parametrize("chunk_bytes", [None, 1, 7])
def test_a_dial_reaches_ready_on_both_sides(chunk_bytes: int | None) -> None:
    pair = make_pair(Policy.lossy_client(), Policy.stateless_server(), chunk_bytes=chunk_bytes)
    pair.connection.send("hello")
    pair.world.run()
    (accepted,) = pair.accepted
    assert pair.connection.session.state is accepted.session.state is State.READY
    assert pair.connection.notices == CONNECTED
    assert accepted.notices == ACCEPTED
    assert accepted.queue.received == ["hello"]


def test_both_sides_know_each_other_after_the_handshake() -> None:
    pair = make_pair(Policy.lossy_client(), Policy.stateless_server())
    pair.world.run()
    (accepted,) = pair.accepted
    assert pair.connection.peer and accepted.peer and accepted.policy
    assert str(pair.connection.peer.name) == "osd.0"
    assert pair.connection.peer.addrs == pair.listener.addrs
    assert str(accepted.peer.name) == "client.-1"
    assert str(accepted.peer.auth_name) == "client.admin"
    assert str(accepted.policy.peer_type) == "client"
    # Learned from the server's HELLO, still not dialable.
    assert str(pair.dialler.addrs) == "any:10.0.0.99:0/7"
    assert accepted.peer.addrs == pair.dialler.addrs


def test_a_lossless_client_of_a_lossy_server_becomes_lossy() -> None:
    pair = make_pair(Policy.lossless_client(), Policy.stateless_server())
    pair.world.run()
    assert pair.connection.session.is_lossy
    pair.world.break_link()
    pair.world.run()
    assert pair.connection.session.is_closed
    assert pair.connection.notices == [*CONNECTED, Notice.RESET]


def test_a_lossy_client_of_a_lossless_server_becomes_lossless() -> None:
    pair = make_pair(Policy.lossy_client(), Policy.stateful_server())
    pair.world.run()
    assert not pair.connection.session.is_lossy
    pair.world.break_link()
    pair.world.run()
    assert pair.connection.session.state is State.READY
    assert counts(pair.connection) == "C(2,1,1,2) A(0,0,0) R(0,0)"


# ---- nothing lost, doubled or reordered ----

PAIRS = {
    "lossless client of a stateful server": (Policy.lossless_client(), Policy.stateful_server(), CLIENT, LOW),
    "lossy client of a stateful server": (Policy.lossy_client(), Policy.stateful_server(), CLIENT, LOW),
    "peers, the lower one dials": (Policy.lossless_peer(), Policy.lossless_peer(), LOW, HIGH),
    "peers, the higher one dials": (Policy.lossless_peer(), Policy.lossless_peer(), HIGH, LOW),
    "reusing peers": (Policy.lossless_peer_reuse(), Policy.lossless_peer_reuse(), LOW, HIGH),
}

#: Banner, HELLO, AUTH, SIGNATURE, IDENT, two messages, acks: what either side writes on the first link, and some more.
UNITS = range(14)


@pytest.mark.contract("H1")
@pytest.mark.parametrize("how", [Cut.BEFORE, Cut.AFTER])
@pytest.mark.parametrize("by_dialler", [True, False], ids=["dialler", "listener"])
@pytest.mark.parametrize("policies", PAIRS)
def test_a_lossless_session_survives_a_cut_at_every_unit(policies: str, by_dialler: bool, how: str) -> None:
    """Both send two messages, the link is cut at the nth unit one side writes, both send one more."""
    dialler_policy, listener_policy, dialler_addr, listener_addr = PAIRS[policies]
    cuts_done = 0
    for nth in UNITS:
        pair = make_pair(dialler_policy, listener_policy, dialler_addr=dialler_addr, listener_addr=listener_addr)
        links_cut = 0

        def cut(end: End, tag: int, nth: int = nth) -> str:
            nonlocal links_cut
            if links_cut == 0 and (end.addr.port >= 40000) == by_dialler and end.units_sent == nth:
                links_cut += 1
                return how
            return Cut.NO

        pair.world.cut = cut
        connection = pair.connection

        def answer(accepted: Connection) -> None:
            accepted.send("c")
            accepted.send("d")

        connection.send("a")
        connection.send("b")
        answered: list[Connection] = []
        for _ in range(40):
            pair.world.advance(1.0)
            # READY, or already resting again because nobody had anything more to say.
            sessions = [c for c in pair.accepted if c.peer and not c.session.is_closed]
            if sessions and not answered:
                answer(sessions[0])
                answered.append(sessions[0])
        connection.send("e")
        pair.world.advance(40.0)

        cuts_done += links_cut
        server = answered[0]
        where = f"unit {nth}"
        assert server.queue.received == ["a", "b", "e"], where
        assert connection.queue.received == ["c", "d"], where
        assert not connection.has_queued(), where
        assert not server.has_queued(), where
        # At rest only where the policy allows it.
        resting = {State.STANDBY, State.READY} if dialler_policy.standby else {State.READY}
        assert {connection.session.state, server.session.state} <= resting, where
        assert Notice.REMOTE_RESET not in connection.notices + server.notices, where
        # One session at either side; whatever else was accepted is gone.
        others = [c for c in pair.accepted if c is not server]
        assert all(c.session.is_closed and not c.notices for c in others), where
    assert cuts_done >= 7, "most of these units were never written"


@pytest.mark.contract("I1")
@pytest.mark.parametrize(
    ("tag", "by_dialler"),
    [
        (0, True),
        (0, False),
        (Tag.HELLO, True),
        (Tag.HELLO, False),
        (Tag.AUTH_REQUEST, True),
        (Tag.AUTH_DONE, False),
        (Tag.AUTH_SIGNATURE, True),
        (Tag.AUTH_SIGNATURE, False),
    ],
)
def test_a_lossy_client_that_fails_early_dials_again(tag: int, by_dialler: bool) -> None:
    pair = make_pair(Policy.lossy_client(), Policy.stateless_server())
    pair.world.cut = cut_once(tag, Cut.BEFORE, by_dialler=by_dialler)
    pair.connection.send("m")
    pair.world.advance(1.0)
    assert counts(pair.connection) == "C(2,1,0,1) A(0,0,0) R(0,0)"
    first, second = pair.accepted
    assert first.session.is_closed
    assert counts(first) == "C(0,0,0,0) A(0,0,0) R(0,0)"
    assert counts(second) == "C(0,0,0,0) A(1,0,1) R(0,0)"


@pytest.mark.contract("I2", "I6")
def test_a_lossy_client_that_misses_the_server_ident_dials_again() -> None:
    pair = make_pair(Policy.lossy_client(), Policy.stateless_server())
    pair.world.cut = cut_once(Tag.SERVER_IDENT, Cut.BEFORE, by_dialler=False)
    pair.world.advance(1.0)
    assert counts(pair.connection) == "C(2,2,0,1) A(0,0,0) R(0,0)"
    assert [counts(c) for c in pair.accepted] == ["C(0,0,0,0) A(1,0,1) R(1,0)", "C(0,0,0,0) A(1,0,1) R(0,0)"]


@pytest.mark.contract("I3", "I7")
def test_a_lossy_session_ends_with_its_link() -> None:
    pair = make_pair(Policy.lossy_client(), Policy.stateless_server())
    pair.world.cut = cut_once(Tag.MESSAGE, Cut.BEFORE, by_dialler=True)
    pair.connection.send("m")
    pair.world.advance(1.0)
    assert pair.connection.session.is_closed
    assert counts(pair.connection) == "C(1,1,0,1) A(0,0,0) R(1,0)"
    assert counts(pair.accepted[0]) == "C(0,0,0,0) A(1,0,1) R(1,0)"


@pytest.mark.contract("I5", "I12", "I17")
@pytest.mark.parametrize("listener_policy", [Policy.stateless_server(), Policy.stateful_server(), Policy.lossless_peer()])
def test_an_accepted_socket_that_fails_before_its_ident_is_forgotten(listener_policy: Policy) -> None:
    pair = make_pair(Policy.lossless_client(), listener_policy)
    pair.world.cut = cut_once(Tag.CLIENT_IDENT, Cut.BEFORE, by_dialler=True)
    pair.connection.send("m")
    pair.world.advance(1.0)
    first, second = pair.accepted
    assert first.session.is_closed
    assert counts(first) == "C(0,0,0,0) A(0,0,0) R(0,0)"
    assert counts(second) == "C(0,0,0,0) A(1,0,1) R(0,0)"


@pytest.mark.contract("I8")
def test_a_lossless_client_that_misses_the_server_ident_identifies_itself_again() -> None:
    pair = make_pair(Policy.lossless_client(), Policy.stateful_server())
    pair.world.cut = cut_once(Tag.SERVER_IDENT, Cut.BEFORE, by_dialler=False)
    pair.connection.send("m")
    pair.world.advance(1.0)
    assert counts(pair.connection) == "C(2,2,0,1) A(0,0,0) R(0,0)"


@pytest.mark.contract("I9", "I14")
def test_a_broken_lossless_session_reconnects_at_once() -> None:
    pair = make_pair(Policy.lossless_client(), Policy.stateful_server())
    pair.world.cut = cut_once(Tag.MESSAGE, Cut.BEFORE, by_dialler=True)
    pair.connection.send("m")
    pair.world.run()
    assert counts(pair.connection) == "C(2,1,1,2) A(0,0,0) R(0,0)"
    session, vehicle = pair.accepted
    assert session.session.is_ready
    assert counts(session) == "C(0,0,0,0) A(1,0,2) R(0,0)"
    assert vehicle.session.is_closed
    assert counts(vehicle) == "C(0,0,0,0) A(0,1,0) R(0,0)"
    assert session.queue.received == ["m"]


@pytest.mark.contract("I11")
@pytest.mark.parametrize(("tag", "by_dialler"), [(Tag.SESSION_RECONNECT, True), (Tag.SESSION_RECONNECT_OK, False)])
def test_a_reconnect_that_fails_is_tried_again(tag: Tag, by_dialler: bool) -> None:
    pair = make_pair(Policy.lossless_client(), Policy.stateful_server())
    first = cut_once(Tag.MESSAGE, Cut.BEFORE, by_dialler=True)
    second = cut_once(tag, Cut.BEFORE, by_dialler=by_dialler)
    pair.world.cut = lambda end, written: first(end, written) if written == Tag.MESSAGE else second(end, written)
    pair.connection.send("m")
    pair.world.advance(1.0)
    assert counts(pair.connection) == "C(3,1,2,2) A(0,0,0) R(0,0)"
    assert pair.connection.session.connect_seq == 2
    assert pair.accepted[0].queue.received == ["m"]


@pytest.mark.contract("I13", "I18")
@pytest.mark.parametrize("listener_policy", [Policy.stateful_server(), Policy.lossless_peer()])
def test_a_session_whose_server_ident_is_lost_lives_on_at_the_acceptor(listener_policy: Policy) -> None:
    pair = make_pair(Policy.lossless_client(), listener_policy)
    pair.world.cut = cut_once(Tag.SERVER_IDENT, Cut.BEFORE, by_dialler=False)
    pair.connection.send("m")
    pair.world.advance(1.0)
    session, vehicle = pair.accepted
    assert session.session.is_ready
    assert counts(session) == "C(0,0,0,0) A(1,0,2) R(0,0)"
    assert vehicle.session.is_closed
    assert counts(vehicle) == "C(0,0,0,0) A(1,0,0) R(0,0)"


@pytest.mark.contract("I20")
def test_the_acceptor_may_be_the_one_that_comes_back() -> None:
    """A receives a message badly and rests, for it has nothing to say; B dials, and A's connector gets an accept."""
    pair = make_pair(Policy.lossless_peer(), Policy.lossless_peer(), dialler_addr=LOW, listener_addr=HIGH)
    pair.world.run()
    (theirs,) = pair.accepted
    pair.world.cut = cut_once(Tag.MESSAGE, Cut.BEFORE, by_dialler=False)
    theirs.send("back")
    pair.world.run()
    assert counts(pair.connection) == "C(1,1,0,1) A(0,0,1) R(0,0)"
    assert pair.connection.queue.received == ["back"]
    # It reconnected with the cookies of the CLIENT_IDENT, by role and not by who dials.
    assert counts(theirs) == "C(1,0,1,1) A(1,0,1) R(0,0)"


@pytest.mark.contract("A4")
def test_an_acceptor_that_was_never_acknowledged_dials_back() -> None:
    """The client rests without a word; the server has a message, dials, and is told to identify itself anew."""
    pair = make_pair(Policy.lossless_peer(), Policy.lossless_peer(), dialler_addr=LOW, listener_addr=HIGH)
    pair.world.cut = cut_once(Tag.SERVER_IDENT, Cut.BEFORE, by_dialler=False)
    pair.world.run()
    (theirs,) = pair.accepted
    assert pair.connection.session.state is State.STANDBY
    assert theirs.session.state is State.STANDBY
    theirs.send("m")
    pair.world.run()
    assert theirs.frames_received[-1] is Tag.SERVER_IDENT
    assert Tag.SESSION_RESET in theirs.frames_received
    assert Notice.REMOTE_RESET not in theirs.notices
    assert pair.connection.queue.received == ["m"]
    assert pair.connection.session.is_ready
    assert theirs.session.is_ready


@pytest.mark.contract("A3")
def test_a_message_queued_before_a_lost_server_ident_arrives_once() -> None:
    pair = make_pair(Policy.lossy_client(), Policy.stateful_server())
    pair.world.cut = cut_once(Tag.SERVER_IDENT, Cut.BEFORE, by_dialler=False)
    pair.connection.send("to the server")
    greeted: list[Connection] = []

    def greet(notice: Notice) -> None:
        if notice is Notice.ACCEPT and not greeted:
            greeted.append(pair.accepted[0])
            greeted[0].send("to the client")

    make_accepted, accept = pair.listener.accept, pair.accepted

    def accept_and_listen(end: End) -> Connection:
        connection = make_accepted(end)
        connection.on_notice = greet
        return connection

    pair.listener.accept = accept_and_listen  # type: ignore[method-assign]
    pair.world.advance(1.0)
    assert accept[0].session.is_ready
    assert pair.connection.queue.received == ["to the client"]
    assert accept[0].queue.received == ["to the server"]


# ---- races ----


@pytest.mark.contract("A1")
@pytest.mark.parametrize("chunk_bytes", [None, 1])
def test_of_two_crossing_dials_the_lower_address_survives(chunk_bytes: int | None) -> None:
    world = World(chunk_bytes=chunk_bytes)
    policy = Policy.lossless_peer_reuse()
    low = world.messenger("osd.0", LOW, policy=policy)
    high = world.messenger("osd.1", HIGH, policy=policy)
    down, up = low.connect_to(high), high.connect_to(low)
    down.send("from low")
    up.send("from high")
    world.advance(20.0)
    assert up.queue.received == ["from low"]
    assert down.queue.received == ["from high"]
    assert down.session.is_ready
    assert up.session.is_ready
    # Each is the session of the other, and every vehicle is gone unseen.
    for messenger, connection in ((low, down), (high, up)):
        assert [c for c in messenger.connections if not c.session.is_closed] == [connection]
        assert all(not c.notices for c in messenger.connections if c is not connection)
        assert Notice.RESET not in connection.notices
        assert Notice.REMOTE_RESET not in connection.notices
    # Low's dial is the one that stands.
    assert low.connections[0].frames_received.count(Tag.SERVER_IDENT) == 1


def peers_at_rest() -> tuple[World, Connection, Connection]:
    """Both have lost the link between them and have nothing to say: low's connection, and high's."""
    world = World()
    low = world.messenger("osd.0", LOW, policy=Policy.lossless_peer())
    high = world.messenger("osd.1", HIGH, policy=Policy.lossless_peer())
    down = low.connect_to(high)
    world.run()
    up = high.connections[0]
    world.break_link()
    world.run()
    assert down.session.state is up.session.state is State.STANDBY
    return world, down, up


@pytest.mark.contract("A6", "I23", "I24")
@pytest.mark.parametrize("first", ["low", "high"])
def test_of_two_crossing_reconnects_the_lower_address_survives(first: str) -> None:
    world, down, up = peers_at_rest()
    one, other = (down, up) if first == "low" else (up, down)
    one.send("x")
    other.send("y")
    world.advance(20.0)
    assert one.queue.received == ["y"]
    assert other.queue.received == ["x"]
    assert down.session.is_ready
    assert up.session.is_ready
    assert not [c.notices for c in down.messenger.connections + up.messenger.connections if c not in (down, up) and c.notices]


@pytest.mark.contract("A6", "J16")
@pytest.mark.parametrize("ahead", ["low", "high"])
def test_crossing_reconnects_come_to_an_end_though_questions_are_slow(ahead: str) -> None:
    """A question is always on its way while the other side's is answered: with RETRY only, each side's connect_seq would
    overtake the other's for ever. Simulator, seed 6000984."""
    world, down, up = peers_at_rest()
    # One dial more of this side's has failed.
    (down if ahead == "low" else up).session.connect_seq = 1
    # Answers at once; of two questions the one that has been asked less often.
    world.order = lambda end: -1 if end in world.links else end.peer.units_sent - len(end.inbox)
    down.send("from low")
    up.send("from high")
    world.advance(20.0)
    assert up.queue.received == ["from low"]
    assert down.queue.received == ["from high"]
    assert down.session.is_ready
    assert up.session.is_ready


@pytest.mark.contract("A2", "I22")
@pytest.mark.parametrize(
    "stage",
    [
        State.CONNECTING,
        State.BANNER_CONNECTING,
        State.HELLO_CONNECTING,
        State.AUTH_CONNECTING,
        State.AUTH_CONNECTING_SIGN,
        State.SESSION_CONNECTING,
    ],
    ids=str,
)
def test_a_peer_may_take_over_a_dial_in_every_state(stage: State) -> None:
    """High dials and is stopped in each dialling state; low, whose dial wins, dials meanwhile."""
    world = World()
    low = world.messenger("osd.0", LOW, policy=Policy.lossless_peer())
    high = world.messenger("osd.1", HIGH, policy=Policy.lossless_peer())
    up = high.connect_to(low)
    up.send("from high")
    while up.session.state is not stage:
        step(world)
    # Nothing reaches high's dial any more: the other side is silent.
    silence(world)
    down = low.connect_to(high)
    down.send("from low")
    world.advance(5.0)
    assert up.session.is_ready
    assert up.queue.received == ["from low"]
    assert down.queue.received == ["from high"]
    assert up.notices == ACCEPTED


def step(world: World) -> None:
    """One thing happens."""
    if world._posts:
        world._posts.popleft()()
    else:
        assert world._deliver(), "nothing happens any more"


def silence(world: World) -> None:
    """What is on the wire now never arrives, and dials under way hang."""
    for near in world.links:
        for end in (near, near.peer):
            end.inbox.clear()
            end.peer.write = lambda unit, tag: True  # type: ignore[method-assign]
    world._pending_dials.clear()


# ---- the peer restarted, or was marked down ----


@pytest.mark.contract("I34")
def test_a_lossless_client_learns_that_the_server_forgot_it() -> None:
    pair = make_pair(Policy.lossless_client(), Policy.stateful_server())
    pair.world.run()
    (accepted,) = pair.accepted
    accepted.mark_down()
    pair.world.run()
    assert accepted.notices == ACCEPTED
    assert counts(pair.connection) == "C(2,2,1,2) A(0,0,0) R(0,1)"
    assert pair.connection.notices == [*CONNECTED, Notice.REMOTE_RESET, *CONNECTED]


@pytest.mark.contract("A14", "I36", "I38")
@pytest.mark.parametrize("policy", [Policy.lossless_peer(), Policy.lossless_peer_reuse()])
def test_what_woke_a_forgotten_session_is_lost_with_it(policy: Policy) -> None:
    pair = make_pair(policy, policy, dialler_addr=LOW, listener_addr=HIGH)
    pair.world.run()
    pair.accepted[0].mark_down()
    pair.world.run()
    assert pair.connection.session.state is State.STANDBY
    pair.connection.send("lost")
    pair.world.run()
    assert counts(pair.connection) == "C(2,2,1,2) A(0,0,0) R(0,1)"
    pair.connection.send("arrives")
    pair.world.run()
    assert pair.accepted[-1].queue.received == ["arrives"]


@pytest.mark.contract("I35", "I37", "I39")
@pytest.mark.parametrize(
    ("dialler_policy", "listener_policy", "result"),
    [
        (Policy.lossless_client(), Policy.stateful_server(), "C(0,0,0,0) A(1,0,2) R(0,1)"),
        (Policy.lossless_peer_reuse(), Policy.lossless_peer_reuse(), "C(0,0,0,0) A(1,0,2) R(0,1)"),
        (Policy.lossless_peer(), Policy.lossless_peer(), "C(0,0,0,0) A(1,0,2) R(0,0)"),
    ],
)
def test_a_dialler_that_restarted_takes_over_its_old_session(
    dialler_policy: Policy, listener_policy: Policy, result: str
) -> None:
    pair = make_pair(dialler_policy, listener_policy, dialler_addr=LOW, listener_addr=HIGH)
    pair.world.run()
    pair.connection.mark_down()
    again = pair.dialler.connect_to(pair.listener)
    again.send("anew")
    pair.world.run()
    session, vehicle = pair.accepted
    assert counts(session) == result
    assert counts(vehicle) == "C(0,0,0,0) A(1,0,0) R(0,0)"
    assert session.queue.received == ["anew"]
    assert pair.connection.notices == CONNECTED


@pytest.mark.parametrize("resetcheck", [True, False])
def test_what_was_queued_for_a_restarted_peer_is_kept_without_resetcheck(resetcheck: bool) -> None:
    policy = Policy.lossless_peer().replace(resetcheck=resetcheck)
    pair = make_pair(policy, policy, dialler_addr=LOW, listener_addr=HIGH)
    pair.world.run()
    (accepted,) = pair.accepted
    pair.connection.mark_down()
    pair.world.unreachable[pair.dialler.addrs[0]] = None
    accepted.send("old")
    pair.world.run()
    again = pair.dialler.connect_to(pair.listener)
    pair.world.run()
    assert again.queue.received == ([] if resetcheck else ["old"])
    # Without resetcheck the count of reconnects survives, and the next reconnect is told so.
    assert accepted.session.connect_seq == (0 if resetcheck else 1)
    pair.world.break_link()
    again.send("new")
    pair.world.run()
    assert accepted.queue.received == ["new"]


def test_a_registered_lossy_session_gives_way_to_a_new_one() -> None:
    pair = make_pair(Policy.lossy_client(), Policy.stateless_registered_server())
    pair.world.run()
    silence(pair.world)
    pair.connection.mark_down()
    again = pair.dialler.connect_to(pair.listener)
    pair.world.run()
    old, new = pair.accepted
    assert old.notices == [*ACCEPTED, Notice.RESET]
    assert new.session.is_ready
    assert again.session.is_ready
    assert pair.listener.table[pair.dialler.addrs] is new


def test_an_unregistered_server_takes_any_number_of_sessions_from_one_address() -> None:
    pair = make_pair(Policy.lossy_client(), Policy.stateless_server())
    second = pair.dialler.connect_to(pair.listener)
    pair.world.run()
    assert [c.session.state for c in pair.accepted] == [State.READY, State.READY]
    assert pair.connection.session.is_ready
    assert second.session.is_ready


# ---- the peer is silent, or gone ----


@pytest.mark.contract("H6")
def test_a_silent_host_is_given_up_after_ten_seconds() -> None:
    pair = make_pair(Policy.lossy_client(), Policy.stateless_server())
    pair.world.unreachable[pair.listener.addrs[0]] = None
    pair.world.advance(9.9)
    assert pair.connection.session.state is State.CONNECTING
    pair.world.advance(0.2)
    assert pair.connection.session.state is State.BACKOFF
    assert "not READY in time" in str(pair.connection.session.last_error)


@pytest.mark.contract("H6", "H2")
def test_an_accepted_socket_that_says_nothing_is_closed_after_ten_seconds() -> None:
    world = World()
    server = world.messenger("osd.0", LOW, policy=Policy.stateless_server())
    end = world.link("10.0.0.77")
    accepted = server.accept(end.peer)
    world.advance(9.9)
    assert accepted.session.state is State.BANNER_ACCEPTING
    world.advance(0.2)
    assert accepted.session.is_closed
    assert end.peer.is_broken
    assert accepted.notices == []


@pytest.mark.contract("H6")
def test_each_refused_dial_is_told_and_the_pauses_double() -> None:
    pair = make_pair(Policy.lossless_client(), Policy.stateful_server())
    pair.world.unreachable[pair.listener.addrs[0]] = ConnectionRefusedError("refused")
    pair.world.advance(120.0)
    pauses = [a.delay_ns / 1e9 for a in pair.connection.actions if isinstance(a, ArmTimer) and a.timer is Timer.BACKOFF]
    assert pauses[:9] == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 15.0, 15.0]
    assert pair.connection.notices.count(Notice.REFUSED) == pair.connection.dials >= 9
    del pair.world.unreachable[pair.listener.addrs[0]]
    pair.world.advance(16.0)
    assert pair.connection.session.is_ready


# ---- marking down while a take-over is under way ----


def test_marking_down_the_existing_session_wins_over_a_take_over() -> None:
    pair = make_pair(Policy.lossless_peer(), Policy.lossless_peer(), dialler_addr=LOW, listener_addr=HIGH)
    pair.world.run()
    (existing,) = pair.accepted
    pair.world.break_link()
    pair.connection.send("m")
    while existing.session.state is not State.REPLACING:
        step(pair.world)
    existing.mark_down()
    pair.world.run()
    vehicle = pair.accepted[1]
    assert existing.session.is_closed
    assert vehicle.session.is_closed
    # The dialler comes back, and is a stranger.
    pair.world.advance(1.0)
    assert counts(pair.connection).endswith("R(0,1)")
    assert pair.accepted[-1].session.is_ready


def test_a_newcomer_that_breaks_on_the_way_leaves_the_existing_session_intact() -> None:
    pair = make_pair(Policy.lossless_client(), Policy.stateful_server())
    pair.world.run()
    (existing,) = pair.accepted
    pair.world.break_link()
    pair.connection.send("m")
    while existing.session.state is not State.REPLACING:
        step(pair.world)
    vehicle = pair.accepted[1]
    vehicle.report(SocketLost(ConnectionResetError("broken")))
    pair.world.advance(1.0)
    assert vehicle.session.is_closed
    assert existing.session.is_ready
    assert existing.queue.received == ["m"]


def test_a_take_over_that_comes_too_late_is_judged_by_the_existing_session() -> None:
    """Between the newcomer's look and its request the existing session was marked down: the newcomer is the session."""
    pair = make_pair(Policy.lossless_peer(), Policy.lossless_peer(), dialler_addr=LOW, listener_addr=HIGH)
    pair.world.run()
    (existing,) = pair.accepted
    pair.connection.mark_down()
    again = pair.dialler.connect_to(pair.listener)
    again.send("m")
    while len(pair.accepted) < 2 or pair.accepted[1].session.state is not State.HANDED_OVER:
        step(pair.world)
    existing.mark_down()
    pair.world.run()
    assert pair.accepted[1].session.is_ready
    assert pair.accepted[1].queue.received == ["m"]


def test_two_newcomers_for_one_session_are_served_one_after_the_other() -> None:
    pair = make_pair(Policy.lossless_client(), Policy.stateful_server())
    pair.world.run()
    (existing,) = pair.accepted
    pair.world.break_link()
    pair.connection.send("m")
    while existing.session.state is not State.REPLACING:
        step(pair.world)
    newcomer = pair.accepted[1]
    handoff = next(a.handoff for a in newcomer.actions if hasattr(a, "handoff"))
    refused = existing.session.handle(TakeOverRequested(handoff), pair.world.now_ns)
    assert [type(a).__name__ for a in refused] == ["RefuseTakeOver"]
    pair.world.run()
    assert existing.session.is_ready


def test_a_callback_may_mark_the_connection_down() -> None:
    pair = make_pair(Policy.lossless_client(), Policy.stateful_server())

    def mark_down(notice: Notice) -> None:
        if notice is Notice.FAST_CONNECT:
            pair.connection.mark_down()

    pair.connection.on_notice = mark_down
    pair.world.run()
    assert pair.connection.session.is_closed
    assert pair.connection.notices == CONNECTED
    assert pair.accepted[0].session.state is State.STANDBY
