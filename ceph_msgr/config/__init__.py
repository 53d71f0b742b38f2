"""The options of a messenger: ``Config`` holds the values, ``Option`` describes one of them."""

from __future__ import annotations

from ceph_msgr.config.config import Config
from ceph_msgr.config.option import Option

__all__ = ["Config", "Option"]
