"""``Messenger``: a name, addresses, policies, dispatchers, and the connections they are for.

A message's way starts and ends here: ``connect_to`` gives a connection, ``send_message`` queues on it, and what peers send comes
to the dispatchers.
"""

from __future__ import annotations

import atexit
import os
import re
import threading
import warnings
import weakref
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from types import TracebackType
from typing import ClassVar, Self

from ceph_msgr import _core
from ceph_msgr.auth.none import NoneClient, NoneServer
from ceph_msgr.auth.registry import AuthRegistry
from ceph_msgr.config import Config
from ceph_msgr.connection.async_connection import AsyncConnection
from ceph_msgr.connection.connection import Connection
from ceph_msgr.connection.gate import Interceptor
from ceph_msgr.connection.loopback import LoopbackConnection
from ceph_msgr.connection.table import ConnectionTable
from ceph_msgr.dispatch.dispatcher import Dispatcher, DispatcherChain, MessageCallback
from ceph_msgr.dispatch.local import LocalDelivery
from ceph_msgr.dispatch.queue import DispatchQueue
from ceph_msgr.errors import MessengerError
from ceph_msgr.log import get_logger
from ceph_msgr.messages import registered
from ceph_msgr.metrics import PerfCounters, throttle_counters
from ceph_msgr.net.posix import ConnectedSocket, SocketOptions
from ceph_msgr.net.processor import Processor
from ceph_msgr.net.stack import Stack
from ceph_msgr.net.threads import Deadline
from ceph_msgr.net.worker import Worker
from ceph_msgr.policy import Policy
from ceph_msgr.protocol.events import Accepted, DialRequested
from ceph_msgr.wire.addr import AddrType, EntityAddr, EntityAddrVec
from ceph_msgr.wire.entity import AuthEntityName, EntityName, EntityType

__all__ = ["Messenger"]

_log = get_logger("messenger")

#: A new incarnation's nonce is so much higher: far from those of other processes, which are process ids.
_NONCE_STEP = 1_000_000

#: How long we wait for callbacks that do not return, where the user gave no time: shutdown(), and the end of the program.
_DRAIN_TIMEOUT_S = 5.0

Addresses = str | EntityAddr | Iterable[EntityAddr]


class Messenger:
    """One entity's endpoint. Created, perhaps bound, started, shut down, waited for; then it may be started again.

    Use ``create``. Every method may be called from any thread unless it says otherwise. As a context manager it is shut down
    and waited for at the end. Workers are shared by all messengers of a process, unless a ``stack`` is given.
    """

    _live: ClassVar[weakref.WeakSet[Messenger]] = weakref.WeakSet()

    def __init__(
        self, name: AuthEntityName, *, number: int, nonce: int, config: Config, auth: AuthRegistry, stack: Stack
    ) -> None:
        self.name = name
        #: As told to peers. Without a number of its own it has -1, and after a login at a monitor the global id given there.
        self.entity_name = EntityName(name.type, number)
        self._takes_global_id = number == -1
        self.config = config
        self.auth = auth
        self.stack = stack
        self.limits = _core.Limits(
            control=config.ms_max_control_bytes, front=config.ms_max_front_bytes, middle=config.ms_max_middle_bytes,
            data=config.ms_max_data_bytes,
        )
        self.dispatchers = DispatcherChain(
            str(name), die_on_unhandled=config.ms_die_on_unhandled_msg, die_on_bad=config.ms_die_on_bad_msg, on_fatal=self.fatal
        )
        self.dispatch_queue = DispatchQueue(
            self.dispatchers, pq_max_tokens_per_priority=config.ms_pq_max_tokens_per_priority,
            pq_min_cost=config.ms_pq_min_cost, start_thread=stack.thread_starter,
        )
        self.dispatch_table = self.make_dispatch_table(self.dispatchers.resolve, self.dispatch_queue.enqueue)
        self.dispatchers.on_change = self.dispatch_table.clear
        self.dispatch_throttle = _core.Throttle(f"msgr_dispatch_throttler-{name}", config.ms_dispatch_throttle_bytes)
        #: For tests (``ceph_msgr.testing``): asked at the breakpoints of all connections made from now on.
        self.interceptor: Interceptor | None = None
        self.dispatch_message_throttle = _core.Throttle(
            f"msgr_dispatch_message_throttler-{name}", config.ms_dispatch_throttle_messages
        )
        #: For tests: called, on any thread, with what an ``ms_die_on_*`` option makes fatal. It may abort the process; what it
        #: raises is logged.
        self.on_fatal: Callable[[Exception], object] | None = None

        self._lock = threading.Lock()
        #: Listening sockets are made, or made anew, by one thread at a time. It waits for the workers, so not on them.
        self._binding = threading.Lock()
        self._nonce = nonce
        self._myaddrs = EntityAddrVec([EntityAddr(AddrType.ANY, nonce=nonce)])
        self._default_policy = Policy()
        self._policies: dict[EntityType, Policy] = {}
        self._global_seq = 0
        self._table = ConnectionTable()
        self._processor: Processor | None = None
        self._is_ready = False
        self._is_started = False
        self._is_stopping = False
        self._was_shut_down = threading.Event()
        self._ending = threading.Lock()
        self._local = LocalDelivery(self.dispatch_table.deliver, start_thread=stack.thread_starter)
        self._loopback = LoopbackConnection(self, self._local)
        self._live.add(self)

    @classmethod
    def create(
        cls,
        name: str,
        *,
        number: int | None = None,
        nonce: int | None = None,
        config: Config | None = None,
        auth: AuthRegistry | None = None,
        stack: Stack | None = None,
    ) -> Messenger:
        """``name`` is "osd.0", "client.admin", ...; peers are told its type and a number, by default that behind the dot. A
        daemon whose id is none has its ``number`` from elsewhere, a monitor its rank; all others announce -1, and once they
        have logged in at a monitor, the global id it gave them. ``nonce`` tells instances of one address apart (the process
        id by default, random in a container, where that is always 1). Without ``auth``, method none is spoken. Without
        ``stack``, the process' shared one is used and started."""
        config = config or Config()
        entity = AuthEntityName.parse(name)
        if number is None:
            number = int(entity.id) if re.fullmatch("[0-9]+", entity.id) else -1
        if nonce is None:
            nonce = os.getpid() if os.getpid() != 1 else int.from_bytes(_core.random_bytes(4), "little")
        if not 0 <= nonce < 1 << 32:
            raise ValueError(f"nonce {nonce} does not fit into 32 bits")
        if auth is None:
            assign = _make_global_ids() if entity.type == EntityType.MON else None
            auth = AuthRegistry(entity.type, config, [NoneClient(entity)], [NoneServer(assign)])
        stack = stack or Stack.default(workers=config.ms_async_op_threads, poll_us=config.ms_async_poll_us)
        return cls(entity, number=number, nonce=nonce, config=config, auth=auth, stack=stack)

    def __repr__(self) -> str:
        return f"<Messenger {self.name} at {self.myaddrs}>"

    # ---- life ----

    def bind(self, addr: Addresses) -> None:
        """Listen there; peers wait in the kernel's backlog until the messenger is started and has a dispatcher.

        ``addr`` is one address ("v2:127.0.0.1:6800", port 0 for a free one of ``ms_bind_port_min`` to ``_max``) or a vector.
        ``OSError`` if one of them cannot be had (then none is), ``ValueError`` for msgr1 addresses, ``MessengerError`` once
        started. May sleep between attempts.
        """
        with self._binding:
            if self._is_started:
                raise MessengerError("bind() comes before start()")
            self.stack.start()
            if self._processor is None:
                self._processor = Processor(self.stack.workers[0], self.stack.get_worker, self.config, self._on_accept)
            self._bind(self._processor, _listening_addrs(addr), ())

    def _bind(self, processor: Processor, addrs: Iterable[EntityAddr], avoid_ports: Collection[int]) -> None:
        bound = processor.bind(addrs, avoid_ports)
        with self._lock:
            self._myaddrs = EntityAddrVec(
                replace(addr, type=AddrType.MSGR2, nonce=self._nonce) for addr in bound
            )
        if self._is_ready:
            processor.start()
        if self._is_started and self._is_stopping:
            processor.stop()  # shutdown() may have looked for sockets before these were there

    def set_addrs(self, addrs: Addresses) -> None:
        """What peers are told instead of where we listen, with our nonce: for a messenger that they reach through a proxy or a
        translated address. Between ``bind`` and ``start``, else ``MessengerError``; ``rebind`` listens on the ips told here."""
        if self._processor is None or self._is_started:
            raise MessengerError("set_addrs() comes between bind() and start()")
        vector = _listening_addrs(addrs)
        with self._lock:
            self._myaddrs = EntityAddrVec(replace(addr, type=AddrType.MSGR2, nonce=self._nonce) for addr in vector)

    def add_dispatcher_head(self, dispatcher: Dispatcher) -> None:
        """It is asked before the others. The first dispatcher makes the messenger ready to accept."""
        self.dispatchers.add_head(dispatcher)
        self._become_ready()

    def add_dispatcher_tail(self, dispatcher: Dispatcher) -> None:
        """It is asked after the others."""
        self.dispatchers.add_tail(dispatcher)
        self._become_ready()

    def start(self) -> None:
        """Connections may be made from here on. ``MessengerError`` if it is started already."""
        self.stack.start()
        with self._lock:
            if self._is_started:
                raise MessengerError(f"{self.name} is started already")
            self._is_started = True
            self._is_stopping = False
        self._was_shut_down.clear()
        self._loopback.open()
        self._become_ready()

    def _become_ready(self) -> None:
        """Accept and dispatch once somebody has started us and somebody listens."""
        with self._lock:
            if self._is_ready or not self._is_started or not len(self.dispatchers):
                return
            self._is_ready = True
        self.dispatch_queue.start()
        self._local.start()
        if self._processor:
            self._processor.start()
        self.dispatchers.ms_handle_fast_connect(self._loopback)

    def shutdown(self) -> None:
        """Stop accepting and mark every connection down, each with a reset callback; wakes ``wait``. Idempotent and legal
        everywhere; on a worker or dispatch thread it only marks and posts, and ``wait`` does the rest."""
        with self._lock:
            if not self._is_started or self._is_stopping:
                return
            self._is_stopping = True
        try:
            if self._processor:
                self._processor.stop(nowait=self._is_on_own_thread())
            self.mark_down_all()
            self._loopback.close()
            if not self._is_on_own_thread() and not self.stack.drain(_DRAIN_TIMEOUT_S):
                _log.warning("%s: a callback has not returned for %g s, shutting down without it", self.name, _DRAIN_TIMEOUT_S)
        finally:
            self._was_shut_down.set()  # after Ctrl-C too: wait() does what is left

    def wait(self, timeout: float | None = None) -> bool:
        """Block until ``shutdown`` was called and its end is complete: queued callbacks are delivered, threads are joined. False
        if that takes longer than ``timeout`` seconds, for want of a shutdown or because a callback does not return.
        ``RuntimeError`` on a worker or dispatch thread. True at once if the messenger was never started."""
        if self._is_on_own_thread():
            raise RuntimeError("wait() on a worker or dispatch thread would wait for itself")
        deadline = Deadline(timeout)
        if not self._is_started:
            return True
        if not self._was_shut_down.wait(deadline.left()):
            return False
        with self._ending:
            return not self._was_shut_down.is_set() or self._end(deadline)

    def _end(self, deadline: Deadline) -> bool:
        if not self.stack.drain(deadline.left()):  # what shutdown posted has told the dispatch queue of every reset by then
            return False
        for thread in (self.dispatch_queue, self._local):
            thread.shutdown()
            if not thread.wait(deadline.left()):
                return False
        for connection in self._table.all():
            connection.close(notify=False)
        if not self.stack.drain(deadline.left()):
            return False
        with self._binding, self._lock:
            self._processor = None
            self._is_started = self._is_ready = False
        self._was_shut_down.clear()
        return True

    def _is_on_own_thread(self) -> bool:
        return self.stack.in_worker_thread() or self.dispatch_queue.in_thread() or self._local.in_thread()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, type_: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.shutdown()
        self.wait()

    def __del__(self) -> None:
        if getattr(self, "_is_started", False) and not self._is_stopping:
            warnings.warn(f"{self!r} was not shut down", ResourceWarning, stacklevel=2, source=self)
            self.shutdown()

    def rebind(self, avoid_ports: Collection[int] = ()) -> None:
        """Become another entity to all peers: new ports (also none of those just given up), a new nonce, every connection marked
        down with a reset callback. Not on a worker."""
        with self._binding:
            if self._processor is None:
                raise MessengerError("rebind() without bind()")
            old = self.myaddrs
            self._processor.stop()
            self.client_reset()
            ports = {*avoid_ports, *(addr.port for addr in old)}
            self._bind(self._processor, [replace(addr, port=0) for addr in old], ports)

    def client_reset(self) -> None:
        """Mark everything down and take a new nonce, without listening anew."""
        self.mark_down_all()
        with self._lock:
            self._nonce = (self._nonce + _NONCE_STEP) % (1 << 32)
            self._myaddrs = EntityAddrVec(replace(addr, nonce=self._nonce) for addr in self._myaddrs)

    # ---- connections ----

    def connect_to(self, entity_type: EntityType, addrs: Addresses, *, anon: bool = False) -> Connection:
        """The connection to this peer: the one there is, or a new one that begins to dial. Never blocks, never fails for
        the network; messages may be queued at once. Our own address gives the loopback connection. ``anon`` always makes a
        new one, which no look-up finds; it is for lossy sessions, as a server knows lossless ones by our address.

        ``ValueError`` if the vector has no msgr2 address, ``MessengerError`` before ``start``.
        """
        if not self._is_usable():
            raise MessengerError(f"connect_to() needs a started messenger, {self.name} is not")
        vector = _as_vector(addrs)
        own = self.myaddrs
        if vector == own or (len(vector) == 1 and vector[0] in own):
            return self._loopback
        target = vector.msgr2_addr()
        if not target.ip:
            raise ValueError(f"{vector} has no msgr2 address to dial")
        while True:
            if not anon and (existing := self._table.find(vector)):
                return existing
            connection = AsyncConnection.dialling(
                self, self.stack.get_worker(), vector, target, entity_type, self.get_policy(entity_type), anon=anon
            )
            if anon:
                self._table.add(connection)
                break
            if self._table.register(connection, vector, instead_of=None):
                break
            connection.close(notify=False)  # another thread was faster
        connection.start(DialRequested())
        if not self._is_usable():
            connection.close(notify=False)  # shutdown() may have looked at the table before it was there
        return connection

    def _is_usable(self) -> bool:
        return self._is_started and not self._is_stopping

    def get_loopback_connection(self) -> Connection:
        return self._loopback

    def mark_down(self, addrs: Addresses) -> None:
        """Close the registered connection to this peer, with a reset callback. Nothing happens if there is none."""
        if connection := self._table.find(_as_vector(addrs)):
            connection.close(notify=True)

    def mark_down_all(self) -> None:
        """Close all connections, registered or not, with a reset callback each."""
        for connection in self._table.all():
            connection.close(notify=True)

    def _on_accept(self, worker: Worker, fd: int, peer_addr: EntityAddr) -> None:
        if self._is_stopping or self._processor is None:
            raise MessengerError("shutting down")
        peer_addr = replace(peer_addr, type=AddrType.MSGR2, nonce=0)
        connection = AsyncConnection.accepted(self, worker, fd, peer_addr, self._processor.handshake_finished)
        self._table.add(connection)
        connection.start(Accepted(peer_addr, _core.tcp_local_addr(fd)))

    # ---- policies ----

    def set_default_policy(self, policy: Policy) -> None:
        """For peers of types without a policy of their own. Acts on connections made afterwards, as do the next two."""
        self._default_policy = policy

    def set_policy(self, entity_type: EntityType, policy: Policy) -> None:
        self._policies[entity_type] = policy

    def set_policy_throttlers(
        self, entity_type: EntityType, messages: _core.Throttle | None, bytes: _core.Throttle | None
    ) -> None:
        """Bounds shared by all connections with peers of this type; the caller keeps them."""
        policy = self.get_policy(entity_type)
        self._policies[entity_type] = policy.replace(throttler_messages=messages, throttler_bytes=bytes)

    def get_policy(self, entity_type: EntityType) -> Policy:
        return self._policies.get(entity_type, self._default_policy)

    def get_default_policy(self) -> Policy:
        return self._default_policy

    # ---- looking ----

    @property
    def myaddrs(self) -> EntityAddrVec:
        """What peers are told: where we listen, or one address of type any with port 0, whose ip is learned from the first
        peer."""
        return self._myaddrs

    def get_dispatch_queue_len(self) -> int:
        return self.dispatch_queue.get_dispatch_queue_len()

    def get_dispatch_queue_max_age(self) -> float:
        """Seconds the oldest queued message has waited."""
        return self.dispatch_queue.get_dispatch_queue_max_age()

    def perf_counters(self) -> list[PerfCounters]:
        """Of the workers, of this messenger's dispatching, and of its dispatch throttle; see ``metrics``."""
        throttles = map(throttle_counters, (self.dispatch_throttle, self.dispatch_message_throttle))
        return [*self.stack.perf_counters(), self.dispatchers.perf, self.dispatch_queue.perf, *throttles]

    # ---- for connections ----

    def fatal(self, error: Exception) -> None:
        """What an ``ms_die_on_*`` option makes a failure of the program. Any thread."""
        _log.critical("%s: %s", self.name, error)
        if self.on_fatal:
            self.on_fatal(error)

    def make_dispatch_table(
        self, resolve: Callable[[int], tuple[Sequence[MessageCallback], MessageCallback | None]], enqueue: MessageCallback
    ) -> _core.DispatchTable:
        """One in which messages are decoded as in ours; see ``_core.DispatchTable``."""
        return _core.DispatchTable(registered, resolve, enqueue, self.dispatchers.callback_failed)

    def connect_socket(self, worker: Worker, addr: EntityAddr) -> ConnectedSocket:
        """A dial under way. ``OSError`` if it fails at once."""
        own = self.myaddrs[0]
        bind_to = replace(own, port=0) if self.config.ms_bind_before_connect and not own.is_blank_ip else None
        return worker.connect(addr, SocketOptions.from_config(self.config), bind_to=bind_to)

    def lookup(self, addrs: EntityAddrVec) -> AsyncConnection | None:
        return self._table.find(addrs)

    def register(self, connection: AsyncConnection, addrs: EntityAddrVec, *, instead_of: object | None) -> bool:
        return self._table.register(connection, addrs, instead_of=instead_of)

    def forget(self, connection: AsyncConnection) -> None:
        self._table.forget(connection)

    def learn_addr(self, seen: EntityAddr) -> None:
        """A peer tells how it sees us: fills in ips we do not know yet."""
        with self._lock:
            if not any(addr.is_blank_ip for addr in self._myaddrs) or seen.is_blank_ip:
                return
            self._myaddrs = EntityAddrVec(
                replace(addr, ip=seen.ip) if addr.is_blank_ip and addr.family in (0, seen.family) else addr
                for addr in self._myaddrs
            )
        _log.info("%s learned its address: %s", self.name, self._myaddrs)

    def learn_global_id(self, global_id: int) -> None:
        """A monitor has let us in and gave us this one."""
        if self._takes_global_id and 0 < global_id < 1 << 63:
            self.entity_name = EntityName(self.name.type, global_id)

    def get_global_seq(self, minimum: int = 0) -> int:
        """Rises with every call, and above ``minimum``."""
        with self._lock:
            self._global_seq = max(self._global_seq, minimum) + 1
            return self._global_seq

    @staticmethod
    def new_cookie() -> int:
        return int.from_bytes(_core.random_bytes(8), "little") or 1

    @staticmethod
    def jitter() -> float:
        """Uniform within -1..1."""
        return int.from_bytes(_core.random_bytes(4), "little") / (1 << 31) - 1


def _as_vector(addrs: Addresses) -> EntityAddrVec:
    if isinstance(addrs, str):
        return EntityAddrVec.parse(addrs)
    return EntityAddrVec([addrs]) if isinstance(addrs, EntityAddr) else EntityAddrVec(addrs)


def _listening_addrs(addrs: Addresses) -> EntityAddrVec:
    vector = _as_vector(addrs)
    if not vector:
        raise ValueError("bind() needs at least one address")
    for addr in vector:
        if addr.type == AddrType.LEGACY:
            raise ValueError(f"cannot listen on {addr}: msgr1 is not supported, only v2 addresses are")
    return vector


def _make_global_ids() -> Callable[[], int]:
    """As a monitor gives them out: small numbers, rising."""
    lock = threading.Lock()
    last = [4096]

    def assign() -> int:
        with lock:
            last[0] += 1
            return last[0]

    return assign


@atexit.register
def _shut_all_down() -> None:
    """Before the stacks stop their workers: connections end in good order."""
    for messenger in list(Messenger._live):
        if messenger.stack.is_usable:
            messenger.shutdown()
            if not messenger.wait(_DRAIN_TIMEOUT_S):
                _log.error("%s: a callback does not return, the program ends without it", messenger.name)
