"""``Storm``: all public calls of messengers, connections and throttles, from eight threads at random, on the same objects."""

from __future__ import annotations

import itertools
import random
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from weakref import WeakKeyDictionary

from ceph_msgr import Connection, Dispatcher, EntityType, Message, Messenger, MessengerError, Policy, Stack, Throttle
from tests.messenger.dispatchers import RAW, RAW_FAST

__all__ = ["Listener", "Storm"]

THREADS = 8
#: Of those made last, which calls are made on.
_CONNECTIONS = 12
_PRIORITIES = (63, 127, 127, 196)
#: In one thread: how long a call may wait.
_MAX_WAIT_S = 0.01
#: Threads take turns in the middle of things.
_SWITCH_INTERVAL_S = 50e-6
#: Of tids: the connection, the thread, and the number.
_CONNECTION_SHIFT, _THREAD_SHIFT = 40, 36
_POLICIES = (
    Policy.lossless_peer, Policy.lossless_peer_reuse, Policy.lossless_client, Policy.stateful_server, Policy.lossy_client,
    Policy.stateless_server,
)  # fmt: skip


class Listener(Dispatcher):
    """Checks the order of what it is given, and makes calls of its own inside callbacks."""

    def __init__(self, rng: random.Random) -> None:
        self.received = 0
        self.callbacks: Counter[str] = Counter()
        self.failures: list[str] = []
        self._rng = rng
        self._last: dict[tuple[int, int, int, int], int] = {}
        self._numbers = itertools.count()
        self._serials: WeakKeyDictionary[Connection, int] = WeakKeyDictionary()
        self._reset: set[int] = set()
        self._lock = threading.Lock()

    def ms_can_fast_dispatch_any(self) -> bool:
        return True

    def ms_can_fast_dispatch(self, message_type: int) -> bool:
        return message_type == RAW_FAST

    def ms_fast_dispatch(self, message: Message) -> None:
        self._take(message)

    def ms_dispatch(self, message: Message) -> bool:
        self._take(message)
        return True

    def _take(self, message: Message) -> None:
        """One sender, one priority, one way of dispatching: in the order in which it was sent, and nothing twice."""
        sender, number = message.tid >> _THREAD_SHIFT, message.tid & ((1 << _THREAD_SHIFT) - 1)
        with self._lock:
            # Not by its address in memory, which a later one may have.
            serial = self._serials.setdefault(message.connection, next(self._numbers))
            key = (serial, sender, message.priority, message.type)
            self.received += 1
            if number <= self._last.get(key, -1):
                self.failures.append(f"message {number} behind {self._last[key]} over {message.connection!r}")
            self._last[key] = number
            chance = self._rng.random()
        if chance < 0.0005:
            message.connection.mark_down()
        elif chance < 0.02:
            message.connection.send_keepalive()

    def _note(self, name: str, connection: Connection) -> None:
        with self._lock:
            self.callbacks[name] += 1

    def ms_handle_fast_connect(self, connection: Connection) -> None:
        self._note("fast_connect", connection)

    def ms_handle_fast_accept(self, connection: Connection) -> None:
        self._note("fast_accept", connection)

    def ms_handle_connect(self, connection: Connection) -> None:
        self._note("connect", connection)

    def ms_handle_accept(self, connection: Connection) -> None:
        self._note("accept", connection)

    def ms_handle_remote_reset(self, connection: Connection) -> None:
        self._note("remote_reset", connection)

    def ms_handle_drained(self, connection: Connection) -> None:
        self._note("drained", connection)

    def ms_handle_refused(self, connection: Connection) -> bool:
        self._note("refused", connection)
        return True

    def ms_handle_reset(self, connection: Connection) -> bool:
        """Once in the life of a connection."""
        self._note("reset", connection)
        with self._lock:
            if connection.priv in self._reset:
                self.failures.append(f"a second reset of {connection!r}")
            elif connection.priv is not None:
                self._reset.add(connection.priv)
        return True


class Storm:
    """``MessengerError`` is what a call may raise, and ``SendQueueFull`` is one: the object was in no state for it."""

    def __init__(self, messengers: list[Messenger], stack: Stack, seed: int) -> None:
        self.calls: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self._messengers = messengers
        self._stack = stack
        self._seed = seed
        self._connections: deque[Connection] = deque(maxlen=_CONNECTIONS)
        self._throttles = [Throttle("messages", 50), Throttle("bytes", 64 << 10)]
        self._numbers = itertools.count()
        self._serials = itertools.count(1)
        self._lock = threading.Lock()
        self._connections.extend(messenger.get_loopback_connection() for messenger in messengers)

    def run(self, seconds: float) -> None:
        """Raises what a call raised that it must not."""
        end_s = time.monotonic() + seconds
        before_s = sys.getswitchinterval()
        sys.setswitchinterval(_SWITCH_INTERVAL_S)
        try:
            with ThreadPoolExecutor(THREADS, "storm") as pool:
                for thread in [pool.submit(self._blow, number, end_s) for number in range(THREADS)]:
                    thread.result()
        finally:
            sys.setswitchinterval(before_s)

    def _blow(self, thread: int, end_s: float) -> None:
        rng = random.Random(f"{self._seed}:{thread}")
        calls = self._calls_on(rng, thread)
        names = list(calls)
        weights = [_WEIGHTS.get(name, 10) for name in names]
        made: Counter[str] = Counter()
        refused: Counter[str] = Counter()
        while time.monotonic() < end_s:
            name = rng.choices(names, weights)[0]
            made[name] += 1
            try:
                calls[name]()
            except MessengerError:
                refused[name] += 1
            except Exception as error:
                error.add_note(f"in {name}, seed {self._seed}, thread {thread}")
                raise
        with self._lock:
            self.calls += made
            self.refused += refused

    def _calls_on(self, rng: random.Random, thread: int) -> dict[str, Callable[[], Any]]:
        def messenger() -> Messenger:
            return rng.choice(self._messengers)

        def connection() -> Connection:
            return rng.choice(tuple(self._connections))

        def peer_type() -> EntityType:
            return rng.choice((EntityType.OSD, EntityType.CLIENT))

        def policy() -> Policy:
            return rng.choice(_POLICIES)()

        def throttle() -> Throttle:
            return rng.choice(self._throttles)

        def wait_s() -> float:
            return rng.choice((0.0, _MAX_WAIT_S))

        def connect_to() -> None:
            target = messenger()
            if not target.myaddrs[0].ip:
                return  # it listens nowhere
            # Never anonymous: of two lossless sessions from one address to one server without resetcheck each takes the other's
            # place, and begins anew with what was not acknowledged, received or not.
            dialled = messenger().connect_to(target.name.type, target.myaddrs)
            with self._lock:
                if dialled.priv is None:
                    dialled.priv = next(self._serials)
                self._connections.append(dialled)

        def send_message() -> None:
            target = connection()
            for _ in range(rng.randint(1, 8)):
                sender = (target.priv or 0) << _CONNECTION_SHIFT | thread << _THREAD_SHIFT
                data = bytes(rng.choice((0, 10, 5_000)))
                type_ = rng.choice((RAW, RAW_FAST))
                message = Message(type_, data=data, tid=sender | next(self._numbers), priority=rng.choice(_PRIORITIES))
                target.send_message(message, borrow=rng.random() < 0.5)

        def take_and_put() -> None:
            target, amount = throttle(), rng.randint(0, 100)
            if target.get_or_fail(amount):
                target.put(amount)
            target.take(amount)
            target.put(amount)

        def set_max() -> None:
            throttle().max = rng.choice((0, 1, 50, 64 << 10))

        return {
            "connect_to": connect_to,
            "send_message": send_message,
            "send_keepalive": lambda: connection().send_keepalive(),
            "flush": lambda: connection().flush(wait_s()),
            "wait_writable": lambda: connection().wait_writable(wait_s()),
            "connection.mark_down": lambda: connection().mark_down(),
            "mark_disposable": lambda: connection().mark_disposable(),
            "look at a connection": lambda: [getattr(connection(), name) for name in _CONNECTION_PROPERTIES],
            "has_feature": lambda: connection().has_feature(1 << rng.randrange(64)),
            "repr of a connection": lambda: repr(connection()),
            "mark_down": lambda: messenger().mark_down(messenger().myaddrs),
            "mark_down_all": lambda: messenger().mark_down_all(),
            "client_reset": lambda: messenger().client_reset(),
            "rebind": lambda: messenger().rebind(),
            "bind": lambda: messenger().bind("v2:127.0.0.1:0"),
            "set_addrs": lambda: messenger().set_addrs("v2:127.0.0.1:1"),
            "start": lambda: messenger().start(),
            "shutdown": lambda: self._messengers[-1].shutdown(),
            "wait": lambda: self._messengers[-1].wait(wait_s()),
            "get_loopback_connection": lambda: messenger().get_loopback_connection(),
            "set_default_policy": lambda: messenger().set_default_policy(policy()),
            "set_policy": lambda: messenger().set_policy(peer_type(), policy()),
            "set_policy_throttlers": lambda: messenger().set_policy_throttlers(peer_type(), *self._throttles),
            "policies": lambda: [messenger().get_policy(peer_type()), messenger().get_default_policy()],
            "look at a messenger": lambda: _look_at(messenger()),
            "drain": lambda: self._stack.drain(wait_s()),
            "look at the stack": lambda: self._stack.perf_counters(),
            "take and put": take_and_put,
            "set_max": set_max,
            "look at a throttle": lambda: [throttle().stats(), throttle().current, throttle().name],
        }

    def loosen(self) -> None:
        """So that nothing that is on its way waits for room for ever."""
        for throttle in self._throttles:
            throttle.max = 0

    def forget(self) -> None:
        """The connections; then the throttles must be empty."""
        self._connections.clear()

    @property
    def taken(self) -> list[int]:
        return [throttle.current for throttle in self._throttles]


_WEIGHTS = {
    "send_message": 200, "connect_to": 40, "connection.mark_down": 1, "mark_down": 0.5, "mark_down_all": 0.1, "client_reset": 0.1,
    "rebind": 0.2, "bind": 2, "shutdown": 0.5, "drain": 2,
}  # fmt: skip
_CONNECTION_PROPERTIES = (
    "is_connected", "peer_addrs", "peer_name", "peer_type", "features", "con_mode", "last_keepalive", "last_keepalive_ack",
    "is_anon", "is_loopback",
)  # fmt: skip


def _look_at(messenger: Messenger) -> list[object]:
    queue = messenger.get_dispatch_queue_len(), messenger.get_dispatch_queue_max_age()
    values = [list(group.values()) for group in messenger.perf_counters()]
    return [repr(messenger), messenger.myaddrs, queue, values]
