"""What each fault of the proxy does to a plain connection, in both directions."""

from __future__ import annotations

import os
import random
import signal
import socket

import pytest

from ceph_msgr import EntityAddr
from ceph_msgr._core import frame_assemble
from ceph_msgr.protocol.banner import OUR_BANNER, Banner
from ceph_msgr.testing.proxy import Direction, Fault, FaultProxy, Kind, ProxyError
from ceph_msgr.testing.proxy.plan import Plan
from ceph_msgr.testing.proxy.splitter import BlockSplitter, FrameSplitter, Revision
from tests.conftest import Deadline
from tests.processes.echo import Echo
from tests.proxy.conftest import Wire, read_exactly, read_until_end

DATA = bytes(range(256)) * 40
AT = 4_321

both_directions = pytest.mark.parametrize("direction", list(Direction))


def break_at(wire: Wire, direction: Direction, kind: Kind, **how: object) -> tuple[socket.socket, socket.socket]:
    """The fault before byte AT, and all of DATA sent."""
    wire.proxy.order(Fault(kind, direction, at=AT, **how), link=wire.link)
    source, sink = wire.ends(direction)
    source.sendall(DATA)
    return source, sink


@both_directions
def test_bytes_and_the_end_pass(wire: Wire, direction: Direction) -> None:
    source, sink = wire.ends(direction)
    source.sendall(DATA)
    source.shutdown(socket.SHUT_WR)
    assert read_until_end(sink) == DATA
    sink.sendall(b"the other way is open")
    sink.close()
    assert read_until_end(source) == b"the other way is open"


@both_directions
def test_close(wire: Wire, direction: Direction) -> None:
    source, sink = break_at(wire, direction, Kind.CLOSE)
    assert read_until_end(sink) == DATA[:AT]
    assert read_until_end(source) == b""


@both_directions
def test_reset(wire: Wire, direction: Direction) -> None:
    source, sink = break_at(wire, direction, Kind.RESET)
    assert read_exactly(sink, AT) == DATA[:AT]
    for end in source, sink:
        with pytest.raises(ConnectionResetError):
            end.recv(1)


@both_directions
def test_half_close(wire: Wire, direction: Direction) -> None:
    source, sink = break_at(wire, direction, Kind.HALF_CLOSE)
    assert read_until_end(sink) == DATA[:AT]
    sink.sendall(DATA)
    sink.shutdown(socket.SHUT_WR)
    assert read_until_end(source) == DATA


@both_directions
def test_silence(wire: Wire, direction: Direction) -> None:
    source, sink = wire.ends(direction)
    wire.proxy.order(Fault(Kind.SILENCE, direction), link=wire.link)
    source.sendall(DATA)
    source.close()
    sink.settimeout(0.1)
    with pytest.raises(TimeoutError):
        sink.recv(1)
    assert wire.proxy.counts().open_links == 1


@both_directions
def test_stall(wire: Wire, direction: Direction) -> None:
    _, sink = break_at(wire, direction, Kind.STALL, seconds=0.2)
    assert len(sink.recv(len(DATA))) <= AT, "the rest is behind the stall"
    source, _ = wire.ends(direction)
    source.shutdown(socket.SHUT_WR)
    read_until_end(sink)
    assert wire.proxy.counts().bytes[direction] - wire.before.bytes[direction] == len(DATA)


@both_directions
def test_rechunk(wire: Wire, direction: Direction) -> None:
    source, sink = break_at(wire, direction, Kind.RECHUNK, size=1)
    source.shutdown(socket.SHUT_WR)
    pieces = []
    while data := sink.recv(len(DATA)):
        pieces.append(data)
    assert b"".join(pieces) == DATA
    assert len(pieces) > 2, "sent byte by byte, and never read more than once"


@both_directions
def test_flip(wire: Wire, direction: Direction) -> None:
    _, sink = break_at(wire, direction, Kind.FLIP, size=3)
    expected = bytearray(DATA)
    expected[AT] ^= 8
    assert read_exactly(sink, len(DATA)) == expected


@both_directions
def test_truncate(wire: Wire, direction: Direction) -> None:
    source, sink = break_at(wire, direction, Kind.TRUNCATE, size=100)
    source.shutdown(socket.SHUT_WR)
    assert read_until_end(sink) == DATA[:AT] + DATA[AT + 100 :]


def test_each_offset_may_have_its_fault(wire: Wire) -> None:
    for at in range(100):
        wire.proxy.order(Fault(Kind.STALL, at=at, seconds=0.0005), link=wire.link)
    wire.client.sendall(DATA)
    assert read_exactly(wire.target, len(DATA)) == DATA
    assert wire.proxy.counts().total - wire.before.total == 100


def test_a_target_that_refuses(shared_proxy: FaultProxy, deadline: Deadline) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))  # and does not listen
        addr = shared_proxy.route(EntityAddr.parse(f"v2:127.0.0.1:{holder.getsockname()[1]}/5"))
        assert addr.nonce == 5
        with (
            pytest.raises(ConnectionResetError),
            socket.create_connection((addr.ip, addr.port), deadline.remaining_s()) as client,
        ):
            client.recv(1)


def test_a_target_may_have_an_ipv6_address(shared_proxy: FaultProxy, deadline: Deadline) -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listener:
        addr = shared_proxy.route(EntityAddr.parse(f"v2:[::1]:{listener.getsockname()[1]}/5"))
        with socket.create_connection((addr.ip, addr.port), deadline.remaining_s()) as client:
            listener.settimeout(deadline.remaining_s())
            target, _ = listener.accept()
            with target:
                target.sendall(b"through")
                assert read_exactly(client, 7) == b"through"


def test_no_banner_where_frames_are_expected_costs_one_link(
    wire: Wire, shared_proxy: FaultProxy, deadline: Deadline
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        addr = shared_proxy.route(EntityAddr.parse(f"v2:127.0.0.1:{listener.getsockname()[1]}/5"), has_frames=True)
        with socket.create_connection((addr.ip, addr.port), deadline.remaining_s()) as client:
            client.sendall(b"ceph v9\n" + (16).to_bytes(2, "little") + bytes(16))
            with pytest.raises(ConnectionResetError):
                client.recv(1)
    wire.client.sendall(DATA)
    assert read_exactly(wire.target, len(DATA)) == DATA


def test_orders_that_cannot_be_obeyed(wire: Wire) -> None:
    wire.client.sendall(DATA)
    read_exactly(wire.target, len(DATA))
    with pytest.raises(ProxyError, match=f"byte 5 has passed, {len(DATA)} is the next one"):
        wire.proxy.order(Fault(Kind.FLIP, at=5), link=wire.link)
    with pytest.raises(ProxyError, match="needs a route that knows where frames end"):
        wire.proxy.order(Fault(Kind.DROP_FRAME, at=5), link=wire.link)
    with pytest.raises(ValueError, match="needs the number of a frame"):
        Fault(Kind.DROP_FRAME)
    assert wire.proxy.order(Fault(Kind.RESET)) == 1
    with pytest.raises(ProxyError, match=f"link {wire.link} is gone"):
        wire.proxy.order(Fault(Kind.RESET), link=wire.link)


def test_a_session_outlives_its_links(fault_proxy: FaultProxy) -> None:
    """The fixture, as a user's test has it."""
    with Echo(through=fault_proxy) as echo:
        for _ in range(3):
            echo.send(100)
            echo.wait_answered()
            assert fault_proxy.order(Fault(Kind.RESET)) == 1
        echo.send(1)
        echo.wait_answered()
    assert fault_proxy.counts().links >= 4


def test_a_proxy_that_was_killed_is_told() -> None:
    with FaultProxy.start(seed=1) as proxy:
        proxy.counts()
        os.kill(proxy.pid, signal.SIGKILL)
        for _ in range(2):  # the first order may still be taken
            with pytest.raises(ProxyError, match="the proxy has ended"):
                proxy.counts()


# ---- the plan ----


def test_the_same_seed_gives_the_same_faults() -> None:
    def faults(seed: int) -> list[Fault]:
        plan = Plan(seed, left=1)
        rng = plan.rng(3, Direction.TO_CLIENT)
        return [plan.draw(rng, number * 1000) for number in range(100)]

    assert faults(7) == faults(7)
    assert faults(7) != faults(8)
    assert {fault.kind for fault in faults(7)} >= {Kind.CLOSE, Kind.RESET, Kind.FLIP, Kind.STALL}


def test_a_plan_ends_with_its_last_fault(wire: Wire) -> None:
    wire.proxy.plan(20, gap_bytes=100, weights={Kind.STALL: 1, Kind.RECHUNK: 1}, stall_s=0.001)
    wire.client.sendall(DATA)
    assert read_exactly(wire.target, len(DATA)) == DATA
    counts = wire.proxy.counts()
    assert (counts.total - wire.before.total, counts.planned) == (20, 0)
    with pytest.raises(ValueError, match="ordered, not planned"):
        wire.proxy.plan(1, weights={Kind.SWAP_FRAMES: 1})


# ---- where frames end ----


@pytest.mark.parametrize("revision", [0, 1])
def test_frames_are_cut_in_whatever_pieces_they_come(revision: int, rng: random.Random) -> None:
    banner = (OUR_BANNER if revision else Banner(0)).encode()
    shapes = [[b"control"], [b""], [b"header", b"", b"", b"data"], [b"header", b"front"], [b"h", b"f", b"m", b"d" * 9_000]]
    frames = [frame_assemble(17, segments, revision) for segments in shapes]
    for limit in 1, 7, 10_000:
        shared = Revision()
        shared.saw(banner)
        splitter = FrameSplitter(shared)
        stream, out, before = banner + b"".join(frames), [], b""
        while stream:
            size = rng.randint(1, limit)
            passed, more = splitter.feed(stream[:size])
            before += passed
            out += more
            stream = stream[size:]
        assert (before, out) == (banner, frames)


def test_blocks() -> None:
    splitter = BlockSplitter(3, 4)
    assert splitter.feed(b"ab") == (b"ab", [])
    assert splitter.feed(b"cdddde") == (b"c", [b"dddd"])
    assert splitter.feed(b"eeeffff") == (b"", [b"eeee", b"ffff"])
