"""The side that is dialled, a process of its own: ``python -m tests.recovery.server``. It sends back every message, and breaks
its connections when told to. Lines of JSON: first where it listens, then an answer to each order."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable

from ceph_msgr import Config, Dispatcher, EntityType, Message, Messenger, Policy, Stack
from ceph_msgr.auth import AuthRegistry
from tests.recovery.setting import raise_file_limit

_OPTIONS = {
    "ms_bind_port_min": 0, "ms_bind_port_max": 0, "ms_tcp_listen_backlog": 4096, "ms_accept_max_handshakes": 4096,
}  # fmt: skip


class Server(Dispatcher):
    def __init__(self) -> None:
        self._stack = Stack(workers=1)
        config = Config(**_OPTIONS)
        auth = AuthRegistry.dummy(EntityType.OSD, config)
        self._messenger = Messenger.create("osd.0", config=config, auth=auth, stack=self._stack)
        self._messenger.set_default_policy(Policy.stateful_server())
        self._messenger.bind("127.0.0.1:0")
        self._messenger.add_dispatcher_head(self)
        self._messenger.start()

    @property
    def addr(self) -> str:
        return str(self._messenger.myaddrs)

    def ms_can_fast_dispatch_any(self) -> bool:
        return True

    def ms_can_fast_dispatch(self, message_type: int) -> bool:
        return True

    def ms_fast_dispatch(self, message: Message) -> None:
        message.connection.send_message(message)

    # ---- orders: each returns when it was done ----

    def do_cut(self) -> int:
        """All connections at once; who dials anew gets in."""
        return self._on_worker(self._hang_up)

    def do_down(self) -> int:
        """The same, and nobody gets in."""
        assert self._messenger._processor
        self._messenger._processor.stop()
        return self._on_worker(self._hang_up)

    def do_up(self) -> int:
        processor = self._messenger._processor
        assert processor
        processor.bind(self._messenger.myaddrs)
        processor.start()
        return time.monotonic_ns()

    def _hang_up(self) -> None:
        for connection in self._messenger._table.all():
            connection.hang_up()

    def _on_worker(self, do: Callable[[], None]) -> int:
        began_ns = time.monotonic_ns()
        self._stack.workers[0].submit_to(do)
        return began_ns


def main() -> None:
    raise_file_limit()
    server = Server()
    print(json.dumps({"addr": server.addr}), flush=True)
    for line in sys.stdin:
        print(json.dumps({"time_ns": getattr(server, f"do_{json.loads(line)['do']}")()}), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
