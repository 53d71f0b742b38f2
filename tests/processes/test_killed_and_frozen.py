"""One of two processes is killed, or frozen for a while, in the middle of traffic.

Ten of each and more here; ``CEPH_MSGR_PROCESSES=full`` does 500 of each.
"""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ceph_msgr import Config, Connection, Dispatcher, EntityType, Message, Messenger, Policy, SendQueueFull, Stack
from ceph_msgr.auth import AuthRegistry
from tests.conftest import Deadline
from tests.processes.incarnations import OPTIONS, RECORD, TYPE
from tests.proxy.child import Child

FULL = os.environ.get("CEPH_MSGR_PROCESSES") == "full"
ROUNDS = 170 if FULL else 4

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600 if FULL else 120),
    pytest.mark.parametrize("deadline", [3600 if FULL else 60], indirect=True),
]

#: Names and policies of the one that stays and of the one that is killed; the nonce of the next incarnation.
PAIRS: dict[str, tuple[str, Callable[[], Policy], str, str]] = {
    "client of a server": ("client.1", Policy.lossless_client, "osd.0", "stateful_server"),
    "peers": ("osd.1", Policy.lossless_peer, "osd.0", "lossless_peer"),
    "peers that notice resets": ("osd.1", Policy.lossless_peer_reuse, "osd.0", "lossless_peer_reuse"),
}
every_pair = pytest.mark.parametrize("pair", PAIRS)


class Survivor(Dispatcher):
    """Sends numbers and notes which come back. ``changed`` guards and tells everything."""

    def __init__(self, name: str, policy: Policy, deadline: Deadline) -> None:
        self.changed = threading.Condition()
        self.answers: list[int] = []
        self.remote_resets = 0
        self.resets = 0
        self.sent = 0
        self._deadline = deadline
        self.stack = Stack(workers=1)
        config = Config(**OPTIONS, ms_send_queue_max_bytes=4096)
        type_ = EntityType[name.partition(".")[0].upper()]
        self.messenger = Messenger.create(
            name, nonce=os.getpid(), config=config, auth=AuthRegistry.dummy(type_, config), stack=self.stack
        )
        self.messenger.set_default_policy(policy)
        if policy.standby:
            self.messenger.bind("127.0.0.1:0")
        self.messenger.add_dispatcher_head(self)
        self.messenger.start()
        self.connection: Any = None
        self._is_over = False
        self._sender = threading.Thread(target=self._send, name="sender")

    def dial(self, addrs: str) -> None:
        with self.changed:
            former, self.connection = self.connection, self.messenger.connect_to(EntityType.OSD, addrs)
            self.changed.notify_all()
        if former is None:
            self._sender.start()
        elif former is not self.connection:
            former.mark_down()

    def _send(self) -> None:
        while True:
            with self.changed:
                if self._is_over:
                    return
                try:
                    self.connection.send_message(Message(TYPE, tid=self.sent, data=bytes(64)))
                    self.sent += 1
                except SendQueueFull:
                    self.changed.wait(0.05)

    def wait_until(self, holds: Callable[[], bool], what: str) -> None:
        """Looks again at every answer and reset, and every 20 ms for what no callback tells."""
        with self.changed:
            while not holds():
                self.changed.wait(min(0.02, self._deadline.remaining_s(f"{what}; {self.connection!r}")))

    def wait_answers(self, more: int) -> None:
        due = len(self.answers) + more
        self.wait_until(lambda: len(self.answers) >= due, f"{more} more answers")

    def faults(self) -> int:
        """Of all causes."""
        values = (value for group in self.stack.perf_counters() for value in group.values())
        return sum(value for metric, _, value in values if metric.name == "msgr_faults")  # type: ignore[misc]

    # ---- callbacks ----

    def ms_can_fast_dispatch_any(self) -> bool:
        return True

    def ms_can_fast_dispatch(self, message_type: int) -> bool:
        return True

    def ms_fast_dispatch(self, message: Message) -> None:
        with self.changed:
            self.answers.append(message.tid)
            self.changed.notify_all()

    def ms_handle_remote_reset(self, connection: Connection) -> None:
        with self.changed:
            self.remote_resets += 1
            self.changed.notify_all()

    def ms_handle_reset(self, connection: Connection) -> bool:
        with self.changed:
            self.resets += 1
        return True

    # ---- the end ----

    def stop_sending(self) -> None:
        with self.changed:
            self._is_over = True
            self.changed.notify_all()
        self._sender.join(self._deadline.remaining_s("the sender"))

    def close(self) -> None:
        if not self._is_over and self.connection:
            self.stop_sending()
        self.messenger.shutdown()
        assert self.messenger.wait(self._deadline.timeout_s)
        self.stack.stop()


@pytest.fixture
def incarnations() -> Iterator[Child]:
    with Child("tests.processes.incarnations") as child:
        yield child
        child.close()


@pytest.fixture
def survivor(pair: str, deadline: Deadline) -> Iterator[Survivor]:
    name, policy, _, _ = PAIRS[pair]
    survivor = Survivor(name, policy(), deadline)
    try:
        yield survivor
    finally:
        survivor.close()


def read_journal(path: Path) -> list[tuple[int, int]]:
    """Pid and number of each message, as the peers dispatched them. The last record of one that was killed may not be whole."""
    data = path.read_bytes()
    return list(RECORD.iter_unpack(data[: len(data) - len(data) % RECORD.size]))


def check_nothing_twice(journal: list[tuple[int, int]]) -> None:
    numbers = [number for _, number in journal]
    assert numbers == sorted(set(numbers)), "doubled or out of order"


@every_pair
@pytest.mark.parametrize("keeps_nonce", [True, False], ids=["same address", "new nonce"])
@pytest.mark.contract("H4")
def test_killed(
    pair: str,
    keeps_nonce: bool,
    incarnations: Child,
    survivor: Survivor,
    tmp_path: Path,
    rng: random.Random,
    record_property: Callable[[str, object], None],
) -> None:
    """The survivor hears of a remote reset, what was on its way is gone, and nothing is dispatched twice."""
    _, _, name, policy = PAIRS[pair]
    journal = tmp_path / "journal"
    order = {"name": name, "policy": policy, "bind": "127.0.0.1:0", "journal": str(journal)}
    incarnations.tell(**order, nonce=1)
    peer = incarnations.read()
    port = peer["addrs"].rpartition(":")[2].partition("/")[0]
    survivor.dial(peer["addrs"])
    for number in range(ROUNDS // 2 + 1):
        survivor.wait_answers(rng.randint(1, 60))
        resets = survivor.remote_resets
        os.kill(peer["pid"], signal.SIGKILL)
        nonce = 1 if keeps_nonce else number + 2
        incarnations.tell(**order | {"bind": f"127.0.0.1:{port}"}, nonce=nonce)
        peer = incarnations.read()
        survivor.wait_until(lambda resets=resets: survivor.remote_resets > resets, "remote reset")
        survivor.dial(peer["addrs"])
    survivor.wait_answers(1)
    survivor.stop_sending()
    check_nothing_twice(read_journal(journal))
    assert len({pid for pid, _ in read_journal(journal)}) == ROUNDS // 2 + 2
    assert survivor.answers == sorted(set(survivor.answers))
    assert survivor.resets == 0
    record_property("killed", ROUNDS // 2 + 1)


@every_pair
@pytest.mark.contract("H4")
def test_frozen(
    pair: str,
    incarnations: Child,
    survivor: Survivor,
    tmp_path: Path,
    rng: random.Random,
    record_property: Callable[[str, object], None],
) -> None:
    """For a moment, or until the survivor has given the socket up: nothing is lost or doubled."""
    _, _, name, policy = PAIRS[pair]
    journal = tmp_path / "journal"
    incarnations.tell(name=name, policy=policy, bind="127.0.0.1:0", nonce=1, journal=str(journal))
    peer = incarnations.read()
    survivor.dial(peer["addrs"])
    for number in range(ROUNDS):
        survivor.wait_answers(rng.randint(1, 60))
        faults = survivor.faults()
        os.kill(peer["pid"], signal.SIGSTOP)
        if number % 3 == 0:
            survivor.wait_until(lambda faults=faults: survivor.faults() > faults, "fault for its silence")
        os.kill(peer["pid"], signal.SIGCONT)
    survivor.stop_sending()
    survivor.wait_until(lambda: len(survivor.answers) >= survivor.sent, "answer to each message")
    everything = list(range(survivor.sent))
    assert survivor.answers == everything
    assert [number for _, number in read_journal(journal)] == everything
    assert (survivor.resets, survivor.remote_resets) == (0, 0)
    record_property("frozen", ROUNDS)
