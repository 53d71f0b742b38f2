"""``CephxService``: the accepting side of a service, which believes tickets."""

from __future__ import annotations

import hmac

from ceph_msgr import crypto
from ceph_msgr.auth.base import (
    AuthMethod,
    AuthRefused,
    ConMode,
    Credentials,
    ServerAuth,
    ServerDone,
    ServerExchange,
    ServerMore,
)
from ceph_msgr.auth.cephx.keys import CryptoKey
from ceph_msgr.auth.cephx.login import random_u64
from ceph_msgr.auth.cephx.payloads import (
    CONNECTION_SECRET_BYTES,
    Authorizer,
    AuthorizerReply,
    Presentation,
    encode_server_challenge,
)
from ceph_msgr.auth.cephx.rotating import GENERAL_SECRET_ID, RotatingSecrets
from ceph_msgr.auth.cephx.tickets import AuthTicket, open_ticket
from ceph_msgr.errors import DecodeError
from ceph_msgr.wire.encoding import Decoder, to_bytes
from ceph_msgr.wire.entity import EntityType

__all__ = ["CephxService", "equal_u64", "new_connection_secret"]

_NO_SECRETS = RotatingSecrets()


def equal_u64(a: int, b: int) -> bool:
    """In a time that tells nothing."""
    return hmac.compare_digest(a.to_bytes(8, "little"), b.to_bytes(8, "little"))


def new_connection_secret(mode: ConMode, random_bytes: crypto.RandomBytes) -> bytes:
    return random_bytes(CONNECTION_SECRET_BYTES) if mode is ConMode.SECURE else b""


class CephxService(ServerAuth):
    """Accepts authorizers for one service, such as ``EntityType.OSD``.

    ``secrets`` are the rotating secrets of that service; assign newer ones whenever they have come. ``general_key`` opens
    the tickets that monitors make for each other. Any thread.
    """

    method = AuthMethod.CEPHX

    def __init__(
        self,
        service: EntityType,
        secrets: RotatingSecrets = _NO_SECRETS,
        *,
        general_key: CryptoKey | None = None,
        random_bytes: crypto.RandomBytes = crypto.random_bytes,
        clock_s: crypto.WallClock = crypto.wall_clock_s,
    ) -> None:
        self.service = service
        self.secrets = secrets
        self._general_key = general_key
        self._random_bytes = random_bytes
        self._clock_s = clock_s

    def __repr__(self) -> str:
        return f"<CephxService {self.service}, rotating secrets {sorted(self.secrets.keys)}>"

    def start(self, peer_type: EntityType, mode: ConMode) -> ServerExchange:
        return _ServiceExchange(self, mode, self._random_bytes)

    def open_authorizer(self, payload: bytes) -> tuple[AuthTicket, CryptoKey, Presentation]:
        """Whose it is, its session key, and what is sealed with that; ``AuthRefused`` or ``DecodeError``."""
        authorizer = Authorizer.decode(Decoder(payload, "authorizer"))
        if authorizer.service != self.service:
            raise AuthRefused(f"authorizer for {authorizer.service}, this is {self.service}")
        number = authorizer.ticket.secret_id
        secret = self._general_key if number == GENERAL_SECRET_ID else self.secrets.secret(number)
        if not secret:
            raise AuthRefused(f"the ticket needs secret {number}, there are {sorted(self.secrets.keys)}")
        ticket, session_key = open_ticket(secret, authorizer.ticket.sealed)
        if ticket.global_id != authorizer.global_id:
            raise AuthRefused(f"authorizer of global id {authorizer.global_id} with the ticket of {ticket.global_id}")
        late_s = self._clock_s() - ticket.expires.ns / 1e9
        if late_s >= 0:
            raise AuthRefused(f"the ticket of {ticket.name} expired {late_s:.0f} s ago")
        return ticket, session_key, Presentation.unseal(authorizer.sealed, session_key)


class _ServiceExchange(ServerExchange):
    """An authorizer counts only if it answers a challenge made for this connection, so a recorded one is worth nothing."""

    def __init__(self, service: CephxService, mode: ConMode, random_bytes: crypto.RandomBytes) -> None:
        self._service = service
        self._mode = mode
        self._random_bytes = random_bytes
        self._challenge: int | None = None

    def request(self, payload: bytes) -> ServerMore | ServerDone:
        # Each challenge is good for one answer, right or wrong.
        challenge, self._challenge = self._challenge, None
        try:
            ticket, session_key, presentation = self._service.open_authorizer(payload)
        except DecodeError as error:
            raise AuthRefused(str(error)) from error
        if presentation.challenge is None:
            self._challenge = random_u64(self._random_bytes)
            return ServerMore(session_key.seal(encode_server_challenge(self._challenge)))
        if challenge is None or not equal_u64(challenge, presentation.challenge):
            raise AuthRefused(f"authorizer of {ticket.name} answers a challenge that was not made here")
        secret = new_connection_secret(self._mode, self._random_bytes)
        return ServerDone(
            ticket.global_id,
            AuthorizerReply(presentation.nonce, secret).seal(session_key),
            Credentials(session_key.secret, secret, ticket.name, to_bytes(ticket.caps)),
        )

    def request_more(self, payload: bytes) -> ServerMore | ServerDone:
        return self.request(payload)
