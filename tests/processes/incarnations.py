"""``python -m tests.processes.incarnations``: forks peers that answer, one after the other, for tests that kill and freeze them.

An order is a line of JSON: {"name", "policy", "bind", "nonce", "journal"}. The new peer tells its pid and addresses by a line
of its own. Before it answers, it writes the number of the message into the journal, a file that survives it. All peers end with
the input.
"""

from __future__ import annotations

import json
import os
import signal
import struct
import sys
from typing import Any

from ceph_msgr import Config, Dispatcher, EntityType, Message, Messenger, Policy
from ceph_msgr.auth import AuthRegistry

__all__ = ["OPTIONS", "RECORD", "TYPE"]

TYPE = 60_000
#: Of a journal: pid and number.
RECORD = struct.Struct("<QQ")

OPTIONS = {
    "ms_initial_backoff": 0.005, "ms_max_backoff": 0.05, "ms_bind_port_min": 0, "ms_bind_port_max": 0,
    "ms_keepalive_interval": 0.1, "ms_keepalive_timeout": 0.5, "ms_connection_ready_timeout": 2.0,
    "ms_accept_handshake_timeout": 2.0, "ms_bind_retry_count": 1000, "ms_bind_retry_delay": 0.02,
}  # fmt: skip


class Peer(Dispatcher):
    def __init__(self, journal_fd: int) -> None:
        self._journal_fd = journal_fd

    def ms_can_fast_dispatch_any(self) -> bool:
        return True

    def ms_can_fast_dispatch(self, message_type: int) -> bool:
        return True

    def ms_fast_dispatch(self, message: Message) -> None:
        os.write(self._journal_fd, RECORD.pack(os.getpid(), message.tid))
        message.connection.send_message(message)


def live(order: dict[str, Any]) -> None:
    config = Config(**OPTIONS)
    type_ = EntityType[order["name"].partition(".")[0].upper()]
    auth = AuthRegistry.dummy(type_, config)
    messenger = Messenger.create(order["name"], nonce=order["nonce"], config=config, auth=auth)
    messenger.set_default_policy(getattr(Policy, order["policy"])())
    messenger.bind(order["bind"])
    messenger.add_dispatcher_head(Peer(os.open(order["journal"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)))
    messenger.start()
    line = json.dumps({"pid": os.getpid(), "addrs": str(messenger.myaddrs)})
    os.write(sys.stdout.fileno(), line.encode() + b"\n")
    while True:
        signal.pause()


def main() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel buries them
    peers = []
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            try:
                live(json.loads(line))
            finally:
                os._exit(1)
        peers.append(pid)
    for pid in peers:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


if __name__ == "__main__":
    main()
