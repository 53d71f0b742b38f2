"""``Echo``: a server and a client in one process, for programs that something happens to while messages are on their way."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from ceph_msgr import Config, Dispatcher, EntityType, Message, Messenger, Policy
from ceph_msgr.auth import AuthRegistry
from ceph_msgr.testing.proxy import FaultProxy

__all__ = ["DEADLINE_S", "Echo"]

DEADLINE_S = 60.0
_TYPE = 60_000


class Answers(Dispatcher):
    """``hook`` sees each message before it is answered."""

    def __init__(self, *, is_fast: bool) -> None:
        self._is_fast = is_fast
        self.hook: Callable[[Message], None] = lambda message: None

    def ms_can_fast_dispatch_any(self) -> bool:
        return self._is_fast

    def ms_can_fast_dispatch(self, message_type: int) -> bool:
        return True

    def ms_fast_dispatch(self, message: Message) -> None:
        self.hook(message)
        message.connection.send_message(message)

    def ms_dispatch(self, message: Message) -> bool:
        self.ms_fast_dispatch(message)
        return True


class Collects(Dispatcher):
    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.numbers: list[int] = []

    def ms_can_fast_dispatch_any(self) -> bool:
        return True

    def ms_can_fast_dispatch(self, message_type: int) -> bool:
        return True

    def ms_fast_dispatch(self, message: Message) -> None:
        with self.changed:
            self.numbers.append(message.tid)
            self.changed.notify_all()


class Echo:
    """A lossless session on the stack that all messengers of a process share; messages are numbered from 0."""

    def __init__(self, *, is_fast: bool = True, through: FaultProxy | None = None, **options: object) -> None:
        self.answers, self.collects = Answers(is_fast=is_fast), Collects()
        self.sent = 0
        config = Config(**options)
        self.server = self._make("osd.0", Policy.stateful_server(), config, nonce=1)
        self.client = self._make("client.1", Policy.lossless_client(), config, nonce=2)
        self.server.bind("127.0.0.1:0")
        if through:
            self.server.set_addrs(through.route(self.server.myaddrs))
        for messenger, dispatcher in (self.server, self.answers), (self.client, self.collects):
            messenger.add_dispatcher_head(dispatcher)
            messenger.start()
        self.connection: Any = self.client.connect_to(EntityType.OSD, self.server.myaddrs)

    @staticmethod
    def _make(name: str, policy: Policy, config: Config, *, nonce: int) -> Messenger:
        auth = AuthRegistry.dummy(EntityType[name.partition(".")[0].upper()], config)
        messenger = Messenger.create(name, nonce=nonce, config=config, auth=auth)
        messenger.set_default_policy(policy)
        return messenger

    def send(self, count: int) -> None:
        for _ in range(count):
            self.connection.send_message(Message(_TYPE, tid=self.sent, data=bytes(64)))
            self.sent += 1

    def wait_answered(self) -> None:
        """Until all are, each once and in order."""
        changed, numbers = self.collects.changed, self.collects.numbers
        with changed:
            assert changed.wait_for(lambda: len(numbers) >= self.sent, DEADLINE_S), (
                f"{len(numbers)} of {self.sent} were answered over {self.connection!r}, pid {os.getpid()}"
            )
            assert numbers == list(range(self.sent))

    def faults(self) -> int:
        values = (value for group in self.client.stack.perf_counters() for value in group.values())
        return sum(value for metric, _, value in values if metric.name == "msgr_faults")  # type: ignore[misc]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, type_: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for messenger in self.client, self.server:
            messenger.shutdown()
        for messenger in self.client, self.server:
            assert messenger.wait(DEADLINE_S)
