"""Processor: where it listens, and what it does with those who come."""

from __future__ import annotations

import errno
import logging
import queue
import re
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ceph_msgr import _core
from ceph_msgr.config import Config
from ceph_msgr.net import ConnectedSocket, Processor, SocketOptions, Stack, Worker, processor
from ceph_msgr.wire.addr import EntityAddr, EntityAddrVec

DEADLINE_S = 30
ANY_PORT = EntityAddr.parse("v2:127.0.0.1:0/42")


class KernelPorts(Config):
    """Port 0 is the whole range, so the kernel chooses a free one."""

    __slots__ = ()
    ms_bind_port_min = ms_bind_port_max = 0  # type: ignore[assignment]


# ---- binding, on a worker that only notes what it is asked for ----


class FakeServerSocket:
    fd = -1

    def __init__(self, addr: EntityAddr) -> None:
        self.addr = addr
        self.is_closed = False

    def local_addr(self) -> EntityAddr:
        return self.addr

    def close(self) -> None:
        self.is_closed = True


class NotingWorker:
    """``taken`` maps a port to the errno it fails with."""

    def __init__(self, **taken: int) -> None:
        self.taken = {int(port.removeprefix("port")): code for port, code in taken.items()}
        self.asked: list[EntityAddr] = []
        self.sockets: list[FakeServerSocket] = []

    def listen(self, addr: EntityAddr, options: SocketOptions) -> FakeServerSocket:
        self.asked.append(addr)
        if code := self.taken.get(addr.port):
            raise OSError(code, "from the kernel")
        self.sockets.append(FakeServerSocket(addr))
        return self.sockets[-1]

    @property
    def ports(self) -> list[int]:
        return [addr.port for addr in self.asked]


def noting_processor(worker: Any, sleeps: list[float] | None = None, **options: object) -> Processor:
    config = Config(**{"ms_bind_retry_count": 0, **options})
    return Processor(worker, lambda: worker, config, lambda *args: None, sleep=(sleeps if sleeps is not None else []).append)


def parse(text: str) -> EntityAddr:
    return EntityAddr.parse(text)


def test_a_given_port_is_the_only_one_tried() -> None:
    worker = NotingWorker()
    bound = noting_processor(worker).bind([parse("v2:127.0.0.1:7000/42")])
    assert bound == EntityAddrVec.parse("v2:127.0.0.1:7000/42")
    assert worker.ports == [7000]


def test_port_0_is_the_first_free_one_of_the_range_that_is_not_avoided() -> None:
    worker = NotingWorker(port6800=errno.EADDRINUSE, port6803=errno.EACCES)
    bound = noting_processor(worker).bind([parse("v2:127.0.0.1:0/42")], avoid_ports={6801, 6802})
    assert worker.ports == [6800, 6803, 6804]
    assert bound == EntityAddrVec.parse("v2:127.0.0.1:6804/42")


@pytest.mark.parametrize(("ipv6", "ip"), [(False, "0.0.0.0"), (True, "::")])
@pytest.mark.parametrize("addr", ["-", "any:-/42"])
def test_an_address_without_ip_becomes_the_wildcard(addr: str, ipv6: bool, ip: str) -> None:
    worker = NotingWorker()
    [bound] = noting_processor(worker, ms_bind_ipv6=ipv6).bind([parse(addr)])
    assert bound.ip == worker.asked[0].ip == ip
    assert (bound.type, bound.nonce) == (parse(addr).type, parse(addr).nonce)


def test_the_error_names_the_address_and_why() -> None:
    worker = NotingWorker(port7000=errno.EADDRINUSE)
    with pytest.raises(OSError, match=re.escape("cannot listen on v2:127.0.0.1:7000/0: Address already in use")) as info:
        noting_processor(worker).bind([parse("v2:127.0.0.1:7000")])
    assert info.value.errno == errno.EADDRINUSE


def test_a_range_without_a_free_port_names_the_range() -> None:
    worker = NotingWorker(port6900=errno.EADDRINUSE, port6902=errno.EADDRINUSE)
    with pytest.raises(OSError, match="with any port from 6900 to 6902: Address already in use"):
        noting_processor(worker, ms_bind_port_min=6900, ms_bind_port_max=6902).bind([ANY_PORT], avoid_ports=[6901])
    assert worker.ports == [6900, 6902]


def test_a_wrong_ip_is_not_tried_on_every_port() -> None:
    worker = NotingWorker(port6800=errno.EADDRNOTAVAIL)
    with pytest.raises(OSError, match="Cannot assign requested address") as info:
        noting_processor(worker).bind([ANY_PORT])
    assert info.value.errno == errno.EADDRNOTAVAIL
    assert worker.ports == [6800]


def test_a_failed_attempt_is_repeated_after_a_pause_with_the_whole_range() -> None:
    worker = NotingWorker(port6800=errno.EADDRINUSE, port6801=errno.EADDRINUSE)
    sleeps: list[float] = []
    with pytest.raises(OSError, match="cannot listen"):
        noting_processor(worker, sleeps, ms_bind_port_max=6801, ms_bind_retry_count=3, ms_bind_retry_delay=5).bind([ANY_PORT])
    assert sleeps == [5, 5, 5]
    assert worker.ports == [6800, 6801] * 4


def test_a_retry_may_succeed() -> None:
    worker = NotingWorker(port7000=errno.EADDRINUSE)
    listener = Processor(
        worker,  # type: ignore[arg-type]
        lambda: worker,  # type: ignore[arg-type,return-value]
        Config(),
        lambda *args: None,
        sleep=lambda seconds: worker.taken.clear(),
    )
    assert listener.bind([parse("v2:127.0.0.1:7000")]) == EntityAddrVec.parse("v2:127.0.0.1:7000")


def test_if_one_address_fails_the_others_are_closed_again() -> None:
    worker = NotingWorker(port7002=errno.EADDRINUSE)
    with pytest.raises(OSError, match="7002"):
        noting_processor(worker).bind([parse(f"v2:127.0.0.1:{port}") for port in (7000, 7001, 7002)])
    assert [s.is_closed for s in worker.sockets] == [True, True]


# ---- accepting, for real ----


class Accepted:
    """What ``on_accept`` was told: (worker, its thread's name, socket, peer's address)."""

    def __init__(self) -> None:
        self.queue: queue.Queue[tuple[Worker, str, socket.socket, EntityAddr]] = queue.Queue()

    def __call__(self, worker: Worker, fd: int, peer_addr: EntityAddr) -> None:
        self.queue.put((worker, threading.current_thread().name, socket.socket(fileno=fd), peer_addr))

    def get(self) -> tuple[Worker, str, socket.socket, EntityAddr]:
        return self.queue.get(timeout=DEADLINE_S)


@pytest.fixture
def stack() -> Iterator[Stack]:
    stack = Stack(workers=2)
    stack.start()
    yield stack
    stack.stop()


@pytest.fixture
def accepted() -> Iterator[Accepted]:
    accepted = Accepted()
    yield accepted
    while not accepted.queue.empty():
        accepted.get()[2].close()


@pytest.fixture
def listening(stack: Stack, accepted: Accepted) -> Iterator[Callable[..., tuple[Processor, tuple[str, int]]]]:
    """Makes processors that listen on loopback, and stops them; gives each with its address."""
    made: list[Processor] = []

    def make(*, start: bool = True, on_accept: Any = accepted, **options: object) -> tuple[Processor, tuple[str, int]]:
        made.append(Processor(stack.workers[0], stack.get_worker, KernelPorts(**options), on_accept))
        [addr] = made[-1].bind([ANY_PORT])
        assert addr.port > 0 and addr.nonce == 42
        if start:
            made[-1].start()
        return made[-1], (addr.ip, addr.port)

    yield make
    for processor_ in made:
        processor_.stop()


def dial(addr: tuple[str, int]) -> socket.socket:
    return socket.create_connection(addr, timeout=DEADLINE_S)


def test_accepted_sockets_go_to_the_least_loaded_worker_on_its_thread(stack: Stack, accepted: Accepted, listening: Any) -> None:
    _, addr = listening()
    stack.workers[0].get()
    ids = []
    for _ in range(3):
        with dial(addr) as client:
            worker, thread_name, server_side, peer_addr = accepted.get()
            ids.append(worker.id)
            assert thread_name == worker.name
            assert (peer_addr.ip, peer_addr.port) == client.getsockname()
            server_side.settimeout(DEADLINE_S)
            client.sendall(b"hello")
            assert server_side.recv(100) == b"hello"
            server_side.close()
    assert ids == [1, 0, 1]
    assert [worker.references for worker in stack.workers] == [2, 2]


def test_nobody_is_accepted_before_start_and_nobody_is_lost(stack: Stack, accepted: Accepted, listening: Any) -> None:
    processor_, addr = listening(start=False)
    clients = [dial(addr) for _ in range(5)]
    stack.drain()
    assert accepted.queue.empty()
    processor_.start()
    ports = set()
    for _ in clients:
        _, _, server_side, peer_addr = accepted.get()
        ports.add(peer_addr.port)
        server_side.close()
    assert ports == {client.getsockname()[1] for client in clients}
    for client in clients:
        client.close()


def test_after_stop_the_port_is_free_and_bind_may_follow(accepted: Accepted, listening: Any) -> None:
    processor_, (ip, port) = listening()
    processor_.stop()
    processor_.stop()
    with pytest.raises(ConnectionRefusedError):
        dial((ip, port))
    [again] = processor_.bind([EntityAddr.parse(f"v2:{ip}:{port}")])
    processor_.start()
    with dial((again.ip, again.port)):
        accepted.get()[2].close()


def test_stop_from_a_worker_without_waiting(stack: Stack, listening: Any) -> None:
    processor_, addr = listening()
    stack.workers[1].submit_to(lambda: processor_.stop(nowait=True))
    stack.drain()
    with pytest.raises(ConnectionRefusedError):
        dial(addr)


def test_two_addresses_are_one_processor(accepted: Accepted, stack: Stack) -> None:
    processor_ = Processor(stack.workers[0], stack.get_worker, KernelPorts(), accepted)
    addrs = processor_.bind([ANY_PORT, ANY_PORT])
    assert len({addr.port for addr in addrs}) == 2
    processor_.start()
    for addr in addrs:
        with dial((addr.ip, addr.port)):
            accepted.get()[2].close()
    processor_.stop()


def test_if_the_callback_raises_the_socket_is_closed_and_the_worker_released(
    stack: Stack, listening: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(worker: Worker, fd: int, peer_addr: EntityAddr) -> None:
        raise ValueError("no room")

    _, addr = listening(on_accept=refuse, ms_accept_max_handshakes=1)
    with caplog.at_level(logging.ERROR, "ceph_msgr"):
        for _ in range(3):
            with dial(addr) as client:
                assert client.recv(1) == b""
        stack.drain()
    assert [worker.references for worker in stack.workers] == [0, 0]
    assert "no room" in caplog.text


def failing_accept(monkeypatch: pytest.MonkeyPatch, codes: list[int]) -> None:
    """The next accepts fail with these errors, first to last."""
    real = _core.tcp_accept

    def accept(fd: int, **options: Any) -> Any:
        if codes:
            raise OSError(codes.pop(0), "injected")
        return real(fd, **options)

    monkeypatch.setattr(_core, "tcp_accept", accept)


def test_errors_of_one_connection_do_not_delay_the_next(
    stack: Stack, accepted: Accepted, listening: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing_accept(monkeypatch, [errno.ECONNABORTED, errno.EINTR, errno.EPROTO])
    _, addr = listening()
    with dial(addr):
        accepted.get()[2].close()
    assert stack.workers[0].perf.snapshot()["msgr_accept_errors"] == {}


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EBADMSG])
def test_want_of_resources_pauses_accepting_longer_and_longer(
    code: int,
    stack: Stack,
    accepted: Accepted,
    listening: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(processor, "_FIRST_PAUSE_NS", 1_000_000)
    monkeypatch.setattr(processor, "_LAST_PAUSE_NS", 4_000_000)
    failing_accept(monkeypatch, [code] * 5)
    with caplog.at_level(logging.DEBUG, "ceph_msgr.net"):
        _, addr = listening()
        with dial(addr):
            accepted.get()[2].close()
        stack.drain()
    pauses = [re.search(r"failed (\d) times .* in (\d+) ms", record.getMessage()) for record in caplog.records]
    assert [match.groups() for match in pauses if match] == [("1", "1"), ("2", "2"), ("3", "4"), ("4", "4"), ("5", "4")]
    levels = [record.levelname for record in caplog.records]
    assert levels == ["WARNING", "DEBUG", "DEBUG", "ERROR", "DEBUG"], "ms_max_accept_failures is 4"
    assert stack.workers[0].perf.get("msgr_accept_errors", label=errno.errorcode[code]) == 5
    caplog.clear()
    failing_accept(monkeypatch, [code])
    with caplog.at_level(logging.DEBUG, "ceph_msgr.net"), dial(addr):
        accepted.get()[2].close()
    assert "failed 1 times in a row, next try in 1 ms" in caplog.text, "a success begins from the start"


def test_the_pause_is_10_ms_at_first_and_half_a_second_at_most() -> None:
    assert (processor._FIRST_PAUSE_NS, processor._LAST_PAUSE_NS) == (10_000_000, 500_000_000)


@pytest.mark.contract("H3")
def test_out_of_descriptors_is_survived(stack: Stack, accepted: Accepted, listening: Any) -> None:
    _, addr = listening()
    client = socket.socket()
    client.settimeout(DEADLINE_S)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    probe = socket.socket()
    lowest_free = probe.fileno()
    probe.close()
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
    try:
        client.connect(addr)
        end = time.monotonic() + DEADLINE_S
        while not stack.workers[0].perf.get("msgr_accept_errors", label="EMFILE"):
            assert time.monotonic() < end
            stack.drain()
        assert accepted.queue.empty()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    accepted.get()[2].close()
    client.close()


def test_stop_during_a_pause(stack: Stack, listening: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    failing_accept(monkeypatch, [errno.EMFILE] * 10_000)
    processor_, addr = listening()
    with dial(addr):
        end = time.monotonic() + DEADLINE_S
        while not stack.workers[0].perf.get("msgr_accept_errors", label="EMFILE"):
            assert time.monotonic() < end
            stack.drain()
        stack.drain()  # what is counted first has been done
        [listener] = processor_._listeners
        assert stack.workers[0].center.file_event_mask(listener.socket.fd) == 0, "newcomers would make it spin"
        processor_.stop()
        stack.drain()
    with pytest.raises(ConnectionRefusedError):
        dial(addr)


def test_no_more_unfinished_handshakes_than_allowed(stack: Stack, accepted: Accepted, listening: Any) -> None:
    processor_, addr = listening(ms_accept_max_handshakes=2)
    clients = [dial(addr) for _ in range(4)]
    sides = [accepted.get()[2] for _ in range(2)]
    stack.drain()
    assert accepted.queue.empty()
    assert stack.workers[0].perf.get("msgr_accept_stalls") == 1
    for _ in range(2):
        processor_.handshake_finished()
        sides.append(accepted.get()[2])
    stack.drain()
    assert accepted.queue.empty()
    for side in (*clients, *sides):
        side.close()


def test_on_a_stepped_stack() -> None:
    got: list[tuple[int, bool]] = []
    stack = Stack(workers=2, thread_starter=lambda name, run: None)
    stack.start()

    def on_accept(worker: Worker, fd: int, peer_addr: EntityAddr) -> None:
        got.append((worker.id, worker.in_thread()))
        ConnectedSocket(fd).close()

    stack.workers[0].get()
    processor_ = Processor(stack.workers[0], stack.get_worker, KernelPorts(), on_accept)
    [addr] = processor_.bind([ANY_PORT])
    processor_.start()
    with dial((addr.ip, addr.port)):
        stack.workers[0].step(DEADLINE_S * 10**9)
        assert got == []
        stack.workers[1].step()
        assert got == [(1, True)]
    processor_.stop()
    stack.stop()
