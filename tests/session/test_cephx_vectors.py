"""Recorded cephx payloads, bit for bit in both roles; then cut at each length and with each bit turned."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ceph_msgr.auth.base import AuthRefused, ClientExchange, ConMode, ServerExchange
from ceph_msgr.auth.cephx.payloads import AuthorizerReply, LoginDone, compute_proof
from ceph_msgr.auth.cephx.tickets import AuthCaps, open_ticket, seal_ticket
from ceph_msgr.errors import AuthError
from ceph_msgr.wire.encoding import Decoder, to_bytes
from ceph_msgr.wire.entity import EntityType
from tests.session.cephx_recordings import ADMIN, done, more, recorded_authorizer, recorded_login, started, vector

LOGIN, PRESENTED = recorded_login(), recorded_authorizer()
LOGIN_VECTOR, AUTHORIZER_VECTOR = vector("cephx_login.json"), vector("cephx_authorizer.json")

# ---- bit for bit ----


def test_a_recorded_login_from_the_clients_side() -> None:
    client = LOGIN.client()
    exchange = client.start(EntityType.MON)
    assert exchange.request() == LOGIN.request
    assert exchange.reply_more(LOGIN.challenge) == LOGIN.proof
    credentials = exchange.done(LOGIN.global_id, LOGIN.mode, LOGIN.done_payload)
    assert credentials.session_key.hex() == LOGIN_VECTOR["session_key"]
    assert credentials.connection_secret.hex() == LOGIN_VECTOR["connection_secret"]
    assert client.global_id == LOGIN.global_id
    assert to_bytes(client._tickets[EntityType.AUTH].blob).hex() == LOGIN_VECTOR["tickets"]["32"]["ticket"]


def test_a_recorded_login_from_the_monitors_side() -> None:
    monitor = LOGIN.monitor()
    exchange = started(monitor)
    assert more(exchange.request(LOGIN.request)) == LOGIN.challenge
    result = done(exchange.request_more(LOGIN.proof))
    assert result.payload == LOGIN.done_payload
    assert result.global_id == LOGIN.global_id
    assert result.credentials.session_key.hex() == LOGIN_VECTOR["session_key"]
    assert result.credentials.connection_secret.hex() == LOGIN_VECTOR["connection_secret"]
    assert result.credentials.name == ADMIN


def test_the_recorded_proof() -> None:
    assert LOGIN.parsed_challenge == LOGIN_VECTOR["server_challenge"]
    challenges = LOGIN_VECTOR["server_challenge"], LOGIN_VECTOR["client_challenge"]
    sealed = LOGIN.key.seal(b"".join(challenge.to_bytes(8, "little") for challenge in challenges))
    assert sealed.hex() == LOGIN_VECTOR["sealed_challenges"]
    assert compute_proof(LOGIN.key, *challenges) == LOGIN_VECTOR["proof"]


def test_a_recorded_authorizer_from_the_clients_side() -> None:
    exchange = PRESENTED.client().start(EntityType.OSD)
    assert exchange.request() == PRESENTED.first
    assert exchange.reply_more(PRESENTED.challenge) == PRESENTED.second
    credentials = exchange.done(AUTHORIZER_VECTOR["global_id"], PRESENTED.mode, PRESENTED.done_payload)
    assert credentials.session_key.hex() == AUTHORIZER_VECTOR["session_key"]
    assert credentials.connection_secret == PRESENTED.connection_secret


def test_a_recorded_authorizer_from_the_services_side() -> None:
    exchange = started(PRESENTED.service())
    assert more(exchange.request(PRESENTED.first)) == PRESENTED.challenge
    result = done(exchange.request_more(PRESENTED.second))
    assert result.payload == PRESENTED.done_payload
    assert result.global_id == AUTHORIZER_VECTOR["global_id"]
    assert result.credentials.session_key.hex() == AUTHORIZER_VECTOR["session_key"]
    assert result.credentials.connection_secret == PRESENTED.connection_secret
    assert result.credentials.name == ADMIN
    assert AuthCaps.decode(Decoder(result.credentials.caps)) == AuthCaps(text="allow *")


def test_the_recorded_ticket_is_made_again() -> None:
    blob = PRESENTED.authorizer.ticket
    secret = PRESENTED.secrets.secret(blob.secret_id)
    assert secret
    assert seal_ticket(secret, *open_ticket(secret, blob.sealed)) == blob.sealed
    assert to_bytes(blob).hex() == AUTHORIZER_VECTOR["ticket"]
    assert PRESENTED.parsed_challenge == AUTHORIZER_VECTOR["server_challenge"]
    assert PRESENTED.nonce == AUTHORIZER_VECTOR["nonce"]


def test_no_value_shows_its_secrets() -> None:
    login, reply = LOGIN.parsed_done, AuthorizerReply.unseal(PRESENTED.done_payload, PRESENTED.session_key)
    client = LOGIN.client()
    client._keep(LOGIN.global_id, login)
    shown = repr([login, reply, client._tickets, PRESENTED.opened, PRESENTED.authorizer, PRESENTED.secrets])
    secrets = [login.auth.session_key.secret, login.connection_secret, reply.connection_secret, PRESENTED.session_key.secret]
    secrets += [key.key.secret for key in PRESENTED.secrets.keys.values()]
    for secret in secrets:
        assert secret
        assert repr(secret)[2:-1] not in shown


# ---- cut and bent ----


def answer_login_challenge(payload: bytes) -> object:
    exchange = LOGIN.client().start(EntityType.MON)
    return exchange.reply_more(payload)


def finish_login(payload: bytes) -> object:
    exchange: ClientExchange = LOGIN.client().start(EntityType.MON)
    exchange.reply_more(LOGIN.challenge)
    return exchange.done(LOGIN.global_id, LOGIN.mode, payload)


def take_login(payload: bytes) -> object:
    """To the end: what the first payload says comes to light in the second."""
    exchange: ServerExchange = started(LOGIN.monitor())
    exchange.request(payload)
    return exchange.request_more(LOGIN.proof)


def take_proof(payload: bytes) -> object:
    exchange = started(LOGIN.monitor())
    exchange.request(LOGIN.request)
    return exchange.request_more(payload)


def answer_service_challenge(payload: bytes) -> object:
    return PRESENTED.client().start(EntityType.OSD).reply_more(payload)


def finish_authorizer(payload: bytes) -> object:
    exchange = PRESENTED.client().start(EntityType.OSD)
    exchange.reply_more(PRESENTED.challenge)
    return exchange.done(1, PRESENTED.mode, payload)


def take_first_authorizer(payload: bytes) -> object:
    return started(PRESENTED.service()).request(payload)


def take_second_authorizer(payload: bytes) -> object:
    exchange = started(PRESENTED.service())
    exchange.request(PRESENTED.first)
    return exchange.request_more(payload)


def span(*ranges: tuple[int, int]) -> set[int]:
    return {position for first, last in ranges for position in range(first, last + 1)}


#: What takes a payload, the payload, whether a server takes it, and the bytes in which a turned bit can go unnoticed.
STEPS: dict[str, tuple[Callable[[bytes], object], bytes, bool, set[int]]] = {
    # The global id: without its ticket nobody gets one back.
    "login request": (take_login, LOGIN.request, True, span((14, 21))),
    # Any number, and a version up to 255.
    "login challenge": (answer_login_challenge, LOGIN.challenge, False, span((0, 8))),
    # The version, the old ticket's secret id, and the mask of services.
    "login proof": (take_proof, LOGIN.proof, True, span((2, 2), (20, 27), (32, 35))),
    # Session key and validity, the ticket, the connection secret: a changed session key changes the signature, and a changed
    # ticket or secret is a changed byte under it.
    "login done": (
        finish_login,
        LOGIN.done_payload,
        False,
        span((74, 81), (86, 181), (206, 250), (253, 253), (264, 264)),
    ),
    # The ticket's stamps. Its owner could bend them as well, and so live longer: that is cephx, which has no checksum here.
    "authorizer": (take_first_authorizer, PRESENTED.first, True, span((58, 65), (67, 67), (72, 72))),
    # The version, up to 255.
    "service challenge": (answer_service_challenge, PRESENTED.challenge, False, span((25, 25))),
    "second authorizer": (take_second_authorizer, PRESENTED.second, True, span((58, 65), (67, 67), (72, 72))),
    # The connection secret.
    "authorizer done": (finish_authorizer, PRESENTED.done_payload, False, span((36, 73), (92, 92))),
}
ALL_STEPS = pytest.mark.parametrize("step", STEPS)


@ALL_STEPS
def test_the_whole_payload_is_taken(step: str) -> None:
    take, payload, _, _ = STEPS[step]
    take(payload)
    if step != "service challenge":  # sealed as a whole
        take(payload + b"and what a later release may add")


@ALL_STEPS
def test_a_payload_cut_at_each_length_is_refused(step: str) -> None:
    take, payload, is_servers, _ = STEPS[step]
    for length in range(len(payload)):
        with pytest.raises(AuthRefused if is_servers else AuthError):
            take(payload[:length])


@ALL_STEPS
def test_a_turned_bit_is_refused_or_left_to_the_signature(step: str) -> None:
    """CBC without a checksum lets some through. The signature covers every byte, and finds them all (see the pairs)."""
    take, payload, is_servers, unnoticed = STEPS[step]
    accepted = set()
    for position in range(len(payload)):
        for bit in range(8):
            bent = bytearray(payload)
            bent[position] ^= 1 << bit
            try:
                take(bytes(bent))
            except AuthError as error:
                assert isinstance(error, AuthRefused) == is_servers
            else:
                accepted.add(position)
    assert accepted == unnoticed


# ---- mode and secret ----


@pytest.mark.parametrize("secret", [b"", bytes(40), bytes(63), bytes(65)])
def test_secure_mode_needs_a_whole_secret(secret: bytes) -> None:
    short = LoginDone(LOGIN.parsed_done.auth, secret).seal(LOGIN.key)
    with pytest.raises(AuthError, match=f"secret of {len(secret)} bytes for mode secure"):
        finish_login(short)
    with pytest.raises(AuthError, match=f"secret of {len(secret)} bytes for mode secure"):
        finish_authorizer(AuthorizerReply(PRESENTED.nonce, secret).seal(PRESENTED.session_key))


def test_crc_mode_has_no_secret() -> None:
    exchange = LOGIN.client().start(EntityType.MON)
    exchange.reply_more(LOGIN.challenge)
    assert exchange.done(LOGIN.global_id, ConMode.CRC, LOGIN.done_payload).connection_secret == b""
