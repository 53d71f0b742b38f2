"""The lossless promise: every message exactly once, in order, in both directions, while the sockets below are broken again and
again. 3 000 messages with all other tests, 100 000 with ``make synthetic``."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

import pytest

from ceph_msgr import Config, Connection, Dispatcher, EntityType, Message, Messenger, Policy, Stack
from ceph_msgr.auth import AuthRegistry
from ceph_msgr.messages import MPing
from tests.synthetic.operations import FULL
from tests.synthetic.workload import describe, totals

_MESSAGES = 100_000 if FULL else 3_000
#: So many unanswered at most; enough to keep both directions busy.
_WINDOW = 64
_PATIENCE_S = 120.0 if FULL else 40.0
_STAMP_BYTES = 8

PAIRS = {
    "client and server": (Policy.stateful_server, Policy.lossless_client),
    "peers": (Policy.lossless_peer, Policy.lossless_peer),
}


class Ledger(Dispatcher):
    """Notes what is not the next number, or not whole. With ``answers`` it sends everything back."""

    def __init__(self, *, answers: bool) -> None:
        self.changed = threading.Condition()
        self.received = 0
        self.failures: list[str] = []
        self._answers = answers

    def ms_can_fast_dispatch_any(self) -> bool:
        return True

    def ms_can_fast_dispatch(self, message_type: int) -> bool:
        return True

    def ms_fast_dispatch(self, message: Message) -> None:
        data = bytes(message.data)
        if self._answers:
            answer = MPing(tid=message.tid)
            answer.data = data
            message.connection.send_message(answer)
        with self.changed:
            if message.tid != self.received:
                self.failures.append(f"message {message.tid} came, expected {self.received}")
            if data != make_data(message.tid, len(data)):
                self.failures.append(f"message {message.tid} holds wrong data")
            self.received += 1
            self.changed.notify_all()

    def ms_handle_reset(self, connection: Connection) -> bool:
        self._fail(f"{connection!r} was reset")
        return True

    def ms_handle_remote_reset(self, connection: Connection) -> None:
        self._fail(f"{connection!r} was reset by its peer")

    def _fail(self, text: str) -> None:
        with self.changed:
            self.failures.append(text)
            self.changed.notify_all()

    def wait_for(self, received: int) -> bool:
        with self.changed:
            return self.changed.wait_for(lambda: self.received >= received or self.failures, _PATIENCE_S)


def make_data(number: int, len_bytes: int) -> bytes:
    return number.to_bytes(_STAMP_BYTES, "little") * (len_bytes // _STAMP_BYTES)


def make_messenger(name: str, policy: Policy, dispatcher: Dispatcher, stack: Stack, *, nonce: int, binds: bool) -> Messenger:
    config = Config(
        ms_inject_socket_failures=30, ms_initial_backoff=0.01, ms_max_backoff=0.2, ms_bind_port_min=0, ms_bind_port_max=0
    )
    auth = AuthRegistry.dummy(EntityType[name.partition(".")[0].upper()], config)
    messenger = Messenger.create(name, nonce=nonce, config=config, auth=auth, stack=stack)
    messenger.set_default_policy(policy)
    if binds:
        messenger.bind("v2:127.0.0.1:0")
    messenger.add_dispatcher_head(dispatcher)
    messenger.start()
    return messenger


@pytest.mark.slow
@pytest.mark.contract("H1")
@pytest.mark.timeout(1800 if FULL else 120)
@pytest.mark.parametrize("pair", PAIRS)
def test_lossless(pair: str, rng: random.Random, record_property: Callable[[str, object], None]) -> None:
    server_policy, client_policy = PAIRS[pair]
    at_server, at_client = Ledger(answers=True), Ledger(answers=False)
    stack = Stack(workers=2)
    seed = rng.randrange(2**32)
    lengths = random.Random(seed)
    server = make_messenger("osd.0", server_policy(), at_server, stack, nonce=1, binds=True)
    client = make_messenger("osd.1", client_policy(), at_client, stack, nonce=2, binds=client_policy().standby)

    def check(in_time: bool) -> None:
        failures = at_server.failures + at_client.failures
        if failures or not in_time:
            what = f"seed {seed}: {at_server.received} arrived, {at_client.received} answered, {failures}"
            pytest.fail(f"{what}\n{describe([server, client])}", pytrace=False)

    began_s = time.monotonic()
    try:
        connection = client.connect_to(EntityType.OSD, server.myaddrs)
        for number in range(_MESSAGES):
            check(at_client.wait_for(number - _WINDOW))
            message = MPing(tid=number)
            message.data = make_data(number, lengths.choice((0, 100, 1_000, 4_096, 20_000)))
            connection.send_message(message)
        check(at_client.wait_for(_MESSAGES))
        assert connection.flush(_PATIENCE_S)
        check(True)
        figures = totals(stack, "msgr_faults", "msgr_reconnects", "msgr_replayed_messages", "msgr_duplicates_dropped")
    finally:
        for messenger in client, server:
            messenger.shutdown()
        for messenger in client, server:
            messenger.wait(_PATIENCE_S)
        stack.stop()
    record_property("figures", figures)
    print(f"\n{pair}, seed {seed}: {_MESSAGES} messages each way in {time.monotonic() - began_s:.1f} s, {figures}")
    assert at_server.received == at_client.received == _MESSAGES
    assert figures["msgr_faults"] > _MESSAGES / 300, "hardly anything broke"


@pytest.mark.slow
@pytest.mark.contract("H1")
@pytest.mark.timeout(900 if FULL else 120)
@pytest.mark.parametrize("policy", [Policy.lossless_peer, Policy.lossless_peer_reuse])
def test_both_sides_dial(policy: Callable[[], Policy], rng: random.Random) -> None:
    """Each sends numbers of its own, on the connection it dialled; every fault is a race of two dials."""
    count = _MESSAGES // 2
    ledgers = [Ledger(answers=False), Ledger(answers=False)]
    stack = Stack(workers=3)
    messengers = [
        make_messenger(f"osd.{i}", policy(), ledger, stack, nonce=i + 1, binds=True) for i, ledger in enumerate(ledgers)
    ]
    seed = rng.randrange(2**32)
    lengths = random.Random(seed)
    try:
        connections = [
            dialling.connect_to(EntityType.OSD, dialled.myaddrs) for dialling, dialled in (messengers, reversed(messengers))
        ]
        for number in range(count):
            for ledger, connection in zip(reversed(ledgers), connections, strict=True):
                ledger.wait_for(number - _WINDOW)
                message = MPing(tid=number)
                message.data = make_data(number, lengths.choice((0, 100, 1_000, 4_096, 20_000)))
                connection.send_message(message)
        in_time = [ledger.wait_for(count) for ledger in ledgers]
        failures = [failure for ledger in ledgers for failure in ledger.failures]
        if failures or not all(in_time):
            received = [ledger.received for ledger in ledgers]
            pytest.fail(f"seed {seed}: {received} of {count} each, {failures}\n{describe(messengers)}", pytrace=False)
        figures = totals(stack, "msgr_faults", "msgr_reconnects", "msgr_replayed_messages")
    finally:
        for messenger in messengers:
            messenger.shutdown()
        for messenger in messengers:
            messenger.wait(_PATIENCE_S)
        stack.stop()
    print(f"\n{policy.__name__}, both dialling, seed {seed}: {count} messages each way, {figures}")
    assert figures["msgr_faults"]
