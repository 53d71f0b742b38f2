"""The dialling side of the handshake ("Dialling side")."""

from __future__ import annotations

import errno
from collections.abc import Container
from dataclasses import replace
from typing import TYPE_CHECKING

from ceph_msgr.auth.base import AuthBusy, ClientAuth, ClientExchange, ConMode
from ceph_msgr.compression import Algorithm
from ceph_msgr.errors import AuthError, RemoteProtocolError
from ceph_msgr.protocol.actions import Continue, DropAcked, LearnAddress, Notice, PeerInfo, ResetQueues, SetPeer
from ceph_msgr.protocol.frames import (
    FLAG_LOSSY,
    AuthBadMethodFrame,
    AuthDoneFrame,
    AuthReplyMoreFrame,
    AuthRequestFrame,
    AuthRequestMoreFrame,
    AuthSignatureFrame,
    ClientIdentFrame,
    CompressionDoneFrame,
    CompressionRequestFrame,
    HelloFrame,
    IdentMissingFeaturesFrame,
    ServerIdentFrame,
    SessionReconnectFrame,
    SessionReconnectOkFrame,
    SessionResetFrame,
    SessionRetryFrame,
    SessionRetryGlobalFrame,
    WaitFrame,
)
from ceph_msgr.protocol.handshake import Handshake, check_plausible
from ceph_msgr.protocol.states import State
from ceph_msgr.wire.addr import EntityAddr
from ceph_msgr.wire.entity import EntityName
from ceph_msgr.wire.features import describe

if TYPE_CHECKING:
    from ceph_msgr.protocol.session import Session

__all__ = ["ClientHandshake"]


class ClientHandshake(Handshake):
    """One dial, from the connected socket to READY."""

    is_client = True

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.peer_type = session.peer_type
        self.local_addr = EntityAddr()
        #: Methods not tried yet on this socket.
        self._methods: list[ClientAuth] = list(session.auth.clients(session.peer_type))
        self._offered_modes: tuple[ConMode, ...] = ()
        self._offered_compression: tuple[Algorithm, ...] = ()
        self._exchange: ClientExchange

    def start(self, local_addr: EntityAddr) -> None:
        """The socket is connected."""
        self.local_addr = local_addr
        self.session.global_seq = self.host.next_global_seq(0)
        self.session.enter(State.BANNER_CONNECTING, f"connected from {local_addr}")
        self.send_banner()

    def _say_hello(self) -> None:
        self.session.enter(State.HELLO_CONNECTING, f"the peer speaks msgr2.{self.revision}")
        self.send(HelloFrame(self.host.my_name.type, self.session.target))
        self.session.emit(Continue())

    # ---- authentication ----

    def _on_hello(self, frame: HelloFrame) -> None:
        if frame.entity_type != self.peer_type:
            self.session.give_up(f"the peer is of type {frame.entity_type}, expected {self.peer_type}")
            return
        learns_from_peer = self.session.config.ms_learn_addr_from_peer
        self.session.emit(LearnAddress(frame.peer_addr if learns_from_peer else self.local_addr))
        if not self._methods:
            self.session.give_up(f"no authentication method for a peer of type {self.peer_type}")
            return
        self._request_auth(self._methods.pop(0))

    def _request_auth(self, method: ClientAuth) -> None:
        try:
            self._exchange = method.start(self.peer_type)
            payload = self._exchange.request()
        except AuthBusy:
            raise  # what is missing, such as a renewed ticket, may be there at the next dial
        except AuthError as error:
            # Not the network's fault, so dialling again would not help.
            self.session.give_up(f"method {method.method} has no request to send: {error}")
            return
        self._offered_modes = self.session.auth.client_modes(self.peer_type, method.method)
        self.session.enter(State.AUTH_CONNECTING, f"trying method {method.method}")
        self.send(AuthRequestFrame(method.method, self._offered_modes, payload))
        self.session.emit(Continue())

    def _on_auth_bad_method(self, frame: AuthBadMethodFrame) -> None:
        method = self._next_method(frame.allowed_methods)
        if method is None:
            why = "our name or key is wrong" if frame.result == -errno.EACCES else "we have no other of these"
            raise AuthError(
                f"the server refused method {frame.method} ({errno.errorcode.get(-frame.result, frame.result)}) and allows "
                f"methods {list(frame.allowed_methods)} with modes {list(frame.allowed_modes)}; {why}"
            )
        self._request_auth(method)

    def _next_method(self, allowed: Container[int]) -> ClientAuth | None:
        while self._methods:
            method = self._methods.pop(0)
            if method.method in allowed:
                return method
        return None

    def _on_auth_reply_more(self, frame: AuthReplyMoreFrame) -> None:
        payload = self._exchange.reply_more(frame.auth_payload)
        self.session.enter(State.AUTH_CONNECTING, "another round")
        self.send(AuthRequestMoreFrame(payload))
        self.session.emit(Continue())

    def _on_auth_done(self, frame: AuthDoneFrame) -> None:
        if frame.con_mode not in self._offered_modes:
            offered = list(map(int, self._offered_modes))
            raise RemoteProtocolError(f"the server chose mode {frame.con_mode}, offered were {offered}")
        self.con_mode = ConMode(frame.con_mode)
        self.global_id = frame.global_id
        self.credentials = self._exchange.done(frame.global_id, self.con_mode, frame.auth_payload)
        self.session.enter(State.AUTH_CONNECTING_SIGN, f"authenticated, mode {self.con_mode}")
        self.sign()
        self.session.emit(Continue())

    def _on_auth_signature(self, frame: AuthSignatureFrame) -> None:
        self.check_signature(frame)
        if self.negotiates_compression:
            self._request_compression()
        else:
            self._identify()

    # ---- compression ----

    def _request_compression(self) -> None:
        """Always, also to say that none is wanted."""
        self._offered_compression = self.allowed_compression()
        wish = " or ".join(algorithm.name.lower() for algorithm in self._offered_compression)
        self.session.enter(State.COMPRESS_CONNECTING, f"compression wanted: {wish or 'none'}")
        self.send(CompressionRequestFrame(bool(wish), self._offered_compression))
        self.session.emit(Continue())

    def _on_compression_done(self, frame: CompressionDoneFrame) -> None:
        if frame.is_used:
            if frame.algorithm not in self._offered_compression:
                offered = list(map(int, self._offered_compression))
                raise RemoteProtocolError(f"the server chose compression {frame.algorithm}, offered were {offered}")
            self.set_compression(frame.algorithm)
        self._identify()

    # ---- which session it is ----

    def _identify(self) -> None:
        if self.session.server_cookie:
            self._send_session_reconnect("the session goes on")
        else:
            self._send_client_ident("a new session")

    # ---- a new session ----

    def _send_client_ident(self, reason: str) -> None:
        session, policy = self.session, self.session.known_policy
        if session.is_lossy:
            session.client_cookie = 0
        elif not session.client_cookie:
            session.client_cookie = self.host.new_cookie()
        session.enter(State.SESSION_CONNECTING, reason)
        session.ident_sent()
        self.send(
            ClientIdentFrame(
                addrs=self.host.my_addrs,
                target=session.target,
                number=self.host.my_name.num,
                global_seq=session.global_seq,
                features_supported=policy.features_supported,
                features_required=policy.features_required,
                flags=FLAG_LOSSY if session.is_lossy else 0,
                cookie=session.client_cookie,
            )
        )
        session.emit(Continue())

    def _on_server_ident(self, frame: ServerIdentFrame) -> None:
        session = self.session
        if session.target not in frame.addrs:
            raise RemoteProtocolError(f"the server is {frame.addrs}, dialled was {session.target}")
        check_plausible("global_seq", frame.global_seq)
        # The accepting side decides, whatever our policy wished for.
        session.is_lossy = bool(frame.flags & FLAG_LOSSY)
        session.server_cookie = frame.cookie
        session.peer_global_seq = frame.global_seq
        peer = PeerInfo(
            name=EntityName(self.peer_type, frame.number),
            addrs=frame.addrs,
            features=frame.features_supported & session.known_policy.features_supported,
            con_mode=self.con_mode,
            global_id=self.global_id,
        )
        session.emit(ResetQueues(drop=False))
        self._ready(peer, f"new {'lossy' if session.is_lossy else 'lossless'} session")

    def _on_ident_missing_features(self, frame: IdentMissingFeaturesFrame) -> None:
        raise RemoteProtocolError(f"the server requires features we do not offer: {describe(frame.features)}")

    # ---- an old session ----

    def _send_session_reconnect(self, reason: str) -> None:
        session = self.session
        session.enter(State.SESSION_RECONNECTING, reason)
        self.send(
            SessionReconnectFrame(
                addrs=self.host.my_addrs,
                client_cookie=session.client_cookie,
                server_cookie=session.server_cookie,
                global_seq=session.global_seq,
                connect_seq=session.connect_seq,
                msg_seq=self.in_seq,
            )
        )
        session.emit(Continue())

    def _on_session_reconnect_ok(self, frame: SessionReconnectOkFrame) -> None:
        if self.session.peer is None:
            raise AssertionError("a session with a server cookie knows its peer")
        self.session.emit(DropAcked(frame.msg_seq))
        peer = replace(self.session.peer, con_mode=self.con_mode, global_id=self.global_id)
        self._ready(peer, f"the peer has received up to {frame.msg_seq}")

    def _on_session_retry(self, frame: SessionRetryFrame) -> None:
        check_plausible("connect_seq", frame.connect_seq)
        self.session.connect_seq = frame.connect_seq + 1
        self._send_session_reconnect(f"the peer is at connect_seq {frame.connect_seq}")

    def _on_session_retry_global(self, frame: SessionRetryGlobalFrame) -> None:
        check_plausible("global_seq", frame.global_seq)
        self.session.global_seq = self.host.next_global_seq(frame.global_seq)
        self._send_session_reconnect(f"the peer is at global_seq {frame.global_seq}")

    def _on_session_reset(self, frame: SessionResetFrame) -> None:
        session = self.session
        if frame.full:
            session.reset_session()
        else:
            session.server_cookie = 0
            session.connect_seq = 0
        self._send_client_ident("the peer lost the session" if frame.full else "the peer never finished the session")

    # ---- ends ----

    def _on_wait(self, frame: WaitFrame) -> None:
        self.session.wait_for_peer()

    def _ready(self, peer: PeerInfo, reason: str) -> None:
        self.session.emit(SetPeer(peer))
        self.session.enter_ready(peer, reason)
        self.session.tell(Notice.CONNECT, Notice.FAST_CONNECT)
        self.session.emit(Continue())
