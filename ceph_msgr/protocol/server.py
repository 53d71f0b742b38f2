"""The accepting side of the handshake ("Accepting side")."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TYPE_CHECKING

from ceph_msgr.auth.base import AuthRefused, ServerDone, ServerExchange, ServerMore
from ceph_msgr.compression import Algorithm
from ceph_msgr.errors import RemoteProtocolError
from ceph_msgr.protocol.actions import CloseExisting, Continue, LearnAddress, NudgeExisting, SetPolicy, TakeOver
from ceph_msgr.protocol.events import Handoff
from ceph_msgr.protocol.frames import (
    AuthBadMethodFrame,
    AuthDoneFrame,
    AuthReplyMoreFrame,
    AuthRequestFrame,
    AuthRequestMoreFrame,
    AuthSignatureFrame,
    ClientIdentFrame,
    CompressionDoneFrame,
    CompressionRequestFrame,
    ControlFrame,
    HelloFrame,
    IdentMissingFeaturesFrame,
    SessionReconnectFrame,
    SessionResetFrame,
    SessionRetryFrame,
    SessionRetryGlobalFrame,
    WaitFrame,
)
from ceph_msgr.protocol.handshake import Handshake, check_plausible
from ceph_msgr.protocol.reconnect import (
    AcceptNew,
    ExistingSession,
    RefuseEarly,
    RefuseStale,
    ReplaceLossy,
    SendReset,
    SendRetry,
    SendRetryGlobal,
    SendWait,
    TakeOverExisting,
    Verdict,
)
from ceph_msgr.protocol.states import State
from ceph_msgr.wire.addr import EntityAddr

if TYPE_CHECKING:
    from ceph_msgr.protocol.session import Session

__all__ = ["ServerHandshake"]

#: How often a newcomer may find its place taken between looking and registering.
_MAX_REGISTRATION_ATTEMPTS = 3


class ServerHandshake(Handshake):
    """One accepted socket, from its first byte to READY."""

    is_client = False

    def __init__(self, session: Session, peer_addr: EntityAddr, local_addr: EntityAddr) -> None:
        super().__init__(session)
        self.peer_addr = peer_addr
        self.local_addr = local_addr
        self._method = 0
        self._exchange: ServerExchange
        #: The session whose answer to our TakeOver is awaited, and what was offered to it.
        self._pending: tuple[ExistingSession, Handoff] | None = None

    def start(self) -> None:
        self.session.enter(State.BANNER_ACCEPTING, f"accepted from {self.peer_addr}")
        self.send_banner()

    def _say_hello(self) -> None:
        self.session.enter(State.HELLO_ACCEPTING, f"the peer speaks msgr2.{self.revision}")
        self.send(HelloFrame(self.host.my_name.type, self.peer_addr))
        self.session.emit(Continue())

    # ---- authentication ----

    def _on_hello(self, frame: HelloFrame) -> None:
        self.session.peer_type = frame.entity_type
        policy = self.host.choose_policy(frame.entity_type)
        self.session.set_policy(policy)
        self.session.emit(SetPolicy(frame.entity_type, policy))
        self.session.emit(LearnAddress(self.local_addr))
        self.session.enter(State.AUTH_ACCEPTING, f"the peer is of type {frame.entity_type}")
        self.session.emit(Continue())

    def _on_auth_request(self, frame: AuthRequestFrame) -> None:
        auth = self.session.auth
        self._method = frame.method
        server = auth.server(self.session.peer_type, frame.method)
        mode = server and auth.pick_mode(self.session.peer_type, frame.method, frame.modes)
        if not server or not mode:
            self._send_bad_method(errno.EOPNOTSUPP, f"method {frame.method} with modes {list(frame.modes)} is not allowed")
            return
        self.con_mode = mode
        self._exchange = server.start(self.session.peer_type, mode)
        self._answer(self._exchange.request, frame.auth_payload)

    def _on_auth_request_more(self, frame: AuthRequestMoreFrame) -> None:
        self._answer(self._exchange.request_more, frame.auth_payload)

    def _answer(self, step: Callable[[bytes], ServerMore | ServerDone], payload: bytes) -> None:
        try:
            reply = step(payload)
        except AuthRefused as refusal:
            self._send_bad_method(refusal.code, refusal.text)
            return
        if isinstance(reply, ServerMore):
            self.session.enter(State.AUTH_ACCEPTING_MORE, "another round")
            self.send(AuthReplyMoreFrame(reply.payload))
        else:
            self.global_id = reply.global_id
            self.credentials = reply.credentials
            self.session.enter(State.AUTH_ACCEPTING_SIGN, f"authenticated {reply.credentials.name}, mode {self.con_mode}")
            self.send(AuthDoneFrame(reply.global_id, self.con_mode, reply.payload))
            self.sign()
        self.session.emit(Continue())

    def _send_bad_method(self, code: int, reason: str) -> None:
        """The client may go on with another method, or with better words."""
        auth = self.session.auth
        self.session.enter(self.session.state, f"refused: {reason}")
        self.send(
            AuthBadMethodFrame(
                self._method, -code, auth.server_methods(self.session.peer_type), auth.server_modes(self.session.peer_type)
            )
        )
        self.session.emit(Continue())

    def _on_auth_signature(self, frame: AuthSignatureFrame) -> None:
        self.check_signature(frame)
        state = State.COMPRESS_ACCEPTING if self.negotiates_compression else State.SESSION_ACCEPTING
        self.session.enter(state, "signatures agree")
        self.session.emit(Continue())

    # ---- compression ----

    def _on_compression_request(self, frame: CompressionRequestFrame) -> None:
        """Our answer still goes as it is; what is behind it may be compressed."""
        algorithm = Algorithm.NONE
        if frame.is_wanted and self.allowed_compression():
            algorithm = self.session.compression.pick_method(self.session.peer_type, frame.algorithms)
        self.session.enter(State.SESSION_ACCEPTING, f"compression: {algorithm.name.lower()}")
        self.send(CompressionDoneFrame(bool(algorithm), algorithm))
        if algorithm:
            self.set_compression(algorithm)
        self.session.emit(Continue())

    # ---- which session it is ----

    def _on_client_ident(self, frame: ClientIdentFrame) -> None:
        """The checks of "What the server checks in CLIENT_IDENT", in their order."""
        policy = self.session.known_policy
        self._check_sender(frame)
        if frame.target not in self.host.my_addrs:
            raise RemoteProtocolError(f"the client dialled {frame.target}, we are {self.host.my_addrs}")
        if missing := policy.features_required & ~frame.features_supported:
            self._reply(IdentMissingFeaturesFrame(missing), "the client lacks features")
            return
        handoff = self._handoff(frame)
        if policy.lossy and policy.server and not policy.register_lossy_clients:
            self.session.accept_session(handoff, in_seq=0)
        else:
            self._look_up(handoff)

    def _on_session_reconnect(self, frame: SessionReconnectFrame) -> None:
        self._check_sender(frame)
        check_plausible("connect_seq", frame.connect_seq)
        self._look_up(self._handoff(frame))

    @staticmethod
    def _check_sender(frame: ClientIdentFrame | SessionReconnectFrame) -> None:
        if not frame.addrs or frame.addrs[0].is_blank:
            raise RemoteProtocolError(f"the client's addresses {frame.addrs} do not start with an address")
        check_plausible("global_seq", frame.global_seq)

    def _handoff(self, frame: ClientIdentFrame | SessionReconnectFrame) -> Handoff:
        return Handoff(
            frame=frame,
            peer_type=self.session.peer_type,
            con_mode=self.con_mode,
            global_id=self.global_id,
            credentials=self.credentials,
            resetcheck=self.session.known_policy.resetcheck,
        )

    def _look_up(self, handoff: Handoff) -> None:
        """Find who is there, judge, and act; again if another newcomer was faster to register."""
        for _ in range(_MAX_REGISTRATION_ATTEMPTS):
            existing = self.host.find_existing(handoff.frame.addrs)
            if self._carry_out(self.session.judge(existing, handoff), existing, handoff):
                return
        raise RemoteProtocolError(f"the place of {handoff.frame.addrs} is being fought over")

    def on_take_over_refused(self, verdict: Verdict) -> None:
        """The existing session has moved on since we looked; its own judgement counts."""
        if not self._pending:
            raise AssertionError("nothing was offered")
        existing, handoff = self._pending
        self.session.enter(State.SESSION_ACCEPTING, "the existing session has moved on")
        if not self._carry_out(verdict, existing, handoff):
            self._look_up(handoff)

    def _carry_out(self, verdict: Verdict, existing: ExistingSession | None, handoff: Handoff) -> bool:
        """False if the place was taken meanwhile."""
        match verdict:
            case AcceptNew():
                if not self._register(existing, handoff):
                    return False
                self.session.accept_session(handoff, in_seq=0)
            case ReplaceLossy() if existing:
                if not self._register(existing, handoff):
                    return False
                self.session.emit(CloseExisting(existing.handle))
                self.session.accept_session(handoff, in_seq=0)
            case TakeOverExisting() if existing:
                self._pending = existing, handoff
                self.session.enter(State.HANDED_OVER, f"for the existing session in state {existing.state}")
                self.session.emit(TakeOver(existing.handle, handoff))
            case SendWait() if existing:
                self.session.emit(NudgeExisting(existing.handle))
                self._reply(WaitFrame(), "our own dial wins")
            case SendReset(full):
                self._reply(SessionResetFrame(full), "no such session" if full else "the session was never finished")
            case SendRetry(connect_seq):
                self._reply(SessionRetryFrame(connect_seq), f"connect_seq is behind {connect_seq}")
            case SendRetryGlobal(global_seq):
                self._reply(SessionRetryGlobalFrame(global_seq), f"global_seq is behind {global_seq}, or too early")
            case RefuseEarly():
                raise RemoteProtocolError(f"{handoff.frame.addrs} comes while an earlier attempt takes its session over")
            case RefuseStale(peer_global_seq):
                raise RemoteProtocolError(
                    f"stale attempt with global_seq {handoff.frame.global_seq}, the peer is at {peer_global_seq}"
                )
            case _:
                raise AssertionError(f"{verdict} without an existing session")
        return True

    def _register(self, existing: ExistingSession | None, handoff: Handoff) -> bool:
        return self.host.register(handoff.frame.addrs, instead_of=existing.handle if existing else None)

    def _reply(self, frame: ControlFrame, reason: str) -> None:
        """Not READY yet: the client goes on with another frame on the same socket."""
        self.session.enter(State.SESSION_ACCEPTING, reason)
        self.send(frame)
        self.session.emit(Continue())
