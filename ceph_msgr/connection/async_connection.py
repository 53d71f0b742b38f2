"""``AsyncConnection``: the I/O shell around one session.

Three parts meet here, and each knows nothing of the others: ``protocol.Session`` decides (events in, actions out), the
core's ``Session`` queues and numbers messages, and the core's ``Stream`` is the present socket. This class reports what happens
and does what it is told, on its worker's thread; other threads only queue messages or post an event.

A connection moves to another worker only when it takes over a socket there; an event that reaches the old worker afterwards
is posted again to the new one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from ceph_msgr import _core
from ceph_msgr._core import Message
from ceph_msgr.auth.base import ConMode
from ceph_msgr.compression import CompressionRegistry
from ceph_msgr.connection.connection import Connection
from ceph_msgr.connection.drain import DrainWaiters
from ceph_msgr.connection.gate import DATA_MASK, Breakpoint, Gate, breakpoints_before, breakpoints_of
from ceph_msgr.connection.host import Host
from ceph_msgr.connection.injection import Injection
from ceph_msgr.connection.liveness import Liveness
from ceph_msgr.connection.out_queue import OutQueue
from ceph_msgr.errors import ConnectionFault, RemoteProtocolError
from ceph_msgr.log import PrefixLog, get_logger
from ceph_msgr.net.worker import Worker
from ceph_msgr.policy import Policy
from ceph_msgr.protocol import actions as act
from ceph_msgr.protocol import events as ev
from ceph_msgr.protocol.banner import BANNER_PREFIX
from ceph_msgr.protocol.reconnect import ExistingSession
from ceph_msgr.protocol.session import Session, Transition
from ceph_msgr.protocol.states import State
from ceph_msgr.protocol.tags import Tag, describe_tag
from ceph_msgr.wire.addr import EntityAddr, EntityAddrVec
from ceph_msgr.wire.entity import EntityName, EntityType

if TYPE_CHECKING:
    from ceph_msgr.messenger import Messenger

__all__ = ["AsyncConnection"]

#: The frames for which a session is looked up.
_LOOK_UP_TAGS = frozenset({Tag.CLIENT_IDENT, Tag.SESSION_RECONNECT})

#: The actions that are the stream's alone; one that comes after its socket is gone is dropped.
_ON_STREAM: dict[type, Callable[[_core.Stream, Any], object]] = {
    act.SendFrame: lambda stream, action: stream.send_frame(action.tag, action.payload),
    act.Continue: lambda stream, _: stream.continue_(),
    act.SendBytes: lambda stream, action: stream.send_bytes(action.data),
    act.SetRevision: lambda stream, action: stream.set_revision(action.revision),
    act.SetKeys: lambda stream, action: stream.set_keys(action.connection_secret, is_client=action.is_client),
    act.SetCompression: lambda stream, action: stream.set_compression(action.algorithm, action.min_bytes),
}


def _compression(messenger: Messenger) -> CompressionRegistry:
    return CompressionRegistry(messenger.config, _core.compression_algorithms())


class AsyncConnection(Connection):
    """A connection over sockets. Made by ``dialling`` or ``accepted``."""

    def __init__(self, messenger: Messenger, worker: Worker, peer_addrs: EntityAddrVec) -> None:
        super().__init__(messenger)
        self.worker = worker
        self.log = PrefixLog(get_logger("connection"), self)
        self._config = messenger.config
        self._peer_addrs = peer_addrs
        self._is_anon = False
        self._is_marked_down = False
        #: Marked down by its user, who hears nothing of it any more.
        self._is_silent = False
        #: Said by another thread and still under way to the worker.
        self._mark: ev.MarkedDown | None = None
        #: What the options of fault injection do to its messages.
        self._injection = Injection(self, self._config) if Injection.is_wanted(self._config) else None
        self._session = _core.Session(
            worker.core, self, self._injection.table if self._injection else messenger.dispatch_table,
            max_queued_bytes=self._config.ms_send_queue_max_bytes,
        )
        # The hot path: users call the core, with no frame of ours in between.
        send: Any = self._session.send
        self.send_message = partial(self._injection.send_message, send) if self._injection else send  # type: ignore[method-assign]
        self.out_q = OutQueue(self._session)
        self._drain = DrainWaiters(lambda: self.out_q.len_bytes, self._session.notify_drained)
        self._stream: _core.Stream | None = None
        self._protocol: Session
        self._timers: dict[ev.Timer, int] = {}
        self._liveness = Liveness(self, self._config)
        #: Told once when the handshake of an accepted socket has ended, well or not.
        self._on_handshake_end: Callable[[], object] | None = None
        #: Events that arose while actions were being executed.
        self._late: deque[ev.Event] = deque()
        self._is_executing = False
        #: Where tests look in; None unless the messenger has an interceptor.
        self.gate = Gate(self, messenger.interceptor) if messenger.interceptor else None
        #: Stepped by each list of actions: one that finds it changed has become void.
        self._lists = 0
        worker.perf.inc("msgr_created_connections")
        worker.perf.inc("msgr_active_connections")

    @classmethod
    def dialling(
        cls, messenger: Messenger, worker: Worker, addrs: EntityAddrVec, target: EntityAddr, peer_type: EntityType,
        policy: Policy, *, anon: bool,
    ) -> AsyncConnection:
        """Dials as soon as ``start`` is called. Takes over one reference of the worker. Any thread."""
        connection = cls(messenger, worker, addrs)
        connection._is_anon = anon
        connection._protocol = Session.dialling(
            Host(connection), connection._config, messenger.auth, policy=policy, peer_type=peer_type, target=target,
            compression=_compression(messenger),
        )
        return connection

    @classmethod
    def accepted(
        cls, messenger: Messenger, worker: Worker, fd: int, peer_addr: EntityAddr, on_handshake_end: Callable[[], object]
    ) -> AsyncConnection:
        """Takes over the socket and one reference of the worker, on whose thread it is called."""
        connection = cls(messenger, worker, EntityAddrVec([peer_addr]))
        connection._protocol = Session.accepted(
            Host(connection), connection._config, messenger.auth, compression=_compression(messenger)
        )
        connection._stream = connection._make_stream(fd, connecting=False)
        connection._on_handshake_end = on_handshake_end
        return connection

    def start(self, event: ev.DialRequested | ev.Accepted) -> None:
        """The first event of its life. Any thread."""
        if self.worker.in_thread():
            self._handle(event)
        else:
            self._post(event)

    def __repr__(self) -> str:
        state = self._protocol.state if hasattr(self, "_protocol") else "new"
        return f"<AsyncConnection {self.messenger.name} to {self.peer_name} at {self._peer_addrs}: {state}>"

    def __str__(self) -> str:
        return f"{self.messenger.name} >> {self._peer_addrs} {self._protocol.state}"

    # ---- the user's side: any thread ----

    def send_message(self, message: Message, *, borrow: bool = False) -> None:
        self._session.send(message, borrow)

    def send_keepalive(self) -> None:
        self._session.send_keepalive()

    def flush(self, timeout: float | None = None) -> bool:
        return self._wait_drained(0, timeout)

    def wait_writable(self, timeout: float | None = None) -> bool:
        return self._wait_drained(self._config.ms_send_queue_max_bytes // 2 or (1 << 62), timeout)

    def _wait_drained(self, limit_bytes: int, timeout: float | None) -> bool:
        if self.worker.in_thread():
            raise RuntimeError("waiting for a connection on its own worker thread would wait for itself")
        return self._drain.wait(limit_bytes, timeout)

    def mark_down(self) -> None:
        self.close(notify=False)

    def close(self, *, notify: bool) -> None:
        """Mark down; ``notify`` is the messenger's way, with a reset callback. What follows is silence: nothing that was
        received is delivered any more."""
        if self._is_marked_down:
            return
        self._is_marked_down = True
        self._is_silent = not notify
        self._session.mute()
        self.messenger.dispatch_queue.discard(self)
        if self.worker.is_closed:
            return  # the stack is stopped, and with it everything of ours
        event = ev.MarkedDown(notify=notify)
        if self.worker.in_thread():
            self._handle(event)
        else:
            self._mark = event
            self._post(event)

    def mark_disposable(self) -> None:
        self._post(ev.MarkedDisposable())

    @property
    def is_connected(self) -> bool:
        return self._protocol.is_ready and not self._is_marked_down

    @property
    def is_closed(self) -> bool:
        """Closed for good, or about to be."""
        return self._is_marked_down or self._protocol.is_closed

    @property
    def history(self) -> list[Transition]:
        """The last changes of its session's state, oldest first."""
        return list(self._protocol.history)

    @property
    def is_anon(self) -> bool:
        return self._is_anon

    @property
    def peer_addrs(self) -> EntityAddrVec:
        return self._peer_addrs

    @property
    def peer_name(self) -> EntityName:
        if not hasattr(self, "_protocol"):
            return EntityName(EntityType.NONE)
        peer = self._protocol.peer
        return peer.name if peer else EntityName(self._protocol.peer_type)

    @property
    def features(self) -> int:
        return self._protocol.peer.features if self._protocol.peer else 0

    @property
    def con_mode(self) -> ConMode | None:
        return self._protocol.peer.con_mode if self._protocol.peer else None

    @property
    def policy(self) -> Policy | None:
        return self._protocol.policy

    @property
    def last_keepalive(self) -> float | None:
        return self._session.info()["last_keepalive_ns"] / 1e9 or None

    @property
    def last_keepalive_ack(self) -> float | None:
        return self._session.info()["last_keepalive_ack_ns"] / 1e9 or None

    # ---- what the stream and the queue report (StreamOwner, SessionOwner) ----

    def _on_connected(self) -> None:
        stream = self._stream
        if stream is None:
            return
        self._handle(ev.SocketConnected(_core.tcp_local_addr(stream.fd)))
        if self._stream is stream:
            if self.gate:
                self.gate.before((), stream.continue_)
            else:
                stream.continue_()

    @property
    def _awaits_banner(self) -> bool:
        return self._protocol.state in (State.BANNER_CONNECTING, State.BANNER_ACCEPTING)

    def _on_frame(self, tag: int, payload: bytes, wire: bytes) -> None:
        if self._awaits_banner:
            self._receive(ev.BannerReceived(wire), is_racy=self._protocol.is_accepting)
        else:
            self._receive(ev.FrameReceived(tag, payload, wire, self._session.in_seq), is_racy=tag in _LOOK_UP_TAGS)

    def _receive(self, event: ev.BannerReceived | ev.FrameReceived, *, is_racy: bool = False) -> None:
        if is_racy and self._config.ms_inject_internal_delays:
            self._later_on(self._stream, partial(self._receive, event))
        elif self.gate:
            self.gate.before(breakpoints_of(event), partial(self._handle, event))
        else:
            self._handle(event)

    def _on_fault(self, error: Exception, tag: int, data: bytes) -> None:
        fault = partial(self._fault, error, tag, data)
        if self._protocol.is_ready:
            self._later_on(self._stream, fault)
        else:
            fault()  # and what was to come later on this socket is void

    def _fault(self, error: Exception, tag: int, data: bytes) -> None:
        if isinstance(error, RemoteProtocolError):
            if self._awaits_banner and not data.startswith(BANNER_PREFIX):
                self._handle(ev.BannerReceived(data))  # the protocol says what kind of peer begins like this
                return
            what = "banner" if self._awaits_banner else describe_tag(tag) if tag else "a frame"
            error = RemoteProtocolError(f"{what} in state {self._protocol.state}: {error}")
        self._handle(ev.SocketLost(error))

    def _on_intercepted(self, tag: int, sent: bool) -> None:
        if self.gate and self._stream:
            self.gate.before([Breakpoint(Tag(tag), sent)], self._stream.continue_sent if sent else self._stream.continue_)

    def _on_odd_sequence(self, got: int, expected: int) -> None:
        is_old = got < expected or not expected
        what = "comes again" if is_old else "skips numbers"
        error = RemoteProtocolError(f"message {got} {what}, expected was {expected or 'none, the numbers are used up'}")
        self.log.info("%s", error)
        if self._config.ms_die_on_old_message if is_old else self._config.ms_die_on_skipped_message:
            self.messenger.fatal(error)

    def _on_send_queued(self) -> None:
        self._handle(ev.SendQueued())

    def _on_queue_full(self) -> None:
        self._drain.expect(self._config.ms_send_queue_max_bytes // 2)

    def _on_drained(self) -> None:
        if self._drain.drained():
            self.messenger.dispatch_queue.queue_drained(self)

    # ---- the event loop of the control plane ----

    def _post(self, event: ev.Event) -> None:
        self.worker.submit_to(partial(self._on_posted, event), nowait=True)

    def _on_posted(self, event: ev.Event) -> None:
        if self.worker.in_thread():
            self._handle(event)
        else:
            self._post(event)  # we moved while it was under way

    def _handle(self, event: ev.Event) -> None:
        """On the worker. What arises while actions are executed waits for their end, except that closing goes first."""
        if self._is_executing and not isinstance(event, ev.MarkedDown):
            self._late.append(event)
            return
        self._in_order(partial(self._decide, event))

    def _in_order(self, do: Callable[[], object]) -> None:
        outer, self._is_executing = self._is_executing, True
        try:
            do()
            while self._late and not outer:
                self._decide(self._late.popleft())
        finally:
            self._is_executing = outer
        if self.gate:
            self.gate.settled()

    def _decide(self, event: ev.Event) -> None:
        mark, self._mark = self._mark, None
        if mark and mark is not event:
            self._decide(mark)  # wins every race, against take-overs above all
        faults, state = self._protocol.faults, self._protocol.state
        try:
            actions = self._protocol.handle(event, self.worker.center.now_ns())
            if self._protocol.faults != faults:
                self._count_fault(state)
            self._run(iter(actions))
        except Exception as error:
            # A defect of ours, or no memory. It costs this connection and nothing else.
            self.log.exception("cannot handle %s", event)
            if not isinstance(event, ev.MarkedDown):
                self._handle(ev.MarkedDown(notify=True))
            if self._config.ms_die_on_bug:
                self.messenger.fatal(error)

    def _run(self, actions: Iterator[act.Action]) -> None:
        self._lists += 1
        number = self._lists
        for action in actions:
            if self.gate and (breakpoints := breakpoints_before(action, is_accepting=self._protocol.is_accepting)):
                self.gate.before(breakpoints, partial(self._in_order, partial(self._run_on, action, actions)))
                return
            self._execute(action)
            if self._lists != number:
                return  # a callback closed the connection: what was to follow is void

    def _run_on(self, action: act.Action, actions: Iterator[act.Action]) -> None:
        """Behind a breakpoint."""
        self._execute(action)
        self._run(actions)

    def _execute(self, action: act.Action) -> None:
        if on_stream := _ON_STREAM.get(type(action)):
            if self._stream:
                on_stream(self._stream, action)
            return
        match action:
            case act.Dial(addr):
                self._dial(addr)
            case act.CloseSocket():
                self._close_stream()
            case act.ArmTimer(timer, delay_ns):
                self._disarm(timer)
                self._timers[timer] = self.worker.center.create_time_event(delay_ns, partial(self._on_timer, timer))
            case act.CancelTimer(timer):
                self._disarm(timer)
            case act.EnterReady(lossless, features):
                self._enter_ready(lossless=lossless, features=features)
            case act.SetPolicy(_, policy):
                if self._stream:
                    self._stream.set_throttles(*self._throttles(policy))
            case act.SetPeer(peer):
                self._peer_addrs = peer.addrs
            case act.LearnAddress(addr):
                self.messenger.learn_addr(addr)
            case act.Notify(notice):
                self._notify(notice)
            case act.Requeue():
                self._session.requeue()
            case act.DropAcked(seq):
                self._drop_acked(seq)
            case act.ResetQueues(drop):
                self._session.reset(drop_queue=drop)
                if drop:
                    self._discard_received()
            case act.WatchQueue():
                self._session.notify_send(True)
            case act.Closed(reason):
                self._closed(reason)
            case act.CloseExisting(existing):
                existing.close(notify=True)  # type: ignore[attr-defined]
            case act.NudgeExisting(existing):
                existing.send_keepalive()  # type: ignore[attr-defined]
                existing._post(ev.SendQueued())  # type: ignore[attr-defined]
            case act.TakeOver(existing, handoff):
                request = ev.TakeOverRequested(replace(handoff, newcomer=self))
                self._later(partial(existing._post, request))  # type: ignore[attr-defined]
            case act.AdoptStream(handoff):
                self._move_to(handoff)
            case act.RefuseTakeOver(handoff, verdict):
                handoff.newcomer._post(ev.TakeOverRefused(verdict))  # type: ignore[attr-defined]

    # ---- sockets ----

    def _throttles(self, policy: Policy | None) -> tuple[Any, Any, _core.Throttle, _core.Throttle]:
        messages, size = (policy.throttler_messages, policy.throttler_bytes) if policy else (None, None)
        return messages, size, self.messenger.dispatch_throttle, self.messenger.dispatch_message_throttle

    def _make_stream(self, fd: int, *, connecting: bool) -> _core.Stream:
        messages, size, dispatch, dispatch_messages = self._throttles(self._protocol.policy)
        return _core.Stream(
            self.worker.core, fd, self, connecting=connecting, limits=self.messenger.limits,
            policy_messages=messages, policy_bytes=size, dispatch_bytes=dispatch, dispatch_messages=dispatch_messages,
            inject_socket_failures=self._config.ms_inject_socket_failures,
            inject_network_congestion=self._config.ms_inject_network_congestion,
        )

    def _dial(self, addr: EntityAddr) -> None:
        if self._protocol.faults:
            self.worker.perf.inc("msgr_reconnects")
        try:
            with self.messenger.connect_socket(self.worker, addr) as socket:
                self._stream = self._make_stream(socket.fd, connecting=True)
                socket.detach()
        except OSError as error:
            self._handle(ev.SocketLost(error))

    def _close_stream(self) -> None:
        self._liveness.stop()
        if self.gate:
            self.gate.clear()
        if self._stream:
            self._stream.close()
            self._stream = None

    def _try_send(self) -> int:
        """Send now what is assembled and queued, rather than at the end of this turn; returns the bytes still unsent.
        EVENT_WRITABLE is registered exactly while that is more than 0."""
        return self._stream.try_send() if self._stream else 0

    def hang_up(self) -> None:
        """For the peer the socket is gone; we do not notice unless we read or write. On the worker."""
        if self._stream:
            with suppress(OSError):  # down already, at both ends
                _core.tcp_shutdown(self._stream.fd)

    # ---- states ----

    def _enter_ready(self, *, lossless: bool, features: int) -> None:
        stream = self._stream
        if stream is None:
            return
        self._session.take_features(features)
        if self._stream is not stream:
            return  # an encoder has marked us down
        if self.gate:
            stream.set_mask(DATA_MASK, DATA_MASK)
        stream.start(self._session, lossless=lossless)
        self._liveness.start()
        self._end_handshake()
        self.log.info("ready, %s, features %#x", "lossless" if lossless else "lossy", features)

    def _drop_acked(self, seq: int) -> None:
        if seq > (out_seq := self._session.out_seq):
            self._handle(ev.SocketLost(RemoteProtocolError(f"the peer acknowledges message {seq}, sent were {out_seq}")))
            self._lists += 1  # the rest of the list is void
        else:
            self._session.drop_acked(seq)

    def _notify(self, notice: act.Notice) -> None:
        if self._is_silent:
            return
        queue, chain = self.messenger.dispatch_queue, self.messenger.dispatchers
        match notice:
            case act.Notice.CONNECT:
                if (peer := self._protocol.peer) and peer.name.type == EntityType.MON:
                    self.messenger.learn_global_id(peer.global_id)
                queue.queue_connect(self)
            case act.Notice.FAST_CONNECT:
                chain.ms_handle_fast_connect(self)
            case act.Notice.ACCEPT:
                queue.queue_accept(self)
            case act.Notice.FAST_ACCEPT:
                chain.ms_handle_fast_accept(self)
            case act.Notice.RESET:
                self.worker.perf.inc("msgr_resets")
                queue.queue_reset(self)
            case act.Notice.REMOTE_RESET:
                self.worker.perf.inc("msgr_remote_resets")
                queue.queue_remote_reset(self)
            case act.Notice.REFUSED:
                queue.queue_refused(self)

    def _closed(self, reason: str) -> None:
        """The last action of all."""
        self.log.debug("closed: %s", reason)
        self._is_marked_down = True
        self._disarm_all()
        self._session.mute()
        self._session.close()
        self._discard_received()
        self._drain.close()
        self._end_handshake()
        self.messenger.forget(self)
        self.worker.perf.dec("msgr_active_connections")
        self.worker.release()

    def _discard_received(self) -> None:
        self.messenger.dispatch_queue.discard(self)
        if self._injection:
            self._injection.discard()

    def _end_handshake(self) -> None:
        tell, self._on_handshake_end = self._on_handshake_end, None
        if tell:
            tell()

    def _count_fault(self, state: State) -> None:
        error = self._protocol.last_error
        cause = error.cause if isinstance(error, ConnectionFault) else type(error).__name__
        self.worker.perf.inc("msgr_faults", label=cause)
        if cause == "timeout":
            self.worker.perf.inc("msgr_connection_ready_timeouts")
        elif cause == "idle":
            self.worker.perf.inc("msgr_connection_idle_timeouts")
        level = "warning" if isinstance(error, RemoteProtocolError) or cause == "refused" else "info"
        getattr(self.log, level)("(was %s) fault: %s", state, error)

    # ---- time ----

    def _on_timer(self, timer: ev.Timer) -> None:
        self._timers.pop(timer, None)
        self._handle(ev.TimerFired(timer))

    def _disarm(self, timer: ev.Timer) -> None:
        if event_id := self._timers.pop(timer, None):
            self.worker.center.delete_time_event(event_id)

    def _disarm_all(self) -> None:
        for timer in list(self._timers):
            self._disarm(timer)

    def _later(self, step: Callable[[], object]) -> None:
        """A step before which others may come: at once, or ``ms_inject_internal_delays`` later."""
        if delay_s := self._config.ms_inject_internal_delays:
            self.worker.center.create_time_event(round(delay_s * 1e9), step)
        else:
            step()

    def _later_on(self, stream: _core.Stream | None, step: Callable[[], object]) -> None:
        """The same; void if the socket has been lost or replaced meanwhile."""
        self._later(lambda: step() if self._stream is stream else None)

    def session_info(self) -> dict[str, int]:
        """The numbers of the present session, such as ``in_seq`` and ``last_read_ns``. Any thread."""
        return self._session.info()

    def fault(self, error: ConnectionFault) -> None:
        """The socket is given up. On the worker."""
        self._handle(ev.SocketLost(error))

    # ---- taking over a newcomer's socket, and giving ours away ----

    def _move_to(self, handoff: ev.Handoff) -> None:
        """The old stream is gone, but messages it completed may still be in this turn's batch: they are dispatched before the
        first hop, so that no other worker is faster with later ones."""
        self.worker.submit_to(partial(self._leave, handoff), nowait=True)

    def _leave(self, handoff: ev.Handoff) -> None:
        """First hop, on the old worker."""
        if self._protocol.is_closed:
            self._handle(ev.TakeOverRequested(handoff))  # marked down meanwhile: refuses
            return
        newcomer: AsyncConnection = handoff.newcomer  # type: ignore[assignment]
        in_seq = self._session.in_seq
        self._disarm_all()  # one may be left of a list that became void, and its number means something else there
        if self._injection:
            self._injection.pause()
        old, self.worker = self.worker, newcomer.worker
        self._session.move(newcomer.worker.core)
        old.perf.dec("msgr_active_connections")
        self.worker.perf.inc("msgr_active_connections")
        old.release()
        self.worker.get()
        self.worker.submit_to(partial(self._later, partial(self._adopt, handoff, in_seq)), nowait=True)

    def _adopt(self, handoff: ev.Handoff, in_seq: int) -> None:
        """Second hop, on the newcomer's worker."""
        newcomer: AsyncConnection = handoff.newcomer  # type: ignore[assignment]
        if self._injection:
            self._injection.resume()
        stream = newcomer._stream
        if stream is None:
            self._handle(ev.SocketLost(ConnectionFault("the newer socket was lost before it could be taken over", "lost")))
            return
        newcomer._stream = None
        stream.owner = self
        self._stream = stream
        stream.set_throttles(*self._throttles(self._protocol.policy))
        newcomer._handle(ev.StreamHandedOver())
        self._handle(ev.StreamAdopted(handoff, in_seq))

    def view(self) -> ExistingSession:
        """What a newcomer with our peer's addresses must know of us; we are its handle. Any thread."""
        return self._protocol.view(self)
