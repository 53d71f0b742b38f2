"""The dialling side towards a service: presenting an authorizer."""

from __future__ import annotations

from ceph_msgr.auth.base import ClientExchange, ConMode, Credentials
from ceph_msgr.auth.cephx.login import check_secret, random_u64
from ceph_msgr.auth.cephx.payloads import Authorizer, AuthorizerReply, Presentation, decode_server_challenge
from ceph_msgr.auth.cephx.tickets import Ticket
from ceph_msgr.crypto import RandomBytes
from ceph_msgr.errors import AuthError, DecodeError
from ceph_msgr.wire.encoding import to_bytes

__all__ = ["AuthorizerExchange"]


class AuthorizerExchange(ClientExchange):
    """Present the ticket, answer one challenge with the same nonce, check that the service could open it."""

    def __init__(self, ticket: Ticket, random_bytes: RandomBytes) -> None:
        self._ticket = ticket
        self._nonce = random_u64(random_bytes)
        self._was_challenged = False

    def request(self) -> bytes:
        return self._present(None)

    def _present(self, challenge: int | None) -> bytes:
        ticket = self._ticket
        sealed = Presentation(self._nonce, challenge).seal(ticket.session_key)
        return to_bytes(Authorizer(ticket.global_id, ticket.service, ticket.blob, sealed))

    def reply_more(self, payload: bytes) -> bytes:
        if self._was_challenged:
            raise AuthError("the service sends a second challenge, expected its answer")
        self._was_challenged = True
        try:
            challenge = decode_server_challenge(self._ticket.session_key.unseal(payload, "challenge of the service"))
        except DecodeError as error:
            raise AuthError(str(error)) from error
        return self._present(challenge)

    def done(self, global_id: int, mode: ConMode, payload: bytes) -> Credentials:
        session_key = self._ticket.session_key
        try:
            reply = AuthorizerReply.unseal(payload, session_key)
        except DecodeError as error:
            raise AuthError(str(error)) from error
        if reply.nonce != self._nonce:
            raise AuthError("the service answered another authorizer than ours")
        return Credentials(session_key=session_key.secret, connection_secret=check_secret(mode, reply.connection_secret))
