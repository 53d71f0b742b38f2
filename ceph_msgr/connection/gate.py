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

from ceph_msgr.errors import ConnectionFault
from ceph_msgr.protocol import actions as act
from ceph_msgr.protocol import events as ev
from ceph_msgr.protocol.tags import DATA_TAGS, Tag

if TYPE_CHECKING:
    from ceph_msgr.connection.async_connection import AsyncConnection

__all__ = ["DATA_MASK", "Answer", "Breakpoint", "Gate", "Interceptor", "Moment", "breakpoints_before", "breakpoints_of"]

#: The frames the data plane must show us.
DATA_MASK = sum(1 << tag for tag in DATA_TAGS)
_TAGS = frozenset(Tag)


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
    #: As ``BLOCK``, and for the peer the socket is gone, which we do not notice; on an accepted socket from ``BANNER_READ`` on.
    STALL = "stall"


class Interceptor(Protocol):
    """What ``Messenger.interceptor`` must have. Called on the connection's worker; must not block."""

    def intercept(self, connection: AsyncConnection, breakpoint: Breakpoint) -> Answer: ...

    def settled(self, connection: AsyncConnection) -> None:
        """It has done what there was to do, or is blocked: look again."""


@dataclass(slots=True)
class _Step:
    #: Those not come to yet.
    breakpoints: Iterator[Breakpoint]
    take: Callable[[], object]


class Gate:
    """Of one connection. ``release`` may be called on any thread, the rest is for the connection's worker."""

    def __init__(self, connection: AsyncConnection, interceptor: Interceptor) -> None:
        self._connection = connection
        self._interceptor = interceptor
        self._blocked: _Step | None = None
        self._waiting: deque[_Step] = deque()
        #: Where the connection is blocked. Any thread.
        self.blocked_at: Breakpoint | None = None

    def before(self, breakpoints: Iterable[Breakpoint], take: Callable[[], object]) -> None:
        """Ask at each of these, then take the step: at once, or after ``release``, or never if the socket is closed first."""
        step = _Step(iter(breakpoints), take)
        if self._blocked:
            self._waiting.append(step)
        else:
            self._try(step)

    def release(self) -> None:
        """Go on where the connection is blocked now. Nothing happens if its socket has been closed meanwhile."""
        if step := self._blocked:
            self._connection.worker.submit_to(partial(self._resume, step), nowait=True)

    def clear(self) -> None:
        """The socket is closed: what was to happen on it is void."""
        self._blocked = self.blocked_at = None
        self._waiting.clear()

    def settled(self) -> None:
        self._interceptor.settled(self._connection)

    def _try(self, step: _Step) -> None:
        for breakpoint in step.breakpoints:
            answer = self._interceptor.intercept(self._connection, breakpoint)
            if answer is Answer.FAULT:
                self.clear()
                self._connection.fault(ConnectionFault(f"{breakpoint} was made to fail", "injected"))
                return
            if answer in (Answer.BLOCK, Answer.STALL):
                self._blocked, self.blocked_at = step, breakpoint
                if answer is Answer.STALL:
                    self._connection.hang_up()
                self.settled()
                return
        step.take()

    def _resume(self, step: _Step) -> None:
        if self._blocked is not step:
            return  # closed meanwhile, and perhaps blocked elsewhere on another socket
        self._blocked = self.blocked_at = None
        self._try(step)
        while self._waiting and not self._blocked:
            self._try(self._waiting.popleft())
        self.settled()


def breakpoints_before(action: act.Action, *, is_accepting: bool) -> tuple[Breakpoint, ...]:
    """Where to ask before an action is executed."""
    match action:
        case act.Dial():
            return (Breakpoint(Moment.SOCKET_CONNECTING),)
        case act.SendBytes():
            banner = Breakpoint(Moment.BANNER_WRITE)
            return (Breakpoint(Moment.SOCKET_ACCEPTED), banner) if is_accepting else (banner,)
        case act.SendFrame(tag):
            return (Breakpoint.write(tag),)
        case _:
            return ()


def breakpoints_of(event: ev.BannerReceived | ev.FrameReceived) -> tuple[Breakpoint, ...]:
    """Where to ask before what was received is looked at. Unknown tags have no breakpoint."""
    if isinstance(event, ev.BannerReceived):
        return Breakpoint(Moment.BANNER_READ), Breakpoint(Moment.BANNER_PAYLOAD_READ)
    return (Breakpoint.read(Tag(event.tag)),) if event.tag in _TAGS else ()
