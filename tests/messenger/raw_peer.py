"""``RawPeer``: a msgr2 peer made of a plain socket and the reference codec, which sends whatever a test wants."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ceph_msgr.protocol.frames import (
    FRAMES,
    AuthDoneFrame,
    AuthRequestFrame,
    AuthSignatureFrame,
    ClientIdentFrame,
    ControlFrame,
    HelloFrame,
    ServerIdentFrame,
)
from ceph_msgr.protocol.tags import Tag
from ceph_msgr.wire.addr import EntityAddr, EntityAddrVec
from ceph_msgr.wire.entity import EntityType
from ceph_msgr.wire.features import REQUIRED_ALWAYS, SUPPORTED_ALL
from tests.conftest import Deadline
from tests.session.reference_codec import Parser, RefFrame, assemble, crc32c, split_banner

__all__ = ["BANNER", "NO_SIGNATURE", "RawListener", "RawPeer", "message_segments", "needs_ipv6", "preamble"]

BANNER = b"ceph v2\n" + (16).to_bytes(2, "little") + (1).to_bytes(8, "little") + bytes(8)
NO_SIGNATURE = AuthSignatureFrame(bytes(32))


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not _has_ipv6(), reason="no IPv6 on this machine's loopback")


def message_segments(type_: int, seq: int, front: bytes = b"", *, ack_seq: int = 0, tid: int = 0) -> list[bytes]:
    """The segments of a MESSAGE frame."""
    numbers = (seq, 8), (tid, 8), (type_, 2), (127, 2), (1, 2), (0, 4), (0, 2), (ack_seq, 8), (3, 1), (1, 2), (0, 2)
    return [b"".join(value.to_bytes(size, "little") for value, size in numbers), front]


def preamble(tag: int, lengths: list[int], *, count: int | None = None, flags: int = 0) -> bytes:
    """A frame's first 32 bytes, with a right crc and whatever lengths one likes."""
    body = bytes([tag, len(lengths) if count is None else count])
    for length in [*lengths, *[0] * (4 - len(lengths))]:
        body += length.to_bytes(4, "little") + (8).to_bytes(2, "little")
    body += bytes([flags, 0])
    return body + crc32c(0, body).to_bytes(4, "little")


class RawPeer:
    """Either side of a connection. Every receive has the test's deadline."""

    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # frames that follow one another are not held back
        self.sock = sock
        self._deadline = deadline
        self._parser = Parser(1)

    @classmethod
    def dial(cls, addr: EntityAddr, deadline: Deadline) -> RawPeer:
        return cls(socket.create_connection((addr.ip, addr.port), deadline.remaining_s("connect")), deadline)

    def __enter__(self) -> RawPeer:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.sock.close()

    @property
    def addr(self) -> EntityAddr:
        return EntityAddr.parse("v2:{}:{}/0".format(*self.sock.getsockname()))

    # ---- bytes ----

    def send(self, data: bytes) -> None:
        self.sock.settimeout(self._deadline.remaining_s("send"))
        self.sock.sendall(data)

    def recv(self, what: str) -> bytes:
        """b"" at the end of the stream, which may come as a reset."""
        self.sock.settimeout(self._deadline.remaining_s(what))
        try:
            return self.sock.recv(1 << 16)
        except ConnectionResetError:
            return b""

    def wait_closed(self) -> bytes:
        """What still comes until the other side closes."""
        rest = b""
        while piece := self.recv("the other side to close"):
            rest += piece
        return rest

    # ---- frames ----

    def send_frame(self, frame: ControlFrame) -> None:
        self.send(assemble(frame.tag, [frame.payload()]))

    def send_tag(self, tag: int, payload: bytes = b"") -> None:
        self.send(assemble(tag, [payload]))

    def recv_banner(self) -> bytes:
        stream = b""
        while not (split := split_banner(stream)):
            piece = self.recv("a banner")
            assert piece, "closed before the banner"
            stream += piece
        self._parser.add(split[1])
        return split[0]

    def recv_raw_frame(self, what: str = "a frame") -> RefFrame:
        while (frame := self._parser.next_frame()) is None:
            piece = self.recv(what)
            assert piece, f"closed, expected {what}"
            self._parser.add(piece)
        return frame

    def recv_frame(self, kind: type[ControlFrame]) -> ControlFrame:
        frame = self.recv_raw_frame(kind.__name__)
        assert frame.tag == kind.tag, f"{Tag(frame.tag)}, expected {kind.tag}"
        return FRAMES[Tag(frame.tag)].parse(frame.payload)

    # ---- the handshake, step by step ----

    def exchange_banners(self) -> None:
        self.send(BANNER)
        self.recv_banner()

    def say_hello_to(self, server: EntityAddr) -> None:
        self.send_frame(HelloFrame(EntityType.CLIENT, server))
        self.recv_frame(HelloFrame)

    def log_in(self) -> None:
        self.send_frame(AuthRequestFrame(1, (1,), b""))
        self.recv_frame(AuthDoneFrame)

    def sign(self) -> None:
        self.send_frame(NO_SIGNATURE)
        self.recv_frame(AuthSignatureFrame)

    def client_ident(self, server: EntityAddr, *, cookie: int = 0, global_seq: int = 1) -> ClientIdentFrame:
        own = EntityAddr.parse(f"any:127.0.0.1:0/{self.addr.port}")
        return ClientIdentFrame(
            EntityAddrVec([own]), server, -1, global_seq, SUPPORTED_ALL, REQUIRED_ALWAYS, 0 if cookie else 1, cookie
        )

    def identify(self, server: EntityAddr, *, cookie: int = 0) -> ServerIdentFrame:
        self.send_frame(self.client_ident(server, cookie=cookie))
        ident = self.recv_frame(ServerIdentFrame)
        assert isinstance(ident, ServerIdentFrame)
        return ident

    def become_client(self, server: EntityAddr, *, cookie: int = 0) -> ServerIdentFrame:
        """The whole handshake with a messenger that listens at ``server``; lossless with a cookie, if the server agrees."""
        self.exchange_banners()
        self.say_hello_to(server)
        self.log_in()
        self.sign()
        return self.identify(server, cookie=cookie)

    def become_server(
        self, own: EntityAddrVec, *, type_: EntityType = EntityType.OSD, lossy: bool = True, cookie: int = 0
    ) -> ClientIdentFrame:
        """The whole handshake with a messenger that has dialled us."""
        self.exchange_banners()
        self.send_frame(HelloFrame(type_, self.addr))
        self.recv_frame(HelloFrame)
        self.recv_frame(AuthRequestFrame)
        self.send_frame(AuthDoneFrame(0, 1, b""))
        self.send_frame(NO_SIGNATURE)
        self.recv_frame(AuthSignatureFrame)
        ident = self.recv_frame(ClientIdentFrame)
        assert isinstance(ident, ClientIdentFrame)
        self.send_frame(ServerIdentFrame(own, 0, 1, SUPPORTED_ALL, REQUIRED_ALWAYS, int(lossy), cookie))
        return ident

    def send_message(self, type_: int, seq: int, front: bytes = b"", **numbers: int) -> None:
        self.send(assemble(Tag.MESSAGE, message_segments(type_, seq, front, **numbers)))


class RawListener:
    """A port at which dials arrive as ``RawPeer``."""

    def __init__(self, deadline: Deadline, *, rcvbuf_bytes: int = 0) -> None:
        self._deadline = deadline
        self._sock = socket.socket()
        if rcvbuf_bytes:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf_bytes)
        self._sock.bind(("127.0.0.1", 0))
        self._sock.listen()

    @property
    def addrs(self) -> EntityAddrVec:
        return EntityAddrVec.parse("v2:{}:{}/0".format(*self._sock.getsockname()))

    @contextmanager
    def accept(self) -> Iterator[RawPeer]:
        self._sock.settimeout(self._deadline.remaining_s("a dial"))
        with RawPeer(self._sock.accept()[0], self._deadline) as peer:
            yield peer

    def __enter__(self) -> RawListener:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._sock.close()
