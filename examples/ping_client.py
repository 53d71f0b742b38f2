"""Pings a server and tells how long each took: ``python examples/ping_client.py [ADDR]``, 127.0.0.1:7000 by default."""

from __future__ import annotations

import sys
import time
from queue import Empty, SimpleQueue

from ceph_msgr import Connection, Dispatcher, EntityType, Message, Messenger, Policy
from ceph_msgr.messages import MPing

TIMEOUT_S = 5.0


class Replies(Dispatcher):
    """Puts what arrives where the main thread waits, with the time at which it arrived; an OSError if nobody listens."""

    def __init__(self) -> None:
        self.queue: SimpleQueue[tuple[Message, int] | OSError] = SimpleQueue()

    def ms_can_fast_dispatch_any(self) -> bool:
        return True

    def ms_can_fast_dispatch(self, message_type: int) -> bool:
        return message_type == MPing.TYPE

    def ms_fast_dispatch(self, message: Message) -> None:
        self.queue.put((message, time.monotonic_ns()))

    def ms_handle_refused(self, connection: Connection) -> bool:
        self.queue.put(ConnectionRefusedError(f"nobody listens on {connection.peer_addrs}"))
        return True


def main() -> None:
    replies = Replies()
    with Messenger.create("client.admin") as messenger:
        messenger.set_default_policy(Policy.lossy_client())
        messenger.add_dispatcher_tail(replies)
        messenger.start()
        connection = messenger.connect_to(EntityType.OSD, sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:7000")
        for number in range(1, 6):
            # The first one waits in the queue of the connection until that is up.
            sent_ns = time.monotonic_ns()
            connection.send_message(MPing(f"ping {number}"))
            try:
                reply = replies.queue.get(timeout=TIMEOUT_S)
            except Empty:
                sys.exit(f"no answer within {TIMEOUT_S:g} s")
            if isinstance(reply, OSError):
                sys.exit(str(reply))
            message, arrived_ns = reply
            print(f"{message.text}: {(arrived_ns - sent_ns) / 1000:.0f} us")


if __name__ == "__main__":
    main()
