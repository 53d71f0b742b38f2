"""Two messengers in one process: a monitor that echoes pings, and a client that waits for the answer."""

from queue import SimpleQueue

from ceph_msgr import Dispatcher, EntityType, Message, Messenger
from ceph_msgr.messages import MPing


class Echo(Dispatcher):
    def ms_dispatch(self, message: Message) -> bool:
        message.connection.send_message(message)  # back to whoever sent it
        return True


class Collect(Dispatcher):
    def __init__(self) -> None:
        self.replies: SimpleQueue[Message] = SimpleQueue()

    def ms_dispatch(self, message: Message) -> bool:
        self.replies.put(message)
        return True


with Messenger.create("mon.0") as server, Messenger.create("client.admin") as client:
    server.bind("127.0.0.1:0")
    server.add_dispatcher_tail(Echo())
    server.start()
    client.add_dispatcher_tail(collect := Collect())
    client.start()
    client.connect_to(EntityType.MON, server.myaddrs).send_message(MPing("hello"))
    print(collect.replies.get(timeout=10))
