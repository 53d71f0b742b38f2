"""``LossyPair``: a server and a client in this process with the proxy between them; each session is one link."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import pytest

from ceph_msgr import Config, Connection, Dispatcher, EntityType, Message, Messenger, Policy, Stack
from ceph_msgr.auth import AuthRegistry, Keyring
from ceph_msgr.testing.proxy import Direction, Fault, FaultProxy
from tests.conftest import Deadline

__all__ = ["LossyPair", "Outcome", "payload_of"]

_TYPE = 60_000
#: Small enough to be copied on its way out, and of one size, so that all frames are of one size.
PAYLOAD_BYTES = 100
_NAMES = "osd.0", "client.1"


def payload_of(number: int) -> bytes:
    return (number * 0x9E3779B97F4A7C15 % (1 << 64)).to_bytes(8, "little") * (PAYLOAD_BYTES // 8) + bytes(PAYLOAD_BYTES % 8)


@dataclass(slots=True)
class Outcome:
    """Of one session: what the server received, in order, and whether the client was told of a reset."""

    received: list[int] = field(default_factory=list)
    is_altered: bool = False
    was_reset: bool = False


class LossyPair(Dispatcher):
    """A lossy session ends with its first fault, so each is tried in a session of its own."""

    def __init__(
        self,
        proxy: FaultProxy,
        mode: str,
        deadline: Deadline,
        *,
        has_frames: bool = False,
        blocks: tuple[int, int] | None = None,
        **options: object,
    ) -> None:
        self._proxy = proxy
        self._deadline = deadline
        self._changed = threading.Condition()
        self._stack = Stack(workers=1)
        self._outcome = Outcome()
        config = Config(ms_initial_backoff=0.01, ms_max_backoff=0.1, **options)
        for option in "ms_service_mode", "ms_client_mode":
            config.set(option, mode)
        keyring = Keyring.generate(*_NAMES)
        self._server, self._client = (
            Messenger.create(name, nonce=number + 1, config=config, auth=_auth(name, mode, config, keyring), stack=self._stack)
            for number, name in enumerate(_NAMES)
        )
        self._server.set_default_policy(Policy.stateless_server())
        self._client.set_default_policy(Policy.lossy_client())
        self._server.bind("127.0.0.1:0")
        self._server.set_addrs(proxy.route(self._server.myaddrs, has_frames=has_frames, blocks=blocks))
        for messenger in self._server, self._client:
            messenger.add_dispatcher_head(self)
            messenger.start()

    def run(self, count: int, *faults: Fault, lost: int = 0) -> Outcome:
        """A session of so many messages with these faults: until the client has heard of a reset, or all have arrived but those
        that will be lost without a word."""
        return self._run(count, faults, lambda outcome: outcome.was_reset or len(outcome.received) >= count - lost)

    def run_to_the_reset(self, count: int, *faults: Fault) -> Outcome:
        """As ``run``, with a fault that must be noticed."""
        return self._run(count, faults, lambda outcome: outcome.was_reset)

    def _run(self, count: int, faults: Sequence[Fault], is_over: Callable[[Outcome], bool]) -> Outcome:
        outcome = self._outcome = Outcome()
        link = self._proxy.counts().links
        for fault in faults:
            self._proxy.order(fault, link=link)
        connection: Any = self._client.connect_to(EntityType.OSD, self._server.myaddrs, anon=True)
        for number in range(count):
            connection.send_message(Message(_TYPE, tid=number, data=payload_of(number)))
        with self._changed:
            if not self._changed.wait_for(lambda: is_over(outcome), self._deadline.remaining_s("the session")):
                pytest.fail(f"{outcome} after {faults}, {connection!r}")
        connection.mark_down()
        self._stack.drain()
        return outcome

    def frame_layout(self, count: int = 20) -> tuple[int, int]:
        """What a client sends before its first message, and the size of the frame of each message, in bytes."""
        self.run(1)  # from now on the client knows its address, which changes the length of what it says of itself
        one, many = (self._sent_bytes(number) for number in (1, 1 + count))
        size = (many - one) // count
        return one - size, size

    def _sent_bytes(self, count: int) -> int:
        before = self._proxy.counts().bytes[Direction.TO_TARGET]
        self.run(count)
        return self._proxy.counts().bytes[Direction.TO_TARGET] - before

    # ---- callbacks ----

    def ms_can_fast_dispatch_any(self) -> bool:
        return True

    def ms_can_fast_dispatch(self, message_type: int) -> bool:
        return True

    def ms_fast_dispatch(self, message: Message) -> None:
        with self._changed:
            self._outcome.is_altered |= bytes(message.data) != payload_of(message.tid)
            self._outcome.received.append(message.tid)
            self._changed.notify_all()

    def ms_handle_reset(self, connection: Connection) -> bool:
        if connection.messenger is self._client:
            with self._changed:
                self._outcome.was_reset = True
                self._changed.notify_all()
        return True

    # ---- the end ----

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, type_: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for messenger in self._client, self._server:
            messenger.shutdown()
        for messenger in self._client, self._server:
            messenger.wait(self._deadline.timeout_s)
        self._stack.stop()


def _auth(name: str, mode: str, config: Config, keyring: Keyring) -> AuthRegistry:
    if mode == "crc":
        return AuthRegistry.dummy(EntityType[name.partition(".")[0].upper()], config)
    return AuthRegistry.standalone(name, config, keyring)
