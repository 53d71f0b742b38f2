"""The steps of a handshake, as the one and the other side comes by them."""

from __future__ import annotations

from ceph_msgr.testing import Breakpoint, Moment, Tag

R, W = Breakpoint.read, Breakpoint.write

CONNECTING = Breakpoint(Moment.SOCKET_CONNECTING)
ACCEPTED = Breakpoint(Moment.SOCKET_ACCEPTED)
BANNER = (Breakpoint(Moment.BANNER_WRITE), Breakpoint(Moment.BANNER_READ), Breakpoint(Moment.BANNER_PAYLOAD_READ))

#: Up to the one in which the session is named.
CONNECT_SIDE = (
    CONNECTING,
    *BANNER,
    W(Tag.HELLO),
    R(Tag.HELLO),
    W(Tag.AUTH_REQUEST),
    R(Tag.AUTH_DONE),
    W(Tag.AUTH_SIGNATURE),
    R(Tag.AUTH_SIGNATURE),
)
ACCEPT_SIDE = (
    ACCEPTED,
    *BANNER,
    W(Tag.HELLO),
    R(Tag.HELLO),
    R(Tag.AUTH_REQUEST),
    W(Tag.AUTH_DONE),
    W(Tag.AUTH_SIGNATURE),
    R(Tag.AUTH_SIGNATURE),
)
