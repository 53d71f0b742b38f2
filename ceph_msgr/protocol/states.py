"""The states of a session, which may follow which, and which frames each one expects.

Theory of operation. A session outlives its sockets. While it dials or accepts it walks one of the two handshake chains
(``*_CONNECTING``, ``*_ACCEPTING``), which meet in READY. A fault leads from anywhere to one of four resting places:
BACKOFF (a timer will dial again), WAIT (the peer's own dial is on its way; the same, but slow), STANDBY (somebody must
want something first) or CLOSED. A session that yields its place to another socket passes REPLACING; the connection whose
socket it takes ends as HANDED_OVER.

The tables below are the truth: ``Session._enter`` is the only place that changes the state and refuses what is not in
``TRANSITIONS``; the handlers never see a frame that is not in ``EXPECTED``.
"""

from __future__ import annotations

from enum import Enum

from ceph_msgr.protocol.tags import DATA_TAGS, Tag

__all__ = [
    "ACCEPTING_STATES",
    "DIALLING_STATES",
    "EXPECTED",
    "IDLE_STATES",
    "TRANSITIONS",
    "State",
]


class State(Enum):
    """Where a session is. Ceph's names where Ceph has one."""

    NEW = "nothing happened yet"
    CONNECTING = "the TCP connect is under way"
    BANNER_CONNECTING = "our banner is sent, the peer's is awaited"
    HELLO_CONNECTING = "our HELLO is sent, the peer's is awaited"
    AUTH_CONNECTING = "AUTH_REQUEST is sent"
    AUTH_CONNECTING_SIGN = "authenticated, the peer's signature is awaited"
    COMPRESS_CONNECTING = "COMPRESSION_REQUEST is sent"
    SESSION_CONNECTING = "CLIENT_IDENT is sent"
    SESSION_RECONNECTING = "SESSION_RECONNECT is sent"

    BANNER_ACCEPTING = "our banner is sent, the dialler's is awaited"
    HELLO_ACCEPTING = "our HELLO is sent, the dialler's is awaited"
    AUTH_ACCEPTING = "AUTH_REQUEST is awaited"
    AUTH_ACCEPTING_MORE = "AUTH_REPLY_MORE is sent, AUTH_REQUEST_MORE is awaited"
    AUTH_ACCEPTING_SIGN = "authenticated, the dialler's signature is awaited"
    COMPRESS_ACCEPTING = "COMPRESSION_REQUEST is awaited"
    SESSION_ACCEPTING = "CLIENT_IDENT or SESSION_RECONNECT is awaited or being answered"

    READY = "messages flow"
    BACKOFF = "a dial failed, the next one waits for its timer"
    STANDBY = "no socket and no wish for one"
    WAIT = "the peer told us to wait for its own dial"
    REPLACING = "our socket is given up for a newer one that is being moved here"
    HANDED_OVER = "our socket is being moved to the session that was there before"
    CLOSED = "closed for good"

    def __str__(self) -> str:
        return self.name


_S = State

#: A dial is under way: there is a socket of ours, or will be without anybody doing anything.
DIALLING_STATES = frozenset(
    {
        _S.CONNECTING,
        _S.BANNER_CONNECTING,
        _S.HELLO_CONNECTING,
        _S.AUTH_CONNECTING,
        _S.AUTH_CONNECTING_SIGN,
        _S.COMPRESS_CONNECTING,
        _S.SESSION_CONNECTING,
        _S.SESSION_RECONNECTING,
        _S.BACKOFF,
    }
)

#: An accepted socket that has not become a session yet.
ACCEPTING_STATES = frozenset(
    {
        _S.BANNER_ACCEPTING,
        _S.HELLO_ACCEPTING,
        _S.AUTH_ACCEPTING,
        _S.AUTH_ACCEPTING_MORE,
        _S.AUTH_ACCEPTING_SIGN,
        _S.COMPRESS_ACCEPTING,
        _S.SESSION_ACCEPTING,
    }
)

#: Neither a socket nor a dial of ours: nothing can be raced or torn down.
IDLE_STATES = frozenset({_S.BACKOFF, _S.STANDBY, _S.WAIT})

#: How every dial may end: fault, or give way to the peer's dial.
_DIAL_ENDS = frozenset({_S.BACKOFF, _S.STANDBY, _S.CLOSED, _S.REPLACING})

TRANSITIONS: dict[State, frozenset[State]] = {
    _S.NEW: frozenset({_S.CONNECTING, _S.BANNER_ACCEPTING, _S.REPLACING, _S.CLOSED}),
    _S.CONNECTING: _DIAL_ENDS | {_S.BANNER_CONNECTING},
    _S.BANNER_CONNECTING: _DIAL_ENDS | {_S.HELLO_CONNECTING},
    _S.HELLO_CONNECTING: _DIAL_ENDS | {_S.AUTH_CONNECTING},
    _S.AUTH_CONNECTING: _DIAL_ENDS | {_S.AUTH_CONNECTING, _S.AUTH_CONNECTING_SIGN},
    _S.AUTH_CONNECTING_SIGN: _DIAL_ENDS | {_S.COMPRESS_CONNECTING, _S.SESSION_CONNECTING, _S.SESSION_RECONNECTING},
    _S.COMPRESS_CONNECTING: _DIAL_ENDS | {_S.SESSION_CONNECTING, _S.SESSION_RECONNECTING},
    _S.SESSION_CONNECTING: _DIAL_ENDS | {_S.WAIT, _S.READY},
    _S.SESSION_RECONNECTING: _DIAL_ENDS | {_S.SESSION_RECONNECTING, _S.SESSION_CONNECTING, _S.WAIT, _S.READY},
    _S.BANNER_ACCEPTING: frozenset({_S.HELLO_ACCEPTING, _S.CLOSED}),
    _S.HELLO_ACCEPTING: frozenset({_S.AUTH_ACCEPTING, _S.CLOSED}),
    _S.AUTH_ACCEPTING: frozenset({_S.AUTH_ACCEPTING, _S.AUTH_ACCEPTING_MORE, _S.AUTH_ACCEPTING_SIGN, _S.CLOSED}),
    _S.AUTH_ACCEPTING_MORE: frozenset({_S.AUTH_ACCEPTING_MORE, _S.AUTH_ACCEPTING_SIGN, _S.CLOSED}),
    _S.AUTH_ACCEPTING_SIGN: frozenset({_S.COMPRESS_ACCEPTING, _S.SESSION_ACCEPTING, _S.CLOSED}),
    _S.COMPRESS_ACCEPTING: frozenset({_S.SESSION_ACCEPTING, _S.CLOSED}),
    _S.SESSION_ACCEPTING: frozenset({_S.SESSION_ACCEPTING, _S.HANDED_OVER, _S.READY, _S.CLOSED}),
    _S.READY: frozenset({_S.CONNECTING, _S.STANDBY, _S.REPLACING, _S.CLOSED}),
    _S.BACKOFF: frozenset({_S.CONNECTING, _S.REPLACING, _S.CLOSED}),
    _S.STANDBY: frozenset({_S.CONNECTING, _S.REPLACING, _S.CLOSED}),
    _S.WAIT: frozenset({_S.CONNECTING, _S.REPLACING, _S.CLOSED}),
    _S.REPLACING: frozenset({_S.SESSION_ACCEPTING, _S.BACKOFF, _S.STANDBY, _S.CLOSED}),
    _S.HANDED_OVER: frozenset({_S.SESSION_ACCEPTING, _S.CLOSED}),
    _S.CLOSED: frozenset(),
}

#: The frames a state can be handed. In READY the data tags are legal, but the data plane takes them.
EXPECTED: dict[State, frozenset[Tag]] = {
    _S.HELLO_CONNECTING: frozenset({Tag.HELLO}),
    _S.AUTH_CONNECTING: frozenset({Tag.AUTH_REPLY_MORE, Tag.AUTH_BAD_METHOD, Tag.AUTH_DONE}),
    _S.AUTH_CONNECTING_SIGN: frozenset({Tag.AUTH_SIGNATURE}),
    _S.COMPRESS_CONNECTING: frozenset({Tag.COMPRESSION_DONE}),
    _S.SESSION_CONNECTING: frozenset({Tag.SERVER_IDENT, Tag.IDENT_MISSING_FEATURES, Tag.WAIT}),
    _S.SESSION_RECONNECTING: frozenset(
        {
            Tag.SESSION_RECONNECT_OK,
            Tag.SESSION_RETRY,
            Tag.SESSION_RETRY_GLOBAL,
            Tag.SESSION_RESET,
            Tag.WAIT,
        }
    ),
    _S.HELLO_ACCEPTING: frozenset({Tag.HELLO}),
    _S.AUTH_ACCEPTING: frozenset({Tag.AUTH_REQUEST}),
    _S.AUTH_ACCEPTING_MORE: frozenset({Tag.AUTH_REQUEST_MORE}),
    _S.AUTH_ACCEPTING_SIGN: frozenset({Tag.AUTH_SIGNATURE}),
    _S.COMPRESS_ACCEPTING: frozenset({Tag.COMPRESSION_REQUEST}),
    _S.SESSION_ACCEPTING: frozenset({Tag.CLIENT_IDENT, Tag.SESSION_RECONNECT}),
    _S.READY: DATA_TAGS,
}
