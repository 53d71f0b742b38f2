"""Ten thousand peers that say nothing, or a byte now and then: they cost little, and only for as long as a handshake may take.

``CEPH_MSGR_LIMITS=full`` gives them time enough to be all there at once however busy the machine is.
"""

from __future__ import annotations

import pytest

from ceph_msgr.protocol.banner import OUR_BANNER
from tests.conftest import Deadline
from tests.limits.setting import FULL, Process, strangers

SILENT, SLOW = 9_000, 1_000
TIMEOUT_S = 30.0 if FULL else 4.0
MAX_PEER_BYTES = 16 << 10

pytestmark = [pytest.mark.slow, pytest.mark.contract("H2", "H3")]


def test_silent_and_slow_peers(friend: Process, deadline: Deadline) -> None:
    """A thousand send their banner byte by byte. An honest client is served all the while, and another one gets in among them."""
    options = {"ms_accept_max_handshakes": 2 * (SILENT + SLOW), "ms_accept_handshake_timeout": TIMEOUT_S}
    with Process(**options) as server, strangers(server) as silent, strangers(server) as slow:
        friend.ask(do="dial", addr=str(server.addr))
        friend.ask(do="wait_answers")
        before = server.stats()
        slow.ask(do="dial", count=SLOW, hears_banner=True)
        banner = iter(OUR_BANNER.encode())
        peak = 0
        for _ in range(0, SILENT, 500):
            silent.ask(do="dial", count=500, hears_banner=True)
            slow.ask(do="say", byte=next(banner))
            friend.ask(do="ask")
            peak = max(peak, server.stats()["connections"] - before["connections"])
        friend.ask(do="dial", addr=str(server.addr))
        friend.ask(do="wait_answers")
        grown_bytes = server.stats()["resident_bytes"] - before["resident_bytes"]
        print(f"{peak} strangers at once, {grown_bytes / peak / 1024:.1f} KiB each")
        assert grown_bytes <= peak * MAX_PEER_BYTES
        for each in silent, slow:
            each.ask(do="wait_closed")
        after = server.wait_until(deadline, lambda now: now["connections"] == 2, "only the honest ones to be left")
        assert after["timeouts"] >= SILENT + SLOW
        assert (after["accepts"], after["resets"]) == (2, 0), "nobody was told of a stranger"
        friend.ask(do="ask")


def test_strangers_beyond_the_bound_wait_outside(deadline: Deadline) -> None:
    """As many handshakes as are allowed, and the rest in the kernel: by default a thousand."""
    with Process(ms_accept_max_handshakes=100, ms_accept_handshake_timeout=0.3) as server, strangers(server) as silent:
        silent.ask(do="dial", count=300, hears_banner=False)
        most = 0
        while (now := server.stats())["timeouts"] < 300:
            most = max(most, now["connections"])
            deadline.remaining_s(f"300 to be given up: {now}")
        assert 0 < most <= 100
        silent.ask(do="wait_closed")
