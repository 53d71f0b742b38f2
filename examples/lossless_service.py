"""A service that adds up what its client sends, and a client that keeps cutting the socket: nothing is lost, nothing is
counted twice, and neither side has a line of code for it. ``python examples/lossless_service.py [REQUESTS]``
"""

from __future__ import annotations

import os
import socket
import stat
import sys
from queue import Empty, SimpleQueue

from ceph_msgr import Config, Connection, Dispatcher, EntityType, Message, Messenger, Policy

DEPOSIT, BALANCE = 4711, 4712
IN_FLIGHT = 50
CUT_EVERY = 100
TIMEOUT_S = 10.0


def number_message(message_type: int, number: int, tid: int) -> Message:
    return Message(message_type, number.to_bytes(8, "little"), tid=tid)


def number_of(message: Message) -> int:
    return int.from_bytes(message.front, "little")


class Account(Dispatcher):
    """The service. ``priv`` lives as long as the session, however many sockets that takes."""

    def ms_dispatch(self, message: Message) -> bool:
        connection = message.connection
        connection.priv = (connection.priv or 0) + number_of(message)
        connection.send_message(number_message(BALANCE, connection.priv, message.tid))
        return True


class Client(Dispatcher):
    """Keeps what it is answered, and counts how often it was connected."""

    def __init__(self) -> None:
        self.balances: SimpleQueue[Message] = SimpleQueue()
        self.connects = 0

    def ms_handle_connect(self, connection: Connection) -> None:
        self.connects += 1

    def ms_dispatch(self, message: Message) -> bool:
        self.balances.put(message)
        return True


def cut(port: int) -> int:
    """Shut down this process' sockets that lead to the port, as a broken network would; returns how many there were."""
    count = 0
    for fd in map(int, os.listdir("/proc/self/fd")):
        try:
            if not stat.S_ISSOCK(os.fstat(fd).st_mode):
                continue
            with socket.socket(fileno=os.dup(fd)) as end:
                if end.getpeername()[1] == port:
                    end.shutdown(socket.SHUT_RDWR)
                    count += 1
        except OSError:
            continue  # closed by now, or not connected
    return count


def main() -> None:
    requests = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    # The first dial after a fault comes at once; should it fail, the next one follows soon.
    config = Config(ms_initial_backoff=0.01)
    client = Client()
    with Messenger.create("osd.0") as server, Messenger.create("client.admin", config=config) as messenger:
        server.set_default_policy(Policy.stateful_server())
        server.bind("127.0.0.1:0")
        server.add_dispatcher_tail(Account())
        server.start()

        messenger.set_default_policy(Policy.lossless_client())
        messenger.add_dispatcher_tail(client)
        messenger.start()
        connection = messenger.connect_to(EntityType.OSD, server.myaddrs)

        cuts = 0
        for tid in range(1, requests + IN_FLIGHT + 1):
            if tid <= requests:
                connection.send_message(number_message(DEPOSIT, tid, tid))
            answered = tid - IN_FLIGHT
            if answered < 1:
                continue
            try:
                answer = client.balances.get(timeout=TIMEOUT_S)
            except Empty:
                sys.exit(f"no answer within {TIMEOUT_S:g} s")
            if (answer.tid, number_of(answer)) != (answered, answered * (answered + 1) // 2):
                sys.exit(f"answer {answered} is {number_of(answer)} for request {answer.tid}")
            if answered % CUT_EVERY == 0 and answered < requests:
                cuts += cut(server.myaddrs[0].port) > 0
    print(f"{requests} requests, {requests} answers in order, the last balance is {requests * (requests + 1) // 2}")
    print(f"the socket was cut {cuts} times, the client connected {client.connects} times")


if __name__ == "__main__":
    main()
