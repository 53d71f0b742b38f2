"""The processes of a test: a server, and whoever comes to it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from typing import Any

from ceph_msgr import EntityAddr
from tests.conftest import Deadline
from tests.proxy.child import Child

__all__ = ["FULL", "Process", "strangers"]

FULL = os.environ.get("CEPH_MSGR_LIMITS") == "full"

_LOOK_AGAIN_S = 0.02


class Process(Child):
    """``tests.limits.server``: of a policy, with options."""

    def __init__(self, policy: str = "stateless_server", **options: object) -> None:
        super().__init__("tests.limits.server", policy, json.dumps(options))
        self.addr = EntityAddr.parse(self.read()["addr"])

    def stats(self) -> dict[str, Any]:
        return self.ask(do="stats")

    def wait_until(self, deadline: Deadline, holds: Callable[[dict[str, Any]], bool], what: str) -> dict[str, Any]:
        """Asks for its figures again and again; returns the last ones."""
        while not holds(stats := self.stats()):
            deadline.remaining_s(f"{what}: {stats}")
            time.sleep(_LOOK_AGAIN_S)
        return stats


def strangers(server: Process) -> Child:
    """``tests.limits.strangers``, who know where the server is."""
    return Child("tests.limits.strangers", str(server.addr))
