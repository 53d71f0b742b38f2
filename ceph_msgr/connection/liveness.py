"""``Liveness``: notices that a peer has fallen silent.

Two clocks run while a connection is ready. Silence for ``ms_connection_idle_timeout`` is a fault. With
``ms_keepalive_interval`` the peer is asked for a sign of life that often, and no answer for ``ms_keepalive_timeout`` is a
fault too. Neither looks at the wall clock, so setting it has no effect.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ceph_msgr.config import Config
from ceph_msgr.errors import ConnectionFault

if TYPE_CHECKING:
    from ceph_msgr.connection.async_connection import AsyncConnection

__all__ = ["Liveness"]

_NS_PER_S = 1_000_000_000


class Liveness:
    """Belongs to one connection, on its worker."""

    def __init__(self, connection: AsyncConnection, config: Config) -> None:
        self._connection = connection
        self._config = config
        self._timers: list[int] = []
        self._idle_ns = 0
        #: Of the keepalive that is not answered yet: when it was sent, and the stamp of the answer before it.
        self._asked_ns = 0
        self._answered_before = 0

    def start(self) -> None:
        """The connection is ready."""
        self._timers = [0, 0]
        self._idle_ns = round(self._config.ms_connection_idle_timeout * _NS_PER_S)
        if self._idle_ns:
            self._arm_idle(self._idle_ns)
        if self._config.ms_keepalive_interval:
            self._asked_ns = 0
            self._arm_keepalive()

    def stop(self) -> None:
        for timer in self._timers:
            self._connection.worker.center.delete_time_event(timer)
        self._timers = []

    # ---- idle time-out ----

    def _arm_idle(self, delay_ns: int) -> None:
        self._timers[0] = self._connection.worker.center.create_time_event(delay_ns, self._on_idle)

    def _on_idle(self) -> None:
        info = self._connection.session_info()
        silent_ns = self._connection.worker.center.now_ns() - max(info["last_read_ns"], info["last_write_ns"])
        if silent_ns >= self._idle_ns:
            self._connection.fault(
                ConnectionFault(f"idle for {silent_ns / _NS_PER_S:.1f} s, allowed are {self._idle_ns / _NS_PER_S:g}", "idle")
            )
        else:
            self._arm_idle(self._idle_ns - silent_ns)

    # ---- keepalive ----

    def _arm_keepalive(self) -> None:
        interval_ns = round(self._config.ms_keepalive_interval * _NS_PER_S)
        self._timers[1] = self._connection.worker.center.create_time_event(interval_ns, self._on_keepalive)

    def _on_keepalive(self) -> None:
        now_ns = self._connection.worker.center.now_ns()
        answered = self._connection.session_info()["last_keepalive_ack_ns"]
        if self._asked_ns and answered == self._answered_before:
            waited_s = (now_ns - self._asked_ns) / _NS_PER_S
            allowed_s = self._config.ms_keepalive_timeout
            if allowed_s and waited_s >= allowed_s:
                self._connection.fault(
                    ConnectionFault(f"no answer to a keepalive for {waited_s:.1f} s, allowed are {allowed_s:g}", "keepalive")
                )
                return
        else:
            self._asked_ns, self._answered_before = now_ns, answered
        self._connection.send_keepalive()
        self._arm_keepalive()
