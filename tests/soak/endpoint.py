"""One side of a soak, a process of its own: that of a two-process run, with tallies for journals and at a given pace."""

from __future__ import annotations

import time
from typing import Any

from tests.proxy.endpoint import BURST, Endpoint, Session, main
from tests.soak.pace import Pace
from tests.soak.tally import Tally


class SoakSession(Session):
    journal_type = Tally


class SoakEndpoint(Endpoint):
    session_type = SoakSession
    look_again_s = 0.02

    #: None: as fast as possible.
    _pace: Pace | None = None

    def _send_round(self) -> bool:
        pace = self._pace
        if pace is None:
            return super()._send_round()
        share = -(-pace.due(time.monotonic()) // len(self._sessions))
        for session in self._sessions:
            before = len(session.sent)
            session.send(min(share, BURST))
            pace.took(len(session.sent) - before)
        return False  # more is due later only

    def obey(self, order: dict[str, Any]) -> dict[str, Any]:
        if order["do"] == "pace":
            self._pace = Pace(order["per_s"], time.monotonic()) if order["per_s"] else None
            return {}
        return super().obey(order)

    @staticmethod
    def _state(session: Session) -> dict[str, Any]:
        return Endpoint._state(session) | {"wrong": session.received.wrong}


if __name__ == "__main__":
    main(SoakEndpoint)
