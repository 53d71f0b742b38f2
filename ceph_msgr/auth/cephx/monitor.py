"""``CephxMonitor``: the accepting side of a login, which knows its clients' keys.

A monitor needs it, and so does any server that wants cephx without a cluster.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping

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
    LoginDone,
    LoginProof,
    LoginRequest,
    compute_proof,
    encode_server_challenge,
)
from ceph_msgr.auth.cephx.rotating import RotatingSecrets
from ceph_msgr.auth.cephx.service import CephxService, equal_u64, new_connection_secret
from ceph_msgr.auth.cephx.tickets import AuthCaps, AuthTicket, TicketBlob, TicketGrant, open_ticket, seal_ticket
from ceph_msgr.auth.keyring import KeyringEntry
from ceph_msgr.auth.none import PAYLOAD_AUTHORIZER
from ceph_msgr.errors import DecodeError
from ceph_msgr.wire.encoding import Decoder, Utime, to_bytes
from ceph_msgr.wire.entity import AuthEntityName, EntityType

__all__ = ["CephxMonitor"]

_HOUR_S = 3600

#: As Ceph's monitors have them: for the auth ticket, and for those of services.
_AUTH_VALIDITY_S = 72 * _HOUR_S
_SERVICE_VALIDITY_S = _HOUR_S

_MON_NAME = AuthEntityName(EntityType.MON, "")


class CephxMonitor(ServerAuth):
    """Accepts logins of everybody in ``keyring``, any mapping from names to ``KeyringEntry``, looked at anew each time.

    ``service`` is what we are; a peer's caps for it become its caps on the connection. By ``secrets`` a login gives tickets
    for further services, whose rotating secrets they are; without, the login itself is all that is asked for, as by a
    ``CephxClient`` with ``standalone``. Authorizers for our own service are accepted too. Any thread.

    Refused are logins without any service wanted, and the legacy ones that could take another's global id.
    """

    method = AuthMethod.CEPHX

    def __init__(
        self,
        keyring: Mapping[AuthEntityName, KeyringEntry],
        service: EntityType = EntityType.MON,
        *,
        secrets: Mapping[EntityType, RotatingSecrets] | None = None,
        assign_global_id: Callable[[], int] | None = None,
        random_bytes: crypto.RandomBytes = crypto.random_bytes,
        clock_s: crypto.WallClock = crypto.wall_clock_s,
    ) -> None:
        self.keyring = keyring
        #: By service; may be replaced to rotate them. Those of ``AUTH`` open the auth tickets that only we see.
        self.secrets = dict(secrets or {})
        self._service = service
        self._assign_global_id = assign_global_id or itertools.count(1).__next__
        self._random_bytes = random_bytes
        self._clock_s = clock_s
        #: In the place of unknown clients' keys, so that it takes no less time to refuse them.
        self._nobodys_key = CryptoKey.generate(random_bytes=random_bytes)
        if EntityType.AUTH not in self.secrets:
            self.secrets[EntityType.AUTH] = RotatingSecrets.generate(
                _AUTH_VALIDITY_S, random_bytes=random_bytes, clock_s=clock_s
            )

    def __repr__(self) -> str:
        return f"<CephxMonitor for {self._service}, {len(self.keyring)} keys>"

    def start(self, peer_type: EntityType, mode: ConMode) -> ServerExchange:
        return _MonitorExchange(self, mode)

    # ---- one login ----

    def challenge(self) -> int:
        return random_u64(self._random_bytes)

    def authorizers(self, mode: ConMode) -> ServerExchange:
        """An exchange for somebody who comes with an authorizer."""
        general = self.keyring.get(_MON_NAME) if self._service == EntityType.MON else None
        service = CephxService(
            self._service,
            self.secrets.get(self._service, RotatingSecrets()),
            general_key=general.key if general else None,
            random_bytes=self._random_bytes,
            clock_s=self._clock_s,
        )
        return service.start(self._service, mode)

    def log_in(self, request: LoginRequest, server_challenge: int, proof: LoginProof, mode: ConMode) -> ServerDone:
        """``AuthRefused`` unless the proof is right; the reason is for our log, the client cannot tell one from another."""
        entry = self.keyring.get(request.name)
        key = entry.key if entry else self._nobodys_key
        is_right = equal_u64(proof.proof, compute_proof(key, server_challenge, proof.client_challenge))
        if not entry:
            raise AuthRefused(f"there is no key for {request.name}")
        if not is_right:
            raise AuthRefused(f"wrong proof for {request.name}: it has another key")
        previous_key = self._session_key_of(proof.old_ticket, request)
        global_id = request.global_id if previous_key else self._assign_global_id()
        auth = self.grant(EntityType.AUTH, request.name, global_id, entry, _AUTH_VALIDITY_S)
        wanted = [s for s in sorted(self.secrets) if proof.services & s and s != EntityType.AUTH]
        others = [self.grant(service, request.name, global_id, entry, _SERVICE_VALIDITY_S) for service in wanted]
        secret = new_connection_secret(mode, self._random_bytes)
        caps = _caps_for(self._service, entry)
        return ServerDone(
            global_id,
            LoginDone(auth, secret, others).seal(key, previous_key),
            Credentials(auth.session_key.secret, secret, request.name, to_bytes(caps)),
        )

    def _session_key_of(self, blob: TicketBlob, request: LoginRequest) -> CryptoKey | None:
        """That of the old ticket, if it proves that the global id was this client's. Whoever cannot prove it gets a new one."""
        secret = self.secrets[EntityType.AUTH].secret(blob.secret_id)
        if not secret:
            return None
        try:
            ticket, session_key = open_ticket(secret, blob.sealed)
        except DecodeError:
            return None  # of another monitor, or made up: no matter, the proof was right
        is_theirs = ticket.name == request.name and ticket.global_id == request.global_id
        return session_key if is_theirs else None

    def grant(
        self, service: EntityType, name: AuthEntityName, global_id: int, entry: KeyringEntry, validity_s: int
    ) -> TicketGrant:
        """A new ticket for one service, sealed with its current secret."""
        secrets, now_ns = self.secrets[service], round(self._clock_s() * 1e9)
        created, validity = Utime.from_ns(now_ns), Utime(validity_s)
        session_key = CryptoKey.generate(created, self._random_bytes)
        ticket = AuthTicket(name, global_id, created, Utime.from_ns(now_ns + validity.ns), _caps_for(service, entry))
        sealed = seal_ticket(secrets.keys[secrets.current].key, ticket, session_key)
        return TicketGrant(service, session_key, validity, TicketBlob(secrets.current, sealed))


def _caps_for(service: EntityType, entry: KeyringEntry) -> AuthCaps:
    return AuthCaps(text=entry.caps.get(str(service), ""))


class _MonitorExchange(ServerExchange):
    """One attempt: a login, or an authorizer."""

    def __init__(self, monitor: CephxMonitor, mode: ConMode) -> None:
        self._monitor = monitor
        self._mode = mode
        #: Of a login under way, with our challenge: good for one proof.
        self._pending: tuple[LoginRequest, int] | None = None
        self._authorizers: ServerExchange | None = None

    def request(self, payload: bytes) -> ServerMore | ServerDone:
        if payload[:1] == bytes([PAYLOAD_AUTHORIZER]):
            self._authorizers = self._monitor.authorizers(self._mode)
            return self._authorizers.request(payload)
        try:
            request = LoginRequest.decode(Decoder(payload, "login"))
        except DecodeError as error:
            raise AuthRefused(str(error)) from error
        # Unknown names are challenged as well: a stranger shall not find out which there are.
        challenge = self._monitor.challenge()
        self._pending = request, challenge
        return ServerMore(encode_server_challenge(challenge))

    def request_more(self, payload: bytes) -> ServerMore | ServerDone:
        if self._authorizers:
            return self._authorizers.request_more(payload)
        pending, self._pending = self._pending, None
        if not pending:
            raise AuthRefused("a proof for no challenge; each is good for one")
        try:
            proof = LoginProof.decode(Decoder(payload, "proof of the login"))
        except DecodeError as error:
            raise AuthRefused(str(error)) from error
        if not proof.services:
            # Marks a client so old that it gets no connection secret.
            raise AuthRefused(f"login of {pending[0].name} wants tickets for no service at all")
        return self._monitor.log_in(*pending, proof, self._mode)
