"""One session in the simulated world that says the same each time: what both sides send follows from the mode alone.

So a run in which a bit arrives flipped is the recorded session with one bit flipped, up to where somebody notices.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from ceph_msgr import _core
from ceph_msgr._core import Message
from ceph_msgr.auth import AuthRegistry, Keyring
from ceph_msgr.config import Config
from ceph_msgr.connection.connection import Connection
from ceph_msgr.dispatch.dispatcher import Dispatcher
from ceph_msgr.policy import Policy
from ceph_msgr.protocol import handshake
from ceph_msgr.protocol.banner import Banner
from ceph_msgr.testing import _sim
from ceph_msgr.testing.simulator import Host, World
from ceph_msgr.wire.entity import EntityType

__all__ = ["COMPLETE", "MODES", "SIDES", "Alteration", "Kind", "Mode", "Outcome", "play"]

_SEED = 1
_MS = 1_000_000
#: Messages and keepalives of one act, with their acknowledgements, take less.
_ACT_NS = 20 * _MS
#: Who has lost a connection has it back, and what was lost with it has been sent again, within this.
_PATIENCE_NS = 60_000 * _MS
_LOOK_NS = 500 * _MS
_TYPE = 1000
SIDES = "client", "server"
#: Only OSDs have options of compression.
_NAMES = "osd.1", "osd.0"


@dataclass(frozen=True)
class Mode:
    revision: int
    is_secure: bool = False
    is_compressed: bool = False


MODES = {
    "crc_2.1": Mode(1),
    "crc_2.0": Mode(0),
    "secure_2.1": Mode(1, is_secure=True),
    "secure_2.0": Mode(0, is_secure=True),
    "compressed_crc": Mode(1, is_compressed=True),
    "compressed_secure": Mode(1, is_secure=True, is_compressed=True),
}


class Kind(IntEnum):
    """As in csrc/sim/sim.h."""

    NOTHING = 0
    BIT = 1
    END = 2


@dataclass(frozen=True, slots=True)
class Alteration:
    """Of what one side sends: bit ``at`` is flipped, or it ends behind ``at`` bytes."""

    kind: Kind = Kind.NOTHING
    side: int = 0
    at: int = 0

    def __str__(self) -> str:
        return f"{self.kind.name.lower()}:{SIDES[self.side]}:{self.at}"

    @classmethod
    def parse(cls, text: str) -> Alteration:
        """The inverse of ``str``; ``ValueError`` or ``KeyError``."""
        kind, side, at = text.split(":")
        return cls(Kind[kind.upper()], SIDES.index(side), int(at))


#: Front, middle and data.
Segments = tuple[bytes, bytes, bytes]

#: Two acts, and what each side says in them. Segments of all sorts: absent, empty before others, and, for the modes that
#: compress, long enough to be worth it.
SCRIPT: tuple[tuple[list[Segments], list[Segments]], ...] = (
    ([(b"front", b"", b""), (b"f" * 10, b"middle!", b"data" * 8), (b"", b"", b"\x00\xff" * 33)], []),
    (
        [(b"all the same " * 12, b"", b"x" * 70)],
        [(b"", b"", b""), (b"", b"middle", b""), (b"a", b"bc", b"def"), (b"again and " * 9, b"", b"and again " * 9)],
    ),
)
#: Everything the client says, and everything the server says.
_SAID = [segments for client, _ in SCRIPT for segments in client], [segments for _, server in SCRIPT for segments in server]
#: What the server receives, and what the client does.
COMPLETE = list(range(len(_SAID[0]))), list(range(len(_SAID[1])))


@dataclass
class Outcome:
    """Numbers of the messages that the server has received, and of those the client has, in order; -1 for one nobody sent."""

    received: tuple[list[int], list[int]]
    #: Sockets that were given up, and gaps in the numbers of messages, told at either end.
    faults: int = 0
    gaps: int = 0
    #: Ends of connections, told to the client and to the server.
    resets: list[str] = field(default_factory=list)
    #: Bytes that each side has sent on the socket that was dialled first.
    sent: tuple[bytes, bytes] = field(default=(b"", b""), repr=False)
    #: Equal ones: the two runs were the same.
    digest: str = ""
    #: Whatever else is wrong: errors of ours that were logged, and throttles that are not back at zero.
    defects: list[str] = field(default_factory=list)

    @property
    def is_complete(self) -> bool:
        return self.received == COMPLETE


class _User(Dispatcher):
    """Of one side: sends its messages and notes those of the other one."""

    def __init__(self, side: int, host: Host, resets: list[str]) -> None:
        self.received: list[int] = []
        self.connection: Connection | None = None
        self.host = host
        self._side = side
        self._said = 0
        self._resets = resets

    def say(self, messages: list[Segments]) -> None:
        with self.host.entered():
            for front, middle, data in messages:
                message = Message(_TYPE, front, middle, data, tid=self._said)
                self._said += 1
                if self.connection:
                    self.connection.send_message(message)

    def ms_can_fast_dispatch_any(self) -> bool:
        return True

    def ms_can_fast_dispatch(self, message_type: int) -> bool:
        return True

    def ms_fast_dispatch(self, message: Message) -> None:
        said = _SAID[1 - self._side]
        segments = bytes(message.front), bytes(message.middle), bytes(message.data)
        is_known = message.type == _TYPE and message.tid < len(said) and said[message.tid] == segments
        self.received.append(message.tid if is_known else -1)

    def ms_handle_fast_accept(self, connection: Connection) -> None:
        self.connection = connection

    def ms_handle_reset(self, connection: Connection) -> bool:
        self._resets.append(f"reset at the {SIDES[self._side]}")
        return True

    def ms_handle_remote_reset(self, connection: Connection) -> None:
        self._resets.append(f"remote reset at the {SIDES[self._side]}")


class _Session:
    """A client and a server on a quiet link."""

    def __init__(self, mode: Mode) -> None:
        handshake.OUR_BANNER = Banner(supported=mode.revision)
        self.world = World(_SEED)
        self.resets: list[str] = []
        config, keyring = _config(mode), Keyring.generate(*_NAMES)
        self.users = []
        for side, name in enumerate(_NAMES):
            auth = AuthRegistry.dummy(EntityType.OSD, config)
            if mode.is_secure:
                auth = AuthRegistry.standalone(name, config, keyring)
            host = Host(self.world, 1 + side, name, nonce=1 + side, config=config, auth=auth)
            user = _User(side, host, self.resets)
            with host.entered() as messenger:
                messenger.set_default_policy(Policy.stateful_server() if side else Policy.lossless_client())
                if side:
                    messenger.bind("v2:127.0.0.2:6800")
                messenger.add_dispatcher_head(user)
                messenger.start()
            self.users.append(user)

    def run(self) -> None:
        client, server = self.users
        with client.host.entered() as messenger:
            client.connection = messenger.connect_to(EntityType.OSD, server.host.messenger.myaddrs)
        for act in SCRIPT:
            for user, messages in zip(self.users, act, strict=True):
                self._wait_until(lambda user=user: user.connection is not None)  # type: ignore[misc]
                user.say(messages)
            self.world.run(_ACT_NS)
        with client.host.entered():
            client.connection.send_keepalive()
        self.world.run(_ACT_NS)
        self._wait_until(lambda: self._outcome().is_complete)
        self.world.run(_ACT_NS)

    def _wait_until(self, is_so: Callable[[], bool]) -> None:
        end_ns = self.world.now_ns + _PATIENCE_NS
        while not is_so() and not self.resets and self.world.now_ns < end_ns:
            self.world.run(_LOOK_NS)

    def _outcome(self) -> Outcome:
        client, server = self.users
        return Outcome((server.received, client.received))

    def end(self) -> Outcome:
        outcome = self._outcome()
        outcome.digest = self.world.digest
        outcome.sent = _sim.tapped(0), _sim.tapped(1)
        outcome.resets = list(self.resets)
        for user in self.users:
            counters: Any = user.host.stack.workers[0].perf.snapshot()
            outcome.faults += sum(counters["msgr_faults"].values())
            outcome.gaps += counters["msgr_sequence_gaps"]
            user.host.close()
            user.connection = None
            outcome.defects += [repr(throttle) for throttle in user.host.throttles if throttle.current]
        return outcome


class _Errors(logging.Handler):
    """What the library logs as an error is a mistake of its own; what a peer does is none."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(self.format(record))


@contextmanager
def _logged_errors() -> Iterator[list[str]]:
    logger, errors = logging.getLogger("ceph_msgr"), _Errors()
    level, propagates = logger.level, logger.propagate
    logger.setLevel(logging.ERROR)
    logger.propagate = False
    logger.addHandler(errors)
    try:
        yield errors.texts
    finally:
        logger.removeHandler(errors)
        logger.setLevel(level)
        logger.propagate = propagates


@functools.cache
def _config(mode: Mode) -> Config:
    options: dict[str, Any] = {
        "ms_initial_backoff": 0.2, "ms_max_backoff": 2, "ms_cluster_mode": "secure" if mode.is_secure else "crc",
    }
    if mode.is_compressed:
        algorithm = next(name for name in _core.compression_algorithms().values() if name != "none")
        options |= {
            "ms_osd_compress_mode": "force", "ms_osd_compress_min_size": 64, "ms_compress_secure": True,
            "ms_osd_compression_algorithm": algorithm,
        }
    return Config(**options)


def play(mode: Mode, alteration: Alteration = Alteration()) -> Outcome:
    """The session in this mode, with one thing altered on its first socket."""
    with _logged_errors() as errors:
        session = _Session(mode)
        _sim.tap(alteration.kind, alteration.side, alteration.at)
        session.run()
        outcome = session.end()
    outcome.defects += errors
    return outcome
