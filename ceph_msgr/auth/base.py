"""What an authentication method is, on either side.

A method (``ClientAuth``, ``ServerAuth``) belongs to the messenger, is shared by all its connections and called on their
worker threads. For each attempt on a socket it starts an *exchange*, which belongs to that connection alone and holds what
the attempt must remember, such as a challenge. Nothing here blocks: an answer that is not at hand is ``AuthBusy``.
"""

from __future__ import annotations

import errno
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from enum import IntEnum

from ceph_msgr.errors import AuthError
from ceph_msgr.wire.entity import AuthEntityName, EntityType

__all__ = [
    "AuthBusy",
    "AuthMethod",
    "AuthRefused",
    "ClientAuth",
    "ClientExchange",
    "ConMode",
    "Credentials",
    "ServerAuth",
    "ServerDone",
    "ServerExchange",
    "ServerMore",
]


class AuthMethod(IntEnum):
    """Methods as numbered on the wire."""

    NONE = 1
    CEPHX = 2
    GSS = 4

    def __str__(self) -> str:
        return self.name.lower()


class ConMode(IntEnum):
    """Connection modes as numbered on the wire."""

    CRC = 1
    SECURE = 2

    def __str__(self) -> str:
        return self.name.lower()


class AuthRefused(AuthError):
    """The peer's credentials or its choice are refused. ``code`` is the positive errno that AUTH_BAD_METHOD carries."""

    def __init__(self, text: str, code: int = errno.EACCES) -> None:
        super().__init__(text, code)
        self.text = text
        self.code = code

    def __str__(self) -> str:
        return f"{self.text} ({errno.errorcode.get(self.code, self.code)})"


class AuthBusy(AuthError):
    """The server cannot tell yet; the connection faults and the client comes back later."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What an exchange ended with. The keys are empty where the method has none; they never appear in texts."""

    #: Signs the handshake.
    session_key: bytes = field(default=b"", repr=False)
    #: Feeds the ciphers of secure mode.
    connection_secret: bytes = field(default=b"", repr=False)
    #: Who the peer says it is; on the client's side, nobody.
    name: AuthEntityName | None = None
    #: What the peer may do here: an encoded ``AuthCaps``, empty where the method knows none.
    caps: bytes = b""


# ---- client ----


class ClientExchange(ABC):
    """One attempt, on the side that dialled. Any ``AuthError`` makes the connection fault."""

    @abstractmethod
    def request(self) -> bytes:
        """The payload of AUTH_REQUEST."""

    def reply_more(self, payload: bytes) -> bytes:
        """The payload of AUTH_REQUEST_MORE that answers this AUTH_REPLY_MORE."""
        raise AuthError(f"{type(self).__name__} has a single round, the server asks for another")

    @abstractmethod
    def done(self, global_id: int, mode: ConMode, payload: bytes) -> Credentials:
        """AUTH_DONE came: check that the server knows what it must know."""


class ClientAuth(ABC):
    """One method with our own credentials."""

    method: AuthMethod

    @abstractmethod
    def start(self, peer_type: EntityType) -> ClientExchange: ...


# ---- server ----


@dataclass(frozen=True, slots=True)
class ServerMore:
    """Another round is needed; the payload of AUTH_REPLY_MORE."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class ServerDone:
    """The peer is who it says; for AUTH_DONE."""

    global_id: int
    payload: bytes = b""
    credentials: Credentials = field(default_factory=Credentials)


class ServerExchange(ABC):
    """One attempt, on the side that accepted. ``AuthRefused`` is answered with AUTH_BAD_METHOD, other errors fault."""

    @abstractmethod
    def request(self, payload: bytes) -> ServerMore | ServerDone:
        """AUTH_REQUEST came."""

    def request_more(self, payload: bytes) -> ServerMore | ServerDone:
        """AUTH_REQUEST_MORE came."""
        raise AuthRefused(f"{type(self).__name__} has a single round, the client sends another")


class ServerAuth(ABC):
    """One method with what is needed to verify others."""

    method: AuthMethod

    @abstractmethod
    def start(self, peer_type: EntityType, mode: ConMode) -> ServerExchange: ...
