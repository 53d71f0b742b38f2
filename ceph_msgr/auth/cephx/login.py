"""The dialling side of a login at a monitor, and what both dialling exchanges share."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ceph_msgr.auth.base import ClientExchange, ConMode, Credentials
from ceph_msgr.auth.cephx.keys import CryptoKey
from ceph_msgr.auth.cephx.payloads import (
    CONNECTION_SECRET_BYTES,
    LoginDone,
    LoginProof,
    LoginRequest,
    compute_proof,
    decode_server_challenge,
)
from ceph_msgr.auth.cephx.tickets import NO_TICKET, Ticket
from ceph_msgr.crypto import RandomBytes
from ceph_msgr.errors import AuthError, DecodeError
from ceph_msgr.wire.encoding import Decoder, to_bytes
from ceph_msgr.wire.entity import AuthEntityName, EntityType

__all__ = ["LoginExchange", "check_secret", "random_u64"]


def random_u64(random_bytes: RandomBytes) -> int:
    return int.from_bytes(random_bytes(8), "little")


def check_secret(mode: ConMode, secret: bytes) -> bytes:
    """The connection secret that this mode uses."""
    if mode is ConMode.CRC:
        return b""
    if len(secret) != CONNECTION_SECRET_BYTES:
        raise AuthError(f"connection secret of {len(secret)} bytes for mode {mode}, expected {CONNECTION_SECRET_BYTES}")
    return secret


class LoginExchange(ClientExchange):
    """Challenge, proof, tickets. ``keep`` is told of a login that succeeded.

    ``old_ticket`` is the auth ticket of the previous login; it gives us our global id back.
    """

    def __init__(
        self,
        name: AuthEntityName,
        key: CryptoKey,
        *,
        services: int,
        old_ticket: Ticket | None,
        previous_keys: Mapping[EntityType, CryptoKey],
        random_bytes: RandomBytes,
        keep: Callable[[int, LoginDone], None],
    ) -> None:
        self._name = name
        self._key = key
        self._services = services
        self._old_ticket = old_ticket
        self._previous_keys = previous_keys
        self._random_bytes = random_bytes
        self._keep = keep
        self._was_challenged = False

    def request(self) -> bytes:
        return to_bytes(LoginRequest(self._name, self._old_ticket.global_id if self._old_ticket else 0))

    def reply_more(self, payload: bytes) -> bytes:
        if self._was_challenged:
            raise AuthError("the monitor sends a second challenge, expected the end of the login")
        self._was_challenged = True
        try:
            server_challenge = decode_server_challenge(Decoder(payload, "server challenge"))
        except DecodeError as error:
            raise AuthError(str(error)) from error
        client_challenge = random_u64(self._random_bytes)
        return to_bytes(
            LoginProof(
                client_challenge=client_challenge,
                proof=compute_proof(self._key, server_challenge, client_challenge),
                old_ticket=self._old_ticket.blob if self._old_ticket else NO_TICKET,
                services=self._services,
            )
        )

    def done(self, global_id: int, mode: ConMode, payload: bytes) -> Credentials:
        if not self._was_challenged:
            raise AuthError("the monitor ends the login without a challenge")
        try:
            done = LoginDone.unseal(payload, self._key, self._previous_keys)
        except DecodeError as error:
            raise AuthError(str(error)) from error
        secret = check_secret(mode, done.connection_secret)
        self._keep(global_id, done)
        return Credentials(session_key=done.auth.session_key.secret, connection_secret=secret)
