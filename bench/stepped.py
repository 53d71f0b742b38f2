"""Requests and replies between two messengers of one process without threads: ``python -m bench.stepped OPERATIONS``.

Both workers are turned by hand, so the same work is done in the same order every time, and its instructions can be counted.
"""

from __future__ import annotations

import sys
import time

from ceph_msgr import Config, Dispatcher, EntityType, Message, Messenger, Policy, Stack
from ceph_msgr.messages import MOSDOp, MOSDOpReply, OSDOp

_WINDOW = 32
_DATA_BYTES = 4096
_WRITE = 0x2201
_TIMEOUT_S = 120.0


class Answerer(Dispatcher):
    def ms_can_fast_dispatch_any(self) -> bool:
        return True

    def ms_can_fast_dispatch(self, message_type: int) -> bool:
        return message_type == MOSDOp.TYPE

    def ms_fast_dispatch(self, message: Message) -> None:
        message.connection.send_message(MOSDOpReply.for_request(message))


class Asker(Dispatcher):
    def __init__(self) -> None:
        self.tids: list[int] = []

    def ms_can_fast_dispatch_any(self) -> bool:
        return True

    def ms_can_fast_dispatch(self, message_type: int) -> bool:
        return message_type == MOSDOpReply.TYPE

    def ms_fast_dispatch(self, message: Message) -> None:
        self.tids.append(message.tid)


def main() -> None:
    operations = int(sys.argv[1])
    deadline_s = time.monotonic() + _TIMEOUT_S
    config = Config(ms_bind_port_min=0, ms_bind_port_max=0)
    stack = Stack(poll_us=0, thread_starter=lambda name, run: None)
    server = Messenger.create("osd.0", nonce=0, config=config, stack=stack)
    client = Messenger.create("client.1", nonce=1, config=config, stack=stack)
    with server, client:
        server.set_default_policy(Policy.stateless_server())
        server.bind("127.0.0.1:0")
        server.add_dispatcher_head(Answerer())
        server.start()
        client.add_dispatcher_head(asker := Asker())
        client.start()
        connection = client.connect_to(EntityType.OSD, server.myaddrs)
        request = MOSDOp("object-name", [OSDOp(_WRITE, length=_DATA_BYTES)], data=bytes(_DATA_BYTES))
        for first in range(0, operations, _WINDOW):
            tids = list(range(first, first + _WINDOW))
            for request.tid in tids:
                connection.send_message(request)
            asker.tids.clear()
            while len(asker.tids) < _WINDOW:
                stack.workers[0].step()
                if time.monotonic() > deadline_s:
                    sys.exit(f"{len(asker.tids)} of {_WINDOW} replies after {_TIMEOUT_S:g} s")
            assert asker.tids == tids
    stack.stop()


if __name__ == "__main__":
    main()
