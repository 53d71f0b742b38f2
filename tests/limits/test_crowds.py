"""Many connections that come and go: descriptors, threads and memory are then what they were.

A few hundred here; ``CEPH_MSGR_LIMITS=full`` dials and drops 10 000, and goes through 100 000 cycles.
"""

from __future__ import annotations

import pytest

from tests.conftest import Deadline
from tests.limits.setting import FULL, Process

MIB = 1 << 20
HANDSHAKES, CYCLES = (10_000, 100_000) if FULL else (200, 1_000)
#: What caches and allocators settle to is not known to a few MiB. A leak of 1 KiB per connection would be 10 in full size.
MAX_GROWTH_BYTES = 8 * MIB
AT_ONCE = 100

pytestmark = [pytest.mark.slow, pytest.mark.contract("H3"), pytest.mark.timeout(1200 if FULL else 120)]


@pytest.mark.parametrize(("count", "waits"), [(HANDSHAKES, True), (CYCLES, False)], ids=["connected", "on the way"])
def test_dialled_and_dropped(count: int, waits: bool, deadline: Deadline) -> None:
    """``mark_down`` finds them connected, or anywhere on the way there."""
    with Process(ms_accept_max_handshakes=10 * AT_ONCE) as server, Process() as client:

        def cycle(count: int) -> list[dict[str, int]]:
            client.ask(do="cycle", addr=str(server.addr), count=count, at_once=AT_ONCE, waits=waits)
            for side in client, server:
                side.wait_until(deadline, lambda now: now["connections"] == 0, "all to be gone")
            return [side.stats() | side.ask(do="files") for side in (client, server)]

        before = cycle(max(2 * AT_ONCE, count // 3))
        after = cycle(count)
        for was, now in zip(before, after, strict=True):
            grown_bytes = now["resident_bytes"] - was["resident_bytes"]
            print(f"{count} dialled and dropped: {grown_bytes / MIB:+.2f} MiB")
            assert (now["files"], now["threads"], now["throttled_bytes"]) == (was["files"], was["threads"], 0)
            assert grown_bytes < MAX_GROWTH_BYTES
