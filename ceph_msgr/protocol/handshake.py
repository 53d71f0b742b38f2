"""What the handshakes of both sides share: banner, transcript, signatures.

A handshake belongs to one socket and dies with it or with READY; what outlives sockets is in ``Session``. Its handlers are
called ``_on_<tag>``, see only frames their state expects, and raise ``RemoteProtocolError`` or ``AuthError`` for everything
that must end in a fault.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from ceph_msgr.auth.base import ConMode, Credentials
from ceph_msgr.compression import Algorithm, CompressionMode
from ceph_msgr.errors import AuthError, RemoteProtocolError
from ceph_msgr.protocol.actions import SendBytes, SendFrame, SetCompression, SetKeys, SetRevision
from ceph_msgr.protocol.banner import OUR_BANNER, Banner
from ceph_msgr.protocol.events import FrameReceived
from ceph_msgr.protocol.frames import FRAMES, SIGNATURE_BYTES, AuthSignatureFrame, ControlFrame
from ceph_msgr.protocol.tags import Tag

if TYPE_CHECKING:
    from ceph_msgr.protocol.session import Session

__all__ = ["MAX_TRANSCRIPT_BYTES", "Assemble", "Handshake", "Transcript", "check_plausible"]

#: ``(tag, payload, revision)`` to the bytes of the frame in crc mode.
Assemble: TypeAlias = Callable[[int, bytes, int], bytes]

#: What a peer may send before it is authenticated. Enough for hundreds of attempts with the largest tickets, and little
#: enough that a thousand strangers do no harm.
MAX_TRANSCRIPT_BYTES = 1 << 20

#: A peer that is this far, or pushes one of our counters so far, does it on purpose. Half of the range is more than any cluster
#: uses, and what lies above keeps the counters, one of which all connections share, from ever overflowing.
_MAX_PLAUSIBLE_SEQ = 1 << 63

_NO_SIGNATURE = bytes(SIGNATURE_BYTES)


def check_plausible(what: str, value: int) -> None:
    """Refuse a counter that could make one of ours overflow."""
    if value >= _MAX_PLAUSIBLE_SEQ:
        raise RemoteProtocolError(f"{what} {value} is not plausible, expected less than {_MAX_PLAUSIBLE_SEQ}")


class Transcript:
    """All bytes of both directions before the signatures, as they were on the wire ("AUTH_SIGNATURE").

    Our own frames are kept as payloads and framed only if there is a key to sign with.
    """

    def __init__(self, assemble: Assemble) -> None:
        self._assemble = assemble
        self._received = bytearray()
        self._sent_banner = b""
        self._sent_frames: list[tuple[Tag, bytes]] = []

    def add_received(self, wire: bytes) -> None:
        if len(self._received) + len(wire) > MAX_TRANSCRIPT_BYTES:
            raise RemoteProtocolError(f"the peer sent more than {MAX_TRANSCRIPT_BYTES} bytes without authenticating")
        self._received += wire

    def add_sent_banner(self, wire: bytes) -> None:
        self._sent_banner = wire

    def add_sent_frame(self, tag: Tag, payload: bytes) -> None:
        self._sent_frames.append((tag, payload))

    def signatures(self, session_key: bytes, revision: int) -> tuple[bytes, bytes]:
        """Ours, and the one to expect: each side signs what it has received. Zeros without a key."""
        if not session_key:
            return _NO_SIGNATURE, _NO_SIGNATURE
        frames = (self._assemble(tag, payload, revision) for tag, payload in self._sent_frames)
        sent = self._sent_banner + b"".join(frames)
        return (
            hmac.digest(session_key, self._received, hashlib.sha256),
            hmac.digest(session_key, sent, hashlib.sha256),
        )


class Handshake:
    """One socket's handshake. ``ClientHandshake`` and ``ServerHandshake`` add the handlers."""

    #: Whether we dialled this socket.
    is_client: bool

    def __init__(self, session: Session) -> None:
        self.session = session
        self.host = session.host
        self.banner = OUR_BANNER.with_compression() if session.compression.is_enabled else OUR_BANNER
        self.revision = 0
        #: Whether the compression frames come behind the signatures.
        self.negotiates_compression = False
        self.con_mode = ConMode.CRC
        self.global_id = 0
        self.credentials = Credentials()
        #: Of the frame being handled.
        self.in_seq = 0
        #: None once the signatures are computed.
        self._transcript: Transcript | None = Transcript(session.assemble)
        self._expected_signature = b""

    # ---- both directions ----

    def send_banner(self) -> None:
        wire = self.banner.encode()
        if self._transcript:
            self._transcript.add_sent_banner(wire)
        self.session.emit(SendBytes(wire))

    def send(self, frame: ControlFrame) -> None:
        payload = frame.payload()
        if self._transcript:
            self._transcript.add_sent_frame(frame.tag, payload)
        self.session.emit(SendFrame(frame.tag, payload))

    def on_banner(self, wire: bytes) -> None:
        """The peer's banner. Fixes the revision and goes on with ``_say_hello``, unless the two can never talk."""
        peer = Banner.parse(wire)
        if mismatch := self.banner.mismatch_with(peer):
            self.session.give_up(mismatch)
            return
        self._record(wire)
        self.revision = self.banner.revision_with(peer)
        self.negotiates_compression = self.banner.negotiates_compression_with(peer)
        self.session.emit(SetRevision(self.revision))
        self._say_hello()

    def on_frame(self, event: FrameReceived) -> None:
        """A frame that the session's state expects. Errors name the frame and the state it came in."""
        tag, state = Tag(event.tag), self.session.state
        self.in_seq = event.in_seq
        try:
            self._record(event.wire)
            getattr(self, f"_on_{tag.name.lower()}")(FRAMES[tag].parse(event.payload))
        except RemoteProtocolError as error:
            raise RemoteProtocolError(f"{tag} in state {state}: {error}") from error
        except AuthError as error:
            raise AuthError(f"{tag} in state {state}: {error}") from error

    def _record(self, wire: bytes) -> None:
        if self._transcript:
            self._transcript.add_received(wire)

    def _say_hello(self) -> None:
        raise NotImplementedError

    # ---- signatures ----

    def sign(self) -> None:
        """Authentication is done: switch to the agreed mode, and sign as the first thing in it."""
        if not self._transcript:
            raise AssertionError("a handshake is signed once")
        ours, self._expected_signature = self._transcript.signatures(self.credentials.session_key, self.revision)
        self._transcript = None
        if self.con_mode is ConMode.SECURE:
            self.session.emit(SetKeys(self.credentials.connection_secret, self.is_client))
        self.send(AuthSignatureFrame(ours))

    def check_signature(self, frame: AuthSignatureFrame) -> None:
        if not hmac.compare_digest(frame.signature, self._expected_signature):
            kind = "an HMAC of what we sent" if self.credentials.session_key else "32 zero bytes, as there is no session key"
            raise RemoteProtocolError(f"wrong signature, expected {kind}")

    # ---- compression ----

    def allowed_compression(self) -> tuple[Algorithm, ...]:
        """What this connection may be compressed by, most preferred first; empty: by nothing."""
        session, is_secure = self.session, self.con_mode is ConMode.SECURE
        if session.compression.get_mode(session.peer_type, is_secure=is_secure) is CompressionMode.NONE:
            return ()
        return session.compression.get_methods(session.peer_type)

    def set_compression(self, algorithm: int) -> None:
        """Agreed on: what is sent from here on, and received behind the present frame, may be compressed."""
        self.session.emit(SetCompression(algorithm, self.session.compression.min_bytes(self.session.peer_type)))
