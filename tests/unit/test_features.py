"""Feature bits and their incarnations."""

from __future__ import annotations

import pytest

from ceph_msgr.wire import features
from ceph_msgr.wire.features import MSG_ADDR2, SERVER_LUMINOUS, SERVER_NAUTILUS, SUPPORTED_ALL, describe, has_feature


def test_we_advertise_all_bits_but_those_that_pacific_leaves_out() -> None:
    missing = {17, 33, 38, 44, 45, 49, 50, 51, 52, 53, 54, 55, 62, 63}
    assert {bit for bit in range(64) if not SUPPORTED_ALL >> bit & 1} == missing


def test_we_support_every_feature_we_name() -> None:
    assert all(has_feature(SUPPORTED_ALL, feature) for feature in features.FEATURES.values())
    assert all(getattr(features, name) == feature for name, feature in features.FEATURES.items())


@pytest.mark.parametrize(
    ("feature", "bits"),
    [
        (SERVER_NAUTILUS, {2, 57, 28}),
        (SERVER_LUMINOUS, {21, 57}),
        (features.OSDREPLYMUX, {12}),
        (features.NEW_OSDOP_ENCODING, {56}),
        (features.NEW_OSDOPREPLY_ENCODING, {58}),
        (MSG_ADDR2, {59}),
        (features.REQUIRED_ALWAYS, {59}),
    ],
)
def test_a_feature_needs_each_of_its_bits(feature: int, bits: set[int]) -> None:
    assert {bit for bit in range(64) if feature >> bit & 1} == bits
    assert has_feature(SUPPORTED_ALL, feature)
    for bit in bits:
        assert not has_feature(SUPPORTED_ALL & ~(1 << bit), feature)


def test_describe() -> None:
    assert describe(0) == "none"
    assert describe(MSG_ADDR2) == "MSG_ADDR2"
    assert describe(SERVER_NAUTILUS) == "SERVER_NAUTILUS"
    assert describe(1 << 2) == "bit 2", "without its incarnation it is the older feature"
    assert describe(MSG_ADDR2 | 1 << 9 | 1) == "MSG_ADDR2, bit 0, bit 9"
