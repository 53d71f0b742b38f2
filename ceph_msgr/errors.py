"""The errors of ceph_msgr: a small tree, so that a caller can catch what it can handle and nothing else.

System failures (a refused port, an address in use) are not in it: they stay ``OSError``. Wrong arguments stay
``ValueError`` and ``TypeError``. Texts name the state or field and the values compared; never secrets, never payload.

    MessengerError
        ProtocolError
            LocalProtocolError
            RemoteProtocolError
                DecodeError
        AuthError
        ConnectionFault
        Throttled
            SendQueueFull
"""

from __future__ import annotations

import errno

__all__ = [
    "AuthError",
    "ConnectionFault",
    "DecodeError",
    "LocalProtocolError",
    "MessengerError",
    "ProtocolError",
    "RemoteProtocolError",
    "SendQueueFull",
    "Throttled",
]


class MessengerError(Exception):
    """Base of every error of this package."""


class ProtocolError(MessengerError):
    """The msgr2 protocol was violated; the subclass tells by whom."""


class LocalProtocolError(ProtocolError):
    """We were asked to do what the protocol forbids in this state. Nothing was sent."""


class RemoteProtocolError(ProtocolError):
    """The peer did what the protocol forbids. Its connection faults."""


class DecodeError(RemoteProtocolError):
    """Bytes from the peer do not hold the value they should."""


class AuthError(MessengerError):
    """Authentication failed or no method and mode is common to both sides."""


class ConnectionFault(MessengerError):
    """A connection broke.

    ``text`` is the sentence for people. ``cause`` is one short stable word for logs and counters, such as
    ``"reset"``, ``"timeout"`` or ``"protocol"``. ``code`` is the errno of the system failure behind it, 0 if none.
    """

    def __init__(self, text: str, cause: str = "unknown", code: int = 0) -> None:
        # All three go to the base so that copying and pickling rebuild the same error.
        super().__init__(text, cause, code)
        self.text = text
        self.cause = cause
        self.code = code

    def __str__(self) -> str:
        if not self.code:
            return f"{self.text} [{self.cause}]"
        return f"{self.text} [{self.cause}, {errno.errorcode.get(self.code, self.code)}]"


class Throttled(MessengerError):
    """A bound on memory would be exceeded; waiting or sending less helps."""


class SendQueueFull(Throttled):
    """The connection holds as many unsent and unacknowledged bytes as ``ms_send_queue_max_bytes`` allows."""
