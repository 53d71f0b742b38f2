"""From a message to its dispatcher's callback, without a wire: what the choice and the call cost."""

from __future__ import annotations

import pytest

from ceph_msgr import Message
from ceph_msgr._core import DispatchTable

TYPE = 700


def pass_over(message: Message) -> None:
    """A preprocessor that does nothing."""


@pytest.mark.parametrize("way", ["fast", "queued", "preprocessed"])
def test_dispatch(benchmark, batch: int, way: str) -> None:
    taken: list[Message] = []
    asked: list[int] = []

    def resolve(type_: int):
        asked.append(type_)
        return (pass_over,) if way == "preprocessed" else (), None if way == "queued" else taken.append

    table = DispatchTable({TYPE: Message}, resolve, taken.append, lambda *error: None)
    messages = [Message(TYPE, tid=tid) for tid in range(batch)]
    connection = object()

    def dispatch() -> None:
        deliver = table.deliver
        for message in messages:
            deliver(message, connection)

    benchmark.pedantic(dispatch, rounds=50, setup=taken.clear, warmup_rounds=2)
    assert [message.tid for message in taken] == list(range(batch))
    assert taken[0].connection is connection
    assert asked == [TYPE], "the choice is made once per type"
