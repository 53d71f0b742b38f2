"""Authorizers: our client at our service, with the tickets of our monitor; and what the service refuses."""

from __future__ import annotations

import errno
from dataclasses import replace

import pytest

from ceph_msgr.auth import CephxClient, CephxMonitor, CephxService, CryptoKey, Keyring, RotatingSecrets, rotating_request
from ceph_msgr.auth.base import AuthRefused, ConMode, Credentials, ServerDone
from ceph_msgr.auth.cephx.payloads import Authorizer, AuthorizerReply, Presentation, encode_server_challenge
from ceph_msgr.auth.cephx.tickets import TicketBlob
from ceph_msgr.errors import AuthError
from ceph_msgr.messages import MAuth, MAuthReply
from ceph_msgr.wire.encoding import Decoder, to_bytes
from ceph_msgr.wire.entity import EntityType
from tests.session.cephx_recordings import ADMIN, Clock, Script, done, more, recorded_authorizer, started

MON, OSD, MGR = EntityType.MON, EntityType.OSD, EntityType.MGR
HOUR_S = 3600


class Cluster:
    """client.admin with a ticket for the OSDs, and an OSD that has their secrets."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.keyring = Keyring.generate("client.admin", "osd.0", caps={"osd": "allow rw"})
        self.secrets = RotatingSecrets.generate(HOUR_S, clock_s=self.clock)
        self.monitor = CephxMonitor(self.keyring, secrets={OSD: self.secrets}, clock_s=self.clock)
        self.client = CephxClient.from_keyring(self.keyring, "client.admin")
        self.client._clock_s = self.clock
        ours, theirs = self.client.start(MON), started(self.monitor)
        answer = done(theirs.request_more(ours.reply_more(more(theirs.request(ours.request())))))
        ours.done(answer.global_id, ConMode.SECURE, answer.payload)
        self.service = CephxService(OSD, self.secrets, clock_s=self.clock)
        self.ticket = self.client._tickets[OSD]

    def present(self, mode: ConMode = ConMode.SECURE) -> tuple[ServerDone, Credentials]:
        ours, theirs = self.client.start(OSD), started(self.service, mode)
        answer = done(theirs.request_more(ours.reply_more(more(theirs.request(ours.request())))))
        return answer, ours.done(answer.global_id, mode, answer.payload)

    def authorizer(self, presentation: Presentation, **changes: object) -> bytes:
        authorizer = Authorizer(self.ticket.global_id, OSD, self.ticket.blob, presentation.seal(self.ticket.session_key))
        return to_bytes(replace(authorizer, **changes))

    def refuse(self, payload: bytes) -> str:
        with pytest.raises(AuthRefused) as caught:
            started(self.service).request(payload)
        assert caught.value.code == errno.EACCES
        return str(caught.value)


@pytest.mark.parametrize("mode", ConMode)
def test_both_sides_end_with_the_same_keys(mode: ConMode) -> None:
    cluster = Cluster()
    answer, credentials = cluster.present(mode)
    assert credentials.session_key == answer.credentials.session_key == cluster.ticket.session_key.secret
    assert credentials.connection_secret == answer.credentials.connection_secret
    assert len(credentials.connection_secret) == (64 if mode is ConMode.SECURE else 0)
    assert answer.global_id == cluster.client.global_id
    assert answer.credentials.name == ADMIN


def test_two_connections_with_one_ticket_have_their_own_secrets() -> None:
    cluster = Cluster()
    (first, _), (second, _) = cluster.present(), cluster.present()
    assert first.credentials.connection_secret != second.credentials.connection_secret
    assert first.payload != second.payload


def test_an_authorizer_without_a_challenge_is_only_challenged() -> None:
    cluster = Cluster()
    exchange = started(cluster.service)
    first = cluster.authorizer(Presentation(5))
    challenges = {more(exchange.request(first)) for _ in range(3)}
    assert len(challenges) == 3, "a new one each time, and the one before is forgotten"


def test_a_recorded_authorizer_is_worth_nothing() -> None:
    cluster = Cluster()
    ours, theirs = cluster.client.start(OSD), started(cluster.service)
    first = ours.request()
    second = ours.reply_more(more(theirs.request(first)))
    done(theirs.request_more(second))
    for payloads in ([second], [first, second]):
        again = started(cluster.service)
        with pytest.raises(AuthRefused, match=r"authorizer of client\.admin answers a challenge that was not made here"):
            for payload in payloads:
                again.request(payload)
    with pytest.raises(AuthRefused, match="not made here"):
        theirs.request_more(second)


def test_a_wrong_answer_makes_the_challenge_forgotten() -> None:
    cluster = Cluster()
    exchange = started(cluster.service)
    payload = more(exchange.request(cluster.authorizer(Presentation(5))))
    decoder = cluster.ticket.session_key.unseal(payload, "challenge")
    assert decoder.u8() == 1
    challenge = decoder.u64()
    with pytest.raises(AuthRefused, match="not made here"):
        exchange.request_more(cluster.authorizer(Presentation(5, challenge ^ 1)))
    with pytest.raises(AuthRefused, match="not made here"):
        exchange.request_more(cluster.authorizer(Presentation(5, challenge)))


def test_numbers_at_their_end_wrap() -> None:
    """Challenge and nonce are stepped by one, modulo 2**64."""
    cluster = Cluster()
    last = 2**64 - 1
    cluster.service._random_bytes = Script(last)
    cluster.client._random_bytes = Script(last)
    answer, credentials = cluster.present(ConMode.CRC)
    assert credentials.session_key == answer.credentials.session_key
    sealed = cluster.ticket.session_key.unseal(Decoder(answer.payload).blob(), "reply")
    assert (sealed.u8(), sealed.u64(), sealed.remaining) == (1, 0, 0)


# ---- refused tickets ----


def test_a_ticket_ends_when_it_expires() -> None:
    cluster = Cluster()
    first = cluster.client.start(OSD).request()
    cluster.clock.now_s += HOUR_S - 1
    more(started(cluster.service).request(first))
    cluster.clock.now_s += 1
    assert "the ticket of client.admin expired 0 s ago" in cluster.refuse(first)
    cluster.clock.now_s += 10
    assert "expired 10 s ago" in cluster.refuse(first)


def test_the_recorded_authorizer_has_expired_by_its_own_clock() -> None:
    recorded = recorded_authorizer()
    more(started(recorded.service(Clock(recorded.expires_s - 0.001))).request(recorded.first))
    with pytest.raises(AuthRefused, match="expired"):
        started(recorded.service(Clock(recorded.expires_s))).request(recorded.first)


def test_an_authorizer_must_be_for_this_service_by_its_secret_and_its_owner() -> None:
    cluster = Cluster()
    blob = cluster.ticket.blob
    hello = Presentation(5)
    assert "authorizer for mgr, this is osd" in cluster.refuse(cluster.authorizer(hello, service=MGR))
    assert "needs secret 7, there are [1, 2, 3]" in cluster.refuse(cluster.authorizer(hello, ticket=TicketBlob(7, blob.sealed)))
    assert "ticket is not sealed with" in cluster.refuse(cluster.authorizer(hello, ticket=TicketBlob(1, blob.sealed)))
    assert "authorizer of global id 99 with the ticket of 1" in cluster.refuse(cluster.authorizer(hello, global_id=99))
    stranger = hello.seal(CryptoKey.generate())
    assert "authorizer is not sealed with" in cluster.refuse(cluster.authorizer(hello, sealed=stranger))
    general = TicketBlob(2**64 - 1, blob.sealed)
    assert "needs secret 18446744073709551615" in cluster.refuse(cluster.authorizer(hello, ticket=general))


def test_an_authorizer_too_old_for_challenges_is_refused() -> None:
    cluster = Cluster()
    old = cluster.ticket.session_key.seal(bytes([1]) + bytes(8))
    assert "authorizer of version 1, expected at least 2" in cluster.refuse(cluster.authorizer(Presentation(1), sealed=old))


@pytest.mark.parametrize("payload", [b"", b"\x01", b"\x0a" + bytes(40), bytes(60)])
def test_what_is_no_authorizer_is_refused(payload: bytes) -> None:
    Cluster().refuse(payload)


# ---- the client refuses ----


def test_a_service_must_prove_that_it_could_open_the_ticket() -> None:
    cluster = Cluster()
    exchange = cluster.client.start(OSD)
    exchange.request()
    key = cluster.ticket.session_key
    with pytest.raises(AuthError, match="challenge of the service is not sealed"):
        exchange.reply_more(CryptoKey.generate().seal(encode_server_challenge(5)))
    with pytest.raises(AuthError, match="second challenge"):
        exchange.reply_more(key.seal(encode_server_challenge(5)))
    with pytest.raises(AuthError, match="answered another authorizer"):
        exchange.done(1, ConMode.CRC, AuthorizerReply(5).seal(key))
    with pytest.raises(AuthError, match="authorizer reply is not sealed"):
        exchange.done(1, ConMode.CRC, AuthorizerReply(5).seal(CryptoKey.generate()))


# ---- rotating secrets ----


def test_a_service_fetches_its_rotating_secrets() -> None:
    """Over the two messages, sealed with the service's own key."""
    cluster = Cluster()
    osd_key = cluster.keyring.entry("osd.0").key
    reply = MAuthReply(cluster.secrets.to_reply(osd_key), global_id=4711)
    secrets = RotatingSecrets.from_reply(reply.auth_payload, osd_key)
    assert secrets == cluster.secrets
    fresh = CephxService(OSD, clock_s=cluster.clock)
    cluster.service, full = fresh, cluster.service
    assert "there are []" in cluster.refuse(cluster.client.start(OSD).request())
    fresh.secrets = secrets
    cluster.present()
    assert fresh.secrets == full.secrets


def test_a_ticket_outlives_the_secret_that_was_current_when_it_was_made() -> None:
    cluster = Cluster()
    keys = dict(cluster.secrets.keys)
    newest = RotatingSecrets.generate(HOUR_S, clock_s=cluster.clock).keys[3]
    cluster.service.secrets = RotatingSecrets({2: keys[2], 3: keys[3], 4: newest}, 4)
    assert cluster.service.secrets.current == 3
    cluster.present()
    cluster.service.secrets = RotatingSecrets({3: keys[3], 4: newest}, 4)
    assert "needs secret 2, there are [3, 4]" in cluster.refuse(cluster.client.start(OSD).request())


def test_secrets_tell_when_they_want_to_be_fetched_anew() -> None:
    clock = Clock()
    assert RotatingSecrets().renew_at_s == 0
    assert RotatingSecrets.generate(HOUR_S, clock_s=clock).renew_at_s == clock.now_s + 2 * HOUR_S


def test_secrets_sealed_for_others_cut_or_bent_are_refused() -> None:
    cluster = Cluster()
    key = cluster.keyring.entry("osd.0").key
    payload = cluster.secrets.to_reply(key)
    with pytest.raises(AuthError, match="rotating secrets is not sealed with the key it should be"):
        RotatingSecrets.from_reply(payload, CryptoKey.generate())
    with pytest.raises(AuthError, match=r"request 0x0500 with status 0, expected 0x0400 with 0"):
        RotatingSecrets.from_reply(b"\x00\x05" + payload[2:], key)
    with pytest.raises(AuthError, match="with status -13"):
        RotatingSecrets.from_reply(payload[:2] + (-13).to_bytes(4, "little", signed=True) + payload[6:], key)
    for length in range(len(payload)):
        with pytest.raises(AuthError):
            RotatingSecrets.from_reply(payload[:length], key)
    for position in range(len(payload)):
        bent = bytearray(payload)
        bent[position] ^= 1
        try:
            other = RotatingSecrets.from_reply(bytes(bent), key)
        except AuthError:
            continue
        assert other != cluster.secrets


def test_the_request_for_rotating_secrets_is_the_documented_one() -> None:
    request = MAuth(rotating_request())
    assert request.encode_payload(0).hex() == "0000000000000000" "ffff" "0000000000000000" "02000000" "02000000" "0004" "00000000"
