"""Rows of the test contract about dials that cross, and about changing how they authenticate: A1, A2, A15."""

from __future__ import annotations

from typing import Any

import pytest

from ceph_msgr import Config, EntityType, Policy
from ceph_msgr.auth import AuthMethod, AuthRegistry, ConMode, Keyring, NoneClient, NoneServer
from ceph_msgr.messages import MPing
from ceph_msgr.protocol.states import State
from ceph_msgr.testing import Answer, Breakpoint, Interceptor, Moment, Tag
from ceph_msgr.wire.entity import AuthEntityName
from tests.failover.notation import describe, matches
from tests.messenger.lab import LOOPBACK, Lab

BANNER = Breakpoint(Moment.BANNER_WRITE)
CLIENT_IDENT = Breakpoint.write(Tag.CLIENT_IDENT)

#: Of two dials that cross, that of the smaller address survives; nonces, which decide here, grow from node to node.
SMALLER = pytest.mark.parametrize("smaller", ["server", "client"])
#: With two, sockets that are taken over move to another thread.
WORKERS = pytest.mark.parametrize("lab", [1, 2], indirect=True)


class Side:
    """A node that answers no pings, the interceptor of its connections, and the connection it dials."""

    def __init__(self, lab: Lab, name: str) -> None:
        self.lab = lab
        self.interceptor = Interceptor(lab.changed)
        self.node = lab.node(name, Policy.lossless_peer_reuse(), bind=LOOPBACK, seen=lab.dispatcher(answers=False), start=False)
        self.node.messenger.interceptor = self.interceptor
        self.node.messenger.add_dispatcher_tail(self.interceptor)
        self.node.messenger.start()
        self.connection: Any = None

    def dial(self, peer: Side) -> None:
        self.connection = self.node.connect(peer.node)
        self.connection.send_message(MPing())

    def wait_blocked(self, connection: Any, place: Breakpoint) -> None:
        self.lab.wait_until(lambda: connection.gate.blocked_at == place, f"{connection!r} to be held at {place}")

    @property
    def accepted(self) -> Any:
        """The only connection it did not dial."""
        [record] = [record for record in self.interceptor.records if record.connection is not self.connection]
        return record.connection

    def expect(self, connection: Any, form: str) -> None:
        """The connection ends up as the short form of tests/failover says."""
        record = self.interceptor.record_of(connection)
        self.lab.wait_until(lambda: matches(record, form), f"{connection!r}, {describe(record)}, to be {form}")


def two_sides(lab: Lab, smaller: str) -> dict[str, Side]:
    names = {"server": "osd.0", "client": "client.admin"}
    order = sorted(names, key=lambda role: role != smaller)
    sides = {role: Side(lab, names[role]) for role in order}
    assert sides[order[0]].node.addrs[0] < sides[order[1]].node.addrs[0]
    return sides


def expect_one_ping_each(lab: Lab, server: Side, client: Side) -> None:
    """Over the connections that were dialled, which neither broke nor began anew."""
    for side in (server, client):
        lab.wait_until(lambda side=side: side.node.seen.messages, f"a ping at {side.node.messenger}")
    # Whatever would be sent again has been sent when everything is acknowledged.
    for side in (server, client):
        assert side.connection.flush(lab.deadline.remaining_s("acknowledgements")), lab.describe()
    for side, peer_type in ((server, EntityType.CLIENT), (client, EntityType.OSD)):
        assert side.connection.is_connected
        assert side.connection.peer_type == peer_type
        assert len(side.node.seen.messages) == side.connection.priv.count == 1
        assert side.node.seen.messages[0].connection is side.connection
        assert side.node.seen.count("ms_handle_reset", "ms_handle_remote_reset") == 0


# ---- A1: ConnectionRaceTest ----


@pytest.mark.contract("A1")
@SMALLER
@WORKERS
def test_both_dial_and_are_held_before_client_ident(lab: Lab, smaller: str) -> None:
    sides = two_sides(lab, smaller)
    server, client = sides["server"], sides["client"]
    for side in (server, client):
        side.interceptor.set(CLIENT_IDENT, Answer.BLOCK)
    server.dial(client)
    client.dial(server)
    for side in (server, client):
        side.wait_blocked(side.connection, CLIENT_IDENT)
    for side in (server, client):
        side.interceptor.release()

    expect_one_ping_each(lab, server, client)
    winner, loser = sides.values()
    winner.expect(winner.connection, "est C(1,1,0,1)")
    loser.expect(loser.connection, "est C(1,1,0,0) A(0,0,0,1)")
    # The loser's ident may or may not have been read before the winner's socket replaced its own.
    winner.expect(winner.accepted, "cl A(1,.,0,0)")
    loser.expect(loser.accepted, "rep A(1,1,0,0)")


# ---- A2: ConnectionRaceReuseBannerTest ----


@pytest.mark.contract("A2")
@SMALLER
@WORKERS
def test_a_dial_that_exchanges_banners_is_taken_over(lab: Lab, smaller: str) -> None:
    """If the server's address is the smaller one. If the client's is, its own dial survives, from where it stood."""
    sides = two_sides(lab, smaller)
    server, client = sides["server"], sides["client"]
    server.interceptor.set(CLIENT_IDENT, Answer.BLOCK)
    for side in (server, client):
        side.interceptor.set(BANNER, Answer.BLOCK, occurrence=2)  # the first one belongs to the server's dial
    server.dial(client)
    server.wait_blocked(server.connection, CLIENT_IDENT)
    client.dial(server)
    client.wait_blocked(client.connection, BANNER)
    lab.wait_until(lambda: server.interceptor.seen(BANNER) == 2, "the server to accept the client's dial")
    temporary = server.accepted
    server.wait_blocked(temporary, BANNER)

    server.connection.gate.release()
    if smaller == "server":
        expect_one_ping_each(lab, server, client)  # while the banners are still held
        server.interceptor.release()
        client.expect(client.connection, "est C(1,0,0,0) A(0,0,0,1)")
        client.expect(client.accepted, "rep A(1,1,0,0)")
        server.expect(server.connection, "est C(1,1,0,1)")
        server.expect(temporary, "cl A(1,0,0,0)")
    else:
        lab.wait_until(lambda: server.interceptor.seen(Breakpoint.read(Tag.WAIT)), "the client to say WAIT")
        for side in (server, client):
            side.interceptor.release()
        expect_one_ping_each(lab, server, client)
        client.expect(client.connection, "est C(1,1,0,1)")
        client.expect(client.accepted, "cl A(1,1,0,0)")
        server.expect(server.connection, "est C(1,1,0,0) A(0,0,0,1)")
        server.expect(temporary, "rep A(1,1,0,0)")
    assert not temporary.is_connected
    assert client.interceptor.record_of(client.connection).path.count(BANNER) == 1
    for side in (server, client):
        assert [step.new for step in side.connection.history].count(State.READY) == 1


# ---- A15: AuthTest ----


def registry(method: AuthMethod, name: str, config: Config, keyring: Keyring) -> AuthRegistry:
    if method is AuthMethod.CEPHX:
        return AuthRegistry.standalone(name, config, keyring)
    entity = AuthEntityName.parse(name)
    return AuthRegistry(entity.type, config, [NoneClient(entity)], [NoneServer()])


@pytest.mark.contract("A15")
@pytest.mark.parametrize("mode", [ConMode.CRC, ConMode.SECURE], ids=["crc", "secure"])
def test_the_method_is_switched_between_dials(lab: Lab, mode: ConMode) -> None:
    """From cephx to none and back, with the same messengers; method none has no key, so its mode is always crc."""
    keyring = Keyring.generate("client.admin")
    word = mode.name.lower()
    server = lab.server(name="osd.0", ms_service_mode=word)
    client = lab.client(name="client.admin", ms_client_mode=word)
    client.messenger.interceptor = interceptor = Interceptor(lab.changed)
    former = None
    for method in (AuthMethod.CEPHX, AuthMethod.NONE, AuthMethod.CEPHX):
        for node, name in ((server, "osd.0"), (client, "client.admin")):
            node.messenger.auth = registry(method, name, node.messenger.config, keyring)
        connection: Any = client.connect(server)
        assert connection is not former
        lab.round_trip(client, connection)
        assert connection.is_connected
        assert connection.priv.count == server.seen.last_accepted.priv.count == 1
        assert connection.con_mode is (mode if method is AuthMethod.CEPHX else ConMode.CRC)
        # Only cephx has something to say between AUTH_REQUEST and AUTH_DONE.
        path = interceptor.record_of(connection).path
        assert path.count(Breakpoint.read(Tag.AUTH_REPLY_MORE)) == (method is AuthMethod.CEPHX)
        assert Breakpoint.read(Tag.AUTH_BAD_METHOD) not in path
        connection.mark_down()
        assert not connection.is_connected
        former = connection


@pytest.mark.contract("A15")
def test_whoever_does_not_switch_is_not_let_in(lab: Lab) -> None:
    keyring = Keyring.generate("client.admin")
    server, client, former = lab.connected_pair()
    server.messenger.auth = registry(AuthMethod.CEPHX, "osd.0", server.messenger.config, keyring)
    lab.round_trip(client, former)  # what stands is not asked again
    former.mark_down()
    connection: Any = client.connect(server)
    lab.wait_until(lambda: connection._protocol.last_error, "the refusal")
    assert "allows methods [2]" in str(connection._protocol.last_error)
    assert not connection.is_connected
    client.messenger.auth = registry(AuthMethod.CEPHX, "client.admin", client.messenger.config, keyring)
    connection.mark_down()
    lab.round_trip(client, client.connect(server))
