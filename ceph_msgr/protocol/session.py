"""The control plane of one connection: a state machine that outlives sockets.

``handle`` takes an event and returns the actions it calls for; it never blocks, calls nobody back, and knows no socket,
thread, clock or chance: all of that is the shell's (``AsyncConnection``), which reports events and executes actions. The
table of states is in ``states``, what each frame does in ``client`` and ``server``, who wins against whom in ``reconnect``;
here is what holds them together: dialling, faults ("READY, and fault"), standby, take-over, closing.

A session belongs to the worker thread of its connection. Others may read its attributes through ``view`` only.
"""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass
from typing import Protocol

from ceph_msgr.auth.registry import AuthRegistry
from ceph_msgr.compression import CompressionRegistry
from ceph_msgr.config import Config
from ceph_msgr.errors import AuthError, ConnectionFault, LocalProtocolError, RemoteProtocolError
from ceph_msgr.policy import Policy
from ceph_msgr.protocol.actions import (
    Action,
    AdoptStream,
    ArmTimer,
    CancelTimer,
    Closed,
    CloseSocket,
    Continue,
    Dial,
    DropAcked,
    EnterReady,
    Notice,
    Notify,
    PeerInfo,
    RefuseTakeOver,
    Requeue,
    ResetQueues,
    SendFrame,
    SetPeer,
    WatchQueue,
)
from ceph_msgr.protocol.client import ClientHandshake
from ceph_msgr.protocol.codec import assemble_control
from ceph_msgr.protocol.events import (
    Accepted,
    BannerReceived,
    DialRequested,
    Event,
    FrameReceived,
    Handoff,
    MarkedDisposable,
    MarkedDown,
    SendQueued,
    SocketConnected,
    SocketLost,
    StreamAdopted,
    StreamHandedOver,
    TakeOverRefused,
    TakeOverRequested,
    Timer,
    TimerFired,
)
from ceph_msgr.protocol.frames import (
    FLAG_LOSSY,
    ClientIdentFrame,
    ControlFrame,
    ServerIdentFrame,
    SessionReconnectOkFrame,
)
from ceph_msgr.protocol.handshake import Assemble, Handshake
from ceph_msgr.protocol.reconnect import (
    ExistingSession,
    TakeOverExisting,
    Verdict,
    judge_client_ident,
    judge_session_reconnect,
)
from ceph_msgr.protocol.server import ServerHandshake
from ceph_msgr.protocol.states import ACCEPTING_STATES, DIALLING_STATES, EXPECTED, TRANSITIONS, State
from ceph_msgr.protocol.tags import describe_tag
from ceph_msgr.wire.addr import EntityAddr, EntityAddrVec
from ceph_msgr.wire.entity import EntityName, EntityType

__all__ = ["Session", "SessionHost", "Transition"]

_log = logging.getLogger(__name__)

_NS_PER_S = 1_000_000_000

#: Enough to see how a connection came to where it is.
_HISTORY_LENGTH = 32


class SessionHost(Protocol):
    """What a session asks of its surroundings: messenger, queue, chance. Called on the session's thread; never blocks."""

    @property
    def my_name(self) -> EntityName: ...

    @property
    def my_addrs(self) -> EntityAddrVec:
        """As announced; an unbound client has one of type any, port 0, with its nonce, and its ip once it is learned."""

    def has_queued(self) -> bool:
        """Whether messages are unsent or unacknowledged, or a keepalive is wanted."""

    def new_cookie(self) -> int:
        """Random, not 0, 64 bits."""

    def jitter(self) -> float:
        """Random, uniform within -1..1."""

    def next_global_seq(self, minimum: int) -> int:
        """The messenger's counter after stepping it: never the same twice, and greater than ``minimum``."""

    def choose_policy(self, peer_type: EntityType) -> Policy: ...

    def find_existing(self, addrs: EntityAddrVec) -> ExistingSession | None:
        """The session registered for exactly this address vector: its ``view``."""

    def register(self, addrs: EntityAddrVec, *, instead_of: object | None) -> bool:
        """Enter this connection under the address vector, atomically. False if somebody other than ``instead_of`` is
        there."""


@dataclass(frozen=True, slots=True)
class Transition:
    """One change of state, for logs and dumps."""

    time_ns: int
    old: State
    new: State
    reason: str


class Session:
    """The control plane of one connection. Made by ``dialling`` or ``accepted``."""

    def __init__(
        self,
        host: SessionHost,
        config: Config,
        auth: AuthRegistry,
        *,
        policy: Policy | None = None,
        peer_type: EntityType = EntityType.NONE,
        target: EntityAddr | None = None,
        compression: CompressionRegistry | None = None,
        assemble: Assemble = assemble_control,
    ) -> None:
        self.host = host
        self.config = config
        self.auth = auth
        #: Of none unless told.
        self.compression = compression or CompressionRegistry(config, ())
        self.assemble = assemble

        self.state = State.NEW
        #: None on an accepted connection until the peer's HELLO.
        self.policy: Policy | None = None
        #: NONE on an accepted connection until the peer's HELLO.
        self.peer_type = peer_type
        #: The policy's bit, until the accepting side or ``mark_disposable`` decides otherwise.
        self.is_lossy = False
        #: The address we dial. Blank on an accepted connection until the peer identifies itself.
        self.target = target or EntityAddr()
        #: None until the first handshake ended.
        self.peer: PeerInfo | None = None

        #: By role in the last CLIENT_IDENT, not by who dials now. 0 is none.
        self.client_cookie = 0
        self.server_cookie = 0
        #: How often this session was reconnected.
        self.connect_seq = 0
        #: Our own, of the current dial.
        self.global_seq = 0
        self.peer_global_seq = 0

        #: When the CLIENT_IDENT was sent that nobody has answered yet.
        self._ident_sent_ns: int | None = None

        #: What ended the last socket, and how often that happened.
        self.last_error: Exception | None = None
        self.faults = 0
        #: Events of a socket or timer that was already gone.
        self.late_events = 0
        self.history: deque[Transition] = deque(maxlen=_HISTORY_LENGTH)

        self._actions: list[Action] = []
        self._now_ns = 0
        self._handshake: Handshake | None = None
        self._has_stream = False
        self._armed: set[Timer] = set()
        #: The last pause, before jitter; 0 after success.
        self._backoff_ns = 0
        #: Whether the user knows this connection, so that its end must be told.
        self._is_known_to_user = policy is not None
        if policy:
            self.set_policy(policy)

    @classmethod
    def dialling(
        cls,
        host: SessionHost,
        config: Config,
        auth: AuthRegistry,
        *,
        policy: Policy,
        peer_type: EntityType,
        target: EntityAddr,
        compression: CompressionRegistry | None = None,
        assemble: Assemble = assemble_control,
    ) -> Session:
        """A connection the user asked for. ``target`` is the one address of the peer's vector to dial."""
        return cls(
            host, config, auth, policy=policy, peer_type=peer_type, target=target, compression=compression, assemble=assemble
        )

    @classmethod
    def accepted(
        cls,
        host: SessionHost,
        config: Config,
        auth: AuthRegistry,
        *,
        compression: CompressionRegistry | None = None,
        assemble: Assemble = assemble_control,
    ) -> Session:
        """A socket that somebody dialled; its peer and policy are not known yet."""
        return cls(host, config, auth, compression=compression, assemble=assemble)

    # ---- for the shell ----

    def handle(self, event: Event, now_ns: int) -> list[Action]:
        """What to do about an event, in order.

        ``now_ns`` is monotonic: it is noted in ``history``, and tells how old an unanswered CLIENT_IDENT is. What the peer did
        wrong becomes a fault; ``LocalProtocolError`` means that the shell reported something that cannot happen in this state.
        After any exception the shell closes the connection.
        """
        self._now_ns = now_ns
        self._actions = []
        try:
            if self.state is State.CLOSED:
                self._on_event_when_closed(event)
            else:
                self._on_event(event)
        except (RemoteProtocolError, AuthError) as error:
            self._fault(error)
        return self._actions

    def view(self, handle: object) -> ExistingSession:
        """What a newcomer with the same address vector must know of us. Any thread."""
        return ExistingSession(
            handle=handle,
            state=self.state,
            is_lossy=self.is_lossy,
            is_server=self.policy is not None and self.policy.server,
            client_cookie=self.client_cookie,
            server_cookie=self.server_cookie,
            connect_seq=self.connect_seq,
            peer_global_seq=self.peer_global_seq,
            is_ident_unanswered=self.is_ident_unanswered,
        )

    @property
    def is_ident_unanswered(self) -> bool:
        """The peer may yet grant what a CLIENT_IDENT of ours asked for, also one that we sent several dials ago: until its own
        handshake on that socket times out, as ours would."""
        sent_ns = self._ident_sent_ns
        return sent_ns is not None and self._now_ns - sent_ns < self._seconds(self.config.ms_accept_handshake_timeout)

    @property
    def is_ready(self) -> bool:
        return self.state is State.READY

    @property
    def is_closed(self) -> bool:
        return self.state is State.CLOSED

    @property
    def is_accepting(self) -> bool:
        return self.state in ACCEPTING_STATES

    # ---- for the handshakes ----

    def ident_sent(self) -> None:
        self._ident_sent_ns = self._now_ns

    @property
    def known_policy(self) -> Policy:
        """The policy, where the state says that there is one."""
        if self.policy is None:
            raise AssertionError(f"no policy in state {self.state}")
        return self.policy

    def set_policy(self, policy: Policy) -> None:
        self.policy = policy
        self.is_lossy = policy.lossy

    def emit(self, *actions: Action) -> None:
        self._actions += actions

    def send(self, frame: ControlFrame) -> None:
        self.emit(SendFrame(frame.tag, frame.payload()))

    def tell(self, *notices: Notice) -> None:
        """Call the user back. From here on the user knows the connection."""
        self._is_known_to_user = True
        self.emit(*map(Notify, notices))

    def enter(self, state: State, reason: str) -> None:
        """The one door: nothing else changes the state."""
        if state not in TRANSITIONS[self.state]:
            raise LocalProtocolError(f"from state {self.state} to {state}: not in the table ({reason})")
        _log.debug("%s -> %s: %s", self.state, state, reason)
        self.history.append(Transition(self._now_ns, self.state, state, reason))
        self.state = state

    def enter_ready(self, peer: PeerInfo, reason: str) -> None:
        """The handshake ended well."""
        self._cancel(Timer.HANDSHAKE)
        self._handshake = None
        self._backoff_ns = 0
        self._ident_sent_ns = None
        self.peer = peer
        self.enter(State.READY, reason)
        self.emit(EnterReady(lossless=not self.is_lossy, features=peer.features))

    def reset_session(self) -> None:
        """The peer knows nothing of the session any more: neither do we, and the user is told."""
        self.client_cookie = 0
        self.server_cookie = 0
        self.connect_seq = 0
        self.peer_global_seq = 0
        self.emit(ResetQueues(drop=True))
        self.tell(Notice.REMOTE_RESET)

    def give_up(self, reason: str) -> None:
        """Close where dialling again would not help."""
        self.last_error = ConnectionFault(reason, "refused")
        self.faults += 1
        self._close(reason, notify=True)

    def wait_for_peer(self) -> None:
        """The peer's own dial wins: sit still for the longest pause, it should arrive long before."""
        self._ident_sent_ns = None
        self._drop_stream()
        self.enter(State.WAIT, "the peer's own dial wins")
        self._backoff_ns = self._seconds(self.config.ms_max_backoff)
        self._arm_backoff()

    # ---- events ----

    def _on_event(self, event: Event) -> None:
        match event:
            case FrameReceived():
                self._on_frame_received(event)
            case BannerReceived(wire):
                self._on_banner_received(wire)
            case SocketConnected(local_addr):
                if self.state is not State.CONNECTING or not isinstance(self._handshake, ClientHandshake):
                    raise LocalProtocolError(f"SocketConnected in state {self.state}: expected {State.CONNECTING}")
                self._handshake.start(local_addr)
            case SocketLost(error):
                self._on_socket_lost(error)
            case TimerFired(timer):
                self._on_timer_fired(timer)
            case SendQueued():
                if self.state is State.STANDBY and self._can_dial:
                    self._dial("there is something to send")
            case DialRequested():
                self._on_dial_requested()
            case Accepted():
                self._on_accepted(event)
            case MarkedDown(notify):
                self._close("marked down", notify=notify)
            case MarkedDisposable():
                self.is_lossy = True
            case TakeOverRequested(handoff):
                self._on_take_over_requested(handoff)
            case TakeOverRefused(verdict):
                if not isinstance(self._handshake, ServerHandshake) or self.state is not State.HANDED_OVER:
                    raise LocalProtocolError(f"TakeOverRefused in state {self.state}: expected {State.HANDED_OVER}")
                self._handshake.on_take_over_refused(verdict)
            case StreamHandedOver():
                if self.state is not State.HANDED_OVER:
                    raise LocalProtocolError(f"StreamHandedOver in state {self.state}: expected {State.HANDED_OVER}")
                self._has_stream = False
                self._close("its socket serves the existing session", notify=False)
            case StreamAdopted(handoff, in_seq):
                self._on_stream_adopted(handoff, in_seq)

    def _on_event_when_closed(self, event: Event) -> None:
        """Closing wins over everything that was under way."""
        match event:
            case TakeOverRequested(handoff):
                self.emit(RefuseTakeOver(handoff, self.judge(self.view(None), handoff)))
            case StreamAdopted():
                self.emit(CloseSocket())
            case _:
                self.late_events += 1

    def _on_dial_requested(self) -> None:
        if self.policy is None:
            raise LocalProtocolError("DialRequested for an accepted connection")
        if self.state is State.NEW:
            self._dial("the user asked for it")
        else:
            # The peer's own dial was faster and has taken this session over.
            self.late_events += 1

    def _on_accepted(self, event: Accepted) -> None:
        if self.policy is not None or self.state is not State.NEW:
            raise LocalProtocolError(f"Accepted in state {self.state}: expected {State.NEW} of an accepting session")
        handshake = ServerHandshake(self, event.peer_addr, event.local_addr)
        self._handshake = handshake
        self._has_stream = True
        self._arm(Timer.HANDSHAKE, self._seconds(self.config.ms_accept_handshake_timeout))
        handshake.start()

    def _on_banner_received(self, wire: bytes) -> None:
        if self.state not in (State.BANNER_CONNECTING, State.BANNER_ACCEPTING) or not self._handshake:
            raise LocalProtocolError(f"BannerReceived in state {self.state}: no banner is awaited")
        self._handshake.on_banner(wire)

    def _on_frame_received(self, event: FrameReceived) -> None:
        expected = EXPECTED.get(self.state)
        if expected is None:
            raise LocalProtocolError(f"{describe_tag(event.tag)} in state {self.state}: no frame is awaited")
        if event.tag not in expected:
            names = " or ".join(map(str, sorted(expected)))
            raise RemoteProtocolError(f"{describe_tag(event.tag)} in state {self.state}: expected {names}")
        if not self._handshake:
            raise LocalProtocolError(f"{describe_tag(event.tag)} in state {self.state}: the data plane should have taken it")
        self._handshake.on_frame(event)

    def _on_socket_lost(self, error: Exception) -> None:
        if not self._has_stream and self.state is not State.REPLACING:
            self.late_events += 1
            return
        if self.state is State.CONNECTING and isinstance(error, ConnectionRefusedError):
            self.emit(Notify(Notice.REFUSED))
        self._fault(error)

    def _on_timer_fired(self, timer: Timer) -> None:
        if timer not in self._armed:
            self.late_events += 1
            return
        self._armed.remove(timer)
        if timer is Timer.BACKOFF:
            self._dial("the pause is over")
        else:
            self._fault(ConnectionFault(f"not {State.READY} in time, still {self.state}: {self.state.value}", "timeout"))

    # ---- dialling ----

    @property
    def _can_dial(self) -> bool:
        """A server does not; nor can anybody dial a client that is bound to no port."""
        return not self.known_policy.server and bool(self.target.port)

    def _dial(self, reason: str) -> None:
        self.enter(State.CONNECTING, reason)
        if self.server_cookie:
            self.connect_seq += 1
        self._handshake = ClientHandshake(self)
        self._has_stream = True
        self._arm(Timer.HANDSHAKE, self._seconds(self.config.ms_connection_ready_timeout))
        self.emit(Dial(self.target))

    # ---- faults ----

    def _fault(self, error: Exception) -> None:
        """The socket is of no use any more. The order of the questions is the contract's ("What a fault does")."""
        state = self.state
        self.last_error = error
        self.faults += 1
        reason = str(error) or type(error).__name__
        if self.is_lossy and state not in DIALLING_STATES:
            self._close(reason, notify=True)
            return
        if state in ACCEPTING_STATES or state is State.HANDED_OVER:
            # Nobody has seen this connection yet, so nothing can be queued on it.
            self._close(reason, notify=True)
            return
        if state is State.READY:
            self.emit(Requeue())
        self._drop_stream()
        is_idle = self.known_policy.standby and not self.host.has_queued()
        if is_idle or not self._can_dial:
            self.enter(State.STANDBY, reason)
            if self._can_dial:
                self.emit(WatchQueue())
        elif state is State.READY:
            # The peer was there a moment ago, so nothing is gained by a pause.
            self._dial(reason)
        else:
            self.enter(State.BACKOFF, reason)
            self._step_backoff()
            self._arm_backoff()

    def _step_backoff(self) -> None:
        longest_ns = self._seconds(self.config.ms_max_backoff)
        first_ns = self._seconds(self.config.ms_initial_backoff)
        self._backoff_ns = min(self._backoff_ns * 2 or first_ns, longest_ns)

    def _arm_backoff(self) -> None:
        """Jitter spreads clients out that lost the same server; the cap holds after it."""
        spread_ns = round(self._backoff_ns * self.config.ms_backoff_jitter * self.host.jitter())
        self._arm(Timer.BACKOFF, min(self._backoff_ns + spread_ns, self._seconds(self.config.ms_max_backoff)))

    def _drop_stream(self) -> None:
        """Forget the socket and all that belongs to it alone."""
        self._cancel(Timer.HANDSHAKE)
        self._handshake = None
        if self._has_stream:
            self._has_stream = False
            self.emit(CloseSocket())

    def _close(self, reason: str, *, notify: bool) -> None:
        self._drop_stream()
        self._cancel(Timer.BACKOFF)
        self.enter(State.CLOSED, reason)
        if notify and self._is_known_to_user:
            self.emit(Notify(Notice.RESET))
        self.emit(Closed(reason))

    # ---- accepting, and taking over ----

    def judge(self, existing: ExistingSession | None, handoff: Handoff) -> Verdict:
        """Who wins: the existing session or the newcomer that brings this handoff. We may be either."""
        frame, resetcheck = handoff.frame, handoff.resetcheck
        own, peer = self.host.my_addrs.msgr2_addr(), frame.addrs.msgr2_addr()
        if isinstance(frame, ClientIdentFrame):
            return judge_client_ident(existing, frame, resetcheck=resetcheck, own_addr=own, peer_addr=peer)
        return judge_session_reconnect(existing, frame, resetcheck=resetcheck, own_addr=own, peer_addr=peer)

    def _on_take_over_requested(self, handoff: Handoff) -> None:
        """We are the existing session. Judged again, for here is the only place that knows our state for certain."""
        verdict = self.judge(self.view(None), handoff)
        if not isinstance(verdict, TakeOverExisting):
            self.emit(RefuseTakeOver(handoff, verdict))
            return
        if self.state is State.READY:
            self.emit(Requeue())
        self._drop_stream()
        self._cancel(Timer.BACKOFF)
        self.enter(State.REPLACING, "the peer came back on another socket")
        if verdict.reset:
            self.reset_session()
        self.emit(AdoptStream(handoff))

    def _on_stream_adopted(self, handoff: Handoff, in_seq: int) -> None:
        if self.state is not State.REPLACING:
            raise LocalProtocolError(f"StreamAdopted in state {self.state}: expected {State.REPLACING}")
        self._has_stream = True
        self.enter(State.SESSION_ACCEPTING, "adopted the newer socket")
        self.accept_session(handoff, in_seq)

    def accept_session(self, handoff: Handoff, in_seq: int) -> None:
        """The peer's wish is granted on our stream: a new session, or the old one goes on."""
        frame = handoff.frame
        if isinstance(frame, ClientIdentFrame):
            name = EntityName(handoff.peer_type, frame.number)
            features = frame.features_supported & self.known_policy.features_supported
            reply = self._open_session(frame)
            self.emit(ResetQueues(drop=False))
        elif self.peer:
            name, features = self.peer.name, self.peer.features
            self.connect_seq = frame.connect_seq
            reply = SessionReconnectOkFrame(in_seq)
            self.emit(DropAcked(frame.msg_seq))
        else:
            raise AssertionError("only a session that was READY can be reconnected")
        self.peer_global_seq = frame.global_seq
        peer = PeerInfo(
            name=name,
            addrs=frame.addrs,
            features=features,
            con_mode=handoff.con_mode,
            global_id=handoff.global_id,
            auth_name=handoff.credentials.name,
            caps=handoff.credentials.caps,
        )
        # The user hears of the session before the peer does, and may queue messages: they follow behind our answer.
        self.emit(SetPeer(peer))
        self.tell(Notice.ACCEPT, Notice.FAST_ACCEPT)
        self.send(reply)
        self.enter_ready(peer, f"accepted {reply.tag} to {name}")
        self.emit(Continue())

    def _open_session(self, frame: ClientIdentFrame) -> ControlFrame:
        policy = self.known_policy
        if self.target.is_blank:
            # Where the client can be dialled, should its session break while we have something for it.
            self.target = frame.addrs.msgr2_addr()
        self.client_cookie = frame.cookie
        self.server_cookie = 0 if self.is_lossy else self.host.new_cookie()
        return ServerIdentFrame(
            addrs=self.host.my_addrs,
            number=self.host.my_name.num,
            global_seq=self.host.next_global_seq(0),
            features_supported=policy.features_supported,
            features_required=policy.features_required,
            flags=FLAG_LOSSY if self.is_lossy else 0,
            cookie=self.server_cookie,
        )

    # ---- timers ----

    @staticmethod
    def _seconds(seconds: float) -> int:
        return round(seconds * _NS_PER_S)

    def _arm(self, timer: Timer, delay_ns: int) -> None:
        self._armed.add(timer)
        self.emit(ArmTimer(timer, delay_ns))

    def _cancel(self, timer: Timer) -> None:
        if timer in self._armed:
            self._armed.remove(timer)
            self.emit(CancelTimer(timer))
