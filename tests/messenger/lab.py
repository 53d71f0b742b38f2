"""``Lab``: messengers on a stack of their own, waits that tell what they see when they fail, and a clean end."""

from __future__ import annotations

import gc
import itertools
import os
import resource
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ceph_msgr import Config, Connection, Dispatcher, EntityAddrVec, EntityType, Messenger, Policy, Stack, _core
from ceph_msgr.auth import AuthRegistry
from ceph_msgr.messages import MPing
from tests.conftest import Deadline
from tests.messenger.dispatchers import CountingDispatcher

__all__ = ["LOOPBACK", "Lab", "Node", "resident_bytes"]

LOOPBACK = "v2:127.0.0.1:0"

#: Quick to dial again and predictable; a port that is taken is an error at once. The kernel picks ports: those of the range are
#: soon taken again, and an entity of another run may still be dialling one.
QUICK = {
    "ms_initial_backoff": 0.02, "ms_max_backoff": 1, "ms_backoff_jitter": 0, "ms_bind_retry_count": 0,
    "ms_bind_port_min": 0, "ms_bind_port_max": 0,
}  # fmt: skip

#: Every messenger of the process is another entity, also to a server that keeps clients apart by their addresses.
_nonces = itertools.count(os.getpid() << 8)


def resident_bytes() -> int:
    """Memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


class Node:
    """A started messenger and the dispatcher that counts for it."""

    def __init__(self, lab: Lab, messenger: Messenger, seen: CountingDispatcher) -> None:
        self.lab = lab
        self.messenger = messenger
        self.seen = seen

    @property
    def addrs(self) -> EntityAddrVec:
        return self.messenger.myaddrs

    @property
    def port(self) -> int:
        return self.addrs[0].port

    def connect(self, peer: Node, *, anon: bool = False) -> Connection:
        return self.messenger.connect_to(peer.messenger.name.type, peer.addrs, anon=anon)

    def connections(self) -> list[Any]:
        """Of the peers, whether registered or not."""
        return self.messenger._table.all()

    def counter(self, name: str, *, label: str = "") -> int:
        """Of all workers of this messenger's stack."""
        return sum(worker.perf.get(name, label=label) for worker in self.messenger.stack.workers)

    def core_stat(self, name: str) -> int:
        return sum(worker.core.stats()[name] for worker in self.messenger.stack.workers)

    def center_stat(self, name: str) -> int:
        return sum(worker.center.stats()[name] for worker in self.messenger.stack.workers)


class Lab:
    """Makes nodes. One test, one lab; the fixture closes it."""

    def __init__(self, deadline: Deadline, *, workers: int = 1) -> None:
        # What is there now is not looked through again: every test collects its own garbage alone.
        gc.collect()
        gc.freeze()
        self._live_before = _core.live_objects()
        self.deadline = deadline
        self.changed = threading.Condition()
        self.nodes: list[Node] = []
        self._stacks: list[Stack] = []
        self.stack = self.make_stack(workers)

    def make_stack(self, workers: int = 1) -> Stack:
        """Another one, so that the workers of two nodes can be told apart."""
        stack = Stack(workers=workers)
        self._stacks.append(stack)
        stack.start()
        return stack

    # ---- nodes ----

    def node(
        self,
        name: str,
        policy: Policy,
        *,
        bind: str | None = None,
        seen: CountingDispatcher | None = None,
        dispatcher: Dispatcher | None = None,
        auth: Callable[[Config], AuthRegistry] | None = None,
        stack: Stack | None = None,
        start: bool = True,
        **options: object,
    ) -> Node:
        """``dispatcher`` stands in for ``seen``, which then sees nothing."""
        config = Config(**{**QUICK, **options})
        type_ = EntityType[name.partition(".")[0].upper()]
        registry = auth(config) if auth else AuthRegistry.dummy(type_, config)
        nonce = next(_nonces) & 0xFFFFFFFF
        messenger = Messenger.create(name, nonce=nonce, config=config, auth=registry, stack=stack or self.stack)
        messenger.set_default_policy(policy)
        node = Node(self, messenger, seen or self.dispatcher(answers=type_ is not EntityType.CLIENT))
        self.nodes.append(node)
        if bind:
            messenger.bind(bind)
        messenger.add_dispatcher_head(dispatcher or node.seen)
        if start:
            messenger.start()
        return node

    def server(self, policy: Policy | None = None, *, name: str = "osd.0", bind: str = LOOPBACK, **options: Any) -> Node:
        return self.node(name, policy or Policy.stateless_server(), bind=bind, **options)

    def client(self, policy: Policy | None = None, *, name: str = "client.admin", **options: Any) -> Node:
        return self.node(name, policy or Policy.lossy_client(), **options)

    def dispatcher(self, **how: Any) -> CountingDispatcher:
        return CountingDispatcher(self.changed, **how)

    # ---- waiting ----

    def wait_until(self, holds: Callable[[], object], what: str) -> None:
        """Fails at the test's deadline, and tells the state of every connection. Callbacks wake it; what no callback tells
        of is looked at again after 5 ms. ``holds`` may wait for a worker, so it is called without the lock of the callbacks."""
        while not holds():
            try:
                left_s = self.deadline.remaining_s(what)
            except pytest.fail.Exception as failure:
                pytest.fail(f"{failure}\n{self.describe()}")
            with self.changed:
                self.changed.wait(min(left_s, 0.005))

    def wait_count(self, node: Node, name: str, times: int = 1) -> None:
        self.wait_until(lambda: node.seen.count(name) >= times, f"{times} x {name} at {node.messenger}")

    def wait_connected(self, *connections: Connection) -> None:
        for connection in connections:
            self.wait_until(lambda connection=connection: connection.is_connected, f"{connection!r} to be connected")

    def round_trip(self, node: Node, connection: Connection, *, tid: int = 0) -> None:
        """One ping, until its answer is dispatched at ``node``."""
        before = len(node.seen.messages)
        connection.send_message(MPing(tid=tid))
        self.wait_until(lambda: len(node.seen.messages) > before, f"the answer to a ping over {connection!r}")

    def connected_pair(self, server: Node | None = None, client: Node | None = None) -> tuple[Node, Node, Connection]:
        """A server, a client and a connection that has carried one ping and its answer."""
        server, client = server or self.server(), client or self.client()
        connection = client.connect(server)
        self.round_trip(client, connection)
        return server, client, connection

    @contextmanager
    def stopped(self, stack: Stack | None = None) -> Iterator[None]:
        """The stack's first worker stands still meanwhile; what is posted to it waits."""
        is_held, release = threading.Event(), threading.Event()

        def hold() -> None:
            is_held.set()
            release.wait(self.deadline.timeout_s)

        (stack or self.stack).workers[0].submit_to(hold, nowait=True)
        try:
            assert is_held.wait(self.deadline.remaining_s("the worker to stand still"))
            yield
        finally:
            release.set()

    def on_worker(self, connection: Any, do: Callable[[], Any]) -> Any:
        """Runs it on the connection's worker and returns what it returns."""
        results: list[Any] = []
        connection.worker.submit_to(lambda: results.append(do()))
        return results[0]

    def describe(self) -> str:
        lines = []
        for node in self.nodes:
            lines.append(f"{node.messenger!r}: dispatch queue {node.messenger.get_dispatch_queue_len()}")
            lines.append(f"  callbacks: {' '.join(call.name for call in node.seen.calls[-40:])}")
            for connection in node.connections():
                lines.append(f"  {connection!r} {connection.out_q} last error: {connection._protocol.last_error}")
                lines += [f"    {step.old} -> {step.new}: {step.reason}" for step in connection._protocol.history]
        return "\n".join(lines)

    # ---- the end ----

    def close(self) -> None:
        """Shuts everything down, whatever state the test left it in."""
        for node in self.nodes:
            node.messenger.shutdown()
        for node in self.nodes:
            assert node.messenger.wait(self.deadline.timeout_s), f"{node.messenger!r} does not end"

    def check_clean(self) -> None:
        """After ``close``: nothing waits, nothing is taken, nothing lives."""
        self._check_nodes()
        assert [worker.references for stack in self._stacks for worker in stack.workers if worker.references] == []
        self.nodes.clear()
        workers = sum(len(stack.workers) for stack in self._stacks if stack.is_usable)
        self._check_live({"workers": self._live_before["workers"] + workers}, "the messengers are gone")
        self.stop_stacks()
        self._check_live({}, "the stacks are stopped")

    def _check_nodes(self) -> None:
        for node in self.nodes:
            assert node.messenger.get_dispatch_queue_len() == 0, f"{node.messenger!r}: dispatch queue"
            assert node.messenger.dispatch_throttle.current == 0, f"{node.messenger!r}: dispatch throttle"
            assert not node.connections(), f"{node.messenger!r} still holds connections"

    def stop_stacks(self) -> None:
        for stack in self._stacks:
            stack.stop()

    def _check_live(self, more: dict[str, int], when: str) -> None:
        gc.collect()
        for stack in self._stacks:
            stack.drain()  # memory that other threads let go is freed on its worker
        gc.collect()
        left = _core.live_objects()
        assert left == self._live_before | more, f"C objects alive after {when}: {left}"
