"""``Injection``: messages of one connection delayed or swallowed, for tests (``ms_inject_delay_*``, ``ms_blackhole_*``).

A connection has one only if such an option is set when it is made; from then on the options are looked at with every message, so
what was cut off can be joined again. The session knows nothing of it: swallowed and delayed messages are received, and
acknowledged, like all others.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from ceph_msgr import _core
from ceph_msgr._core import Message
from ceph_msgr.config import Config
from ceph_msgr.wire.entity import EntityType

if TYPE_CHECKING:
    from ceph_msgr.connection.async_connection import AsyncConnection

__all__ = ["Injection"]

_NS_PER_S = 1_000_000_000


class Injection:
    """Stands between the core and the dispatch table: the core delivers to ``table``. On the connection's worker, but
    ``send_message``, which is called on any thread."""

    def __init__(self, connection: AsyncConnection, config: Config) -> None:
        self._connection = connection
        self._config = config
        self.table = connection.messenger.make_dispatch_table(lambda message_type: ((), None), self._receive)
        #: When each is due, in the order in which they came: none is due before the one before it.
        self._held: deque[tuple[int, Message]] = deque()
        self._timer = 0

    @staticmethod
    def is_wanted(config: Config) -> bool:
        delays = config.ms_inject_delay_type and config.ms_inject_delay_probability and config.ms_inject_delay_max
        return bool(delays) or any(_blackholes(config).values())

    def send_message(self, send: Callable[..., object], message: Message, *, borrow: bool = False) -> None:
        if not self._is_blackholed:
            send(message, borrow=borrow)

    def _receive(self, message: Message) -> None:
        if self._is_blackholed:
            message.dispatched()
            return
        delay_ns = self._pick_delay_ns()
        if not delay_ns and not self._held:
            self._deliver(message)
            return
        due_ns = self._now_ns() + delay_ns
        self._held.append((max(due_ns, self._held[-1][0]) if self._held else due_ns, message))
        if not self._timer:
            self.resume()

    @property
    def _is_blackholed(self) -> bool:
        return _blackholes(self._config).get(self._connection.peer_type, False)

    def _pick_delay_ns(self) -> int:
        """0 for most, as the options will."""
        config = self._config
        if str(self._connection.peer_type) not in config.ms_inject_delay_type:
            return 0
        if random.random() >= config.ms_inject_delay_probability:
            return 0
        return round(random.uniform(0, config.ms_inject_delay_max) * _NS_PER_S)

    def _deliver(self, message: Message) -> None:
        if self._connection.is_closed:
            message.dispatched()
        else:
            self._connection.messenger.dispatch_table.deliver(message, self._connection)

    # ---- what is held ----

    def _now_ns(self) -> int:
        return self._center.now_ns()

    @property
    def _center(self) -> _core.EventCenter:
        return self._connection.worker.center

    def _on_due(self) -> None:
        self._timer = 0
        try:
            while self._held and self._held[0][0] <= self._now_ns():
                self._deliver(self._held.popleft()[1])
        finally:
            self.resume()

    def resume(self) -> None:
        """On the worker to which the connection has moved."""
        if self._held and not self._timer:
            self._timer = self._center.create_time_event(max(0, self._held[0][0] - self._now_ns()), self._on_due)

    def pause(self) -> None:
        """On the worker that the connection is about to leave."""
        if self._timer:
            self._center.delete_time_event(self._timer)
            self._timer = 0

    def discard(self) -> None:
        """Drops what is held, and gives back its dispatch throttle."""
        self.pause()
        while self._held:
            self._held.popleft()[1].dispatched()


def _blackholes(config: Config) -> dict[EntityType, bool]:
    return {
        EntityType.OSD: config.ms_blackhole_osd,
        EntityType.MON: config.ms_blackhole_mon,
        EntityType.MDS: config.ms_blackhole_mds,
        EntityType.MGR: config.ms_blackhole_mgr,
        EntityType.CLIENT: config.ms_blackhole_client,
    }
