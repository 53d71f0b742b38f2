"""The side that dials, a process of its own: ``python -m tests.recovery.clients ADDR COUNT``. So many lossless clients with a
connection each, as if they were as many processes. Lines of JSON: first that all are connected, then an answer to each order."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from typing import Any

from ceph_msgr import Config, Dispatcher, EntityType, Message, Messenger, Policy, Stack
from ceph_msgr.auth import AuthRegistry
from ceph_msgr.protocol.states import State
from tests.recovery.setting import PAUSE_S, raise_file_limit

_OPTIONS = {"ms_initial_backoff": PAUSE_S, "ms_max_backoff": PAUSE_S, "ms_backoff_jitter": 0}
_TYPE = 60_001
_TIMEOUT_S = 100.0


class Client(Dispatcher):
    """Sends numbers, which come back."""

    def __init__(self, clients: Clients, number: int, addr: str, stack: Stack) -> None:
        config = Config(**_OPTIONS)
        auth = AuthRegistry.dummy(EntityType.CLIENT, config)
        # A nonce far from any process id: by it the server tells them apart.
        self._messenger = Messenger.create(f"client.{number}", nonce=(1 << 24) + number, config=config, auth=auth, stack=stack)
        self._messenger.set_default_policy(Policy.lossless_client())
        self._messenger.add_dispatcher_head(self)
        self._messenger.start()
        self._clients = clients
        self.connection: Any = self._messenger.connect_to(EntityType.OSD, addr)
        self.sent = 0
        #: When each number came back.
        self.answered_ns: list[int] = []

    def send(self) -> None:
        self.connection.send_message(Message(_TYPE, tid=self.sent))
        self.sent += 1

    def ms_can_fast_dispatch_any(self) -> bool:
        return True

    def ms_can_fast_dispatch(self, message_type: int) -> bool:
        return True

    def ms_fast_dispatch(self, message: Message) -> None:
        if message.tid != len(self.answered_ns):
            self._clients.failures.append(f"{self._messenger.name}: {message.tid} came in place of {len(self.answered_ns)}")
        self.answered_ns.append(time.monotonic_ns())
        self._clients.answered()

    def due_ns(self) -> int:
        """When the dial was due that led to the present session: at once after a fault, or at the end of a pause."""
        history = self.connection.history
        last = max(number for number, step in enumerate(history) if step.new is State.CONNECTING)
        dial, before = history[last], history[last - 1]
        return int(before.time_ns + PAUSE_S * 1e9 if dial.old is State.BACKOFF else dial.time_ns)


class Clients:
    def __init__(self, addr: str, count: int) -> None:
        self.failures: list[str] = []
        self._changed = threading.Condition()
        self._answers = 0
        stack = Stack(workers=1)
        stack.start()
        self._clients = [Client(self, number, addr, stack) for number in range(count)]
        self.do_send()
        self.do_wait()

    def answered(self) -> None:
        with self._changed:
            self._answers += 1
            self._changed.notify_all()

    def do_send(self) -> dict[str, Any]:
        """One message over each."""
        for client in self._clients:
            client.send()
        return {}

    def do_wait(self) -> dict[str, Any]:
        """Until all have been answered: when the last one of each was, and when the dial was due that made it possible."""
        due = sum(client.sent for client in self._clients)
        with self._changed:
            if not self._changed.wait_for(lambda: self._answers >= due, _TIMEOUT_S):
                missing = [repr(client.connection) for client in self._clients if len(client.answered_ns) < client.sent]
                raise TimeoutError(f"{len(missing)} clients wait after {_TIMEOUT_S:g} s, such as {missing[0]}")
        return {
            "answered_ns": [client.answered_ns[-1] for client in self._clients],
            "due_ns": [client.due_ns() for client in self._clients],
            "failures": self.failures,
        }


def main() -> None:
    raise_file_limit()
    clients = Clients(sys.argv[1], int(sys.argv[2]))
    print(json.dumps({"connected": True}), flush=True)
    for line in sys.stdin:
        print(json.dumps(getattr(clients, f"do_{json.loads(line)['do']}")()), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
