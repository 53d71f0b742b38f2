"""Method none: everybody is believed ("Method none"). It has one round, no keys, and allows only crc mode.

The dummy authenticator of Ceph's perf programs and tests is method none with empty payloads on both sides.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ceph_msgr.auth.base import (
    AuthMethod,
    AuthRefused,
    ClientAuth,
    ClientExchange,
    ConMode,
    Credentials,
    ServerAuth,
    ServerDone,
    ServerExchange,
)
from ceph_msgr.errors import AuthError, DecodeError
from ceph_msgr.wire.encoding import Decoder, Encoder
from ceph_msgr.wire.entity import AuthEntityName, EntityType

__all__ = ["PAYLOAD_AUTHORIZER", "PAYLOAD_LOGIN", "DummyClient", "DummyServer", "NoneClient", "NoneServer"]

#: First byte of the payload: "I have already authenticated at a monitor".
PAYLOAD_AUTHORIZER = 1
#: First byte of the payload: a login at a monitor.
PAYLOAD_LOGIN = 10


class DummyClient(ClientAuth):
    """Method none with nothing to say."""

    method = AuthMethod.NONE

    def start(self, peer_type: EntityType) -> ClientExchange:
        return _ClientExchange(b"")


class DummyServer(ServerAuth):
    """Accepts everybody, whatever the payload."""

    method = AuthMethod.NONE

    def start(self, peer_type: EntityType, mode: ConMode) -> ServerExchange:
        return _DummyServerExchange()


class NoneClient(ClientAuth):
    """Method none as clients and daemons of a cluster speak it.

    A monitor is logged in at, with the global id it gave before, unless we are a monitor ourselves; all others get an
    authorizer. ``global_id`` is the last one a monitor gave, 0 before the first login; any thread may read it.
    """

    method = AuthMethod.NONE

    def __init__(self, name: AuthEntityName, global_id: int = 0) -> None:
        self.name = name
        self.global_id = global_id

    def start(self, peer_type: EntityType) -> ClientExchange:
        is_login = peer_type == EntityType.MON and self.name.type != EntityType.MON
        encoder = Encoder()
        encoder.u8(PAYLOAD_LOGIN if is_login else PAYLOAD_AUTHORIZER)
        encoder.value(self.name)
        encoder.u64(self.global_id)
        return _ClientExchange(encoder.to_bytes(), self._keep_global_id if is_login else None)

    def _keep_global_id(self, global_id: int) -> None:
        self.global_id = global_id


class NoneServer(ServerAuth):
    """Method none as monitors and services accept it.

    ``assign_global_id`` makes a new global id for a first login and marks this server as a monitor: without it only
    authorizers are accepted, and they keep the id they bring.
    """

    method = AuthMethod.NONE

    def __init__(self, assign_global_id: Callable[[], int] | None = None) -> None:
        self._assign_global_id = assign_global_id

    def start(self, peer_type: EntityType, mode: ConMode) -> ServerExchange:
        return _ServerExchange(self._assign_global_id)


@dataclass(frozen=True, slots=True)
class _ClientExchange(ClientExchange):
    payload: bytes
    keep_global_id: Callable[[int], None] | None = None

    def request(self) -> bytes:
        return self.payload

    def done(self, global_id: int, mode: ConMode, payload: bytes) -> Credentials:
        if mode != ConMode.CRC:
            raise AuthError(f"method none has no key for mode {mode}")
        if self.keep_global_id:
            self.keep_global_id(global_id)
        return Credentials()


class _DummyServerExchange(ServerExchange):
    def request(self, payload: bytes) -> ServerDone:
        return ServerDone(global_id=0)


@dataclass(frozen=True, slots=True)
class _ServerExchange(ServerExchange):
    assign_global_id: Callable[[], int] | None

    def request(self, payload: bytes) -> ServerDone:
        decoder = Decoder(payload, "payload of method none")
        try:
            kind = decoder.u8()
            name = AuthEntityName.decode(decoder)
            global_id = decoder.u64()
        except DecodeError as error:
            raise AuthRefused(str(error)) from error
        if kind == PAYLOAD_LOGIN and self.assign_global_id:
            global_id = global_id or self.assign_global_id()
        elif kind != PAYLOAD_AUTHORIZER:
            raise AuthRefused(f"payload of method none starts with {kind}, which is not served here")
        return ServerDone(global_id, credentials=Credentials(name=name))
