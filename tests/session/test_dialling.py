"""The dialling side, step by step: a new session, and one that goes on; and what both sides sign."""

from __future__ import annotations

import errno
import hashlib
import hmac
from dataclasses import replace

import pytest

from ceph_msgr.auth.base import ClientAuth
from ceph_msgr.auth.none import DummyClient
from ceph_msgr.config import Config
from ceph_msgr.errors import AuthError
from ceph_msgr.policy import Policy
from ceph_msgr.protocol import actions as act
from ceph_msgr.protocol import events as ev
from ceph_msgr.protocol import frames as f
from ceph_msgr.protocol.actions import Notice
from ceph_msgr.protocol.banner import OUR_BANNER, Banner
from ceph_msgr.protocol.events import Timer
from ceph_msgr.protocol.states import State
from ceph_msgr.protocol.tags import Tag
from ceph_msgr.wire.addr import EntityAddr, EntityAddrVec
from ceph_msgr.wire.entity import EntityType
from ceph_msgr.wire.features import MSG_ADDR2, SUPPORTED_ALL
from tests.session.machine import (
    CLIENT,
    DONE,
    EPHEMERAL,
    MS,
    SERVER,
    SERVER_HELLO,
    SERVER_IDENT,
    ZEROS,
    Machine,
    TwoRounds,
    TwoRoundsMethod,
    accepted_to,
    dialled_to,
    dialler,
    redialled_to,
)
from tests.session.reference_codec import assemble_control

# ---- the dialling side, step by step ----


def test_the_actions_of_a_dial_in_their_order() -> None:
    machine = dialler()
    machine.on(ev.DialRequested())
    assert machine.actions == [act.ArmTimer(Timer.HANDSHAKE, 10_000 * MS), act.Dial(SERVER)]
    machine.on(ev.SocketConnected(EPHEMERAL))
    assert machine.actions == [act.SendBytes(OUR_BANNER.encode())]
    machine.on(ev.BannerReceived(OUR_BANNER.encode()))
    assert machine.kinds() == ["SetRevision", "SendFrame", "Continue"]
    assert machine.sent() == [f.HelloFrame(EntityType.CLIENT, SERVER)]
    machine.frame(SERVER_HELLO)
    assert machine.kinds() == ["LearnAddress", "SendFrame", "Continue"]
    assert machine.only(act.LearnAddress).addr == EPHEMERAL
    assert machine.sent() == [f.AuthRequestFrame(1, (1,), b"")]
    machine.frame(DONE)
    assert machine.kinds() == ["SendFrame", "Continue"]
    assert machine.sent() == [ZEROS]
    machine.frame(ZEROS)
    assert machine.kinds() == ["SendFrame", "Continue"]
    assert machine.sent() == [f.ClientIdentFrame(EntityAddrVec([CLIENT]), SERVER, -1, 101, SUPPORTED_ALL, MSG_ADDR2, 0, 0xC01)]
    machine.frame(SERVER_IDENT)
    assert machine.kinds() == [
        "ResetQueues",
        "SetPeer",
        "CancelTimer",
        "EnterReady",
        "Notify",
        "Notify",
        "Continue",
    ]
    assert machine.only(act.EnterReady) == act.EnterReady(lossless=True, features=SUPPORTED_ALL)
    assert [a.notice for a in machine.actions if isinstance(a, act.Notify)] == [Notice.CONNECT, Notice.FAST_CONNECT]


def test_a_lossy_client_has_no_cookie_and_says_so() -> None:
    machine = dialled_to(State.SESSION_CONNECTING, Policy.lossy_client())
    (ident,) = machine.sent()
    assert isinstance(ident, f.ClientIdentFrame)
    assert (ident.flags, ident.cookie) == (f.FLAG_LOSSY, 0)


def test_features_are_those_both_support() -> None:
    machine = dialled_to(State.SESSION_CONNECTING)
    machine.frame(replace(SERVER_IDENT, features_supported=MSG_ADDR2 | 1 << 62))
    assert machine.only(act.EnterReady).features == MSG_ADDR2


def test_the_own_ip_may_be_learned_from_the_socket() -> None:
    machine = dialled_to(State.HELLO_CONNECTING, config=Config(ms_learn_addr_from_peer=False))
    machine.frame(f.HelloFrame(EntityType.OSD, EntityAddr.parse("v2:192.0.2.1:1")))
    assert machine.only(act.LearnAddress).addr == EPHEMERAL


@pytest.mark.parametrize("banner", [Banner(1, required=2), Banner(3, required=3)])
def test_a_banner_that_requires_too_much_is_for_ever(banner: Banner) -> None:
    machine = dialled_to(State.BANNER_CONNECTING)
    machine.on(ev.BannerReceived(banner.encode()))
    assert machine.kinds() == ["CancelTimer", "CloseSocket", "Notify", "Closed"]
    assert machine.only(act.Notify).notice is Notice.RESET
    machine = accepted_to(State.BANNER_ACCEPTING)
    machine.on(ev.BannerReceived(banner.encode()))
    assert machine.kinds() == ["CancelTimer", "CloseSocket", "Closed"]


@pytest.mark.contract("H2")
@pytest.mark.parametrize("start", [b"ceph v027\0", b"GET / HTTP", b"\x16\x03\x01", b"ceph v2\n\x08\x00" + bytes(8)])
def test_a_stranger_at_the_other_end(start: bytes) -> None:
    machine = dialled_to(State.BANNER_CONNECTING)
    machine.on(ev.BannerReceived(start))
    assert machine.state is State.BACKOFF
    machine = accepted_to(State.BANNER_ACCEPTING)
    machine.on(ev.BannerReceived(start))
    assert machine.state is State.CLOSED


def test_a_peer_without_revision_1_is_spoken_to_in_2_0() -> None:
    machine = dialled_to(State.BANNER_CONNECTING)
    machine.on(ev.BannerReceived(Banner(0).encode()))
    assert machine.only(act.SetRevision).revision == 0


def test_a_peer_of_another_type_is_not_dialled_again() -> None:
    machine = dialled_to(State.HELLO_CONNECTING)
    machine.frame(f.HelloFrame(EntityType.MON, EPHEMERAL))
    assert machine.kinds() == ["CancelTimer", "CloseSocket", "Notify", "Closed"]
    assert machine.only(act.Closed).reason == "the peer is of type mon, expected osd"


def test_the_next_allowed_method_is_tried() -> None:
    machine = dialled_to(State.HELLO_CONNECTING, clients=[TwoRoundsMethod(), DummyClient()])
    machine.frame(SERVER_HELLO)
    assert machine.sent() == [f.AuthRequestFrame(2, (1, 2), b"hello")]
    machine.frame(f.AuthBadMethodFrame(2, -errno.EOPNOTSUPP, (1,), (2, 1)))
    assert machine.state is State.AUTH_CONNECTING
    assert machine.sent() == [f.AuthRequestFrame(1, (1,), b"")]
    machine.frame(f.AuthBadMethodFrame(1, -errno.EACCES, (1, 2), (1,)))
    assert machine.state is State.BACKOFF
    text = str(machine.session.last_error)
    assert "the server refused method 1 (EACCES) and allows methods [1, 2] with modes [1]" in text


def test_a_method_the_server_does_not_allow_is_not_tried() -> None:
    machine = dialled_to(State.AUTH_CONNECTING, clients=[TwoRoundsMethod(), DummyClient()])
    machine.frame(f.AuthBadMethodFrame(2, -errno.EOPNOTSUPP, (4,), (1,)))
    assert machine.state is State.BACKOFF


@pytest.mark.parametrize("clients", [[], [TwoRoundsMethod(AuthError("no ticket"))]])
def test_without_a_request_to_send_the_connection_is_closed(clients: list[ClientAuth]) -> None:
    machine = dialled_to(State.HELLO_CONNECTING, clients=clients)
    machine.frame(SERVER_HELLO)
    assert machine.kinds()[-3:] == ["CloseSocket", "Notify", "Closed"]


def test_a_mode_that_was_not_offered_is_refused() -> None:
    machine = dialled_to(State.AUTH_CONNECTING)
    machine.frame(f.AuthDoneFrame(0, 2, b""))
    assert machine.state is State.BACKOFF
    assert "the server chose mode 2, offered were [1]" in str(machine.session.last_error)


@pytest.mark.parametrize("bit", [0, 100, 255])
def test_a_wrong_signature_is_noticed(bit: int) -> None:
    wrong = bytearray(32)
    wrong[bit // 8] = 1 << bit % 8
    machine = dialled_to(State.AUTH_CONNECTING_SIGN)
    machine.frame(f.AuthSignatureFrame(bytes(wrong)))
    assert machine.state is State.BACKOFF
    machine = accepted_to(State.AUTH_ACCEPTING_SIGN)
    machine.frame(f.AuthSignatureFrame(bytes(wrong)))
    assert machine.state is State.CLOSED


@pytest.mark.parametrize("addr", ["v2:10.0.0.1:6800/2", "v2:10.0.0.1:6801/1", "v2:10.0.0.3:6800/1", "any:10.0.0.1:6800/1"])
def test_a_server_that_is_not_whom_we_dialled_is_refused(addr: str) -> None:
    machine = dialled_to(State.SESSION_CONNECTING)
    machine.frame(replace(SERVER_IDENT, addrs=EntityAddrVec.parse(addr)))
    assert machine.state is State.BACKOFF
    assert machine.session.server_cookie == 0


@pytest.mark.contract("J24")
def test_missing_features_are_named_and_tried_again() -> None:
    machine = dialled_to(State.SESSION_CONNECTING)
    machine.frame(f.IdentMissingFeaturesFrame(1 << 62))
    assert machine.state is State.BACKOFF
    assert str(machine.session.last_error).endswith("the server requires features we do not offer: bit 62")


# ---- reconnecting ----


def test_a_reconnect_tells_what_was_received() -> None:
    machine = redialled_to(State.SESSION_RECONNECTING)
    assert machine.sent() == [
        f.SessionReconnectFrame(EntityAddrVec([CLIENT]), 0xC01, 0x5EE, global_seq=102, connect_seq=1, msg_seq=7)
    ]
    machine.frame(f.SessionReconnectOkFrame(3))
    assert machine.kinds() == ["DropAcked", "SetPeer", "CancelTimer", "EnterReady", "Notify", "Notify", "Continue"]
    assert machine.only(act.DropAcked).seq == 3


@pytest.mark.contract("J21", "J22")
def test_retry_sets_and_retry_global_exceeds() -> None:
    machine = redialled_to(State.SESSION_RECONNECTING)
    machine.frame(f.SessionRetryFrame(41), 7)
    (again,) = machine.sent()
    assert isinstance(again, f.SessionReconnectFrame)
    assert (again.connect_seq, again.global_seq, again.msg_seq) == (42, 102, 7)
    machine.frame(f.SessionRetryGlobalFrame(5000), 7)
    (again,) = machine.sent()
    assert isinstance(again, f.SessionReconnectFrame)
    assert (again.connect_seq, again.global_seq) == (42, 5001)


@pytest.mark.contract("H2")
@pytest.mark.parametrize("value", [2**63, 2**64 - 1])
@pytest.mark.parametrize("kind", [f.SessionRetryFrame, f.SessionRetryGlobalFrame])
def test_a_counter_is_not_driven_to_its_end(kind: type, value: int) -> None:
    machine = redialled_to(State.SESSION_RECONNECTING)
    machine.frame(kind(value))
    assert machine.state is State.BACKOFF
    assert machine.host.global_seq < 1000
    assert machine.session.connect_seq < 1000


@pytest.mark.contract("J20")
def test_a_partial_reset_keeps_queue_and_cookie() -> None:
    machine = redialled_to(State.SESSION_RECONNECTING)
    machine.frame(f.SessionResetFrame(False))
    assert machine.kinds() == ["SendFrame", "Continue"]
    (ident,) = machine.sent()
    assert isinstance(ident, f.ClientIdentFrame)
    assert (ident.cookie, ident.global_seq) == (0xC01, 102)
    assert (machine.session.server_cookie, machine.session.connect_seq) == (0, 0)
    machine.frame(SERVER_IDENT)
    assert machine.only(act.ResetQueues).drop is False


@pytest.mark.contract("J19")
def test_a_full_reset_drops_the_queue_and_tells() -> None:
    machine = redialled_to(State.SESSION_RECONNECTING)
    machine.frame(f.SessionResetFrame(True))
    assert machine.kinds() == ["ResetQueues", "Notify", "SendFrame", "Continue"]
    assert machine.actions[:2] == [act.ResetQueues(drop=True), act.Notify(Notice.REMOTE_RESET)]
    (ident,) = machine.sent()
    assert isinstance(ident, f.ClientIdentFrame)
    assert ident.cookie == 0xC02


@pytest.mark.contract("J23")
@pytest.mark.parametrize("state", [State.SESSION_CONNECTING, State.SESSION_RECONNECTING])
@pytest.mark.parametrize("policy", [Policy.lossless_peer(), Policy.lossy_client(), Policy.lossless_client()])
def test_wait_is_the_longest_pause_even_with_nothing_to_say(state: State, policy: Policy) -> None:
    machine = redialled_to(state, policy) if state is State.SESSION_RECONNECTING else dialled_to(state, policy)
    machine.frame(f.WaitFrame())
    assert machine.actions == [
        act.CancelTimer(Timer.HANDSHAKE),
        act.CloseSocket(),
        act.ArmTimer(Timer.BACKOFF, 15_000 * MS),
    ]
    assert machine.state is State.WAIT
    machine.on(ev.TimerFired(Timer.BACKOFF))
    assert machine.state is State.CONNECTING


@pytest.mark.contract("J8", "J10")
def test_a_dial_before_the_last_may_have_been_granted() -> None:
    """The peer may grant what a dial asked for that broke, also after another one that did not come so far. Not for ever: a peer
    that we cannot reach, but that reaches us, must not be told to wait for us again and again. Simulator, seed 1011529."""
    machine = dialled_to(State.SESSION_CONNECTING, Policy.lossless_peer())
    for event in ev.SocketLost(OSError("broken")), ev.SendQueued(), ev.SocketLost(OSError("broken again")):
        machine.on(event)
    assert machine.state is State.STANDBY
    assert machine.session.view("handle").is_ident_unanswered
    machine.session.handle(ev.SendQueued(), int(machine.session.config.ms_accept_handshake_timeout * 1e9))
    assert not machine.session.view("handle").is_ident_unanswered


def test_an_answered_dial_is_forgotten() -> None:
    assert dialled_to(State.SESSION_CONNECTING).session.is_ident_unanswered
    assert not dialled_to(State.READY).session.is_ident_unanswered




# ---- keys ----


@pytest.mark.parametrize("mode", [1, 2])
def test_with_a_session_key_both_sides_sign_what_they_received(mode: int) -> None:
    """Two rounds; the machines are fed each other's frames, and the signatures agree with an HMAC made by hand."""
    config = Config(ms_client_mode="secure" if mode == 2 else "crc")
    client = dialled_to(State.BANNER_CONNECTING, clients=[TwoRoundsMethod()], config=config)
    server = accepted_to(State.BANNER_ACCEPTING, servers=[TwoRounds()])
    to_server, to_client = bytearray(), bytearray()

    def carry(source: Machine, stream: bytearray, target: Machine) -> None:
        """One frame at a time, as the data plane does."""
        for action in source.actions:
            if isinstance(action, act.SendFrame):
                if action.tag not in (Tag.AUTH_SIGNATURE, Tag.CLIENT_IDENT):
                    stream += assemble_control(action.tag, action.payload, 1)
                pending.append((target, action.tag, action.payload))

    pending: list[tuple[Machine, Tag, bytes]] = []
    for machine, stream, target in ((client, to_server, server), (server, to_client, client)):
        stream += OUR_BANNER.encode()
        machine.on(ev.BannerReceived(OUR_BANNER.encode()))
        carry(machine, stream, target)
    signatures: dict[str, bytes] = {}
    keys: dict[str, act.SetKeys] = {}
    while pending:
        target, tag, payload = pending.pop(0)
        if tag is Tag.AUTH_SIGNATURE:
            signatures["server" if target is client else "client"] = payload
        if tag is Tag.CLIENT_IDENT:
            continue
        target.raw(tag, payload)
        if any(isinstance(a, act.SetKeys) for a in target.actions):
            keys["client" if target is client else "server"] = target.only(act.SetKeys)
            kinds = target.kinds()
            assert kinds.index("SetKeys") < len(kinds) - 1 - kinds[::-1].index("SendFrame")
        other = client if target is server else server
        carry(target, to_client if target is server else to_server, other)
    assert client.state is State.SESSION_CONNECTING
    assert server.state is State.SESSION_ACCEPTING
    assert signatures["client"] == hmac.digest(b"k" * 16, bytes(to_client), hashlib.sha256)
    assert signatures["server"] == hmac.digest(b"k" * 16, bytes(to_server), hashlib.sha256)
    if mode == 1:
        assert keys == {}
    else:
        assert keys == {"client": act.SetKeys(b"s" * 64, True), "server": act.SetKeys(b"s" * 64, False)}
        assert "sss" not in repr(keys)
