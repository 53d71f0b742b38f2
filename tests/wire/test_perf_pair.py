"""The recorded perf pair, played to our messenger over a socket: what it writes must be what Ceph's programs wrote.

One side of each recording is replaced by our messenger, the other one's bytes are sent as they are, except for addresses: ports
are those of this run. Frames without an address in them must come back byte for byte, checksums and acknowledgements included.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from ceph_msgr import Config, Dispatcher, EntityAddr, EntityAddrVec, EntityType, Message, Messenger, Policy, Stack
from ceph_msgr.auth import AuthRegistry
from ceph_msgr.protocol.frames import (
    AuthDoneFrame,
    AuthRequestFrame,
    AuthSignatureFrame,
    ClientIdentFrame,
    HelloFrame,
    ServerIdentFrame,
)
from ceph_msgr.protocol.tags import Tag
from ceph_msgr.tools.answerer import Answerer
from ceph_msgr.tools.workload import REPLY_TYPE, make_request
from tests.conftest import Deadline
from tests.messenger.raw_peer import RawListener, RawPeer
from tests.session.reference_codec import RefFrame, assemble
from tests.session.test_streams import Recording, Side, load

pytestmark = pytest.mark.contract("H7")

PERF_PAIRS = pytest.mark.parametrize("len_bytes", [0, 16, 4096])

#: As compiled into those programs: what today's Ceph offers without bit 34.
FEATURES = 0x3F01CFB9FFFDFFFF

MakeMessenger = Callable[[str, Policy], Messenger]


@pytest.fixture
def messenger(deadline: Deadline) -> Iterator[MakeMessenger]:
    made: list[Messenger] = []
    stack = Stack()

    def make(name: str, policy: Policy) -> Messenger:
        type_ = EntityType[name.partition(".")[0].upper()]
        config = Config(ms_bind_retry_count=0)
        auth = AuthRegistry.dummy(type_, config)
        messenger = Messenger.create(name, nonce=0, config=config, auth=auth, stack=stack)
        messenger.set_default_policy(policy.replace(features_supported=FEATURES))
        made.append(messenger)
        return messenger

    yield make
    for messenger in made:
        messenger.shutdown()
        assert messenger.wait(deadline.timeout_s)
    stack.stop()


def messages(side: Side) -> list[RefFrame]:
    return [frame for frame in side.frames if frame.tag == Tag.MESSAGE]


def check_message(got: RefFrame, golden: RefFrame) -> None:
    assert got.segments[0].hex(" ") == golden.segments[0].hex(" "), "header: seq, tid, type, ..., ack_seq, flags"
    assert got.segments[1].hex(" ") == golden.segments[1].hex(" "), "front"
    assert got.wire == golden.wire


def first(side: Side, kind: type) -> Any:
    return side.first(kind)


def wire_of(side: Side, tag: Tag) -> bytes:
    return next(frame.wire for frame in side.frames if frame.tag == tag)


# ---- our server, Ceph's client ----


@PERF_PAIRS
def test_the_server_answers_as_cephs(messenger: MakeMessenger, deadline: Deadline, len_bytes: int) -> None:
    recording = load(f"perf-pair-{len_bytes}")
    server = messenger("osd.0", Policy.stateless_server())
    server.bind("v2:127.0.0.1:0/0")
    server.start()
    server.add_dispatcher_head(Answerer())
    addr = server.myaddrs[0]
    with RawPeer.dial(addr, deadline) as client:
        _shake_hands_with_server(client, addr, recording)
        requests, replies = messages(recording.client), messages(recording.server)
        assert len(requests) == len(replies) == 3
        # As recorded: two in flight, the third behind the reply to the second.
        client.send(requests[0].wire + requests[1].wire)
        for reply in replies[:2]:
            check_message(client.recv_raw_frame("a reply"), reply)
        client.send(requests[2].wire)
        check_message(client.recv_raw_frame("the last reply"), replies[2])


def _shake_hands_with_server(client: RawPeer, addr: EntityAddr, recording: Recording) -> None:
    golden, ours = recording.client, recording.server
    client.send(golden.banner)
    assert client.recv_banner() == ours.banner
    client.send_frame(replace(first(golden, HelloFrame), peer_addr=addr))
    assert client.recv_raw_frame().wire == _with(ours, HelloFrame, peer_addr=client.addr)
    client.send(wire_of(golden, Tag.AUTH_REQUEST))
    assert client.recv_raw_frame().wire == wire_of(ours, Tag.AUTH_DONE)
    assert client.recv_raw_frame().wire == wire_of(ours, Tag.AUTH_SIGNATURE)
    client.send(wire_of(golden, Tag.AUTH_SIGNATURE))
    client.send_frame(replace(first(golden, ClientIdentFrame), target=addr))
    assert client.recv_raw_frame().wire == _with(ours, ServerIdentFrame, addrs=EntityAddrVec([addr]))


def _with(side: Side, kind: Any, **fields: Any) -> bytes:
    """The recorded frame of this kind, with the addresses of this run."""
    return assemble(kind.tag, [replace(first(side, kind), **fields).payload()])


# ---- our client, Ceph's server ----


class Requesting(Dispatcher):
    """Two requests at once, the third behind the second reply, all with tid 0, as Ceph's client does it."""

    def __init__(self, len_bytes: int) -> None:
        self.replies = 0
        self._request = make_request(len_bytes)

    def send(self, connection: Any) -> None:
        connection.send_message(self._request)

    def ms_can_fast_dispatch_any(self) -> bool:
        return True

    def ms_can_fast_dispatch(self, message_type: int) -> bool:
        return message_type == REPLY_TYPE

    def ms_fast_dispatch(self, message: Message) -> None:
        assert message.result == 0  # type: ignore[attr-defined]
        self.replies += 1
        if self.replies == 2:
            self.send(message.connection)


@PERF_PAIRS
def test_the_client_asks_as_cephs(messenger: MakeMessenger, deadline: Deadline, len_bytes: int) -> None:
    recording = load(f"perf-pair-{len_bytes}")
    client, dispatcher = messenger("client.0", Policy.lossless_client()), Requesting(len_bytes)
    client.add_dispatcher_head(dispatcher)
    client.start()
    requests, replies = messages(recording.client), messages(recording.server)
    with RawListener(deadline) as listener:
        connection = client.connect_to(EntityType.OSD, listener.addrs)
        dispatcher.send(connection)
        dispatcher.send(connection)
        with listener.accept() as server:
            _shake_hands_with_client(server, recording)
            for request in requests[:2]:
                check_message(server.recv_raw_frame("a request"), request)
            server.send(replies[0].wire + replies[1].wire)
            check_message(server.recv_raw_frame("the last request"), requests[2])
            server.send(replies[2].wire)
            server.send_tag(Tag.KEEPALIVE2, bytes(8))  # answered behind the reply
            assert server.recv_raw_frame().tag == Tag.KEEPALIVE2_ACK
    assert dispatcher.replies == 3


def _shake_hands_with_client(server: RawPeer, recording: Recording) -> None:
    ours, golden = recording.client, recording.server
    assert server.recv_banner() == ours.banner
    server.send(golden.banner)
    server.send_frame(replace(first(golden, HelloFrame), peer_addr=EntityAddr.parse("v2:127.0.0.1:9/0")))
    assert server.recv_raw_frame().wire == _with(ours, HelloFrame, peer_addr=server.addr)
    assert server.recv_raw_frame().wire == wire_of(ours, Tag.AUTH_REQUEST)
    server.send(wire_of(golden, Tag.AUTH_DONE) + wire_of(golden, Tag.AUTH_SIGNATURE))
    assert server.recv_raw_frame().wire == wire_of(ours, Tag.AUTH_SIGNATURE)
    ident = server.recv_raw_frame("CLIENT_IDENT")
    cookie = ClientIdentFrame.parse(ident.payload).cookie
    assert cookie != 0, "it means to be lossless"
    own = EntityAddrVec([EntityAddr.parse("any:127.0.0.1:0/0")])
    assert ident.wire == _with(ours, ClientIdentFrame, addrs=own, target=server.addr, cookie=cookie)
    server.send_frame(replace(first(golden, ServerIdentFrame), addrs=EntityAddrVec([server.addr])))


def test_nothing_else_is_in_the_recordings() -> None:
    """Else the tests above would skip it in silence."""
    for len_bytes in 0, 16, 4096:
        recording = load(f"perf-pair-{len_bytes}")
        kinds = HelloFrame, AuthRequestFrame, AuthSignatureFrame, ClientIdentFrame
        assert [frame.tag for frame in recording.client.frames] == [*[kind.tag for kind in kinds], *[Tag.MESSAGE] * 3]
        assert {frame.tag for frame in recording.server.frames} == {
            HelloFrame.tag, AuthDoneFrame.tag, AuthSignatureFrame.tag, ServerIdentFrame.tag, Tag.MESSAGE,
        }  # fmt: skip
