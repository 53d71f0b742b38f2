"""``Workload``: many messengers on one stack, which do what a list of operations says."""

from __future__ import annotations

import os
import time
from collections import Counter
from typing import Any

import pytest

from ceph_msgr import Config, Connection, EntityType, Messenger, Policy, Stack
from ceph_msgr.auth import AuthRegistry
from tests.synthetic.bookkeeper import Bookkeeper
from tests.synthetic.operations import FULL, Drop, Generate, Operation, Run, Send, Sleep, make_pool

__all__ = ["Workload", "describe", "totals"]

_WORKERS = 3
_MAX_PENDING = 64
_MAX_CONNECTIONS = 128
_MIN_CONNECTIONS_TO_DROP = 10
#: How long an answer may take before the run is stuck.
_PATIENCE_S = 300.0 if FULL else 40.0

_OPTIONS: dict[str, object] = {
    "ms_max_backoff": 1,
    "ms_die_on_bad_msg": True,
    "ms_die_on_old_message": True,
    "ms_send_queue_max_bytes": 0,
    "ms_bind_port_min": 0,
    "ms_bind_port_max": 0,
}


class Workload:
    def __init__(self, run: Run, seed: int) -> None:
        self.run = run
        self.seed = seed
        server_policy, client_policy = run.server_policy(), run.client_policy()
        self.books = Bookkeeper(make_pool(seed))
        self.stack = Stack(workers=_WORKERS)
        self.stack.start()
        self._nonce = os.getpid() << 8
        self.servers = [self._start("osd.0", server_policy, binds=True) for _ in range(run.servers)]
        self.clients = [self._start("client.-1", client_policy, binds=client_policy.standby) for _ in range(run.clients)]
        #: The connections in use, with the index of client and server, in the order in which they were made.
        self._live: dict[Connection, tuple[int, int]] = {}
        self._drops_both_ends = client_policy.standby and not (client_policy.lossy or server_policy.server)

    def _start(self, name: str, policy: Policy, *, binds: bool) -> Messenger:
        config = Config(**_OPTIONS | self.run.present_options)
        # Peers of one address are told apart by their nonce.
        self._nonce = (self._nonce + 1) & 0xFFFFFFFF
        auth = AuthRegistry.dummy(EntityType[name.partition('.')[0].upper()], config)
        messenger = Messenger.create(name, nonce=self._nonce, config=config, auth=auth, stack=self.stack)
        messenger.set_default_policy(policy)
        messenger.on_fatal = lambda error: self.books.fail(f"{messenger!r}: {error}")
        if binds:
            messenger.bind("v2:127.0.0.1:0")
        messenger.add_dispatcher_head(self.books)
        messenger.start()
        return messenger

    # ---- doing ----

    def execute(self, operations: list[Operation]) -> None:
        for operation in operations:
            for connection in self.books.take_gone():
                self._live.pop(connection, None)
            self._check(self.books.wait_pending(_MAX_PENDING, _PATIENCE_S))
            self._execute(operation)

    def _execute(self, operation: Operation) -> None:
        match operation:
            case Generate(client, server):
                if len(self._live) < _MAX_CONNECTIONS:
                    self._live[self._connect(self.clients[client], self.servers[server])] = client, server
            case Drop(pick):
                if len(self._live) >= _MIN_CONNECTIONS_TO_DROP:
                    self._drop(self._pick(pick))
            case Send(pick, payload, is_command):
                if not self._live:
                    return
                connection = self._pick(pick)
                if is_command:
                    self.books.send_command(connection)
                else:
                    self.books.send_ping(connection, payload)
            case Sleep(seconds):
                time.sleep(seconds)

    @staticmethod
    def _connect(messenger: Messenger, peer: Messenger) -> Connection:
        return messenger.connect_to(peer.name.type, peer.myaddrs)

    def _pick(self, share: float) -> Connection:
        return list(self._live)[int(share * len(self._live))]

    def _drop(self, connection: Connection) -> None:
        client, server = self._live.pop(connection)
        self._close(connection)
        if self._drops_both_ends:
            self._close(self._connect(self.servers[server], self.clients[client]))

    def _close(self, connection: Connection) -> None:
        connection.mark_down()
        self.books.forget(connection)

    # ---- the end ----

    def check_answered(self) -> None:
        self._check(self.books.wait_pending(0, _PATIENCE_S))

    def finish(self) -> None:
        """Everything ends, and nothing is left."""
        self._shut_down()
        for messenger in self.messengers:
            assert messenger.get_dispatch_queue_len() == 0, f"{messenger!r}: dispatch queue"
            assert messenger.dispatch_throttle.current == 0, f"{messenger!r}: dispatch throttle"
            assert not messenger._table.all(), f"{messenger!r} still has connections"
        assert [worker.references for worker in self.stack.workers] == [0] * _WORKERS
        assert not self.books.failures

    def abandon(self) -> None:
        """Leaves no threads, whatever has happened before."""
        self._shut_down()
        self.stack.stop()

    @property
    def messengers(self) -> list[Messenger]:
        return self.servers + self.clients

    def _shut_down(self) -> None:
        for messenger in self.messengers:
            messenger.shutdown()
        for messenger in self.messengers:
            assert messenger.wait(_PATIENCE_S), f"{messenger!r} does not end"

    def _check(self, in_time: bool) -> None:
        if not in_time:
            self.books.fail(f"stuck for {_PATIENCE_S} s with {self.books.pending} pings unanswered")
        if self.books.failures:
            lines = [f"seed {self.seed}", *self.books.failures, describe(self.messengers, self.books.pending_on)]
            pytest.fail("\n".join(lines), pytrace=False)


def totals(stack: Stack, *names: str) -> dict[str, int]:
    """Worker counters, over all workers and labels. Before the stack is stopped."""
    found: Counter[str] = Counter()
    for group in stack.perf_counters():
        for metric, _, value in group.values():
            if metric.name in names:
                found[metric.name] += value  # type: ignore[assignment]
    return dict(found)


def describe(messengers: list[Messenger], pending_on: Any = lambda connection: 0) -> str:
    """The state of every connection."""
    lines = []
    for messenger in messengers:
        lines.append(f"{messenger!r}: dispatch queue {messenger.get_dispatch_queue_len()}")
        for connection in messenger._table.all():
            protocol = connection._protocol
            lines.append(
                f"  {connection!r} waits for {pending_on(connection)} answers, {connection.out_q}, cookies "
                f"{protocol.client_cookie:x} {protocol.server_cookie:x}, connect_seq {protocol.connect_seq}, global_seq "
                f"{protocol.global_seq}, peer's {protocol.peer_global_seq}, last error: {protocol.last_error}"
            )
            lines += [f"    {step.time_ns / 1e9:.3f} {step.old} -> {step.new}: {step.reason}" for step in connection.history]
    return "\n".join(lines)
