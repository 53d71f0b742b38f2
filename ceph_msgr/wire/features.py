"""Entity feature bits: what the two sides of a session offer and require.

Bits have been reused over the years. A reused bit means its newer feature only together with its incarnation bits, so
each feature here is a mask of all the bits it needs, and is asked for with ``has_feature``.
"""

from __future__ import annotations

__all__ = [
    "FEATURES",
    "INCARNATION_2",
    "INCARNATION_3",
    "MSG_ADDR2",
    "NEW_OSDOPREPLY_ENCODING",
    "NEW_OSDOP_ENCODING",
    "OSDREPLYMUX",
    "REQUIRED_ALWAYS",
    "RESEND_ON_SPLIT",
    "SERVER_LUMINOUS",
    "SERVER_NAUTILUS",
    "SUPPORTED_ALL",
    "describe",
    "has_feature",
]

INCARNATION_2 = 1 << 57
INCARNATION_3 = 1 << 57 | 1 << 28

#: The address type "any".
SERVER_NAUTILUS = 1 << 2 | INCARNATION_3
#: Replies of several OSDs over one connection; librados requires it of OSDs.
OSDREPLYMUX = 1 << 12
#: MOSDOp version 8.
SERVER_LUMINOUS = 1 << 21 | INCARNATION_2
RESEND_ON_SPLIT = SERVER_LUMINOUS
NEW_OSDOP_ENCODING = 1 << 56
#: MOSDOpReply version 7 and later.
NEW_OSDOPREPLY_ENCODING = 1 << 58
#: Modern addresses and address vectors.
MSG_ADDR2 = 1 << 59

#: By name, for logs. Features that share their bits with another are listed once.
FEATURES = {
    "SERVER_NAUTILUS": SERVER_NAUTILUS,
    "OSDREPLYMUX": OSDREPLYMUX,
    "SERVER_LUMINOUS": SERVER_LUMINOUS,
    "NEW_OSDOP_ENCODING": NEW_OSDOP_ENCODING,
    "NEW_OSDOPREPLY_ENCODING": NEW_OSDOPREPLY_ENCODING,
    "MSG_ADDR2": MSG_ADDR2,
}

#: What we advertise: exactly the bits of Ceph 16.2, because peers encode messages for what is advertised and these are
#: the encodings we speak.
SUPPORTED_ALL = 0x3F01CFBDFFFDFFFF

#: What every msgr2 peer must offer.
REQUIRED_ALWAYS = MSG_ADDR2


def has_feature(features: int, feature: int) -> bool:
    """Whether all bits of a feature, those of its incarnation included, are among ``features``."""
    return features & feature == feature


def describe(features: int) -> str:
    """For logs, e.g. of the bits a peer lacks: ``"MSG_ADDR2, bit 9"``. ``"none"`` for 0."""
    names = [name for name, feature in FEATURES.items() if has_feature(features, feature)]
    for name in names:
        features &= ~FEATURES[name]
    bits = [f"bit {bit}" for bit in range(features.bit_length()) if features >> bit & 1]
    return ", ".join(names + bits) or "none"
