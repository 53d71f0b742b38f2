"""``Gate``: where a test may look into a connection, and act.

A messenger with an ``interceptor`` gives each connection a gate. The gate asks it at breakpoints, before the step is taken:
a frame that is about to be processed or sent, and a few moments that are not frames. Without an interceptor there are no
gates, and the data plane shows us none of its frames.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Protocol

from ceph_msgr import _core
from ceph_msgr.errors import ConnectionFault
from ceph_msgr.protocol import actions as act
from ceph_msgr.protocol.tags import DATA_TAGS, Tag

if TYPE_CHECKING:
    from ceph_msgr.connection.async_connection import AsyncConnection

__all__ = ["DATA_MASK", "Answer", "Breakpoint", "Gate", "Interceptor", "Moment"]

#: The frames the data plane must show us.
DATA_MASK = sum(1 << tag for tag in DATA_TAGS)


class Moment(Enum):
    """What is no frame. A banner comes as a whole: both moments of reading it follow one another."""

    SOCKET_CONNECTING = "socket connecting"
    SOCKET_ACCEPTED = "socket accepted"
    BANNER_WRITE = "banner write"
    BANNER_READ = "banner read"
    BANNER_PAYLOAD_READ = "banner payload read"


@dataclass(frozen=True, slots=True)
class Breakpoint:
    """A step of a connection: a moment, or a frame in one direction (``sent`` counts for frames only)."""

    what: Tag | Moment
    sent: bool = False

    @classmethod
    def read(cls, tag: Tag) -> Breakpoint:
        return cls(tag)

    @classmethod
    def write(cls, tag: Tag) -> Breakpoint:
        return cls(tag, sent=True)

    def __str__(self) -> str:
        if isinstance(self.what, Moment):
            return self.what.value
        return f"{self.what} {'write' if self.sent else 'read'}"


class Answer(Enum):
    """What becomes of the step."""

    CONTINUE = "continue"
    #: It fails as if the socket broke.
    FAULT = "fault"
    #: It waits until ``Gate.release``, and with it what else this connection would do on this socket. The session itself is
    #: alive: it can be taken over, or marked down.
    BLOCK = "block"
    #: As ``BLOCK``, and for the peer the socket is gone, which we do not notice.
    STALL = "stall"


class Interceptor(Protocol):
    """What ``Messenger.interceptor`` must have. Called on the connection's worker; must not block."""

    def intercept(self, connection: AsyncConnection, breakpoint: Breakpoint) -> Answer: ...


@dataclass(slots=True)
class _Step:
    #: Those not passed yet.
    breakpoints: Iterator[Breakpoint]
    take: Callable[[], object]


class Gate:
    """Of one connection. Its methods are called on the connection's worker, ``release`` on any thread."""

    def __init__(self, connection: AsyncConnection, interceptor: Interceptor) -> None:
        self._connection = connection
        self._interceptor = interceptor
        #: In order; the first one is blocked.
        self._steps: deque[_Step] = deque()

    def pass_through(self, breakpoints: Iterable[Breakpoint], take: Callable[[], object]) -> None:
        """Take this step as soon as all before it are taken and the interceptor agrees; never, if the socket is closed first."""
        self._steps.append(_Step(iter(breakpoints), take))
        if len(self._steps) == 1:
            self._proceed(self._steps[0])

    def release(self) -> None:
        """Go on where the connection is blocked now. Nothing happens if it has been closed or taken over meanwhile."""
        if self._steps:
            self._connection.post(partial(self._proceed, self._steps[0]))

    def clear(self) -> None:
        """The socket is closed: so is what was to happen on it."""
        self._steps.clear()

    def _proceed(self, step: _Step) -> None:
        while self._steps and self._steps[0] is step:
            for breakpoint in step.breakpoints:
                match self._interceptor.intercept(self._connection, breakpoint):
                    case Answer.FAULT:
                        self._steps.clear()
                        self._connection.fault(ConnectionFault(f"injected at {breakpoint}", "injected"))
                        return
                    case Answer.BLOCK:
                        return
                    case Answer.STALL:
                        self._connection.hang_up()
                        return
                    case _:
                        pass
            self._steps.popleft()
            step.take()
            if self._steps:
                step = self._steps[0]


def breakpoint_before(action: act.Action) -> Breakpoint | None:
    """Where to ask before this action is executed."""
    match action:
        case act.Dial():
            return Breakpoint(Moment.SOCKET_CONNECTING)
        case act.SendBytes():
            return Breakpoint(Moment.BANNER_WRITE)
        case act.SendFrame(tag):
            return Breakpoint.write(tag)
        case _:
            return None
