"""What number a messenger announces: its own, or the global id that a monitor gave it."""

from __future__ import annotations

import pytest

from ceph_msgr import Config, EntityType, Messenger, Policy
from ceph_msgr.auth import (
    AuthRegistry,
    CephxClient,
    CephxMonitor,
    CephxService,
    Keyring,
    NoneClient,
    NoneServer,
    RotatingSecrets,
)
from ceph_msgr.wire.entity import AuthEntityName
from tests.messenger.lab import Lab, Node

GLOBAL_ID = 4123

both_methods = pytest.mark.parametrize("method", ["none", "cephx"])


class Cluster:
    """A monitor and an OSD, and whom they accept by which method."""

    def __init__(self, lab: Lab, method: str) -> None:
        self.lab = lab
        self.keyring = Keyring.generate("client.admin", "client.7")
        if method == "none":
            login, service = NoneServer(lambda: GLOBAL_ID), NoneServer()
        else:
            secrets = RotatingSecrets.generate(3600)
            login = CephxMonitor(self.keyring, secrets={EntityType.OSD: secrets}, assign_global_id=lambda: GLOBAL_ID)
            service = CephxService(EntityType.OSD, secrets)
        self.method = method
        self.mon = self._daemon("mon.0", login)
        self.osd = self._daemon("osd.0", service)

    def _daemon(self, name: str, server: NoneServer | CephxMonitor | CephxService) -> Node:
        type_ = AuthEntityName.parse(name).type
        return self.lab.server(name=name, auth=lambda config: AuthRegistry(type_, config, servers=[server]))

    def client(self, name: str) -> Node:
        method = NoneClient(AuthEntityName.parse(name)) if self.method == "none" else CephxClient.from_keyring(self.keyring, name)
        return self.lab.client(name=name, auth=lambda config: AuthRegistry(EntityType.CLIENT, config, [method]))

    def announced(self, client: Node, server: Node) -> int:
        """What the server is told when the client makes a connection to it."""
        connection = client.connect(server, anon=True)
        self.lab.wait_connected(connection)
        # The server is ready first, and notes it after that.
        self.lab.round_trip(client, connection)
        assert server.seen.last_accepted
        return server.seen.last_accepted.peer_name.num


@both_methods
def test_who_has_no_number_takes_the_global_id(lab: Lab, method: str) -> None:
    cluster = Cluster(lab, method)
    client = cluster.client("client.admin")
    assert client.messenger.entity_name.num == -1
    assert cluster.announced(client, cluster.mon) == -1, "the login comes before the name, but the name is as it was"
    assert client.messenger.entity_name.num == GLOBAL_ID
    assert cluster.announced(client, cluster.osd) == GLOBAL_ID
    assert client.messenger.name.id == "admin"


@both_methods
def test_a_numeric_id_stays(lab: Lab, method: str) -> None:
    cluster = Cluster(lab, method)
    client = cluster.client("client.7")
    assert [cluster.announced(client, server) for server in (cluster.mon, cluster.osd, cluster.mon)] == [7, 7, 7]


def test_who_accepts_learns_nothing_about_itself(lab: Lab) -> None:
    """A monitor of ours that a monitor logs in at: the number in its AUTH_DONE is the other one's."""
    mon = lab.server(name="mon.a", auth=lambda config: AuthRegistry(EntityType.MON, config, servers=[NoneServer(lambda: 5)]))
    login = NoneClient(AuthEntityName.parse("client.admin"))
    dialler = lab.node("mon.b", Policy.lossy_client(), auth=lambda config: AuthRegistry(EntityType.MON, config, [login]))
    lab.round_trip(dialler, dialler.connect(mon))
    assert (mon.messenger.entity_name.num, dialler.messenger.entity_name.num) == (-1, 5)


@pytest.mark.parametrize(
    ("name", "number", "announced"),
    [("osd.3", None, 3), ("client.admin", None, -1), ("mon.a", 0, 0), ("mon.a", 2, 2), ("client.7", 9, 9), ("mds.1b", None, -1)],
)
def test_numbers(name: str, number: int | None, announced: int) -> None:
    messenger = Messenger.create(name, number=number, config=Config())
    assert messenger.entity_name.num == announced
    assert str(messenger.name) == name


def test_a_global_id_that_is_no_number_of_a_name_is_not_taken() -> None:
    """Names have 63 bits, global ids 64; 0 is none at all."""
    messenger = Messenger.create("client.admin", config=Config())
    for global_id in (0, 1 << 63):
        messenger.learn_global_id(global_id)
    assert messenger.entity_name.num == -1
