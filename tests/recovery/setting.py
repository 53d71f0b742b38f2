"""What both sides of a recovery run go by."""

from __future__ import annotations

import resource

__all__ = ["PAUSE_S", "raise_file_limit"]

#: Every pause of a back-off, so that it is known when the next dial was due.
PAUSE_S = 0.1


def raise_file_limit() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
