"""A messenger's life: bind, start, shutdown, wait, start again; addresses; several of them in one process."""

from __future__ import annotations

import errno
import gc
import logging
import socket
import subprocess
import sys
import threading
import time
from typing import Any

import pytest

from ceph_msgr import EntityAddr, EntityAddrVec, EntityType, Message, Messenger, MessengerError, Policy
from ceph_msgr.metrics import render_prometheus, snapshot
from ceph_msgr.protocol.frames import HelloFrame
from ceph_msgr.protocol.tags import Tag
from tests.messenger.dispatchers import RAW
from tests.messenger.lab import LOOPBACK, Lab
from tests.messenger.raw_peer import BANNER, RawPeer, needs_ipv6
from tests.messenger.test_connection import closed_port
from tests.session.reference_codec import assemble

# ---- waiting and stopping ----


def test_wait_of_an_idle_messenger_times_out(lab: Lab) -> None:
    server = lab.server()
    begin_s = time.monotonic()
    assert server.messenger.wait(0.05) is False
    assert time.monotonic() - begin_s >= 0.05
    lab.connected_pair(server)
    assert server.messenger.wait(0) is False


def test_wait_of_a_messenger_that_was_never_started_returns_at_once(lab: Lab) -> None:
    client = lab.client(start=False)
    assert client.messenger.wait() is True
    client.messenger.shutdown()
    assert client.messenger.wait(0) is True


def test_shutdown_and_wait_are_idempotent_from_any_thread(lab: Lab) -> None:
    _server, client, _ = lab.connected_pair()
    results: list[bool] = []

    def end() -> None:
        client.messenger.shutdown()
        results.append(client.messenger.wait(lab.deadline.timeout_s))

    threads = [threading.Thread(target=end) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(lab.deadline.remaining_s("the end"))
    assert results == [True] * 4
    assert client.seen.count("ms_handle_reset") == 1


def test_wait_keeps_its_time_although_a_callback_does_not_return(lab: Lab) -> None:
    server, client = lab.server(seen=lab.dispatcher()), lab.client()
    busy, release = threading.Event(), threading.Event()

    def hold(message: Message) -> None:
        busy.set()
        release.wait(lab.deadline.timeout_s)

    server.seen.hooks["ms_dispatch"] = hold
    client.connect(server).send_message(Message(RAW))
    lab.wait_until(busy.is_set, "the callback")
    server.messenger.shutdown()
    assert server.messenger.wait(0.05) is False
    release.set()
    assert server.messenger.wait(lab.deadline.remaining_s("the end")) is True


BLOCKED_AT_EXIT = """
import threading
import ceph_msgr.messenger, ceph_msgr.net.stack
from ceph_msgr import Dispatcher, EntityType, Message, Messenger

ceph_msgr.messenger._DRAIN_TIMEOUT_S = ceph_msgr.net.stack._EXIT_TIMEOUT_S = 0.2
busy = threading.Event()

class Blocks(Dispatcher):
    def ms_dispatch(self, message):
        busy.set()
        threading.Event().wait()

server = Messenger.create("osd.0")
server.bind("127.0.0.1:0")
server.add_dispatcher_head(Blocks())
server.start()
client = Messenger.create("client.a")
client.start()
client.connect_to(EntityType.OSD, server.myaddrs).send_message(Message(60000))
assert busy.wait(30)
print("leaving")
"""


@pytest.mark.slow
def test_the_program_ends_although_a_callback_does_not_return(lab: Lab) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", BLOCKED_AT_EXIT], capture_output=True, text=True, timeout=lab.deadline.timeout_s, check=False
    )
    assert (ended.returncode, ended.stdout) == (0, "leaving\n"), ended.stderr


def test_shutdown_wakes_whoever_waits(lab: Lab) -> None:
    server = lab.server()
    results: list[bool] = []
    waiting = threading.Thread(target=lambda: results.append(server.messenger.wait()))
    waiting.start()
    server.messenger.shutdown()
    waiting.join(lab.deadline.remaining_s("wait() to return"))
    assert results == [True]


def test_after_wait_nothing_is_left(lab: Lab) -> None:
    server, client, connection = lab.connected_pair()
    before = {thread.name for thread in threading.enumerate()}
    client.messenger.shutdown()
    client.messenger.wait()
    assert not connection.is_connected
    assert client.messenger.get_dispatch_queue_len() == 0
    assert client.seen.names(connection)[-1] == "ms_handle_reset", "the queued callbacks were delivered"
    with pytest.raises(MessengerError, match="needs a started messenger"):
        client.connect(server)
    assert "msgr-worker-0" in before & {thread.name for thread in threading.enumerate()}, "workers are the stack's"


def test_restart_with_another_policy(lab: Lab) -> None:
    server, client, connection = lab.connected_pair()
    for _ in range(3):
        for node in client, server:
            node.messenger.shutdown()
            node.messenger.wait()
        server.messenger.bind(LOOPBACK)
        server.messenger.set_default_policy(Policy.stateful_server())
        server.messenger.start()
        client.messenger.set_default_policy(Policy.lossless_client())
        client.messenger.start()
        again = client.connect(server)
        lab.round_trip(client, again)
        assert again is not connection
        assert again.session_info()["lossless"]
        loopback = client.messenger.get_loopback_connection()
        lab.round_trip(client, loopback)
        connection = again


def test_the_context_manager_shuts_down_and_waits(lab: Lab) -> None:
    server = lab.server()
    client = lab.client(start=False)
    with client.messenger as messenger:
        messenger.start()
        connection = client.connect(server)
        lab.round_trip(client, connection)
    assert not connection.is_connected
    assert messenger.wait(0) is True

    with pytest.raises(KeyError), client.messenger as messenger:
        messenger.start()
        raise KeyError("out of the block")
    assert messenger.wait(0) is True


def test_a_messenger_dropped_without_shutdown_warns(lab: Lab) -> None:
    messenger = Messenger.create("client.dropped", stack=lab.stack)
    messenger.start()
    with pytest.warns(ResourceWarning, match=r"<Messenger client.dropped at .*> was not shut down"):
        del messenger
        gc.collect()


def test_calls_that_come_too_early_or_twice(lab: Lab) -> None:
    client = lab.client(start=False)
    server = lab.server()
    with pytest.raises(MessengerError, match="connect_to\\(\\) needs a started messenger"):
        client.connect(server)
    with pytest.raises(MessengerError, match=r"rebind\(\) without bind\(\)"):
        client.messenger.rebind()
    client.messenger.start()
    with pytest.raises(MessengerError, match="is started already"):
        client.messenger.start()
    with pytest.raises(MessengerError, match=r"bind\(\) comes before start\(\)"):
        client.messenger.bind(LOOPBACK)
    with pytest.raises(MessengerError, match=r"set_addrs\(\) comes between bind\(\) and start\(\)"):
        server.messenger.set_addrs(LOOPBACK)
    for nonce in -1, 1 << 32:
        with pytest.raises(ValueError, match="does not fit into 32 bits"):
            Messenger.create("client.admin", nonce=nonce, stack=lab.stack)


# ---- binding ----


def test_a_port_in_use_leaves_nothing_bound(lab: Lab) -> None:
    first = lab.server()
    second = lab.client(start=False)
    holder, port = closed_port()
    with holder:
        with pytest.raises(OSError, match=f"cannot listen on v2:127.0.0.1:{first.port}/0") as error:
            second.messenger.bind(f"[v2:127.0.0.1:{port},v2:127.0.0.1:{first.port}]")
        assert error.value.errno == errno.EADDRINUSE
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))
    second.messenger.bind(LOOPBACK)  # it can still have another one
    second.messenger.start()
    assert second.port not in (0, first.port)


def test_nothing_is_read_before_there_is_a_dispatcher(lab: Lab) -> None:
    server = lab.client(name="osd.3", start=False)
    late = Messenger.create("osd.4", stack=lab.stack)
    with late:
        late.bind(LOOPBACK)
        late.start()
        with RawPeer.dial(late.myaddrs[0], lab.deadline) as peer:
            peer.send(BANNER)
            lab.stack.drain()
            peer.sock.settimeout(0.05)
            with pytest.raises(TimeoutError):
                peer.sock.recv(1)
            late.add_dispatcher_head(server.seen)
            assert peer.recv_banner() == BANNER


def test_announced_addresses_carry_nonce_and_bound_port(lab: Lab) -> None:
    server = lab.server(bind="v2:127.0.0.1:0/99")
    assert server.addrs[0].nonce == server.messenger._nonce
    assert server.addrs[0].port >= 6800
    blank = lab.server(name="osd.1", bind="v2:0.0.0.0:0")
    assert blank.addrs[0].is_blank_ip, "to be learned from the first peer"


def test_announced_addresses_may_be_others_than_the_bound_ones(lab: Lab) -> None:
    server = lab.client(name="osd.3", start=False)
    with pytest.raises(MessengerError, match=r"set_addrs\(\) comes between bind\(\) and start\(\)"):
        server.messenger.set_addrs("v2:10.0.0.1:6800")
    server.messenger.bind(LOOPBACK)
    server.messenger.set_addrs("v2:10.0.0.1:6800")
    server.messenger.start()
    assert str(server.addrs) == f"v2:10.0.0.1:6800/{server.messenger._nonce}"


def test_an_unbound_client_learns_its_ip(lab: Lab) -> None:
    client = lab.client()
    assert str(client.addrs).startswith("any:-/")
    lab.connected_pair(client=client)
    assert client.addrs[0] == EntityAddr.parse(f"any:127.0.0.1:0/{client.messenger._nonce}")


def test_a_messenger_bound_to_a_blank_ip_learns_it_and_goes_on(lab: Lab) -> None:
    server, client = lab.server(bind="v2:0.0.0.0:0"), lab.client()
    target = EntityAddr.parse(f"v2:127.0.0.1:{server.port}/{server.messenger._nonce}")
    lab.round_trip(client, client.messenger.connect_to(EntityType.OSD, target))
    assert server.addrs == EntityAddrVec([target])


def test_client_reset_makes_another_entity_that_goes_on(lab: Lab) -> None:
    server, client, _connection = lab.connected_pair()
    nonce = client.addrs[0].nonce
    client.messenger.client_reset()
    lab.wait_count(client, "ms_handle_reset")
    assert client.addrs[0].nonce == nonce + 1_000_000
    lab.round_trip(client, client.connect(server))
    assert server.seen.last_accepted.peer_addrs == client.addrs


@needs_ipv6
def test_ipv6(lab: Lab) -> None:
    server, client, connection = lab.connected_pair(lab.server(bind="v2:[::1]:0"))
    assert connection.peer_addrs[0].ip == "::1"
    assert server.seen.last_accepted.peer_addrs[0].ip == "::1"
    assert str(client.addrs).startswith("any:[::1]:0/")


# ---- several ----


def test_many_messengers_in_one_process(lab: Lab) -> None:
    servers = [lab.server(name=f"osd.{i}") for i in range(3)]
    clients = [lab.client() for _ in range(3)]
    for client in clients:
        for server in servers:
            lab.round_trip(client, client.connect(server))
    servers[0].messenger.shutdown()
    servers[0].messenger.wait()
    for client in clients:
        lab.wait_count(client, "ms_handle_reset")
        for server in servers[1:]:
            lab.round_trip(client, client.connect(server))


@pytest.mark.parametrize("lab", [3], indirect=True)
def test_connections_are_spread_over_the_workers(lab: Lab) -> None:
    server = lab.server()
    clients = [lab.client() for _ in range(6)]
    connections: list[Any] = [client.connect(server) for client in clients]
    for client, connection in zip(clients, connections, strict=True):
        lab.round_trip(client, connection)
    assert {connection.worker.id for connection in connections + server.connections()} == {0, 1, 2}
    assert [worker.references for worker in lab.stack.workers] == [4, 4, 4]
    connections[0].mark_down()
    lab.wait_until(lambda: sum(worker.references for worker in lab.stack.workers) == 10, "both ends to give their worker back")


def test_two_messengers_on_the_shared_stack() -> None:
    """As most programs use it: nothing given, everything by default."""
    with Messenger.create("osd.0") as server, Messenger.create("client.admin") as client:
        assert server.stack is client.stack
        server.bind(LOOPBACK)
        for messenger in server, client:
            messenger.start()
        assert server.stack.is_usable


def test_set_policy_acts_by_peer_type_and_on_later_connections(lab: Lab) -> None:
    server = lab.server()
    server.messenger.set_policy(EntityType.CLIENT, Policy.stateful_server())
    _, client, connection = lab.connected_pair(server)
    assert connection.session_info()["lossless"]
    server.messenger.set_policy(EntityType.CLIENT, Policy.stateless_server())
    lab.round_trip(client, connection)
    assert connection.session_info()["lossless"], "a connection keeps what it was made with"
    later = client.connect(server, anon=True)
    lab.round_trip(client, later)
    assert not later.session_info()["lossless"]
    peer = lab.server(name="osd.1")
    other = peer.connect(server)
    lab.round_trip(peer, other)
    assert not other.session_info()["lossless"], "the default is for other types"


# ---- looking at it ----


def test_perf_counters(lab: Lab) -> None:
    _server, client, _ = lab.connected_pair(lab.server(stack=lab.make_stack()))
    values = snapshot(client.messenger.perf_counters())
    worker = values["AsyncMessenger::Worker-0"]
    assert worker["msgr_send_messages"] == worker["msgr_recv_messages"] == 1
    assert worker["msgr_created_connections"] == worker["msgr_active_connections"] == 1
    assert f"msgr_dispatch_throttler-{client.messenger.name}" in " ".join(values)
    assert "ceph_msgr_send_messages_total{" in render_prometheus(client.messenger.perf_counters())
    client.messenger.mark_down_all()
    lab.wait_count(client, "ms_handle_reset")
    lab.wait_until(lambda: client.counter("msgr_active_connections") == 0, "the gauge to fall")
    assert client.counter("msgr_resets") == 1


def test_ordinary_life_logs_nothing_above_info(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    _, client, connection = lab.connected_pair()
    connection.mark_down()
    client.messenger.shutdown()
    client.messenger.wait()
    assert [record.getMessage() for record in caplog.records if record.levelno > logging.INFO] == []


def test_a_stranger_does_not_tell_us_who_we_are(lab: Lab) -> None:
    """Bound to the wildcard we learn our ip from our own end of a socket, not from what the first HELLO says."""
    server = lab.server(bind="0.0.0.0:0")
    with RawPeer.dial(EntityAddr.parse(f"v2:127.0.0.1:{server.port}/0"), lab.deadline) as stranger:
        stranger.send(BANNER + assemble(Tag.HELLO, [HelloFrame(EntityType.CLIENT, EntityAddr.parse("v2:9.9.9.9:1/0")).payload()]))
        lab.wait_until(lambda: not server.addrs[0].is_blank_ip, "the address")
    assert server.addrs[0].ip == "127.0.0.1"
    lab.round_trip(lab_client := lab.client(), lab_client.connect(server))
