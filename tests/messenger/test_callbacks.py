"""What is legal inside a callback, what an exception out of it does, and in which order and where callbacks come."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from ceph_msgr import Connection, Dispatcher, EntityType, Message, Policy, SendQueueFull
from ceph_msgr.messages import MPing
from tests.messenger.dispatchers import RAW, RAW_FAST, CountingDispatcher
from tests.messenger.lab import Lab, Node
from tests.messenger.test_connection import closed_port

Hook = Callable[[Any], object]


# ---- a way to provoke each callback ----
#
# Each sets two nodes up, puts the hook into the callback of one of them, has it called, and returns that node.


def _dial(lab: Lab, at_server: bool, name: str, hook: Hook, message: Message) -> Node:
    server, client = lab.server(), lab.client()
    node = server if at_server else client
    if name == "ms_handle_fast_connect":  # first comes that of the loopback connection
        lab.wait_count(client, name)
    node.seen.hooks[name] = hook
    client.connect(server).send_message(message)
    return node


def _reset(lab: Lab, hook: Hook) -> Node:
    server, client, _ = lab.connected_pair()
    client.seen.hooks["ms_handle_reset"] = hook
    server.seen.last_accepted.mark_down()
    return client


def _remote_reset(lab: Lab, hook: Hook) -> Node:
    server, client, _ = lab.connected_pair(lab.server(Policy.stateful_server()), lab.client(Policy.lossless_client()))
    client.seen.hooks["ms_handle_remote_reset"] = hook
    server.seen.last_accepted.mark_down()
    return client


def _refused(lab: Lab, hook: Hook) -> Node:
    client = lab.client()
    client.seen.hooks["ms_handle_refused"] = hook
    holder, port = closed_port()
    with holder:
        client.messenger.connect_to(EntityType.OSD, f"v2:127.0.0.1:{port}/1")
        lab.wait_count(client, "ms_handle_refused")
    return client


def _drained(lab: Lab, hook: Hook) -> Node:
    server, client = lab.server(), lab.client(ms_send_queue_max_bytes=1000)
    connection = client.connect(server)
    client.seen.hooks["ms_handle_drained"] = hook
    with lab.stopped(), pytest.raises(SendQueueFull):
        for _ in range(100):
            connection.send_message(Message(RAW_FAST, b"x" * 100))
    return client


PROVOKE: dict[str, Callable[[Lab, Hook], Node]] = {
    "ms_handle_fast_connect": lambda lab, hook: _dial(lab, False, "ms_handle_fast_connect", hook, MPing()),
    "ms_handle_connect": lambda lab, hook: _dial(lab, False, "ms_handle_connect", hook, MPing()),
    "ms_handle_fast_accept": lambda lab, hook: _dial(lab, True, "ms_handle_fast_accept", hook, MPing()),
    "ms_handle_accept": lambda lab, hook: _dial(lab, True, "ms_handle_accept", hook, MPing()),
    "ms_fast_dispatch": lambda lab, hook: _dial(lab, True, "ms_fast_dispatch", hook, MPing()),
    "ms_dispatch": lambda lab, hook: _dial(lab, True, "ms_dispatch", hook, Message(RAW)),
    "ms_handle_reset": _reset,
    "ms_handle_remote_reset": _remote_reset,
    "ms_handle_refused": _refused,
    "ms_handle_drained": _drained,
}

EVERY_CALLBACK = pytest.mark.parametrize("name", PROVOKE)


class Hooked:
    """A hook that runs ``do`` once, and notes how that went."""

    def __init__(self, do: Callable[[Connection], object]) -> None:
        self.done = threading.Event()
        self.error: BaseException | None = None
        self._do = do
        self._has_begun = False

    def __call__(self, subject: Any) -> None:
        if self._has_begun:
            return
        self._has_begun = True
        try:
            self._do(subject.connection if isinstance(subject, Message) else subject)
        except BaseException as error:
            self.error = error
            raise
        finally:
            self.done.set()


def provoke(lab: Lab, name: str, do: Callable[[Connection], object]) -> tuple[Node, Hooked]:
    hook = Hooked(do)
    node = PROVOKE[name](lab, hook)
    lab.wait_until(hook.done.is_set, f"{name} to run")
    return node, hook


def check_alive(lab: Lab, node: Node) -> None:
    """Fast and queued callbacks of this messenger still come."""
    node.seen.hooks.clear()
    peer = lab.server(name="osd.99")
    connection = node.messenger.connect_to(EntityType.OSD, peer.addrs)
    lab.round_trip(node, connection)
    lab.wait_until(lambda: "ms_handle_connect" in node.seen.names(connection), "the queued callback")


# ---- exceptions ----


def _raise(error: BaseException) -> None:
    raise error


@pytest.mark.contract("H4")
@EVERY_CALLBACK
@pytest.mark.parametrize("kind", [RuntimeError, SystemExit])
def test_an_exception_kills_nothing(lab: Lab, expected_errors: list[str], name: str, kind: type[BaseException]) -> None:
    expected_errors.append("exception out of a dispatcher callback")
    error = kind("out of a callback")
    node, hook = provoke(lab, name, lambda connection: _raise(error))
    assert hook.error is error
    lab.wait_until(lambda: node.messenger.dispatchers.perf.get("msgr_callback_exceptions") == 1, "the exception to be counted")
    check_alive(lab, node)


def test_the_connection_survives_an_exception_out_of_a_message(lab: Lab, expected_errors: list[str]) -> None:
    expected_errors.append("exception out of a dispatcher callback")
    server, client, connection = lab.connected_pair()
    server.seen.hooks["ms_fast_dispatch"] = lambda message: _raise(ValueError(message.tid)) if message.tid == 1 else None
    for tid in range(1, 4):
        lab.round_trip(client, connection, tid=tid)
    assert connection.is_connected
    assert server.messenger.dispatch_throttle.current == 0


class Preprocessing(CountingDispatcher):
    def ms_fast_preprocess(self, message: Message) -> None:
        self._note("ms_fast_preprocess", message.connection, message)


def test_an_exception_out_of_preprocessing_does_not_swallow_the_message(lab: Lab, expected_errors: list[str]) -> None:
    expected_errors.append("exception out of a dispatcher callback")
    server = lab.server(seen=Preprocessing(lab.changed, answers=True))
    server.seen.hooks["ms_fast_preprocess"] = lambda message: _raise(ValueError("preprocess"))
    lab.connected_pair(server)


def test_an_undecodable_message_costs_only_itself(lab: Lab, expected_errors: list[str]) -> None:
    """Its type is known but its front is not what the type says: counted as handled, the session goes on."""
    expected_errors.append("exception out of a dispatcher callback")
    server, client, connection = lab.connected_pair()
    connection.send_message(Message(MPing.TYPE, b"\xff\xff\xff\xff"))
    lab.round_trip(client, connection)
    assert connection.is_connected
    assert server.messenger.dispatchers.perf.get("msgr_callback_exceptions") == 1
    assert [call.seq for call in server.seen.messages] == [1, 3]


# ---- our own calls inside callbacks ----


@pytest.mark.contract("H4")
@EVERY_CALLBACK
def test_shutdown_is_legal_in_every_callback_and_wait_in_none(lab: Lab, name: str) -> None:
    refusals: list[str] = []

    def stop(connection: Connection) -> None:
        messenger = connection.messenger
        messenger.shutdown()
        with pytest.raises(RuntimeError, match="would wait for itself") as refusal:
            messenger.wait()
        refusals.append(str(refusal.value))

    node, hook = provoke(lab, name, stop)
    assert hook.error is None
    assert refusals
    assert node.messenger.wait(lab.deadline.remaining_s("wait()"))
    assert not node.connections()


@EVERY_CALLBACK
def test_mark_down_is_legal_in_every_callback(lab: Lab, name: str) -> None:
    marked: list[Connection] = []

    def mark(connection: Connection) -> None:
        connection.mark_down()
        marked.append(connection)

    node, hook = provoke(lab, name, mark)
    assert hook.error is None
    assert not marked[0].is_connected
    check_alive(lab, node)
    assert not marked[0].is_connected
    # One message or event may have been under way; of a session that was marked down nothing begins anew.
    after = node.seen.names(marked[0])
    assert after.count("ms_handle_reset") == (name == "ms_handle_reset")


@EVERY_CALLBACK
def test_messenger_mark_down_all_is_legal_in_every_callback(lab: Lab, name: str) -> None:
    node, hook = provoke(lab, name, lambda connection: connection.messenger.mark_down_all())
    assert hook.error is None
    check_alive(lab, node)


@EVERY_CALLBACK
def test_sending_and_dialling_are_legal_in_every_callback(lab: Lab, name: str) -> None:
    other = lab.server(name="osd.5")

    def send(connection: Connection) -> None:
        connection.send_message(MPing())
        connection.send_keepalive()
        connection.messenger.connect_to(EntityType.OSD, other.addrs).send_message(MPing(tid=5))
        connection.messenger.get_loopback_connection().send_message(MPing(tid=6))

    node, hook = provoke(lab, name, send)
    assert hook.error is None
    lab.wait_until(lambda: other.seen.messages, "the ping to a third one")
    lab.wait_until(lambda: any(call.tid == 6 for call in node.seen.messages), "the ping to ourselves")
    lab.wait_until(lambda: any(call.tid == 5 for call in node.seen.messages), "the answer of the third one")


@EVERY_CALLBACK
def test_waiting_is_refused_on_the_connections_worker_only(lab: Lab, name: str) -> None:
    def flush(connection: Connection) -> None:
        if threading.current_thread().name.startswith("msgr-worker"):
            with pytest.raises(RuntimeError, match="would wait for itself"):
                connection.flush(0.01)
            with pytest.raises(RuntimeError, match="would wait for itself"):
                connection.wait_writable(0.01)
        else:
            connection.flush(0.01)
            connection.wait_writable(0.01)

    _, hook = provoke(lab, name, flush)
    assert hook.error is None


# ---- where and in which order ----


def test_threads_of_callbacks(lab: Lab) -> None:
    server, client, connection = lab.connected_pair()
    connection.send_message(Message(RAW))
    client.messenger.get_loopback_connection().send_message(MPing(tid=1))
    client.messenger.get_loopback_connection().send_message(Message(RAW, tid=2))
    lab.wait_until(lambda: len(client.seen.messages) == 3, "the messages to ourselves")
    lab.wait_count(server, "ms_dispatch")
    server.seen.last_accepted.mark_down()
    lab.wait_count(client, "ms_handle_reset")
    fast = {"ms_fast_dispatch", "ms_handle_fast_accept", "ms_handle_fast_connect"}
    for node in server, client:
        for call in node.seen.calls:
            expected = {"msgr-worker-0"} if call.name in fast else {"ms_dispatch"}
            if call.connection.is_loopback and call.name in fast:
                # Announced by whoever starts the messenger; its messages have a thread of their own.
                expected = {"ms_local"} if call.name == "ms_fast_dispatch" else {threading.current_thread().name}
            assert {call.thread} == expected, call


def test_connect_and_accept_precede_the_messages(lab: Lab) -> None:
    server, client = lab.server(), lab.client()
    with lab.stopped():
        connection = client.connect(server)
        for tid in range(5):
            connection.send_message(MPing(tid=tid))
    lab.wait_until(lambda: len(client.seen.messages) == 5, "the answers")
    for node, end in (client, connection), (server, server.seen.last_accepted):
        names = node.seen.names(end)
        assert [name for name in names if name.startswith("ms_handle_fast")] == [names[0]], "once, and first of all"
        assert names.count("ms_fast_dispatch") == 5
    assert [call.tid for call in server.seen.messages] == [0, 1, 2, 3, 4]


def test_preprocessing_sees_every_message_first_and_in_order(lab: Lab) -> None:
    server = lab.server(seen=Preprocessing(lab.changed))
    client = lab.client()
    connection = client.connect(server)
    for tid in range(10):
        connection.send_message(Message(RAW if tid % 3 else RAW_FAST, tid=tid))
    lab.wait_until(lambda: len(server.seen.messages) == 10, "all messages")
    preprocessed = [call.tid for call in server.seen.calls if call.name == "ms_fast_preprocess"]
    assert preprocessed == list(range(10))
    for call in server.seen.messages:
        names = [each.name for each in server.seen.calls if each.tid == call.tid and each.type == call.type]
        assert names[0] == "ms_fast_preprocess"


def test_queued_messages_of_one_priority_keep_their_order_and_higher_ones_overtake(lab: Lab) -> None:
    server, client = lab.server(seen=lab.dispatcher()), lab.client()
    busy, release = threading.Event(), threading.Event()

    def hold(message: Message) -> None:
        busy.set()
        release.wait(lab.deadline.timeout_s)

    server.seen.hooks["ms_dispatch"] = hold
    connection = client.connect(server)
    priorities = [127, 127, 64, 196, 127, 196, 64]
    for tid, priority in enumerate(priorities):
        connection.send_message(Message(RAW, tid=tid, priority=priority))
        lab.wait_until(lambda tid=tid: server.messenger.get_dispatch_queue_len() >= tid, "the message in the queue")
        lab.wait_until(busy.is_set, "the first message in the dispatcher's hands")
    release.set()
    lab.wait_until(lambda: len(server.seen.messages) == len(priorities), "all messages")
    assert [call.tid for call in server.seen.messages] == [0, 3, 5, 1, 4, 2, 6]


class Claiming(Dispatcher):
    def __init__(self, name: str, log: list[str], *, fast: bool, handles: bool) -> None:
        self.name, self.log, self.fast, self.handles = name, log, fast, handles

    def ms_can_fast_dispatch_any(self) -> bool:
        return self.fast

    def ms_can_fast_dispatch(self, message_type: int) -> bool:
        return message_type == RAW_FAST

    def ms_fast_dispatch(self, message: Message) -> None:
        self.log.append(f"{self.name} fast")

    def ms_dispatch(self, message: Message) -> bool:
        self.log.append(f"{self.name} queued")
        return self.handles


def test_the_chain_is_asked_in_its_order(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    log: list[str] = []
    server = lab.server(dispatcher=Claiming("second", log, fast=True, handles=False))
    server.messenger.add_dispatcher_head(Claiming("first", log, fast=False, handles=False))
    server.messenger.add_dispatcher_tail(Claiming("third", log, fast=True, handles=False))
    client = lab.client()
    connection = client.connect(server)
    connection.send_message(Message(RAW_FAST))
    lab.wait_until(lambda: log, "the fast message")
    assert log == ["second fast"], "the first fast claimant, and nobody else"
    log.clear()
    connection.send_message(Message(RAW))
    unhandled = server.messenger.dispatchers.perf
    lab.wait_until(lambda: unhandled.get("msgr_unhandled_messages") == 1, "nobody to have handled it")
    assert log == ["first queued", "second queued", "third queued"]
    lab.wait_until(lambda: f"no dispatcher handled message type {RAW} from client.-1" in caplog.text, "the log to say so")
    log.clear()

    server.messenger.add_dispatcher_head(Claiming("handler", log, fast=True, handles=True))
    connection.send_message(Message(RAW))
    lab.wait_until(lambda: log, "the next message")
    connection.send_message(Message(RAW_FAST))
    lab.wait_until(lambda: "handler fast" in log, "the fast message")
    assert log == ["handler queued", "handler fast"], "what was resolved before is resolved again"
