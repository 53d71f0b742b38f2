"""Options for tests: what they inject happens, and what they call fatal is told."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from typing import Any

import pytest

from ceph_msgr import EntityType, Message, Policy
from ceph_msgr.errors import DecodeError
from ceph_msgr.messages import MPing
from ceph_msgr.protocol import events as ev
from tests.messenger.dispatchers import RAW, RAW_FAST
from tests.messenger.lab import Lab, Node
from tests.messenger.raw_peer import RawPeer

# ---- broken and slow sockets ----


@pytest.mark.contract("H1")
def test_injected_failures_break_sockets_and_lose_nothing(lab: Lab) -> None:
    faults: dict[str, Any] = {"ms_inject_socket_failures": 30, "ms_initial_backoff": 0.01, "ms_max_backoff": 0.05}
    server = lab.server(Policy.stateful_server(), **faults)
    client = lab.client(Policy.lossless_client(), **faults)
    connection = client.connect(server)
    count = 0
    while count < 100 or client.counter("msgr_reconnects") <= 2:
        lab.round_trip(client, connection, tid=count)
        count += 1
    assert [call.tid for call in client.seen.messages] == list(range(count))


def test_injected_congestion_loses_nothing(lab: Lab) -> None:
    server = lab.server(ms_inject_network_congestion=20)
    client = lab.client(ms_inject_network_congestion=20)
    connection = client.connect(server)
    for tid in range(50):
        connection.send_message(MPing(tid=tid))
    lab.wait_until(lambda: len(client.seen.messages) == 50, "50 answers")
    assert [call.tid for call in client.seen.messages] == list(range(50))


# ---- delays inside ----


def test_internal_delays_come_where_races_matter(lab: Lab) -> None:
    """The acceptor's first look, and its look-up, are so much later; then nothing is slow any more."""
    delay_s = 0.2
    server, client = lab.server(ms_inject_internal_delays=delay_s), lab.client()
    began_s = time.monotonic()
    connection = client.connect(server)
    lab.round_trip(client, connection)
    assert time.monotonic() - began_s >= 2 * delay_s
    began_s = time.monotonic()
    for tid in range(100):
        lab.round_trip(client, connection, tid=tid)
    assert time.monotonic() - began_s < 100 * delay_s


def test_a_mark_down_during_an_internal_delay_wins(lab: Lab) -> None:
    """Behind the delay nothing is left to do, and nothing is done."""
    server, client = lab.server(ms_inject_internal_delays=0.05), lab.client()
    connection = client.connect(server)
    lab.wait_until(server.connections, "the server to accept")
    for accepted in server.connections():
        accepted.mark_down()
    connection.mark_down()
    lab.wait_until(lambda: not server.connections(), "the accepted connection to be gone")
    client, connection = client, client.connect(server)
    lab.round_trip(client, connection)


# ---- delayed messages ----

_DELAYS = {"ms_inject_delay_type": "client", "ms_inject_delay_probability": 0.7, "ms_inject_delay_max": 0.05}


@pytest.mark.parametrize("type_", [RAW_FAST, RAW])
def test_delayed_messages_keep_their_order(lab: Lab, type_: int) -> None:
    server, client = lab.server(**_DELAYS), lab.client()
    connection = client.connect(server)
    for tid in range(40):
        connection.send_message(Message(type_, b"x" * 100, tid=tid))
    lab.wait_until(lambda: len(server.seen.messages) == 40, "40 messages")
    assert [call.tid for call in server.seen.messages] == list(range(40))


def test_a_delay_holds_up_one_connection_and_not_its_worker(lab: Lab) -> None:
    server = lab.server(ms_inject_delay_type="mgr", ms_inject_delay_probability=1, ms_inject_delay_max=3600)
    slow, quick = lab.client(name="mgr.0"), lab.client()
    slow.connect(server).send_message(MPing())
    lab.wait_until(lambda: server.core_stat("recv_messages") == 1, "the message to be received")
    lab.round_trip(quick, quick.connect(server))
    assert [call.connection.peer_type for call in server.seen.messages] == [EntityType.CLIENT]
    # The lab's end finds no throttle taken: what is held is dropped with its connection.
    assert server.messenger.dispatch_throttle.current == 0


def test_what_is_delayed_keeps_the_dispatch_throttle_until_the_connection_ends(lab: Lab) -> None:
    server = lab.server(ms_inject_delay_type="client", ms_inject_delay_probability=1, ms_inject_delay_max=3600)
    client = lab.client()
    connection = client.connect(server)
    connection.send_message(Message(RAW_FAST, bytes(1000)))
    lab.wait_until(lambda: server.messenger.dispatch_throttle.current == 1000, "the message to be held")
    connection.mark_down()
    lab.wait_count(server, "ms_handle_reset")
    lab.wait_until(lambda: server.messenger.dispatch_throttle.current == 0, "what was held to be dropped")
    assert not server.seen.messages


@pytest.mark.parametrize("lab", [2], indirect=True)
def test_delayed_messages_move_with_their_connection(lab: Lab) -> None:
    """A take-over moves the session to the worker of the newer socket."""
    delays = _DELAYS | {"ms_inject_delay_probability": 1, "ms_inject_delay_max": 0.3}
    server, client = lab.server(Policy.stateful_server(), **delays), lab.client(Policy.lossless_client())
    connection: Any = client.connect(server)
    lab.wait_connected(connection)
    for times in range(1, 4):
        for tid in range(10):
            connection.send_message(MPing(tid=10 * times + tid))
        lab.on_worker(connection, connection.hang_up)
        lab.wait_until(lambda times=times: client.counter("msgr_reconnects") >= times, "a reconnect")
        lab.wait_connected(connection)
    lab.wait_until(lambda: len(client.seen.messages) == 30, "30 answers")
    assert [call.tid for call in server.seen.messages] == list(range(10, 40))


# ---- blackholes ----


@pytest.mark.parametrize("side", ["server", "client"])
def test_a_blackhole_swallows_messages_and_keeps_the_connection(lab: Lab, side: str) -> None:
    server = lab.server(ms_blackhole_client=side == "server")
    client = lab.client(ms_blackhole_osd=side == "client")
    connection = client.connect(server)
    lab.wait_connected(connection)
    connection.send_message(Message(RAW_FAST, b"1", tid=1))
    if side == "server":
        lab.wait_until(lambda: server.messenger.dispatch_throttle.stats()["put"], "the message to be swallowed")
        server.seen.last_accepted.send_message(MPing(tid=2))  # type: ignore[union-attr]
        server.messenger.config.ms_blackhole_client = False
    else:
        client.messenger.config.ms_blackhole_osd = False
    lab.round_trip(client, connection, tid=3)
    assert [call.tid for call in server.seen.messages + client.seen.messages] == [3, 3]
    assert connection.is_connected and not server.seen.count("ms_handle_reset")


def test_a_blackhole_is_for_one_type(lab: Lab) -> None:
    server, client = lab.server(ms_blackhole_mon=True, ms_blackhole_mds=True, ms_blackhole_mgr=True), lab.client()
    lab.round_trip(client, client.connect(server))


# ---- what is fatal ----


class Fatal:
    """Notes what is fatal at a node."""

    def __init__(self, lab: Lab, node: Node) -> None:
        self.errors: list[Exception] = []
        self._lab = lab
        node.messenger.on_fatal = self._on_fatal

    def _on_fatal(self, error: Exception) -> None:
        self.errors.append(error)
        raise RuntimeError("a test's hook may raise")

    def wait(self, times: int = 1) -> str:
        self._lab.wait_until(lambda: len(self.errors) == times, f"{times} fatal errors, there are {self.errors}")
        return str(self.errors[-1])


@pytest.fixture
def fatal_hook(expected_errors: list[str]) -> Iterator[None]:
    """The hooks of these tests raise, which ends in the log; so does the fatal error."""
    expected_errors += ["osd.0: ", "exception in", "delivery failed", "dispatcher callback", "cannot handle"]
    yield


@pytest.mark.usefixtures("fatal_hook")
@pytest.mark.parametrize("is_fatal", [True, False])
def test_repeated_and_skipped_numbers(lab: Lab, caplog: pytest.LogCaptureFixture, is_fatal: bool) -> None:
    server = lab.server(ms_die_on_old_message=is_fatal, ms_die_on_skipped_message=is_fatal)
    fatal = Fatal(lab, server)
    with RawPeer.dial(server.addrs[0], lab.deadline) as peer:
        peer.become_client(server.addrs[0])
        for seq, tid in ((1, 1), (1, 2), (4, 3), (3, 4), (5, 5)):
            peer.send_message(RAW_FAST, seq, tid=tid)
            lab.wait_until(lambda tid=tid: sum(map(server.core_stat, ("recv_messages", "duplicates_dropped"))) == tid, "it")
        lab.wait_until(lambda: len(server.seen.messages) == 3, "the messages that are new")
        assert [call.tid for call in server.seen.messages] == [1, 3, 5]
        if is_fatal:
            fatal.wait(3)
        told = [record.getMessage() for record in caplog.records if record.levelno == logging.CRITICAL]
        odd = [
            "message 1 comes again, expected was 2",
            "message 4 skips numbers, expected was 2",
            "message 3 comes again, expected was 5",
        ]
        assert [str(error) for error in fatal.errors] == (odd if is_fatal else [])
        assert told == ([f"osd.0: {text}" for text in odd] if is_fatal else [])
        assert server.core_stat("duplicates_dropped") == 2 and server.core_stat("sequence_gaps") == 1
        peer.send_message(RAW_FAST, 6, tid=6)
        lab.wait_until(lambda: len(server.seen.messages) == 4, "the connection to go on")


@pytest.mark.usefixtures("fatal_hook")
@pytest.mark.contract("H2")
@pytest.mark.parametrize("seq", [1, 0, 2**64 - 1])
def test_every_number_is_old_behind_the_last_one(lab: Lab, seq: int) -> None:
    server = lab.server(ms_die_on_old_message=True)
    fatal = Fatal(lab, server)
    with RawPeer.dial(server.addrs[0], lab.deadline) as peer:
        peer.become_client(server.addrs[0])
        peer.send_message(RAW_FAST, 2**64 - 1)
        lab.wait_until(lambda: len(server.seen.messages) == 1, "the message with the last number")
        assert not fatal.errors
        peer.send_message(RAW_FAST, seq)
        assert fatal.wait() == f"message {seq} comes again, expected was none, the numbers are used up"


@pytest.mark.usefixtures("fatal_hook")
@pytest.mark.parametrize("is_fatal", [True, False])
def test_a_message_that_cannot_be_decoded(lab: Lab, is_fatal: bool) -> None:
    server, client = lab.server(ms_die_on_bad_msg=is_fatal), lab.client()
    fatal = Fatal(lab, server)
    connection = client.connect(server)
    connection.send_message(Message(MPing.TYPE, b"\xff"))
    lab.round_trip(client, connection)
    assert len(fatal.errors) == is_fatal
    assert all(isinstance(error, DecodeError) for error in fatal.errors)


@pytest.mark.usefixtures("fatal_hook")
@pytest.mark.parametrize("is_fatal", [True, False])
def test_a_message_nobody_takes(lab: Lab, is_fatal: bool) -> None:
    server, client = lab.server(ms_die_on_unhandled_msg=is_fatal), lab.client()
    server.seen.ms_dispatch = lambda message: False  # type: ignore[method-assign]
    fatal = Fatal(lab, server)
    connection = client.connect(server)
    connection.send_message(Message(RAW, b"x"))
    lab.wait_until(lambda: server.messenger.dispatchers.perf.get("msgr_unhandled_messages"), "it to be counted")
    if is_fatal:
        assert "ms_die_on_unhandled_msg" in fatal.wait()
    assert len(fatal.errors) == is_fatal


@pytest.mark.usefixtures("fatal_hook")
@pytest.mark.parametrize("is_fatal", [True, False])
def test_an_event_that_cannot_happen(lab: Lab, is_fatal: bool) -> None:
    server = lab.server(ms_die_on_bug=is_fatal)
    fatal = Fatal(lab, server)
    client = lab.client()
    lab.round_trip(client, client.connect(server))
    accepted: Any = server.seen.last_accepted
    accepted._post(ev.SocketConnected(server.addrs[0]))  # it did not dial
    lab.wait_count(server, "ms_handle_reset")
    if is_fatal:
        assert "SocketConnected in state READY" in fatal.wait()
    assert len(fatal.errors) == is_fatal
