"""Two messengers in one process, *test* and *peer*, each with a stack of its own; breakpoints at *test*."""

from __future__ import annotations

import gc
import threading
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

import pytest

from ceph_msgr import Config, Connection, EntityType, Message, Messenger, Policy, Stack
from ceph_msgr._core import live_objects
from ceph_msgr.connection.async_connection import AsyncConnection
from ceph_msgr.testing import Answer, Breakpoint, Interceptor, Outcome
from tests.failover.notation import describe_all, matches

TIMEOUT_S = 30.0
MESSAGE_TYPE = 1000

#: The first retry comes soon; the pause after WAIT stays long, as nobody should be left to it.
OPTIONS = {"ms_initial_backoff": 0.02, "ms_bind_port_min": 0, "ms_bind_port_max": 0}


#: What is alive because of a connection.
_PER_CONNECTION = ("sessions", "streams", "entries", "messages")


@dataclass(frozen=True)
class Setting:
    """What the results must not depend on (except in races, where the addresses decide)."""

    test_is_smaller: bool = True
    test_workers: int = 1

    def __str__(self) -> str:
        return f"{'test' if self.test_is_smaller else 'peer'}-smaller-{self.test_workers}-workers"


class Side(Interceptor):
    """A messenger and its one connection to the other side. Numbers its messages from 0."""

    def __init__(self, policy: Policy, *, nonce: int, workers: int, changed: threading.Condition) -> None:
        super().__init__(changed)
        self.stack = Stack(workers=workers)
        self.messenger = Messenger.create("osd.0", nonce=nonce, config=Config(**OPTIONS), stack=self.stack)
        self.messenger.set_default_policy(policy)
        self.messenger.interceptor = self
        self.messenger.bind("v2:127.0.0.1:0")
        self.messenger.add_dispatcher_head(self)
        self.messenger.start()
        self.connection: Connection | None = None
        self.received: list[int] = []
        #: The workers each connection was seen on.
        self.workers: defaultdict[int, set[int]] = defaultdict(set)
        self.sent = 0
        #: The numbers of messages that must not arrive.
        self.lost: set[int] = set()
        self._waiting = 0

    # ---- commands ----

    def connect(self, other: Side) -> None:
        connection = self.messenger.connect_to(EntityType.OSD, other.messenger.myaddrs)
        with self.changed:
            self._adopt(connection)

    def send(self) -> None:
        """One message, now or as soon as there is a connection."""
        with self.changed:
            self._waiting += 1
            if self.connection:
                self._adopt(self.connection)

    def send_in_vain(self) -> None:
        """As ``send``; what it waits in is going to be dropped by a reset."""
        assert not self._waiting
        self.lost.add(self.sent)
        self.send()

    def keepalive(self) -> None:
        assert self.connection
        self.connection.send_keepalive()

    def mark_down(self) -> None:
        with self.changed:
            connection, self.connection = self.connection, None
        assert connection
        connection.mark_down()

    def _adopt(self, connection: Connection) -> None:
        self.connection = connection
        for _ in range(self._waiting):
            connection.send_message(Message(MESSAGE_TYPE, front=self.sent.to_bytes(8, "little")))
            self.sent += 1
        self._waiting = 0

    # ---- callbacks ----

    def intercept(self, connection: AsyncConnection, breakpoint: Breakpoint) -> Answer:
        self.workers[id(connection)].add(connection.worker.id)
        return super().intercept(connection, breakpoint)

    def ms_dispatch(self, message: Message) -> bool:
        with self.changed:
            self.received.append(int.from_bytes(message.front, "little"))
            self.changed.notify_all()
        return True

    def ms_handle_accept(self, connection: Connection) -> None:
        super().ms_handle_accept(connection)
        with self.changed:
            self._adopt(connection)

    def ms_handle_reset(self, connection: Connection) -> bool:
        with self.changed:
            if self.connection is connection:
                self.connection = None
        return super().ms_handle_reset(connection)

    # ---- looking ----

    @property
    def is_idle(self) -> bool:
        """No connection is between two states, no callback waits."""
        return not self.messenger.get_dispatch_queue_len() and all(r.outcome is not Outcome.UNDERWAY for r in self.records)

    def shutdown(self) -> None:
        self.messenger.shutdown()
        assert self.messenger.wait(TIMEOUT_S)
        self.forget()
        self.connection = None


class Pair:
    """As a context manager: at the end of a case that went well all breakpoints were hit and nothing is left alive."""

    def __init__(self, test_policy: Policy, peer_policy: Policy, setting: Setting) -> None:
        self._before = live_objects()
        self.changed = threading.Condition()
        nonces = (1, 2) if setting.test_is_smaller else (2, 1)
        self.test = Side(test_policy, nonce=nonces[0], workers=setting.test_workers, changed=self.changed)
        self.peer = Side(peer_policy, nonce=nonces[1], workers=1, changed=self.changed)

    def __enter__(self) -> Pair:
        return self

    def __exit__(
        self, type_: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        sides = self.test, self.peer
        for side in sides:
            side.shutdown()
        gc.collect()
        for side in sides:
            side.stack.drain()  # what is released elsewhere ends on the worker
        left = live_objects()
        for side in sides:
            side.stack.stop()
        if not type_:
            alive = {kind: left[kind] for kind in _PER_CONNECTION if left[kind] > self._before[kind]}
            assert not alive, f"still alive: {alive}"

    # ---- commands ----

    def set(self, answer: Answer, *breakpoints: Breakpoint, occurrence: int = 1) -> None:
        for breakpoint in breakpoints:
            self.test.set(breakpoint, answer, occurrence=occurrence)

    def fault(self, *breakpoints: Breakpoint, occurrence: int = 1) -> None:
        self.set(Answer.FAULT, *breakpoints, occurrence=occurrence)

    def block(self, *breakpoints: Breakpoint, occurrence: int = 1) -> None:
        self.set(Answer.BLOCK, *breakpoints, occurrence=occurrence)

    def stall(self, *breakpoints: Breakpoint) -> None:
        self.set(Answer.STALL, *breakpoints)

    def release(self) -> None:
        self.test.release()

    def connect(self) -> None:
        self.test.connect(self.peer)

    def peer_connect(self) -> None:
        self.peer.connect(self.test)

    def send_both(self) -> None:
        self.test.send()
        self.peer.send()

    # ---- waiting ----

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        if not self.test.wait_until(condition, TIMEOUT_S):
            pytest.fail(f"waited {TIMEOUT_S} s for {what}\n{self.describe()}")

    def wait_blocked(self, place: Breakpoint | None = None) -> None:
        """Some connection of test: there, or anywhere."""
        self.wait(
            lambda: any(r.blocked_at and place in (None, r.blocked_at) for r in self.test.records),
            f"a connection of test to be blocked{f' at {place}' if place else ''}",
        )

    def wait_connected(self) -> None:
        """Both sides know of the session, and can send."""
        self.wait(lambda: all(s.connection and s.connection.is_connected for s in (self.test, self.peer)), "a session")

    def wait_established(self, number: int) -> None:
        self._wait_outcome(number, Outcome.ESTABLISHED)

    def wait_replaced(self, number: int) -> None:
        self._wait_outcome(number, Outcome.REPLACED)

    def _wait_outcome(self, number: int, outcome: Outcome) -> None:
        self.wait(
            lambda: len(self.test.records) > number and self.test.records[number].outcome is outcome,
            f"connection {number} to be {outcome.value}",
        )

    def wait_accepted(self, side: Side, times: int) -> None:
        """Its dispatcher has been told so often: whatever it sends now goes to the newest session."""
        self.wait(
            lambda: sum(record.accepts.accept_callbacks for record in side.records) >= times,
            f"{times} accept callbacks",
        )

    def wait_delivered(self) -> None:
        """All that was sent has arrived, once and in order, and is acknowledged."""
        for side, other in ((self.test, self.peer), (self.peer, self.test)):
            due = [number for number in range(other.sent) if number not in other.lost]
            self.wait(lambda: len(side.received) >= len(due), f"{due} to arrive")  # noqa: B023
            assert side.received == due
            if side.connection and not side.connection.flush(TIMEOUT_S):
                pytest.fail(f"not all messages were acknowledged\n{self.describe()}")

    def expect(self, *forms: str, delivered: bool = True) -> None:
        """All breakpoints were hit, all is quiet, and test's connections are in exactly this state."""

        def is_so() -> bool:
            records = self.test.records
            is_idle = self.test.is_idle and self.peer.is_idle
            return is_idle and not self.test.not_hit and len(records) == len(forms) and all(map(matches, records, forms))

        what = "; ".join(f"{i}: {form}" for i, form in enumerate(forms))
        self.wait(is_so, what)
        if delivered:
            self.wait_delivered()
        for side in (self.test, self.peer):
            side.stack.drain()
        self.wait(is_so, f"this to last: {what}")  # counts never go down again
        for side, other in ((self.test, self.peer), (self.peer, self.test)):
            assert side.received == sorted(set(side.received)), "doubled or out of order"
            assert set(side.received) <= set(range(other.sent))

    def describe(self) -> str:
        lines = [f"not hit: {self.test.not_hit}"]
        for name, side in (("test", self.test), ("peer", self.peer)):
            lines.append(f"{name}: {describe_all(side.records)}; sent {side.sent}, received {side.received}")
            for record in side.records:
                lines.append(f"    {record.connection}: " + ", ".join(str(t.new) for t in record.connection.history))
        return "\n".join(lines)
