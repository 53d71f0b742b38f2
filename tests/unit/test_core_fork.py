"""After fork() the child is refused and disturbs neither the parent's epoll nor its sockets."""

from __future__ import annotations

import os
import socket
import sys
import traceback
from collections.abc import Callable

import pytest

from ceph_msgr._core import DispatchTable, Message, Session, Stream, Throttle, WorkerCore

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def in_child(what: Callable[[], None]) -> None:
    """Runs it in a forked child and fails if it raised."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            what()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0, "see the child's traceback"


class Owner:
    def __init__(self) -> None:
        self.events: list[tuple[object, ...]] = []

    def _on_frame(self, tag: int, payload: bytes, wire: bytes) -> None:
        self.events.append((tag, payload))


@pytest.mark.contract("C11", "H4")
def test_the_child_is_refused_and_the_parent_goes_on() -> None:
    worker = WorkerCore()
    owner = Owner()
    table = DispatchTable({}, lambda type_: ((), None), lambda m: None, lambda m, e: None)
    session = Session(worker, owner, table)  # type: ignore[arg-type]
    throttle = Throttle("t", 5)
    left, right = socket.socketpair()
    left.setblocking(False)
    stream: Stream | None = Stream(worker, left.detach(), owner, connecting=False)  # type: ignore[arg-type]

    def child() -> None:
        nonlocal stream
        assert stream is not None
        uses: list[Callable[[], object]] = [
            lambda: worker.turn(0), worker.stats, worker.center.stats, worker.center.wakeup,
            lambda: session.send(Message(2)), session.info, throttle.take,
            lambda: stream.try_send() if stream else 0, lambda: Stream.close(stream) if stream else None,
        ]
        for use in uses:
            with pytest.raises(RuntimeError, match="before fork"):
                use()
        fd = stream.fd
        stream = None
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)
        own = WorkerCore()
        own.turn(0)
        own.close()

    in_child(child)
    right.sendall(b"ceph v2\n\x10\x00" + bytes(16))
    for _ in range(100):
        if owner.events:
            break
        worker.turn(20_000_000)
    assert owner.events == [(0, bytes(16))]
    assert stream is not None
    stream.close()
    session.close()
    worker.close()
    right.close()
