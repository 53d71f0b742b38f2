"""The synthetic runs: many connections that come, go and break, while every answer is accounted for.

A fraction of them runs with all other tests; ``make synthetic`` runs them in the sizes of the test contract. The operations of a
run depend on its seed alone, which a failure tells; when faults strike does not.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import pytest

from ceph_msgr import Policy
from tests.synthetic.operations import FULL, Generate, Run, Send, plan
from tests.synthetic.workload import Workload, totals

_FAULTS: dict[str, object] = {"ms_inject_socket_failures": 30, "ms_inject_internal_delays": 0.1}
#: What takes a second there may take a tenth of it here.
_HURRY: dict[str, object] = {"ms_inject_internal_delays": 0.01, "ms_initial_backoff": 0.02, "ms_max_backoff": 0.2}

RUNS = {
    "A18": Run(
        8, 32, 100, 5000, 800, Policy.stateful_server, Policy.lossless_client,
        generate=9, drop=10, send=70, sleep=11, sleep_ms=(0.5, 1.5),
    ),
    "A19": Run(
        16, 32, 10, 10_000, 1000, Policy.lossless_peer_reuse, Policy.lossless_peer_reuse,
        generate=19, drop=20, send=50, sleep=11, sleep_ms=(0.5, 1.5),
    ),
    "A20": Run(
        8, 32, 100, 1000, 300, Policy.stateful_server, Policy.lossless_client,
        generate=9, drop=10, send=70, sleep=11, sleep_ms=(0.1, 0.6),
        options=_FAULTS | {"ms_dispatch_throttle_bytes": 16 << 20},
        quick_options=_HURRY | {"ms_dispatch_throttle_bytes": 1 << 20},
    ),
    "A21": Run(
        8, 16, 100, 1000, 300, Policy.lossless_peer_reuse, Policy.lossless_peer_reuse,
        generate=9, drop=10, send=70, sleep=11, sleep_ms=(0.1, 0.6), options=_FAULTS, quick_options=_HURRY,
    ),
    "A22": Run(
        8, 16, 100, 1000, 600, Policy.stateless_server, Policy.lossy_client,
        generate=9, drop=10, send=70, sleep=11, sleep_ms=(0.1, 0.6),
        options=_FAULTS | {"ms_inject_socket_failures": 600}, quick_options=_HURRY,
    ),
    "A23": Run(
        16, 32, 100, 1000, 300, Policy.lossless_peer, Policy.lossless_peer,
        generate=4, drop=0, send=70, sleep=11, sleep_ms=(0.1, 0.6),
        options=_FAULTS | {"ms_inject_delay_type": "client osd", "ms_inject_delay_probability": 1, "ms_inject_delay_max": 5},
        quick_options=_HURRY | {"ms_inject_delay_max": 0.2},
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(900 if FULL else 120)
@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.contract(name)) for name in RUNS])
def test_synthetic(name: str, rng: random.Random, record_property: Callable[[str, object], None]) -> None:
    run, seed = RUNS[name], rng.randrange(2**32)
    began_s = time.monotonic()
    workload = Workload(run, seed)
    try:
        workload.execute(plan(run, seed))
        workload.check_answered()
        figures = workload.books.counts | totals(workload.stack, "msgr_faults", "msgr_reconnects", "msgr_replayed_messages")
        record_property("figures", figures)
        print(f"\n{name}, seed {seed}: {time.monotonic() - began_s:.1f} s, {figures}")
        workload.finish()
    finally:
        workload.abandon()
    assert workload.books.counts["pings"], "nothing was sent"
    if run.present_options.get("ms_inject_socket_failures") == 30:
        assert figures["msgr_faults"], "nothing broke"


@pytest.mark.contract("A24")
def test_the_same_seed_gives_the_same_operations(rng: random.Random) -> None:
    seed = rng.randrange(2**32)
    for run in RUNS.values():
        operations = plan(run, seed)
        assert operations == plan(run, seed)
        assert operations != plan(run, seed + 1)
        assert all(isinstance(operation, Generate) for operation in operations[: run.seed_connections])
        sends = sum(isinstance(operation, Send) for operation in operations)
        assert abs(sends - run.present_steps * run.send / 100) < run.present_steps * 0.15
