"""Frame tags and protocol feature bits: the small numbers of msgr2 ("Frame tags and payloads", "Banner exchange")."""

from __future__ import annotations

from enum import IntEnum, IntFlag

__all__ = ["DATA_TAGS", "ProtocolFeature", "Tag", "describe_tag"]


class Tag(IntEnum):
    """The tag of a frame. ``str()`` gives the name of the wire document."""

    HELLO = 1
    AUTH_REQUEST = 2
    AUTH_BAD_METHOD = 3
    AUTH_REPLY_MORE = 4
    AUTH_REQUEST_MORE = 5
    AUTH_DONE = 6
    AUTH_SIGNATURE = 7
    CLIENT_IDENT = 8
    SERVER_IDENT = 9
    IDENT_MISSING_FEATURES = 10
    SESSION_RECONNECT = 11
    SESSION_RESET = 12
    SESSION_RETRY = 13
    SESSION_RETRY_GLOBAL = 14
    SESSION_RECONNECT_OK = 15
    WAIT = 16
    MESSAGE = 17
    KEEPALIVE2 = 18
    KEEPALIVE2_ACK = 19
    ACK = 20
    COMPRESSION_REQUEST = 21
    COMPRESSION_DONE = 22

    def __str__(self) -> str:
        return self.name


#: The frames of an open session. In READY the data plane deals with them; they never become an event.
DATA_TAGS = frozenset({Tag.MESSAGE, Tag.KEEPALIVE2, Tag.KEEPALIVE2_ACK, Tag.ACK})


class ProtocolFeature(IntFlag):
    """The bits of the banner: a number space of its own, unrelated to entity features."""

    #: Speaks msgr2.1.
    REVISION_1 = 1
    #: On-wire compression; offered only if the options ask for it.
    COMPRESSION = 2


def describe_tag(number: int) -> str:
    """The tag's name, for errors; ``tag 99`` for one that does not exist."""
    try:
        return str(Tag(number))
    except ValueError:
        return f"tag {number}"
