"""Two processes, the proxy between them, a thousand faults in all; in full size: ``python -m tests.proxy``."""

from __future__ import annotations

import random

import pytest

from tests.proxy.run import Run
from tests.proxy.setting import Setting


@pytest.mark.slow
@pytest.mark.contract("H1")
@pytest.mark.parametrize(
    ("policy", "mode"),
    [("lossless_peer", "crc"), ("lossless_peer_reuse", "secure"), ("client_server", "crc"), ("lossy", "secure")],
)
def test_the_promise_of_a_policy(policy: str, mode: str, rng: random.Random) -> None:
    setting = Setting(policy, mode, seed=rng.randrange(1 << 32), sessions=8)
    result = Run(setting, faults=260, messages=4_000).execute()
    print(result.to_json())
    assert not result.failures
    assert result.total_faults >= 260
    assert result.received >= 4_000
