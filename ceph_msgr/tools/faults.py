"""Why connections broke: the library logs it, the tools show it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["log_to_stderr", "remember_faults"]


def log_to_stderr(program: str) -> None:
    """Warnings of the library become lines of this program."""
    logging.basicConfig(level=logging.WARNING, format=f"{program}: %(message)s")


@contextmanager
def remember_faults() -> Iterator[list[str]]:
    """The list holds, once a connection has broken, the cause of its last fault."""
    last: list[str] = []

    class Remember(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            _, is_fault, cause = record.getMessage().partition(" fault: ")
            if is_fault:
                last[:] = [cause]

    logger = logging.getLogger("ceph_msgr.connection")
    handler, level = Remember(), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)  # a reset by the peer is no warning to the library
    try:
        yield last
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)
