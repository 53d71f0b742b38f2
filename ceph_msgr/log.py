"""Loggers of the library: ``ceph_msgr`` and its children ``ceph_msgr.net``, ``ceph_msgr.dispatch``, ...

The library configures nothing: it puts a NullHandler on ``ceph_msgr``, so that an application without logging stays
quiet, and leaves handlers, levels and formats to the application. Nothing is formatted unless a handler wants it.
"""

from __future__ import annotations

import logging
from typing import Any

__all__ = ["PrefixLog", "get_logger"]

_ROOT = logging.getLogger("ceph_msgr")
_ROOT.addHandler(logging.NullHandler())


def get_logger(name: str) -> logging.Logger:
    """The library's logger of this room: ``get_logger("net")`` is ``ceph_msgr.net``."""
    return _ROOT.getChild(name)


class PrefixLog(logging.LoggerAdapter[logging.Logger]):
    """A logger that begins each line with ``str(subject)``, asked anew for each line that is really written.

    For objects whose description changes while they live, such as a connection with its state::

        self.log = PrefixLog(get_logger("connection"), self)
        self.log.info("fault %s, reconnecting in %.1f s", error, delay)
    """

    def __init__(self, logger: logging.Logger, subject: object) -> None:
        super().__init__(logger)
        self.subject = subject

    def log(self, level: int, msg: object, *args: object, stacklevel: int = 1, **kwargs: Any) -> None:
        # As an argument, not pasted into msg: an address may hold a "%" (the scope of an IPv6 one).
        self.logger.log(level, f"%s {msg}", self.subject, *args, stacklevel=stacklevel + 1, **kwargs)
