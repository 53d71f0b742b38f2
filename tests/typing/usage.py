"""Public names as a user writes them, for mypy to check. Never run; test_typing.py says what mypy must find."""

from __future__ import annotations

from typing import assert_type

from ceph_msgr import (
    Config,
    Connection,
    Dispatcher,
    EntityAddr,
    EntityAddrVec,
    EntityName,
    EntityType,
    EventCenter,
    Message,
    Messenger,
    Policy,
    SendQueueFull,
    Throttle,
)
from ceph_msgr.messages import MOSDOp, MOSDOpReply, MPing, OSDOp, register


class Note(Message):
    TYPE = 4711

    def encode_payload(self, features: int) -> bytes:
        return b"note"

    def decode_payload(self) -> None:
        pass


register(Note.TYPE, Note)
register(4712, Message)


class User(Dispatcher):
    def ms_can_fast_dispatch(self, message_type: int) -> bool:
        return message_type == MOSDOpReply.TYPE

    def ms_fast_dispatch(self, message: Message) -> None:
        assert_type(message.tid, int)
        if isinstance(message, MPing):
            assert_type(message.text, str)

    def ms_dispatch(self, message: Message) -> bool:
        return False

    def ms_handle_reset(self, connection: Connection) -> bool:
        connection.priv = None
        return True


def client() -> None:
    config = Config(ms_tcp_nodelay=False, ms_dispatch_throttle_bytes="64M")
    assert_type(config.ms_tcp_nodelay, bool)
    assert_type(config.ms_dispatch_throttle_bytes, int)
    assert_type(config.ms_initial_backoff, float)
    with Messenger.create("client.admin", nonce=1, config=config) as messenger:
        assert_type(messenger, Messenger)
        messenger.set_policy(EntityType.OSD, Policy.lossless_client())
        messenger.set_policy_throttlers(EntityType.CLIENT, Throttle("messages", 10), None)
        messenger.add_dispatcher_tail(User())
        messenger.start()
        connection = messenger.connect_to(EntityType.OSD, EntityAddr.parse("127.0.0.1:6800"), anon=True)
        assert_type(connection, Connection)
        assert_type(connection.peer_addrs, EntityAddrVec)
        assert_type(connection.peer_name, EntityName)
        assert_type(connection.last_keepalive_ack, float | None)
        try:
            connection.send_message(MOSDOp("name", [OSDOp(0x2201, length=2)], data=b"ab"))
            connection.send_message(Note(4711, memoryview(b"front")), borrow=True)
        except SendQueueFull:
            assert_type(connection.wait_writable(timeout=1.0), bool)
        assert_type(messenger.wait(0.5), bool)


def loop() -> None:
    center = EventCenter()
    assert_type(center.create_time_event(1000, lambda: None), int)
    assert_type(center.process_events(0), int)


def wrong(connection: Connection) -> None:
    connection.send_message(b"bytes are no message")  # error: arg-type
    Config().ms_tcp_nodelay = 3.5  # error: assignment
    Messenger.create("client.admin", 1)  # error: call-arg
    Message("ping")  # error: arg-type
