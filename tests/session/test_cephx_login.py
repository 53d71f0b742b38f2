"""Logins at our own monitor: tickets, global ids, renewal, and everybody who is refused."""

from __future__ import annotations

import errno
from dataclasses import replace

import pytest

from ceph_msgr.auth import ALL_SERVICES, AuthBusy, AuthCaps, CephxClient, CephxMonitor, CryptoKey, Keyring, RotatingSecrets
from ceph_msgr.auth.base import AuthRefused, ConMode, Credentials, ServerDone, ServerMore
from ceph_msgr.auth.cephx.payloads import LoginProof, LoginRequest, compute_proof, encode_server_challenge
from ceph_msgr.auth.cephx.tickets import NO_TICKET, TicketBlob, open_ticket
from ceph_msgr.errors import AuthError
from ceph_msgr.wire.encoding import Decoder, Utime, to_bytes
from ceph_msgr.wire.entity import AuthEntityName, EntityType
from tests.session.cephx_recordings import ADMIN, Clock, Script, done, more, started

AUTH, MON, OSD, MGR = EntityType.AUTH, EntityType.MON, EntityType.OSD, EntityType.MGR
HOUR_S = 3600
KEYRING = Keyring.generate("client.admin", "client.other", caps={"osd": "allow rw", "mon": "allow r"})


class Cluster:
    """A monitor with secrets of some services, and client.admin."""

    def __init__(self, *services: EntityType, clock: Clock | None = None) -> None:
        self.clock = clock or Clock()
        self.secrets = {service: RotatingSecrets.generate(HOUR_S, clock_s=self.clock) for service in services}
        self.monitor = CephxMonitor(KEYRING, secrets=self.secrets, clock_s=self.clock)
        self.client = self.make_client()

    def make_client(self, services: int = ALL_SERVICES, key: CryptoKey | None = None) -> CephxClient:
        return CephxClient("client.admin", key or KEYRING.entry(ADMIN).key, services=services, clock_s=self.clock)

    def log_in(self, client: CephxClient, mode: ConMode = ConMode.SECURE) -> tuple[ServerDone, Credentials]:
        ours, theirs = client.start(MON), started(self.monitor, mode)
        answer = theirs.request_more(ours.reply_more(more(theirs.request(ours.request()))))
        result = done(answer)
        return result, ours.done(result.global_id, mode, result.payload)


# ---- what a login gives ----


@pytest.mark.parametrize("mode", ConMode)
def test_both_sides_end_with_the_same_keys(mode: ConMode) -> None:
    cluster = Cluster()
    answer, credentials = cluster.log_in(cluster.client, mode)
    assert answer.credentials.session_key == credentials.session_key != b""
    assert answer.credentials.connection_secret == credentials.connection_secret
    assert len(credentials.connection_secret) == (64 if mode is ConMode.SECURE else 0)
    assert answer.credentials.name == ADMIN
    assert AuthCaps.decode(Decoder(answer.credentials.caps)) == AuthCaps(text="allow r")
    assert cluster.client.global_id == answer.global_id != 0


def test_no_two_logins_share_anything() -> None:
    cluster = Cluster()
    results = [cluster.log_in(cluster.make_client())[0] for _ in range(4)]
    assert len({result.credentials.session_key for result in results}) == 4
    assert len({result.credentials.connection_secret for result in results}) == 4
    assert len({result.global_id for result in results}) == 4


@pytest.mark.parametrize(
    ("wanted", "given"),
    [(AUTH, {AUTH}), (ALL_SERVICES, {AUTH, MON, OSD}), (OSD | MGR, {AUTH, OSD}), (2**32 - 1, {AUTH, MON, OSD})],
)
def test_tickets_are_given_for_the_services_asked_for(wanted: int, given: set[EntityType]) -> None:
    cluster = Cluster(MON, OSD)
    client = cluster.make_client(wanted)
    cluster.log_in(client)
    assert set(client._tickets) == given


def test_a_ticket_tells_the_service_who_we_are() -> None:
    cluster = Cluster(OSD)
    cluster.log_in(cluster.client)
    ticket = cluster.client._tickets[OSD]
    assert ticket.blob.secret_id == 2, "previous, current, next: the current one"
    secret = cluster.secrets[OSD].secret(2)
    assert secret
    inside, session_key = open_ticket(secret, ticket.blob.sealed)
    assert session_key == ticket.session_key
    assert (inside.name, inside.global_id) == (ADMIN, cluster.client.global_id)
    assert inside.caps == AuthCaps(text="allow rw")
    assert (inside.created, inside.expires) == (Utime(1_000_000), Utime(1_003_600))


def test_a_login_alone_asks_for_no_service_ticket() -> None:
    """A mask of 0 kills real monitors: the auth bit is always there."""
    client = Cluster(OSD).make_client(services=0)
    exchange = client.start(MON)
    exchange.request()
    proof = LoginProof.decode(Decoder(exchange.reply_more(encode_server_challenge(1))))
    assert proof.services == 0x20
    assert proof.old_ticket == NO_TICKET


# ---- renewal ----


def test_tickets_are_renewed_before_they_expire() -> None:
    cluster = Cluster(OSD)
    client, clock = cluster.client, cluster.clock
    assert client.needs_renewal()
    cluster.log_in(client)
    assert client.renew_at_s == clock.now_s + HOUR_S * 3 / 4
    assert not client.needs_renewal()
    clock.now_s = client.renew_at_s
    assert client.needs_renewal()
    client.start(OSD)
    before = client._tickets[OSD]
    cluster.log_in(client)
    assert client._tickets[OSD].session_key != before.session_key
    assert not client.needs_renewal()


def test_without_service_tickets_the_auth_ticket_is_what_is_renewed() -> None:
    cluster = Cluster()
    cluster.log_in(cluster.client)
    assert cluster.client.renew_at_s == cluster.clock.now_s + 54 * HOUR_S


def test_an_expired_ticket_is_a_matter_of_waiting() -> None:
    cluster = Cluster(OSD)
    cluster.log_in(cluster.client)
    cluster.clock.now_s += HOUR_S - 1
    cluster.client.start(OSD)
    cluster.clock.now_s += 1
    with pytest.raises(AuthBusy, match=r"the ticket of client\.admin for osd expired 0 s ago"):
        cluster.client.start(OSD)
    cluster.log_in(cluster.client)
    cluster.client.start(OSD)


def test_a_ticket_that_never_came_is_not() -> None:
    cluster = Cluster(OSD)
    with pytest.raises(AuthError, match=r"client\.admin has no ticket for osd: log in at a monitor first"):
        cluster.client.start(OSD)
    cluster.log_in(cluster.client)
    with pytest.raises(AuthError, match="no ticket for mgr: the monitor gave none") as caught:
        cluster.client.start(MGR)
    assert not isinstance(caught.value, AuthBusy)


def test_the_old_ticket_gives_the_global_id_back() -> None:
    """The new one comes sealed with the old session key, which only its owner has."""
    cluster = Cluster()
    first, _ = cluster.log_in(cluster.client)
    second, credentials = cluster.log_in(cluster.client)
    assert second.global_id == first.global_id == cluster.client.global_id
    assert credentials.session_key == second.credentials.session_key != first.credentials.session_key


def test_a_login_that_fails_changes_nothing() -> None:
    cluster = Cluster(OSD)
    cluster.log_in(cluster.client)
    before = dict(cluster.client._tickets)
    ours, theirs = cluster.client.start(MON), started(cluster.monitor)
    answer = done(theirs.request_more(ours.reply_more(more(theirs.request(ours.request())))))
    with pytest.raises(AuthError):
        ours.done(answer.global_id, ConMode.SECURE, answer.payload[:-1])
    assert cluster.client._tickets == before


def test_a_global_id_without_its_ticket_is_not_given() -> None:
    cluster = Cluster()
    cluster.log_in(cluster.client)
    victim = cluster.client._tickets[AUTH]
    for claimed in (
        replace(victim, blob=NO_TICKET),
        replace(victim, blob=TicketBlob(victim.blob.secret_id, victim.blob.sealed[:-16])),
        replace(victim, blob=TicketBlob(9, victim.blob.sealed)),
        replace(victim, global_id=4711),
    ):
        thief = cluster.make_client()
        thief._tickets[AUTH] = claimed
        answer, _ = cluster.log_in(thief)
        assert answer.global_id not in (victim.global_id, claimed.global_id)
        assert thief.global_id == answer.global_id


def test_a_global_id_with_somebody_elses_ticket_is_not_given() -> None:
    cluster = Cluster()
    cluster.log_in(cluster.client)
    other = CephxClient.from_keyring(KEYRING, "client.other")
    other._tickets[AUTH] = cluster.client._tickets[AUTH]
    answer, _ = cluster.log_in(other)
    assert answer.global_id != cluster.client.global_id


def test_a_monitor_that_has_forgotten_gives_a_new_global_id() -> None:
    cluster, restarted = Cluster(), Cluster()
    cluster.log_in(cluster.client)
    restarted.log_in(restarted.make_client())
    answer, _ = restarted.log_in(cluster.client)
    assert cluster.client.global_id == answer.global_id == 2


# ---- the client refuses ----


def test_a_challenge_comes_once() -> None:
    exchange = Cluster().client.start(MON)
    exchange.request()
    with pytest.raises(AuthError, match="without a challenge"):
        exchange.done(1, ConMode.SECURE, b"")
    exchange.reply_more(encode_server_challenge(1))
    with pytest.raises(AuthError, match="second challenge"):
        exchange.reply_more(encode_server_challenge(1))


def test_a_monitor_without_our_key_is_no_monitor_of_ours() -> None:
    cluster = Cluster()
    impostor = CephxMonitor(Keyring.generate("client.admin"), clock_s=cluster.clock)
    ours, theirs = cluster.client.start(MON), started(impostor)
    proof = ours.reply_more(more(theirs.request(ours.request())))
    # It cannot check the proof, so it says yes to everything.
    pending = LoginRequest(ADMIN, 0)
    parsed = LoginProof.decode(Decoder(proof))
    right = compute_proof(impostor.keyring[ADMIN].key, 5, parsed.client_challenge)
    answer = impostor.log_in(pending, 5, replace(parsed, proof=right), ConMode.SECURE)
    with pytest.raises(AuthError, match="session key for auth is not sealed with the key it should be"):
        ours.done(answer.global_id, ConMode.SECURE, answer.payload)


# ---- the monitor refuses ----


def refused(cluster: Cluster, request: bytes, proof: bytes | None = None) -> AuthRefused:
    exchange = started(cluster.monitor)
    with pytest.raises(AuthRefused) as caught:
        reply = exchange.request(request)
        assert isinstance(reply, ServerMore)
        assert proof is not None
        exchange.request_more(proof)
    assert caught.value.code == errno.EACCES
    return caught.value


def proof_for(cluster: Cluster, name: str, key: CryptoKey) -> str:
    client = CephxClient(name, key, clock_s=cluster.clock)
    ours, theirs = client.start(MON), started(cluster.monitor)
    challenge = more(theirs.request(ours.request()))
    with pytest.raises(AuthRefused) as caught:
        theirs.request_more(ours.reply_more(challenge))
    assert caught.value.code == errno.EACCES
    return str(caught.value)


def test_a_wrong_key_and_an_unknown_name_look_the_same_from_outside() -> None:
    """Both are challenged, both get -13; only our own log tells them apart."""
    cluster = Cluster()
    key = KEYRING.entry(ADMIN).key
    assert "wrong proof for client.admin" in proof_for(cluster, "client.admin", CryptoKey.generate())
    assert "there is no key for client.nobody" in proof_for(cluster, "client.nobody", key)
    assert "wrong proof for client.other" in proof_for(cluster, "client.other", key)


def test_nobodys_key_opens_nothing() -> None:
    """Its proof is computed only to take the time."""
    cluster = Cluster()
    assert "no key for client.nobody" in proof_for(cluster, "client.nobody", cluster.monitor._nobodys_key)


def right_proof(exchange_challenge: bytes, **changes: object) -> bytes:
    challenge = int.from_bytes(exchange_challenge[1:], "little")
    proof = LoginProof(77, compute_proof(KEYRING.entry(ADMIN).key, challenge, 77), services=AUTH)
    return to_bytes(replace(proof, **changes))


def test_a_zero_mask_and_a_legacy_version_are_refused() -> None:
    cluster = Cluster()
    request = to_bytes(LoginRequest(ADMIN, 0))
    for changes, text in (
        ({"services": 0}, r"login of client\.admin wants tickets for no service at all"),
        ({"version": 2}, "login of version 2, expected at least 3"),
        ({"version": 0}, "login of version 0, expected at least 3"),
    ):
        exchange = started(cluster.monitor)
        proof = right_proof(more(exchange.request(request)), **changes)
        with pytest.raises(AuthRefused, match=text):
            exchange.request_more(proof)


def test_a_challenge_is_good_for_one_proof() -> None:
    cluster = Cluster()
    exchange = started(cluster.monitor)
    challenge = more(exchange.request(to_bytes(LoginRequest(ADMIN, 0))))
    with pytest.raises(AuthRefused, match="wrong proof"):
        exchange.request_more(right_proof(challenge, proof=1))
    with pytest.raises(AuthRefused, match="a proof for no challenge"):
        exchange.request_more(right_proof(challenge))


def test_a_recorded_login_is_worth_nothing() -> None:
    cluster = Cluster()
    ours, theirs = cluster.client.start(MON), started(cluster.monitor)
    request = ours.request()
    proof = ours.reply_more(more(theirs.request(request)))
    theirs.request_more(proof)
    with pytest.raises(AuthRefused, match="a proof for no challenge"):
        theirs.request_more(proof)
    assert "wrong proof" in str(refused(cluster, request, proof))


@pytest.mark.parametrize("payload", [b"", b"\x0a", b"\x02" + bytes(40), b"\x0b" + bytes(40), b"\x0a" + bytes(3), bytes(40)])
def test_what_is_no_login_is_refused_at_once(payload: bytes) -> None:
    refused(Cluster(), payload)


def test_a_key_revoked_is_refused_at_the_next_login() -> None:
    cluster = Cluster()
    entries = dict(KEYRING)
    cluster.monitor.keyring = entries
    cluster.log_in(cluster.client)
    del entries[ADMIN]
    assert "there is no key" in proof_for(cluster, "client.admin", KEYRING.entry(ADMIN).key)


def test_the_reason_of_a_refusal_holds_no_secret() -> None:
    cluster = Cluster()
    key = CryptoKey(b"sixteen bytes ok")
    text = proof_for(cluster, "client.admin", key)
    assert "sixteen" not in text
    exchange = CephxClient("client.admin", key, random_bytes=Script(5)).start(MON)
    assert "sixteen" not in repr(exchange)


# ---- among monitors ----


def test_monitors_believe_each_other_without_a_login() -> None:
    keyring = Keyring.generate("mon.")
    clock = Clock()
    client = CephxClient(AuthEntityName(MON, "a"), keyring.entry("mon.").key, clock_s=clock)
    ours, theirs = client.start(MON), started(CephxMonitor(keyring, clock_s=clock))
    result = done(theirs.request_more(ours.reply_more(more(theirs.request(ours.request())))))
    credentials = ours.done(result.global_id, ConMode.SECURE, result.payload)
    assert credentials.connection_secret == result.credentials.connection_secret
    assert str(result.credentials.name) == "mon."
    assert CephxClient.from_keyring(keyring, "mon.a")._key == keyring.entry("mon.").key


def test_only_a_holder_of_the_monitors_key_is_a_monitor() -> None:
    stranger = CephxClient("mon.x", CryptoKey.generate()).start(MON)
    with pytest.raises(AuthRefused, match="ticket is not sealed with the key it should be"):
        started(CephxMonitor(Keyring.generate("mon."))).request(stranger.request())
    with pytest.raises(AuthRefused, match="the ticket needs secret"):
        started(CephxMonitor(KEYRING)).request(stranger.request())
    with pytest.raises(AuthRefused, match="authorizer for mon, this is osd"):
        started(CephxMonitor(Keyring.generate("mon."), OSD)).request(stranger.request())
