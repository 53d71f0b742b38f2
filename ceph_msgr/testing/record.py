"""``Record``: what has happened to one connection."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from ceph_msgr.connection.gate import Breakpoint
from ceph_msgr.protocol.states import State

__all__ = ["Accepts", "Dials", "Outcome", "Record", "Resets"]

#: As in ``connection.connection``: this room needs no more of it than the table of states.
Connection = Any


class Outcome(Enum):
    """Where a connection has come to."""

    UNDERWAY = "underway"
    ESTABLISHED = "established"
    STANDBY = "standby"
    #: Its socket serves another connection, the one that had been there before.
    REPLACED = "replaced"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Dials:
    """What it did as the dialling side."""

    sockets: int = 0
    idents_sent: int = 0
    reconnects_sent: int = 0
    connect_callbacks: int = 0


@dataclass(frozen=True, slots=True)
class Accepts:
    """What it saw as the accepting side."""

    sockets: int = 0
    idents_read: int = 0
    reconnects_read: int = 0
    accept_callbacks: int = 0


@dataclass(frozen=True, slots=True)
class Resets:
    resets: int = 0
    remote_resets: int = 0


@dataclass(slots=True)
class Record:
    """One connection object. Kept by an ``Interceptor``, in order of creation."""

    connection: Connection
    dials: Dials = Dials()
    accepts: Accepts = Accepts()
    resets: Resets = Resets()
    #: All breakpoints it has passed, or stopped at, in order.
    path: list[Breakpoint] = field(default_factory=list)

    @property
    def blocked_at(self) -> Breakpoint | None:
        """Where it is blocked, if it is."""
        gate = self.connection.gate
        return gate.blocked_at if gate else None

    @property
    def outcome(self) -> Outcome:
        history = self.connection.history
        if not history:
            return Outcome.UNDERWAY
        last = history[-1]
        match last.new:
            case State.READY:
                return Outcome.UNDERWAY if self.blocked_at else Outcome.ESTABLISHED
            case State.STANDBY:
                return Outcome.STANDBY
            case State.CLOSED:
                return Outcome.REPLACED if last.old is State.HANDED_OVER else Outcome.CLOSED
            case _:
                return Outcome.UNDERWAY

    def count(self, group: str, what: str) -> None:
        """One more of ``dials``, ``accepts`` or ``resets``."""
        counts = getattr(self, group)
        setattr(self, group, replace(counts, **{what: getattr(counts, what) + 1}))

    def __str__(self) -> str:
        return f"{self.outcome.value} {self.dials} {self.accepts} {self.resets}"
