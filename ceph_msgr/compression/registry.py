"""``CompressionRegistry``: whether frames to a peer are compressed, and by what ("Compression" of the wire document).

It reads its ``Config`` anew for each question, so a changed option acts on the connections made after it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from enum import Enum, IntEnum

from ceph_msgr.config import Config
from ceph_msgr.wire.entity import EntityType

__all__ = ["Algorithm", "CompressionMode", "CompressionRegistry"]


class Algorithm(IntEnum):
    """The numbers of the compression frames."""

    NONE = 0
    SNAPPY = 1
    ZLIB = 2
    ZSTD = 3
    LZ4 = 4


class CompressionMode(Enum):
    """Whether frames to a peer are compressed."""

    NONE = "none"
    FORCE = "force"


class CompressionRegistry:
    """The choices of one messenger. Any thread."""

    def __init__(self, config: Config, available: Collection[int]) -> None:
        """``available`` are the algorithms compiled in; what the options name besides is never offered."""
        self._config = config
        self._available = frozenset(available)

    @property
    def is_enabled(self) -> bool:
        """Whether any connection would ever be compressed: else the banner does not offer it."""
        return self.get_mode(EntityType.OSD, is_secure=False) is CompressionMode.FORCE and bool(self.get_methods(EntityType.OSD))

    def get_methods(self, peer_type: EntityType) -> tuple[Algorithm, ...]:
        """What we allow with such a peer, most preferred first. Only OSDs have options; others have none."""
        if peer_type != EntityType.OSD:
            return ()
        names = self._config.ms_osd_compression_algorithm
        methods = (Algorithm[name.upper()] for name in names)
        return tuple(method for method in methods if method in self._available)

    def pick_method(self, peer_type: EntityType, offered: Iterable[int]) -> Algorithm:
        """The first of the peer's list that we allow, else NONE."""
        allowed = self.get_methods(peer_type)
        return next((Algorithm(number) for number in offered if number in allowed), Algorithm.NONE)

    def get_mode(self, peer_type: EntityType, *, is_secure: bool) -> CompressionMode:
        """FORCE only where the options ask for it, and on encrypted connections only where they allow it there."""
        if peer_type != EntityType.OSD or (is_secure and not self._config.ms_compress_secure):
            return CompressionMode.NONE
        return CompressionMode(self._config.ms_osd_compress_mode)

    def min_bytes(self, peer_type: EntityType) -> int:
        """Frames with less in their segments are sent as they are; 0 for peers without options."""
        return self._config.ms_osd_compress_min_size if peer_type == EntityType.OSD else 0
