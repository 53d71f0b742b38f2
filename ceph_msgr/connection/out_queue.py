"""``OutQueue``: a view of a connection's priority ``out_q``, which lives in the compiled core."""

from __future__ import annotations

from ceph_msgr._core import Session

__all__ = ["OutQueue"]


class OutQueue:
    """How much waits to be sent, for logs, metrics and tests. Any thread; each look is a snapshot."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def __len__(self) -> int:
        """Messages not written yet."""
        return self._session.info()["queued_messages"]

    @property
    def unacked(self) -> int:
        """Messages written to a lossless connection that the peer has not acknowledged."""
        return self._session.info()["unacked_messages"]

    @property
    def len_bytes(self) -> int:
        """Unsent and unacknowledged, each message with its header."""
        return self._session.info()["queued_bytes"]

    @property
    def has_queued_messages(self) -> bool:
        info = self._session.info()
        return bool(info["queued_messages"] or info["unacked_messages"])

    def priorities(self) -> dict[int, int]:
        """Priority to messages not written yet, highest first."""
        return dict(self._session.priorities())

    def __repr__(self) -> str:
        return f"<OutQueue {len(self)} queued, {self.unacked} unacknowledged, {self.len_bytes} bytes>"
