"""What the perf server does with a request: answer it at once, or after thinking about it in a pool."""

from __future__ import annotations

import threading
import time
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Self

from ceph_msgr import Connection, Dispatcher, Message
from ceph_msgr.tools.workload import REQUEST_TYPE, make_reply

__all__ = ["Answerer", "ThinkingAnswerer"]


class Answerer(Dispatcher):
    """Answers inline, on the worker thread that read the request."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Nothing to stop."""

    def ms_can_fast_dispatch_any(self) -> bool:
        return True

    def ms_can_fast_dispatch(self, message_type: int) -> bool:
        return message_type == REQUEST_TYPE

    def ms_fast_dispatch(self, request: Any) -> None:  # of the one type we claim: an MOSDOp
        request.connection.send_message(make_reply(request))

    def ms_dispatch(self, message: Message) -> bool:
        return True  # anything else, such as an MPing, gets no answer and does no harm

    def ms_handle_reset(self, connection: Connection) -> bool:
        return True


class ThinkingAnswerer(Answerer):
    """Hands each request to a pool of threads, which sleep and then answer, so that workers go on reading."""

    def __init__(self, threads: int, think_time_us: int) -> None:
        self._think_s = think_time_us / 1e6
        self._requests: SimpleQueue[Message | None] = SimpleQueue()
        self._threads = [threading.Thread(target=self._work, name=f"think-{n}") for n in range(threads)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        # Connections are closed by now, so what still waits would be dropped one think time after the other.
        while not self._requests.empty():
            self._requests.get()
        for _ in self._threads:
            self._requests.put(None)
        for thread in self._threads:
            thread.join()

    def ms_fast_dispatch(self, request: Message) -> None:
        self._requests.put(request)

    def _work(self) -> None:
        while (request := self._requests.get()) is not None:
            time.sleep(self._think_s)
            super().ms_fast_dispatch(request)
