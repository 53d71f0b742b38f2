"""Two processes, the proxy between them, a thousand faults in all; in full size: ``python -m tests.proxy``."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.proxy.run import Result, Run
from tests.proxy.setting import Setting

FAULTS, MESSAGES = 260, 4_000
RUNS = [("lossless_peer", "crc"), ("lossless_peer_reuse", "secure"), ("client_server", "crc"), ("lossy", "secure")]


@pytest.mark.slow
@pytest.mark.contract("H1")
def test_the_promise_of_each_policy(rng: random.Random) -> None:
    """Side by side: each mostly waits, for time-outs and pauses."""

    def execute(run: tuple[str, str, int]) -> Result:
        policy, mode, seed = run
        return Run(Setting(policy, mode, seed, sessions=8), faults=FAULTS, messages=MESSAGES).execute()

    seeded = [(policy, mode, rng.randrange(1 << 32)) for policy, mode in RUNS]
    print(seeded)
    with ThreadPoolExecutor(len(seeded)) as pool:
        for result in pool.map(execute, seeded):
            print(result.to_json())
            assert not result.failures
            assert result.total_faults >= FAULTS
            assert result.received >= MESSAGES
