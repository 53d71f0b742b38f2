"""Method none in its three forms, and which methods and modes a messenger offers."""

from __future__ import annotations

import errno

import pytest

from ceph_msgr.auth.base import AuthMethod, AuthRefused, ClientAuth, ClientExchange, ConMode, Credentials, ServerDone
from ceph_msgr.auth.none import DummyClient, DummyServer, NoneClient, NoneServer
from ceph_msgr.auth.registry import AuthRegistry
from ceph_msgr.config import Config
from ceph_msgr.errors import AuthError
from ceph_msgr.wire.entity import AuthEntityName, EntityType

ADMIN = AuthEntityName.parse("client.admin")
LOGIN = bytes.fromhex("0a 08000000 05000000 61646d696e 0000000000000000")
AUTHORIZER = bytes.fromhex("01 08000000 05000000 61646d696e 2110000000000000")


def answer(server: NoneServer | DummyServer, payload: bytes) -> ServerDone:
    reply = server.start(EntityType.CLIENT, ConMode.CRC).request(payload)
    assert isinstance(reply, ServerDone)
    return reply


def test_a_client_logs_in_at_a_monitor_and_keeps_its_global_id() -> None:
    client = NoneClient(ADMIN)
    exchange = client.start(EntityType.MON)
    assert exchange.request() == LOGIN
    assert exchange.done(0x1021, ConMode.CRC, b"") == Credentials()
    assert client.global_id == 0x1021
    assert client.start(EntityType.OSD).request() == AUTHORIZER


def test_a_service_does_not_change_our_global_id() -> None:
    client = NoneClient(ADMIN, 0x1021)
    client.start(EntityType.OSD).done(5, ConMode.CRC, b"")
    assert client.global_id == 0x1021


def test_a_monitor_presents_an_authorizer_to_a_monitor() -> None:
    request = NoneClient(AuthEntityName(EntityType.MON, "a")).start(EntityType.MON).request()
    assert request.hex() == "010100000001000000610000000000000000"


def test_a_dummy_says_nothing() -> None:
    assert DummyClient().start(EntityType.OSD).request() == b""


def test_a_monitor_assigns_a_global_id_at_the_first_login_only() -> None:
    monitor = NoneServer(lambda: 4139)
    assert answer(monitor, LOGIN) == ServerDone(4139, credentials=Credentials(name=ADMIN))
    assert answer(monitor, b"\x0a" + AUTHORIZER[1:]).global_id == 0x1021
    assert answer(monitor, AUTHORIZER).global_id == 0x1021


def test_a_service_takes_authorizers_only() -> None:
    assert answer(NoneServer(), AUTHORIZER).global_id == 0x1021
    with pytest.raises(AuthRefused, match="starts with 10"):
        answer(NoneServer(), LOGIN)


def test_a_truncated_payload_is_refused_at_each_length() -> None:
    for end in range(len(LOGIN)):
        with pytest.raises(AuthRefused) as caught:
            answer(NoneServer(lambda: 1), LOGIN[:end])
        assert caught.value.code == errno.EACCES
    assert answer(NoneServer(lambda: 1), LOGIN + b"more").global_id == 1


@pytest.mark.parametrize("payload", [b"", LOGIN, AUTHORIZER, b"anything"])
def test_a_dummy_accepts_everybody(payload: bytes) -> None:
    assert answer(DummyServer(), payload) == ServerDone(0)


def test_method_none_has_one_round_and_one_mode() -> None:
    exchange = DummyClient().start(EntityType.OSD)
    with pytest.raises(AuthError, match="single round"):
        exchange.reply_more(b"challenge")
    with pytest.raises(AuthError, match="no key for mode secure"):
        exchange.done(0, ConMode.SECURE, b"")
    with pytest.raises(AuthRefused, match="single round"):
        DummyServer().start(EntityType.CLIENT, ConMode.CRC).request_more(b"")


class Cephx(ClientAuth):
    method = AuthMethod.CEPHX

    def start(self, peer_type: EntityType) -> ClientExchange:
        raise NotImplementedError


CRC_FIRST, SECURE_FIRST = (ConMode.CRC, ConMode.SECURE), (ConMode.SECURE, ConMode.CRC)


@pytest.mark.contract("A15")
@pytest.mark.parametrize(
    ("own", "peer", "modes"),
    [
        (EntityType.CLIENT, EntityType.MON, SECURE_FIRST),
        (EntityType.CLIENT, EntityType.MGR, SECURE_FIRST),
        (EntityType.CLIENT, EntityType.OSD, CRC_FIRST),
        (EntityType.MON, EntityType.MON, SECURE_FIRST),
        (EntityType.OSD, EntityType.MON, SECURE_FIRST),
        (EntityType.OSD, EntityType.OSD, CRC_FIRST),
    ],
)
def test_modes_offered_follow_the_options(own: EntityType, peer: EntityType, modes: tuple[ConMode, ...]) -> None:
    assert AuthRegistry(own, Config(), [Cephx()]).client_modes(peer, AuthMethod.CEPHX) == modes


def test_each_option_acts_where_it_should() -> None:
    def modes(own: EntityType, peer: EntityType, accepting: bool, **options: str) -> tuple[ConMode, ...]:
        registry = AuthRegistry(own, Config(**options))
        return registry.server_modes(peer) if accepting else registry.client_modes(peer, AuthMethod.CEPHX)

    mon, osd, client = EntityType.MON, EntityType.OSD, EntityType.CLIENT
    only = (ConMode.CRC,)
    assert modes(client, mon, False, ms_mon_client_mode="crc") == only
    assert modes(mon, mon, True, ms_mon_cluster_mode="crc") == only
    assert modes(mon, client, True, ms_mon_service_mode="crc") == only
    assert modes(mon, osd, True, ms_mon_service_mode="crc") == only
    assert modes(osd, mon, False, ms_mon_cluster_mode="crc") == only
    assert modes(client, osd, False, ms_client_mode="crc") == only
    assert modes(osd, client, True, ms_service_mode="crc") == only
    assert modes(osd, osd, True, ms_cluster_mode="crc") == only


def test_the_server_takes_the_first_of_the_clients_modes() -> None:
    registry = AuthRegistry(EntityType.OSD, Config())
    assert registry.pick_mode(EntityType.CLIENT, AuthMethod.CEPHX, [2, 1]) is ConMode.SECURE
    assert registry.pick_mode(EntityType.CLIENT, AuthMethod.CEPHX, [9, 1, 2]) is ConMode.CRC
    assert registry.pick_mode(EntityType.CLIENT, AuthMethod.CEPHX, []) is None
    assert registry.pick_mode(EntityType.CLIENT, AuthMethod.NONE, [2]) is None
    assert registry.pick_mode(EntityType.CLIENT, AuthMethod.NONE, [2, 1]) is ConMode.CRC


def test_an_option_acts_on_the_next_handshake() -> None:
    config = Config()
    registry = AuthRegistry(EntityType.OSD, config)
    config.ms_service_mode = "secure"
    assert registry.server_modes(EntityType.CLIENT) == (ConMode.SECURE,)


def test_only_known_methods_are_served() -> None:
    registry = AuthRegistry.dummy(EntityType.OSD, Config())
    assert registry.server_methods(EntityType.CLIENT) == (1,)
    assert registry.server(EntityType.CLIENT, 1) is not None
    assert registry.server(EntityType.CLIENT, 2) is None


def test_credentials_keep_their_secrets_to_themselves() -> None:
    assert "secret" not in repr(Credentials(b"secret", b"secret")).replace("_secret", "")
