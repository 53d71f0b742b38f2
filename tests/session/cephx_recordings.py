"""The recorded cephx exchanges as values, and the chance and the clock to repeat them with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ceph_msgr.auth.base import ConMode, ServerDone, ServerExchange, ServerMore
from ceph_msgr.auth.cephx.client import CephxClient
from ceph_msgr.auth.cephx.keys import CryptoKey
from ceph_msgr.auth.cephx.monitor import CephxMonitor
from ceph_msgr.auth.cephx.payloads import Authorizer, LoginDone, LoginProof, Presentation, decode_server_challenge
from ceph_msgr.auth.cephx.rotating import RotatingKey, RotatingSecrets
from ceph_msgr.auth.cephx.service import CephxService
from ceph_msgr.auth.cephx.tickets import AuthTicket, Ticket, TicketGrant, open_ticket
from ceph_msgr.auth.keyring import Keyring, KeyringEntry
from ceph_msgr.wire.encoding import Decoder, Utime
from ceph_msgr.wire.entity import AuthEntityName, EntityType

VECTORS = Path(__file__).parent.parent / "vectors"
ADMIN = AuthEntityName.parse("client.admin")


class Script:
    """Chance that says what it was told to, in order."""

    def __init__(self, *values: bytes | int) -> None:
        self._values = [value.to_bytes(8, "little") if isinstance(value, int) else value for value in values]

    def __call__(self, count: int) -> bytes:
        value = self._values.pop(0)
        assert len(value) == count, f"{count} bytes asked for, {len(value)} are next"
        return value


class Clock:
    def __init__(self, now_s: float = 1_000_000.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


def vector(name: str) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((VECTORS / "standalone" / name).read_text())
    return result


def more(reply: ServerMore | ServerDone) -> bytes:
    assert isinstance(reply, ServerMore)
    return reply.payload


def done(reply: ServerMore | ServerDone) -> ServerDone:
    assert isinstance(reply, ServerDone)
    return reply


# ---- logins ----


@dataclass(frozen=True)
class Login:
    """One recorded login of client.admin: its four payloads, and what they hold."""

    key: CryptoKey
    global_id: int
    mode: ConMode
    request: bytes
    challenge: bytes
    proof: bytes
    done_payload: bytes

    @property
    def parsed_challenge(self) -> int:
        return decode_server_challenge(Decoder(self.challenge))

    @property
    def parsed_proof(self) -> LoginProof:
        return LoginProof.decode(Decoder(self.proof))

    @property
    def parsed_done(self) -> LoginDone:
        return LoginDone.unseal(self.done_payload, self.key, {})

    def client(self) -> CephxClient:
        proof = self.parsed_proof
        return CephxClient(ADMIN, self.key, services=proof.services, random_bytes=Script(proof.client_challenge))

    def monitor(self) -> RecordedMonitor:
        return RecordedMonitor(self)


class RecordedMonitor(CephxMonitor):
    """Grants the recorded tickets: nobody has the secrets that would make them again."""

    def __init__(self, login: Login) -> None:
        recorded = login.parsed_done
        self.recorded = {grant.service: grant for grant in (recorded.auth, *recorded.others)}
        super().__init__(
            Keyring({ADMIN: KeyringEntry(login.key)}),
            secrets={service: RotatingSecrets.generate(3600) for service in self.recorded},
            assign_global_id=lambda: login.global_id,
            random_bytes=Script(bytes(16), login.parsed_challenge, *filter(None, [recorded.connection_secret])),
        )

    def grant(
        self, service: EntityType, name: AuthEntityName, global_id: int, entry: KeyringEntry, validity_s: int
    ) -> TicketGrant:
        return self.recorded[service]


def recorded_login() -> Login:
    found = vector("cephx_login.json")
    return Login(
        key=CryptoKey(bytes.fromhex(found["principal_key"])),
        global_id=4119,
        mode=ConMode.SECURE,
        request=bytes.fromhex(found["auth_request_payload"]),
        challenge=bytes.fromhex(found["auth_reply_more_payload"]),
        proof=bytes.fromhex(found["auth_request_more_payload"]),
        done_payload=bytes.fromhex(found["auth_done_payload"]),
    )


# ---- authorizers ----


@dataclass(frozen=True)
class Presented:
    """One recorded authorizer exchange of client.admin with an OSD."""

    secrets: RotatingSecrets
    mode: ConMode
    first: bytes
    challenge: bytes
    second: bytes
    done_payload: bytes
    connection_secret: bytes

    @property
    def authorizer(self) -> Authorizer:
        return Authorizer.decode(Decoder(self.first))

    @property
    def opened(self) -> tuple[AuthTicket, CryptoKey]:
        blob = self.authorizer.ticket
        secret = self.secrets.secret(blob.secret_id)
        assert secret
        return open_ticket(secret, blob.sealed)

    @property
    def session_key(self) -> CryptoKey:
        return self.opened[1]

    @property
    def nonce(self) -> int:
        return Presentation.unseal(self.authorizer.sealed, self.session_key).nonce

    @property
    def parsed_challenge(self) -> int:
        return decode_server_challenge(self.session_key.unseal(self.challenge, "challenge"))

    @property
    def expires_s(self) -> float:
        return self.opened[0].expires.ns / 1e9

    def client(self, clock: Clock | None = None) -> CephxClient:
        clock = clock or Clock()
        client = CephxClient(ADMIN, CryptoKey(bytes(16)), random_bytes=Script(self.nonce), clock_s=clock)
        authorizer = self.authorizer
        client._tickets[EntityType.OSD] = Ticket(
            EntityType.OSD, self.session_key, authorizer.ticket, authorizer.global_id, clock.now_s + 100, clock.now_s + 200
        )
        return client

    def service(self, clock: Clock | None = None) -> CephxService:
        return CephxService(
            EntityType.OSD,
            self.secrets,
            random_bytes=Script(self.parsed_challenge, *filter(None, [self.connection_secret])),
            clock_s=clock or Clock(self.expires_s - 1),
        )


def rotating_secrets(hex_keys: Mapping[str, str]) -> RotatingSecrets:
    keys = {int(number): RotatingKey(CryptoKey(bytes.fromhex(key)), Utime()) for number, key in hex_keys.items()}
    return RotatingSecrets(keys, max(keys))


def recorded_authorizer() -> Presented:
    found = vector("cephx_authorizer.json")
    return Presented(
        secrets=rotating_secrets(found["rotating_secrets"]),
        mode=ConMode.SECURE,
        first=bytes.fromhex(found["first_authorizer"]),
        challenge=bytes.fromhex(found["challenge_payload"]),
        second=bytes.fromhex(found["second_authorizer"]),
        done_payload=bytes.fromhex(found["auth_done_payload"]),
        connection_secret=bytes.fromhex(found["connection_secret"]),
    )


def started(server: CephxMonitor | CephxService, mode: ConMode = ConMode.SECURE) -> ServerExchange:
    return server.start(EntityType.CLIENT, mode)
