"""Rows of the test contract about sessions that outlive their sockets: A3 to A6, A11, A14, A17."""

from __future__ import annotations

import random
import threading
import time
from typing import Any

import pytest

from ceph_msgr import Connection, Dispatcher, Message, Policy
from ceph_msgr.connection.gate import Answer, Breakpoint
from ceph_msgr.errors import ConnectionFault
from ceph_msgr.messages import MPing
from ceph_msgr.protocol.states import State
from ceph_msgr.protocol.tags import Tag
from tests.messenger.lab import LOOPBACK, Lab, Node


def steps(connection: Any, state: State) -> int:
    """How often the connection has entered a state."""
    return sum(step.new is state for step in connection._protocol.history)


def reasons(connection: Any, start: str) -> int:
    """How many of its changes of state were made for a reason that begins like this."""
    return sum(step.reason.startswith(start) for step in connection._protocol.history)


class Stopper:
    """Lets a connection pass all steps but one, the ``nth`` time it comes there; ``hit`` is set then."""

    def __init__(self, lab: Lab, breakpoint: Breakpoint, answer: Answer, *, nth: int = 1) -> None:
        self._lab, self._breakpoint, self._answer, self._nth = lab, breakpoint, answer, nth
        self._count = 0
        self.hit: Any = None

    def intercept(self, connection: Any, breakpoint: Breakpoint) -> Answer:
        self._count += breakpoint == self._breakpoint
        if breakpoint != self._breakpoint or self._count != self._nth:
            return Answer.CONTINUE
        self.hit = connection
        return self._answer

    def settled(self, connection: Any) -> None:
        """Not of interest: the lab looks again by itself."""

    def wait(self) -> Any:
        self._lab.wait_until(lambda: self.hit, f"{self._breakpoint} for the time number {self._nth}")
        return self.hit

    def release(self) -> None:
        self.hit.gate.release()


# ---- A3 and A4: the SERVER_IDENT gets lost ----


def lose_server_ident(lab: Lab, server: Node) -> None:
    """The first SERVER_IDENT of this server never leaves; a ping is queued behind it."""
    server.messenger.interceptor = Stopper(lab, Breakpoint.write(Tag.SERVER_IDENT), Answer.FAULT)

    def send_ping(connection: Connection) -> None:
        del server.seen.hooks["ms_handle_fast_accept"]
        connection.send_message(MPing())

    server.seen.hooks["ms_handle_fast_accept"] = send_ping


@pytest.mark.contract("A3")
def test_lost_server_ident_with_a_client_that_sends(lab: Lab) -> None:
    server = lab.server(Policy.stateful_server(), seen=lab.dispatcher())
    client = lab.client(Policy.lossy_client())
    lose_server_ident(lab, server)
    connection = client.connect(server)
    connection.send_message(MPing())
    lab.wait_until(lambda: server.seen.messages and client.seen.messages, "a ping at each side")
    accepted = {call.connection for call in server.seen.calls if call.name == "ms_handle_fast_accept"}
    assert accepted == {server.seen.last_accepted}, "the same connection was accepted twice"
    assert server.seen.count("ms_handle_fast_accept") == 2
    assert server.seen.last_accepted.is_connected
    assert connection.is_connected
    assert steps(connection, State.CONNECTING) == 2
    assert len(server.seen.messages) == len(client.seen.messages) == 1
    assert connection.priv.count == server.seen.last_accepted.priv.count == 1


@pytest.mark.contract("A4")
def test_lost_server_ident_with_a_client_that_is_silent(lab: Lab) -> None:
    server = lab.server(Policy.lossless_peer(), seen=lab.dispatcher())
    client = lab.client(Policy.lossless_peer(), bind=LOOPBACK)
    lose_server_ident(lab, server)
    connection = client.connect(server)
    lab.wait_until(lambda: client.seen.messages, "the server's ping")
    accepted = server.seen.last_accepted
    lab.wait_connected(connection, accepted)
    assert steps(connection, State.STANDBY) == 1, "nothing to send, so the client waits"
    assert steps(accepted, State.SESSION_RECONNECTING) == 1
    assert reasons(accepted, "the peer never finished the session") == 1
    assert steps(connection, State.REPLACING) == 1, "the server's dial took the client's connection over"
    assert connection.priv.count == 1
    assert accepted.priv.count == 0
    assert client.seen.count("ms_handle_remote_reset") == server.seen.count("ms_handle_remote_reset") == 0


# ---- A5 and A6: a message gets lost ----


@pytest.mark.contract("A5")
def test_reconnect_after_a_fault_at_the_reply(lab: Lab) -> None:
    server = lab.server(Policy.stateful_server())
    client = lab.client(Policy.lossless_peer(), bind=LOOPBACK)
    second_reply = Stopper(lab, Breakpoint.read(Tag.MESSAGE), Answer.FAULT, nth=2)
    client.messenger.interceptor = second_reply
    lab.connected_pair(server, client)
    connection, accepted = client.connect(server), server.seen.last_accepted
    connection.send_message(MPing(tid=2))
    assert second_reply.wait() is connection
    connection.send_message(MPing(tid=3))
    lab.wait_until(lambda: len(client.seen.messages) == 3, "both replies")

    assert [call.tid for call in client.seen.messages] == [0, 2, 3]
    assert [call.tid for call in server.seen.messages] == [0, 2, 3], "nothing twice"
    assert server.seen.last_accepted is accepted
    assert steps(connection, State.SESSION_RECONNECTING) == 1
    assert reasons(connection, "accepted SESSION_RECONNECT_OK") == 0
    assert steps(accepted, State.SESSION_RECONNECTING) == 0
    assert reasons(accepted, "accepted SESSION_RECONNECT_OK") == 1
    assert connection.priv.count == accepted.priv.count == 3
    # Queued callbacks, which may come after the messages.
    lab.wait_count(client, "ms_handle_connect", 2)
    lab.wait_count(server, "ms_handle_accept", 2)
    assert client.seen.count("ms_handle_connect") == server.seen.count("ms_handle_accept") == 2


@pytest.mark.contract("A6")
def test_both_sides_reconnect_at_once(lab: Lab) -> None:
    """Held right before both send SESSION_RECONNECT; then the dial of the smaller address survives."""
    server = lab.server(Policy.lossless_peer())
    client = lab.client(Policy.lossless_peer(), bind=LOOPBACK)
    held = {node: Stopper(lab, Breakpoint.write(Tag.SESSION_RECONNECT), Answer.BLOCK) for node in (server, client)}
    for node, stopper in held.items():
        node.messenger.interceptor = stopper
    lab.connected_pair(server, client)
    connection, accepted = client.connect(server), server.seen.last_accepted
    connections = {server: accepted, client: connection}

    def break_both() -> None:
        """In one turn of the worker they share: each sees its own fault, so both dial."""
        for tid, each in enumerate((connection, accepted), start=10):
            each.send_message(MPing(tid=tid))
            each.fault(ConnectionFault("the test breaks it", "injected"))

    lab.on_worker(connection, break_both)
    for node, stopper in held.items():
        assert stopper.wait() is connections[node]
    for stopper in held.values():
        stopper.release()
    lab.wait_until(lambda: len(server.seen.messages) >= 2 and len(client.seen.messages) >= 3, "pings and answers")
    lab.wait_connected(connection, accepted)
    assert [call.tid for call in server.seen.messages] == [0, 10]
    assert sorted(call.tid for call in client.seen.messages) == [0, 10, 11]
    winner, loser = sorted(connections, key=lambda node: node.addrs[0])
    assert reasons(connections[winner], "accepted SESSION_RECONNECT_OK") == 0
    assert reasons(connections[loser], "accepted SESSION_RECONNECT_OK") == 1
    assert 1 <= steps(connections[winner], State.SESSION_RECONNECTING) <= 2
    assert steps(connections[loser], State.SESSION_RECONNECTING) == 1
    retries = reasons(connections[winner], "the peer is at connect_seq")
    assert retries == steps(connections[winner], State.SESSION_RECONNECTING) - 1, "a second one only after a retry"


# ---- A11: StatefulTest ----


def stateful_pair(lab: Lab) -> tuple[Node, Node, Connection]:
    return lab.connected_pair(lab.server(Policy.stateful_server()), lab.client(Policy.lossless_client()))


@pytest.mark.contract("A11")
def test_stateful_server_keeps_the_session_of_a_client_that_marked_down(lab: Lab) -> None:
    server, client, connection = stateful_pair(lab)
    accepted = server.seen.last_accepted
    connection.mark_down()
    assert not connection.is_connected
    lab.wait_until(lambda: not accepted.is_connected, "the server to notice")
    assert server.messenger.lookup(client.addrs) is accepted
    assert accepted.priv.count == 1

    again = client.connect(server)
    assert again is not connection
    lab.round_trip(client, again)
    assert again.priv.count == 1
    lab.wait_count(server, "ms_handle_remote_reset")
    assert server.seen.last_accepted is accepted
    # Reset and ping come by different threads, so only their numbers are certain.
    lab.wait_count(server, "ms_handle_accept", 2)
    assert server.seen.names(accepted).index("ms_handle_remote_reset") < _last(server.seen.names(accepted), "ms_handle_accept")
    assert server.seen.count("ms_handle_reset") == client.seen.count("ms_handle_reset") == 0


@pytest.mark.contract("A11")
def test_lossless_client_hears_of_a_remote_reset_when_the_server_marked_down(lab: Lab) -> None:
    server, client, connection = stateful_pair(lab)
    server.seen.last_accepted.mark_down()
    lab.wait_count(client, "ms_handle_remote_reset")
    lab.wait_count(client, "ms_handle_connect", 2)
    names = client.seen.names(connection)
    assert names.index("ms_handle_remote_reset") < _last(names, "ms_handle_connect")
    lab.wait_connected(connection)
    connection.priv.count = server.seen.last_accepted.priv.count = 0
    lab.round_trip(client, connection)
    assert connection.priv.count == server.seen.last_accepted.priv.count == 1


def _last(names: list[str], name: str) -> int:
    return len(names) - 1 - names[::-1].index(name)


# ---- A14: ClientStandbyTest ----


@pytest.mark.contract("A14")
def test_client_in_standby_loses_the_message_that_wakes_it(lab: Lab) -> None:
    server, client, connection = lab.connected_pair(
        lab.server(Policy.stateful_server()), lab.client(Policy.lossless_peer(), bind=LOOPBACK)
    )
    server.seen.last_accepted.mark_down()
    lab.wait_until(lambda: connection._protocol.state is State.STANDBY, "standby")
    dials = steps(connection, State.CONNECTING)
    connection.send_message(MPing(tid=1))
    lab.wait_count(client, "ms_handle_remote_reset")
    lab.wait_count(client, "ms_handle_connect", 2)
    lab.wait_connected(connection)
    assert steps(connection, State.CONNECTING) == dials + 1
    connection.priv.count = 0
    lab.round_trip(client, connection, tid=2)
    assert [call.tid for call in server.seen.messages] == [0, 2], "the waking message fell victim to the reset"
    assert [call.tid for call in client.seen.messages] == [0, 2]
    assert connection.priv.count == server.seen.last_accepted.priv.count == 1


# ---- A17: MarkdownTest ----


class MarkingDown(Dispatcher):
    """On each message it marks down another connection than the one it came on, under its own lock.

    Queued only: it says that it has no fast messages at all, although it would claim pings.
    """

    def __init__(self, rng: random.Random) -> None:
        #: Guards everything and tells of every message.
        self.changed = threading.Condition(threading.Lock())
        self.connections: set[Connection] = set()
        self.count = 0
        self.fast_calls = 0
        self._rng = rng

    def ms_can_fast_dispatch(self, message_type: int) -> bool:
        return message_type == MPing.TYPE

    def ms_fast_dispatch(self, message: Message) -> None:
        self.fast_calls += 1

    def ms_dispatch(self, message: Message) -> bool:
        with self.changed:
            self.count += 1
            self.changed.notify_all()
            self.connections.add(message.connection)
            for connection in self.connections - {message.connection}:
                connection.mark_down()
                self.connections.remove(connection)
                break
        time.sleep(self._rng.uniform(0, 0.0005))
        return True

    def ms_handle_reset(self, connection: Connection) -> bool:
        with self.changed:
            self.connections.discard(connection)
            time.sleep(self._rng.uniform(0, 0.0005))
        return True


@pytest.mark.contract("A17")
@pytest.mark.slow
@pytest.mark.parametrize("deadline", [60], indirect=True)
def test_marking_down_under_a_lock_never_stalls(lab: Lab, rng: random.Random) -> None:
    dispatcher = MarkingDown(rng)
    # One dispatcher for both servers: its queued callbacks run on two threads at once.
    servers = [lab.server(name=f"osd.{i}", dispatcher=dispatcher) for i in range(2)]
    client = lab.client()
    stalled = 0
    for _ in range(1000):
        before = dispatcher.count
        for server in servers:
            client.connect(server).send_message(MPing())
        with dispatcher.changed:
            moved = dispatcher.changed.wait_for(lambda before=before: dispatcher.count > before, 2)  # a round takes a millisecond
        stalled = 0 if moved else stalled + 1
        assert stalled <= 3, lab.describe()
    assert dispatcher.fast_calls == 0
