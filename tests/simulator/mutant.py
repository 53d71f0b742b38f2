"""Puts one mistake into the library and runs seeds until the simulator finds it: ``python -m tests.simulator.mutant NAME``.

The mistakes are historic ones of messengers: each costs a line.
"""

from __future__ import annotations

import sys

from ceph_msgr.connection.async_connection import AsyncConnection
from ceph_msgr.dispatch.queue import DispatchQueue
from ceph_msgr.protocol import actions, session
from ceph_msgr.testing.simulator import Options, run_seed

_MOST_SEEDS = 60


def _requeue_forgotten() -> Options:
    """After a fault what was not acknowledged is not sent again."""
    session.Requeue = lambda: None  # type: ignore[misc, assignment]
    return Options(policy="lossless_client")


def _acknowledged_sent_again() -> Options:
    """What the peer says on reconnecting that it has is not dropped, and the session begins to count anew."""
    def drop_acked(self: AsyncConnection, seq: int) -> None:
        self._session.reset(drop_queue=False)

    AsyncConnection._drop_acked = drop_acked  # type: ignore[method-assign]
    return Options(policy="lossless_peer")


def _throttle_kept() -> Options:
    """Messages of a connection that was marked down keep their part of the dispatch throttle."""
    def discard(self: DispatchQueue, connection: object) -> None:
        with self._changed:
            self._kept = [*getattr(self, "_kept", ()), *self._queue.remove_by_class(connection)]  # type: ignore[attr-defined]

    DispatchQueue.discard = discard  # type: ignore[method-assign]
    return Options()


def _reset_not_told() -> Options:
    """A lossy connection that breaks closes in silence."""
    def close(self: session.Session, reason: str, *, notify: bool) -> None:
        real_close(self, reason, notify=notify and not self.is_lossy)

    real_close, session.Session._close = session.Session._close, close  # type: ignore[method-assign]
    return Options(policy="lossy_client")


def _waits_for_ever() -> Options:
    """Who has lost a race of two dials waits for the winner and sets no timer."""
    session.Session._arm_backoff = lambda self: None  # type: ignore[method-assign]
    return Options(policy="lossless_peer")


def _told_too_late() -> Options:
    """A remote reset is told, but the queues are kept: old messages come into the new session."""
    real = actions.ResetQueues
    session.ResetQueues = lambda drop: real(drop=False)  # type: ignore[misc, assignment]
    return Options(policy="lossless_peer_reuse")


MUTANTS = {
    "requeue_forgotten": _requeue_forgotten,
    "acknowledged_sent_again": _acknowledged_sent_again,
    "throttle_kept": _throttle_kept,
    "reset_not_told": _reset_not_told,
    "waits_for_ever": _waits_for_ever,
    "told_too_late": _told_too_late,
}

if __name__ == "__main__":
    options = MUTANTS[sys.argv[1]]()
    faults = 0
    for seed in range(_MOST_SEEDS):
        outcome = run_seed(seed, options)
        faults += outcome.faults
        if outcome.violation:
            print(f"found by seed {seed}, after {faults} faults: {outcome.violation}")
            sys.exit(0)
    print(f"not found in {_MOST_SEEDS} seeds, {faults} faults")
    sys.exit(1)
