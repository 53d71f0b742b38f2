"""How long it takes until messages flow again."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from bench.process import process_cpu_ns
from tests.proxy.child import Child
from tests.recovery.setting import PAUSE_S

__all__ = ["Link", "percentile"]


class Link:
    """A server and its clients."""

    def __init__(self, server: Child, clients: Child) -> None:
        self._server = server
        self._clients = clients

    @classmethod
    @contextmanager
    def between(cls, count: int) -> Iterator[Link]:
        with ExitStack() as cleanup:
            server = cleanup.enter_context(Child("tests.recovery.server"))
            clients = cleanup.enter_context(Child("tests.recovery.clients", server.read()["addr"], str(count)))
            clients.read()
            yield cls(server, clients)

    def cpu_s(self) -> tuple[float, float]:
        """CPU time of the server and of the clients so far."""
        return process_cpu_ns(self._server.pid) / 1e9, process_cpu_ns(self._clients.pid) / 1e9

    def cut(self) -> list[float]:
        """All connections at once. Seconds from then until each has had its message answered; checks that none is lost."""
        cut_ns = self._server.ask(do="cut")["time_ns"]
        return [(answered_ns - cut_ns) / 1e9 for answered_ns in self._answers()["answered_ns"]]

    def interrupt(self, rng: random.Random) -> list[float]:
        """Down for a while, in which dials are refused and messages wait. Seconds from when the link is back, and the next dial
        due, until each has had its message answered."""
        self._server.ask(do="down")
        self._clients.ask(do="send")
        time.sleep(rng.uniform(PAUSE_S / 10, 3 * PAUSE_S))
        up_ns = self._server.ask(do="up")["time_ns"]
        answers = self._answers()
        pairs = zip(answers["answered_ns"], answers["due_ns"], strict=True)
        return [(answered_ns - max(up_ns, due_ns)) / 1e9 for answered_ns, due_ns in pairs]

    def _answers(self) -> dict[str, Any]:
        self._clients.ask(do="send")
        answers = self._clients.ask(do="wait")
        if answers["failures"]:
            raise AssertionError("\n".join(answers["failures"]))
        return answers


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
