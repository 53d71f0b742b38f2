"""A messenger in a process of its own, whose descriptors and memory can be counted and cut short:
``python -m tests.limits.server POLICY OPTIONS``.

It sends back every message, and dials if it is told to. Lines of JSON: on standard output first where it listens; on standard
input orders, each of them answered by a line.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sys
import threading
from pathlib import Path
from typing import Any

from ceph_msgr import Config, Connection, Dispatcher, EntityType, Message, Messenger, Policy, SendQueueFull, Stack
from ceph_msgr.auth import AuthRegistry

_OPTIONS = {
    "ms_bind_port_min": 0, "ms_bind_port_max": 0, "ms_tcp_listen_backlog": 4096, "ms_initial_backoff": 0.01,
    "ms_max_backoff": 0.1,
}  # fmt: skip


_TYPE = 60_001
_TIMEOUT_S = 60.0


class Server(Dispatcher):
    """A messenger that listens and one that dials, on one worker."""

    def __init__(self, policy: str, options: dict[str, object]) -> None:
        self._stack = Stack(workers=1)
        self._server = self._make("osd.0", getattr(Policy, policy)(), options)
        self._server.bind("127.0.0.1:0")
        self._client = self._make("client.0", Policy.lossy_client(), options)
        self._changed = threading.Condition()
        self._accepted: Any = None
        self._dialled: list[Connection] = []
        #: Messages sent over these, each of which will be answered.
        self._asked = 0
        self._counts = {"accepts": 0, "connects": 0, "resets": 0, "answers": 0}
        self._statm = Path("/proc/self/statm").open("rb", buffering=0)  # noqa: SIM115  # there may be no descriptor for it later
        for messenger in self._server, self._client:
            messenger.add_dispatcher_head(self)
            messenger.start()

    def _make(self, name: str, policy: Policy, options: dict[str, object]) -> Messenger:
        config = Config(**{**_OPTIONS, **options})
        type_ = EntityType[name.partition(".")[0].upper()]
        messenger = Messenger.create(name, config=config, auth=AuthRegistry.dummy(type_, config), stack=self._stack)
        messenger.set_default_policy(policy)
        return messenger

    @property
    def addr(self) -> str:
        return str(self._server.myaddrs)

    # ---- callbacks ----

    def ms_can_fast_dispatch_any(self) -> bool:
        return True

    def ms_can_fast_dispatch(self, message_type: int) -> bool:
        return True

    def ms_fast_dispatch(self, message: Message) -> None:
        if message.connection.messenger is self._client:
            self._count("answers")
        else:
            with contextlib.suppress(SendQueueFull):
                message.connection.send_message(message)

    def ms_handle_fast_accept(self, connection: Connection) -> None:
        self._accepted = connection
        self._count("accepts")

    def ms_handle_fast_connect(self, connection: Connection) -> None:
        self._count("connects")

    def ms_handle_reset(self, connection: Connection) -> bool:
        self._count("resets")
        return True

    def _count(self, name: str) -> None:
        with self._changed:
            self._counts[name] += 1
            self._changed.notify_all()

    def _wait(self, name: str, count: int) -> None:
        with self._changed:
            if not self._changed.wait_for(lambda: self._counts[name] >= count, _TIMEOUT_S):
                raise TimeoutError(f"{self._counts[name]} of {count} {name} after {_TIMEOUT_S:g} s")

    # ---- orders: looking ----

    def do_stats(self) -> dict[str, int]:
        perf = self._stack.workers[0].perf
        return self._counts | {
            "resident_bytes": self._memory_bytes(1),
            "threads": threading.active_count(),
            "connections": len(self._server._table.all()) + len(self._client._table.all()),
            "accept_errors": perf.get("msgr_accept_errors", label="EMFILE"),
            "faults": sum(perf.snapshot()["msgr_faults"].values()),  # type: ignore[attr-defined]
            "timeouts": perf.get("msgr_connection_ready_timeouts"),
            "throttled_bytes": self._server.dispatch_throttle.current,
        }

    def do_files(self) -> dict[str, int]:
        """How many are open, but for the one it takes to look."""
        return {"files": len(os.listdir("/proc/self/fd")) - 1}

    def _memory_bytes(self, column: int) -> int:
        """Of address space, or resident."""
        self._statm.seek(0)
        return int(self._statm.read().split()[column]) * resource.getpagesize()

    # ---- orders: making it hard ----

    def do_limit_files(self, spare: int | None) -> None:
        """So many more descriptors; None: as many as the system allows."""
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        if spare is not None:
            probes = [os.dup(0) for _ in range(spare + 1)]  # the lowest numbers that are free
            resource.setrlimit(resource.RLIMIT_NOFILE, (probes[-1], hard))
            for fd in probes:
                os.close(fd)

    def do_limit_memory(self, spare_bytes: int | None) -> None:
        """So many more bytes of address space; None: any."""
        limit = resource.RLIM_INFINITY if spare_bytes is None else self._memory_bytes(0) + spare_bytes
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))

    # ---- orders: doing something ----

    def do_dial(self, addr: str) -> None:
        """A message over a connection of its own; nothing is waited for."""
        self._dialled.append(self._client.connect_to(EntityType.OSD, addr, anon=True))
        self._send(self._dialled[-1])

    def do_ask(self) -> None:
        """A message over the oldest connection, until all that was asked is answered."""
        self._send(self._dialled[0])
        self.do_wait_answers()

    def _send(self, connection: Connection) -> None:
        self._asked += 1
        connection.send_message(Message(_TYPE))

    def do_wait_answers(self) -> None:
        """To everything that was asked."""
        self._wait("answers", self._asked)

    def do_hang_up(self, keep: int) -> None:
        """Mark down all but the oldest ones."""
        while len(self._dialled) > keep:
            self._dialled.pop().mark_down()

    def do_cycle(self, addr: str, count: int, at_once: int, waits: bool) -> None:
        """Dial and drop so many times, ``at_once`` side by side: when they are connected, or wherever they are."""
        for first in range(0, count, at_once):
            connects = self._counts["connects"]
            lot = [self._client.connect_to(EntityType.OSD, addr, anon=True) for _ in range(min(at_once, count - first))]
            if waits:
                self._wait("connects", connects + len(lot))
            for connection in lot:
                connection.mark_down()
            self._stack.drain()

    def do_pour(self, message_bytes: int, refusals: int) -> dict[str, int]:
        """To whoever came last, until the queue has been full so many times."""
        payload = bytes(message_bytes)
        while refusals:
            try:
                self._accepted.send_message(Message(_TYPE, data=bytearray(payload)))
            except SendQueueFull:
                refusals -= 1
        return {"queued_bytes": self._accepted.out_q.len_bytes}

    def do_make_stack(self) -> dict[str, int]:
        """Two more loops: 0, or the error."""
        try:
            stack = Stack(workers=2)
        except OSError as error:
            return {"errno": error.errno or -1}
        stack.start()
        stack.stop()
        return {"errno": 0}


def main() -> None:
    server = Server(sys.argv[1], json.loads(sys.argv[2]))
    server.do_limit_files(None)
    print(json.dumps({"addr": server.addr}), flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        print(json.dumps(getattr(server, f"do_{order.pop('do')}")(**order)), flush=True)
    os._exit(0)  # thousands of orderly goodbyes are not what is looked at


if __name__ == "__main__":
    main()
