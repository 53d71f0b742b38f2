"""TCP sockets on two workers: worker 0 connects, worker 1 accepts. Every call runs on the worker of its socket."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TypeVar

import pytest

from ceph_msgr._core import EVENT_READABLE, EVENT_WRITABLE
from ceph_msgr.config import Config
from ceph_msgr.net import ConnectedSocket, ServerSocket, SocketOptions, Stack, Worker
from ceph_msgr.wire.addr import EntityAddr

DEADLINE_S = 30
OPTIONS = SocketOptions()
LOOPBACK = EntityAddr.parse("v2:127.0.0.1:0/0")

T = TypeVar("T")


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    stack = Stack(workers=2)
    stack.start()
    yield stack
    stack.stop()


@pytest.fixture
def client_worker(stack: Stack) -> Worker:
    return stack.workers[0]


@pytest.fixture
def server_worker(stack: Stack) -> Worker:
    return stack.workers[1]


def on(worker: Worker, function: Callable[[], T]) -> T:
    """The function's result, computed on the worker."""
    result: list[T] = []
    worker.submit_to(lambda: result.append(function()))
    return result[0]


@contextmanager
def watched(worker: Worker, fd: int, mask: int) -> Iterator[Callable[[], None]]:
    """Yields a function that waits for the next event of the fd."""
    fired = threading.Semaphore(0)
    worker.submit_to(lambda: worker.center.create_file_event(fd, mask, lambda fd, mask: fired.release()))

    def wait() -> None:
        assert fired.acquire(timeout=DEADLINE_S), f"no event {mask} of fd {fd}"

    try:
        yield wait
    finally:
        worker.submit_to(lambda: worker.center.delete_file_event(fd, mask))


def until(worker: Worker, fd: int, mask: int, attempt: Callable[[], T | None]) -> T:
    """Repeats the attempt on the worker, whenever the fd has an event, until it yields something."""
    with watched(worker, fd, mask) as wait:
        while (result := on(worker, attempt)) is None:
            wait()
        return result


def wait_connected(worker: Worker, socket: ConnectedSocket) -> None:
    until(worker, socket.fd, EVENT_WRITABLE, lambda: socket.is_connected() or None)


def accept(worker: Worker, server: ServerSocket) -> ConnectedSocket:
    return until(worker, server.fd, EVENT_READABLE, lambda: server.accept(OPTIONS))[0]


@pytest.fixture
def server(server_worker: Worker) -> Iterator[ServerSocket]:
    server = on(server_worker, lambda: server_worker.listen(LOOPBACK, OPTIONS))
    yield server
    on(server_worker, server.close)


@pytest.fixture
def pair(server: ServerSocket, client_worker: Worker, server_worker: Worker) -> Iterator[tuple[ConnectedSocket, ConnectedSocket]]:
    client = on(client_worker, lambda: client_worker.connect(server.local_addr(), OPTIONS))
    accepted = accept(server_worker, server)
    wait_connected(client_worker, client)
    yield client, accepted
    on(client_worker, client.close)
    on(server_worker, accepted.close)


@pytest.mark.contract("D1")
def test_simple(
    pair: tuple[ConnectedSocket, ConnectedSocket], client_worker: Worker, server_worker: Worker, server: ServerSocket
) -> None:
    client, accepted = pair
    assert accepted.fd > 0
    assert on(client_worker, client.peer_addr) == server.local_addr()
    assert on(server_worker, accepted.peer_addr) == on(client_worker, client.local_addr)
    text = b"hello, ceph messenger"
    assert len(text) == 21
    assert on(client_worker, lambda: client.send([text])) == 21
    assert until(server_worker, accepted.fd, EVENT_READABLE, lambda: accepted.read(100)) == text
    assert on(server_worker, lambda: accepted.read(100)) is None
    on(client_worker, client.shutdown)
    with pytest.raises(BrokenPipeError):
        on(client_worker, lambda: client.send([text]))
    assert until(server_worker, accepted.fd, EVENT_READABLE, lambda: accepted.read(100)) == b""


@pytest.mark.contract("D2")
def test_connect_to_a_closed_port(client_worker: Worker, server_worker: Worker) -> None:
    server = on(server_worker, lambda: server_worker.listen(LOOPBACK, OPTIONS))
    addr = server.local_addr()
    on(server_worker, server.close)
    client = on(client_worker, lambda: client_worker.connect(addr, OPTIONS))
    with pytest.raises((ConnectionRefusedError, ConnectionResetError)):
        wait_connected(client_worker, client)
    on(client_worker, client.close)


@pytest.mark.contract("D2")
@pytest.mark.slow
def test_connect_to_a_host_that_does_not_answer(client_worker: Worker, server_worker: Worker) -> None:
    """A full backlog on loopback stands for it: no packet leaves the machine, and none is answered."""
    server = on(server_worker, lambda: server_worker.listen(LOOPBACK, SocketOptions(backlog=0)))
    clients = [on(client_worker, lambda: client_worker.connect(server.local_addr(), OPTIONS)) for _ in range(4)]
    silent = clients[-1]
    writable = threading.Event()

    def watch() -> None:
        client_worker.center.create_file_event(silent.fd, EVENT_WRITABLE, lambda fd, mask: writable.set())

    client_worker.submit_to(watch)
    assert not writable.wait(0.5)
    assert on(client_worker, silent.is_connected) is False
    client_worker.submit_to(lambda: client_worker.center.delete_file_event(silent.fd, EVENT_WRITABLE))
    for client in clients:
        on(client_worker, client.close)
    on(server_worker, server.close)


@pytest.mark.contract("D3")
def test_listening_twice_on_one_address(server: ServerSocket, server_worker: Worker) -> None:
    with pytest.raises(OSError, match="Address already in use"):
        on(server_worker, lambda: server_worker.listen(server.local_addr(), OPTIONS))


@pytest.mark.contract("D4")
def test_accept_and_close(server_worker: Worker, client_worker: Worker) -> None:
    server = on(server_worker, lambda: server_worker.listen(LOOPBACK, OPTIONS))
    addr = server.local_addr()
    assert on(server_worker, lambda: server.accept(OPTIONS)) is None

    client = on(client_worker, lambda: client_worker.connect(addr, OPTIONS))
    accepted = accept(server_worker, server)
    on(server_worker, accepted.close)
    assert until(client_worker, client.fd, EVENT_READABLE, lambda: client.read(100)) == b""
    on(client_worker, client.close)

    early = on(client_worker, lambda: client_worker.connect(addr, OPTIONS))
    wait_connected(client_worker, early)
    on(client_worker, early.close)
    accepted = accept(server_worker, server)
    assert until(server_worker, accepted.fd, EVENT_READABLE, lambda: accepted.read(100)) == b""
    on(server_worker, accepted.close)

    on(server_worker, server.close)
    late = on(client_worker, lambda: client_worker.connect(addr, OPTIONS))
    with pytest.raises(ConnectionRefusedError):
        wait_connected(client_worker, late)
    on(client_worker, late.close)


class Sender:
    """Sends a list of buffers as the socket takes them."""

    def __init__(self, worker: Worker, socket: ConnectedSocket, buffers: list[bytes]) -> None:
        self.worker, self.socket, self.buffers = worker, socket, list(buffers)
        self.sent_bytes = self.times_blocked = 0
        self.done: Future[None] = Future()

    def start(self) -> None:
        self.worker.center.create_file_event(self.socket.fd, EVENT_WRITABLE, self.on_writable)
        self.on_writable(self.socket.fd, EVENT_WRITABLE)

    def on_writable(self, fd: int, mask: int) -> None:
        self.sent_bytes += self.socket.send(self.buffers)  # type: ignore[arg-type]
        if self.buffers:
            self.times_blocked += 1
        elif not self.done.done():
            self.worker.center.delete_file_event(fd, EVENT_WRITABLE)
            self.done.set_result(None)


class Receiver:
    """Reads in pieces until it has so many bytes."""

    def __init__(self, worker: Worker, socket: ConnectedSocket, piece_bytes: int, total_bytes: int) -> None:
        self.worker, self.socket, self.piece_bytes, self.total_bytes = worker, socket, piece_bytes, total_bytes
        self.data = bytearray()
        self.times_empty = 0
        self.done: Future[None] = Future()

    def start(self) -> None:
        self.worker.center.create_file_event(self.socket.fd, EVENT_READABLE, self.on_readable)
        self.on_readable(self.socket.fd, EVENT_READABLE)

    def on_readable(self, fd: int, mask: int) -> None:
        while len(self.data) < self.total_bytes:
            piece = self.socket.read(self.piece_bytes)
            if piece is None:
                self.times_empty += 1
                return
            assert piece, f"the stream ended after {len(self.data)} of {self.total_bytes} bytes"
            self.data += piece
        if not self.done.done():
            self.worker.center.delete_file_event(fd, EVENT_READABLE)
            self.done.set_result(None)


@pytest.mark.contract("D5")
def test_complex(pair: tuple[ConnectedSocket, ConnectedSocket], client_worker: Worker, server_worker: Worker) -> None:
    """First nobody reads until the socket is full, then the reader waits before the first byte is sent."""
    client, accepted = pair
    messages = [bytes([i]) * 10_240 for i in range(100)]
    for buffers, reader_is_first in (messages * 20, False), (messages, True):
        expected = b"".join(buffers)
        sender = Sender(client_worker, client, buffers)
        receiver = Receiver(server_worker, accepted, 1000, len(expected))
        if reader_is_first:
            server_worker.submit_to(receiver.start)
            assert receiver.times_empty == 1
            client_worker.submit_to(sender.start)
        else:
            client_worker.submit_to(sender.start)
            assert sender.times_blocked  # again and again, as the kernel moves on what it has
            server_worker.submit_to(receiver.start)
        sender.done.result(DEADLINE_S)
        receiver.done.result(DEADLINE_S)
        assert receiver.data == expected
        assert sender.sent_bytes == len(expected)


@pytest.mark.contract("D5")
def test_send_takes_any_number_and_kind_of_buffers(
    pair: tuple[ConnectedSocket, ConnectedSocket], client_worker: Worker, server_worker: Worker
) -> None:
    """More pieces than one system call takes, empty ones anywhere, and wide items."""
    client, accepted = pair
    wide = memoryview(bytes(range(8))).cast("I")
    pieces = [*([b""] * 100), b"ab", bytearray(b"cde"), b"", wide, *([b""] * 100), *([b"x"] * 3000), b""]
    expected = b"abcde" + wide.tobytes() + b"x" * 3000
    buffers = list(pieces)
    assert on(client_worker, lambda: client.send(buffers)) == len(expected)
    assert buffers == []
    assert on(client_worker, lambda: client.send(buffers)) == 0
    receiver = Receiver(server_worker, accepted, 4096, len(expected))
    server_worker.submit_to(receiver.start)
    receiver.done.result(DEADLINE_S)
    assert receiver.data == expected


class EchoServer:
    """Accepts, and sends back what it reads, in pieces of 4 KiB."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.server = worker.listen(LOOPBACK, OPTIONS)
        self.addr = self.server.local_addr()
        self.unsent: dict[int, list[bytes]] = {}
        self.sockets: dict[int, ConnectedSocket] = {}
        self.ended = threading.Semaphore(0)
        worker.center.create_file_event(self.server.fd, EVENT_READABLE, self.on_incoming)

    def on_incoming(self, fd: int, mask: int) -> None:
        while accepted := self.server.accept(OPTIONS):
            socket = accepted[0]
            self.sockets[socket.fd] = socket
            self.unsent[socket.fd] = []
            self.worker.center.create_file_event(socket.fd, EVENT_READABLE, self.on_readable)

    def on_readable(self, fd: int, mask: int) -> None:
        while piece := self.sockets[fd].read(4096):
            self.unsent[fd].append(piece)
        if piece == b"":
            self.worker.center.delete_file_event(fd, EVENT_READABLE | EVENT_WRITABLE)
            self.sockets.pop(fd).close()
            self.ended.release()
        else:
            self.on_writable(fd, EVENT_WRITABLE)

    def on_writable(self, fd: int, mask: int) -> None:
        self.sockets[fd].send(self.unsent[fd])  # type: ignore[arg-type]
        if self.unsent[fd]:
            self.worker.center.create_file_event(fd, EVENT_WRITABLE, self.on_writable)
        else:
            self.worker.center.delete_file_event(fd, EVENT_WRITABLE)

    def close(self) -> None:
        self.worker.center.delete_file_event(self.server.fd, EVENT_READABLE)
        self.server.close()


class EchoClient:
    """Keeps up to 16 messages in flight and compares each echo."""

    def __init__(self, worker: Worker, addr: EntityAddr, chance: random.Random, count: int) -> None:
        self.worker = worker
        self.chance = chance
        self.left = count
        self.unsent: list[bytes] = []
        self.in_flight: list[bytes] = []
        self.got = b""
        self.done: Future[int] = Future()
        self.echoes = 0
        self.socket = worker.connect(addr, OPTIONS)
        worker.center.create_file_event(self.socket.fd, EVENT_READABLE | EVENT_WRITABLE, self.on_event)

    def on_event(self, fd: int, mask: int) -> None:
        try:
            if self.socket.is_connected():
                self.turn()
        except BaseException as error:
            self.done.set_exception(error)

    def turn(self) -> None:
        while data := self.socket.read(4096):
            self.got += data
            while self.in_flight and len(self.got) >= len(self.in_flight[0]):
                expected = self.in_flight.pop(0)
                assert self.got[: len(expected)] == expected
                self.got = self.got[len(expected) :]
                self.echoes += 1
        assert data is None, "the server closed"
        while self.left and len(self.in_flight) < 16:
            self.left -= 1
            message = self.chance.randbytes(128 * self.chance.randint(1, 8))
            self.in_flight.append(message)
            self.unsent.append(message)
        self.socket.send(self.unsent)  # type: ignore[arg-type]
        if not self.in_flight:
            self.worker.center.delete_file_event(self.socket.fd, EVENT_READABLE | EVENT_WRITABLE)
            self.socket.close()
            self.done.set_result(self.echoes)


@pytest.mark.contract("D6")
@pytest.mark.slow
def test_stress(stack: Stack) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    echo = on(stack.workers[1], lambda: EchoServer(stack.workers[1]))
    counts = [chance.randint(100, 500) for _ in range(32)]

    def make(worker: Worker, count: int) -> EchoClient:
        return EchoClient(worker, echo.addr, random.Random(chance.random()), count)

    clients = [on(stack.workers[i % 2], lambda i=i: make(stack.workers[i % 2], counts[i])) for i in range(32)]
    assert [client.done.result(60) for client in clients] == counts
    for _ in clients:
        assert echo.ended.acquire(timeout=DEADLINE_S)
    assert echo.sockets == {}
    on(stack.workers[1], echo.close)


# ---- the small print ----


def test_closing_is_idempotent_and_detaching_gives_the_socket_away(server: ServerSocket) -> None:
    with Stack().workers[0].connect(server.local_addr(), OPTIONS) as socket:
        assert socket.fd >= 0
    assert socket.fd == -1
    socket.close()
    other = Stack().workers[0].connect(server.local_addr(), OPTIONS)
    fd = other.detach()
    assert other.fd == -1
    ConnectedSocket(fd).close()


def test_a_socket_nobody_closed_warns(server: ServerSocket) -> None:
    socket = Stack().workers[0].connect(server.local_addr(), OPTIONS)
    with pytest.warns(ResourceWarning, match="unclosed <ConnectedSocket fd="):
        del socket


def test_options_come_from_the_config() -> None:
    config = Config(ms_tcp_nodelay=False, ms_tcp_rcvbuf=65536, ms_tcp_user_timeout=1.5, ms_tcp_listen_backlog=7)
    options = SocketOptions.from_config(config, priority=6)
    assert options == SocketOptions(nodelay=False, rcvbuf=65536, priority=6, user_timeout_ms=1500, backlog=7)
    assert SocketOptions.from_config(Config()) == SocketOptions()
