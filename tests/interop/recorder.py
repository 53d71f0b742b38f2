"""A dispatcher that keeps what it is told, for tests that wait for it."""

from __future__ import annotations

import queue
from collections.abc import Callable
from typing import Any, TypeVar

from ceph_msgr import Connection, Dispatcher, Message
from tests.conftest import Deadline

M = TypeVar("M", bound=Message)


class Recorder(Dispatcher):
    """All queued callbacks in their order, each as a word and its subject."""

    def __init__(self) -> None:
        self._events: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        #: Called on the worker, before the session's first message.
        self.on_fast_accept: Callable[[Any], object] = lambda connection: None
        #: Called with each message before it is kept.
        self.answer: Callable[[Message], object] = lambda message: None

    def next(self, word: str, deadline: Deadline) -> tuple[str, Any]:
        """The next callback, whatever it is; ``word`` is what the caller hopes for."""
        try:
            return self._events.get(timeout=deadline.remaining_s(word))
        except queue.Empty:
            raise AssertionError(f"no callback within {deadline.timeout_s} s, expected {word}") from None

    def expect(self, word: str, deadline: Deadline) -> Any:
        """The subject of the next callback, which must be this one."""
        got, subject = self.next(word, deadline)
        assert got == word, f"{got} of {subject!r}, expected {word}"
        return subject

    def expect_message(self, cls: type[M], deadline: Deadline) -> M:
        """The next callback, which must be a message of exactly this class."""
        message = self.expect("message", deadline)
        assert type(message) is cls, f"{message!r} of type {message.type}, expected a {cls.__name__}"
        return message

    def skip_to(self, word: str, deadline: Deadline) -> Any:
        """The subject of the next such callback; others may come before it."""
        while True:
            got, subject = self.next(word, deadline)
            if got == word:
                return subject

    def skip_to_message(self, cls: type[M], deadline: Deadline) -> M:
        """The next message of this class; others and other callbacks may come before it."""
        while not isinstance(message := self.skip_to("message", deadline), cls):
            pass
        return message

    def expect_silence(self) -> None:
        """Nothing more has come. The caller knows why nothing can be under way."""
        assert self._events.empty(), f"unexpected: {self._events.get()}"

    def ms_can_fast_dispatch_any(self) -> bool:
        return True

    def ms_handle_fast_accept(self, connection: Connection) -> None:
        self.on_fast_accept(connection)

    def ms_dispatch(self, message: Message) -> bool:
        self.answer(message)
        self._events.put(("message", message))
        return True

    def ms_handle_connect(self, connection: Connection) -> None:
        self._events.put(("connect", connection))

    def ms_handle_accept(self, connection: Connection) -> None:
        self._events.put(("accept", connection))

    def ms_handle_reset(self, connection: Connection) -> bool:
        self._events.put(("reset", connection))
        return True

    def ms_handle_remote_reset(self, connection: Connection) -> None:
        self._events.put(("remote reset", connection))

    def ms_handle_refused(self, connection: Connection) -> bool:
        self._events.put(("refused", connection))
        return True
