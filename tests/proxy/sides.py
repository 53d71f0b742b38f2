"""``Sides``: the two processes of a run and the proxy between them."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

from ceph_msgr import EntityAddrVec
from ceph_msgr.testing.proxy import FaultProxy
from tests.proxy.child import Child
from tests.proxy.setting import Setting

__all__ = ["Sides", "States", "received_of"]

#: Of each side, what it tells of each of its sessions.
States = list[list[dict[str, Any]]]

#: Nothing received and no fault for so long: stuck.
_PATIENCE_S = 90.0
_POLL_S = 0.05


class Sides:
    """A context manager: the processes end with the block. ``module`` is what each side runs."""

    def __init__(self, setting: Setting, module: str = "tests.proxy.endpoint") -> None:
        self._setting = setting
        self._stack = ExitStack()
        with self._stack:
            self.proxy = self._stack.enter_context(FaultProxy.start(seed=setting.seed))
            self.children = [self._stack.enter_context(Child(module, str(side), setting.to_json())) for side in (0, 1)]
            self._stack = self._stack.pop_all()

    def start(self) -> None:
        routed = [
            [str(self.proxy.route(EntityAddrVec.parse(addr))) for addr in child.read()["listening"]] for child in self.children
        ]
        for side, child in enumerate(self.children):
            # Who listens is started first, but who dials first only matters for how soon there is a session.
            child.ask(do="start", announced=routed[side], peers=routed[1 - side])

    def ask(self, **order: object) -> list[dict[str, Any]]:
        """What each side answers."""
        return [child.ask(**order) for child in self.children]

    def states(self, after_s: float = 0.0) -> States:
        return [answer["sessions"] for answer in self.ask(do="state", after_s=after_s)]

    def wait(self, is_done: Callable[[int, States], bool], progress: Callable[[int, int], None] | None = None) -> None:
        """Until ``is_done`` says so of the number of faults and the states. ``TimeoutError`` if nothing moves any more."""
        last, end_s = (-1, -1), 0.0
        while True:
            states = self.states(_POLL_S)
            faults, received = self.proxy.counts().total, received_of(states)
            if progress:
                progress(faults, received)
            if is_done(faults, states):
                return
            if last != (faults, received):
                last, end_s = (faults, received), time.monotonic() + _PATIENCE_S
            elif time.monotonic() > end_s:
                lines = [f"stuck for {_PATIENCE_S:g} s, seed {self._setting.seed}, {self.proxy.counts()}"]
                lines += [f"side {side}, session {n}: {s}" for side, each in enumerate(states) for n, s in enumerate(each)]
                raise TimeoutError("\n".join(lines))

    def heal(self, progress: Callable[[int, int], None] | None = None) -> None:
        """Break nothing and send nothing any more, and wait for all that is due."""
        self.proxy.plan(0)
        self.ask(do="stop")
        self.wait(self._is_settled, progress)

    def halt(self, progress: Callable[[int, int], None] | None = None) -> None:
        """End the threads that send, and wait for the last they sent."""
        self.ask(do="halt")
        self.wait(self._is_settled, progress)

    def finish(self) -> list[dict[str, Any]]:
        """The last word of each side; both messengers have ended then."""
        return self.ask(do="finish")

    def close(self) -> list[str]:
        """What was wrong with the processes' ends."""
        codes = [child.close() for child in self.children]
        return [f"side {side} has ended with {code}" for side, code in enumerate(codes) if code]

    def _is_settled(self, faults: int, states: States) -> bool:
        """All that is due has arrived, or the last connection of a lossy session was reset as well."""
        for ours, theirs in (states, states[::-1]):
            for sender, receiver in zip(ours, theirs, strict=True):
                has_arrived = sender["sent"] == receiver["highest"] + 1 and sender["is_sent"]
                is_gone = not self._setting.pair.is_lossless and len(sender["starts"]) == sender["resets"] > 0
                if not (has_arrived or is_gone):
                    return False
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, type_: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()


def received_of(states: States) -> int:
    return sum(session["received"] for side in states for session in side)
