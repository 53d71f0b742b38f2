"""Policies: the presets are the contract's table, bit by bit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import FrozenInstanceError

import pytest

from ceph_msgr.policy import Policy
from ceph_msgr.wire.features import MSG_ADDR2, SUPPORTED_ALL

# preset: lossy, server, standby, resetcheck, register_lossy_clients
TABLE: list[tuple[Callable[..., Policy], str]] = [
    (Policy, "...xx"),
    (Policy.stateful_server, ".xxxx"),
    (Policy.stateless_server, "xx..."),
    (Policy.stateless_registered_server, "xx..x"),
    (Policy.lossless_peer, "..x.x"),
    (Policy.lossless_peer_reuse, "..xxx"),
    (Policy.lossy_client, "x...x"),
    (Policy.lossless_client, "...xx"),
]


@pytest.mark.parametrize(("preset", "bits"), TABLE)
def test_presets(preset: Callable[..., Policy], bits: str) -> None:
    policy = preset()
    found = policy.lossy, policy.server, policy.standby, policy.resetcheck, policy.register_lossy_clients
    assert "".join("x" if bit else "." for bit in found) == bits
    assert policy.features_supported == SUPPORTED_ALL
    assert policy.features_required == MSG_ADDR2
    assert policy.throttler_messages is policy.throttler_bytes is None
    assert preset(features_required=1 << 12).features_required == MSG_ADDR2 | 1 << 12


def test_address_vectors_are_always_required() -> None:
    assert Policy(features_required=0).features_required == MSG_ADDR2
    assert Policy().replace(features_required=1).features_required == MSG_ADDR2 | 1


def test_policies_are_values() -> None:
    policy = Policy.lossy_client()
    assert policy == Policy.lossy_client()
    assert policy != Policy.lossless_client()
    with pytest.raises(FrozenInstanceError):
        policy.lossy = False  # type: ignore[misc]


def test_replace_changes_a_copy() -> None:
    class Throttle:
        def get_or_fail(self, amount: int) -> bool:
            return True

        def put(self, amount: int) -> None: ...

    policy = Policy.stateless_server()
    throttle = Throttle()
    changed = policy.replace(throttler_bytes=throttle)
    assert changed.throttler_bytes is throttle
    assert changed.replace(throttler_bytes=None) == policy == Policy.stateless_server()
