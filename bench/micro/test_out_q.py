"""Messages into the out_q of a session that has no socket yet: what a sender pays before anything is written."""

from __future__ import annotations

import threading

import pytest

from ceph_msgr import Message
from ceph_msgr._core import DispatchTable, Session, WorkerCore

FEATURES = 0x3F01CFB9FFFDFFFF
TYPE = 700


class Owner:
    def _on_send_queued(self) -> None:
        """The worker would dial now."""


@pytest.fixture
def session():
    worker = WorkerCore()
    worker.center.owner = threading.get_ident()
    table = DispatchTable({TYPE: Message}, lambda type_: ((), None), lambda message: None, lambda *error: None)
    session = Session(worker, Owner(), table)
    session.take_features(FEATURES)
    yield session
    session.close()
    worker.close()


@pytest.mark.parametrize("priorities", [1, 8])
def test_out_q_push(benchmark, session, batch: int, priorities: int) -> None:
    messages = [Message(TYPE, b"front", data=bytes(64), priority=127 + n % priorities) for n in range(batch)]

    def push() -> None:
        send = session.send
        for message in messages:
            send(message)

    def check_and_empty(*_) -> None:
        counts = dict(session.priorities())
        assert counts == {127 + n: batch // priorities for n in range(priorities)}
        session.reset(drop_queue=True)

    benchmark.pedantic(push, rounds=50, teardown=check_and_empty, warmup_rounds=2)
