"""Who is compressed to, and by what (contract F)."""

from __future__ import annotations

import pytest

from ceph_msgr import Config, EntityType
from ceph_msgr.compression import Algorithm, CompressionMode, CompressionRegistry

SNAPPY, ZLIB, ZSTD, LZ4, BROTLI = 1, 2, 3, 4, 5
OSD, MON = EntityType.OSD, EntityType.MON
ALL = (SNAPPY, ZLIB, ZSTD, LZ4)


def registry(available: tuple[int, ...] = ALL, **options: object) -> CompressionRegistry:
    return CompressionRegistry(Config(**{"ms_osd_compress_mode": "force", **options}), available)


@pytest.mark.contract("F1")
def test_only_osds_are_compressed_to() -> None:
    choices = registry()
    assert choices.get_methods(MON) == ()
    assert choices.pick_method(MON, [SNAPPY, ZLIB]) is Algorithm.NONE
    assert choices.get_mode(MON, is_secure=False) is CompressionMode.NONE
    assert choices.get_methods(OSD) == (Algorithm.SNAPPY,)
    assert choices.pick_method(OSD, [SNAPPY, ZLIB]) is Algorithm.SNAPPY
    assert choices.get_mode(OSD, is_secure=False) is CompressionMode.FORCE
    assert choices.get_mode(OSD, is_secure=True) is CompressionMode.NONE
    assert choices.pick_method(OSD, [ZLIB]) is Algorithm.NONE


@pytest.mark.contract("F2")
def test_mode_none_compresses_to_nobody() -> None:
    choices = registry(ms_osd_compress_mode="none", ms_compress_secure=True)
    for is_secure in (False, True):
        assert choices.get_mode(OSD, is_secure=is_secure) is CompressionMode.NONE
    assert not choices.is_enabled


@pytest.mark.contract("F3")
@pytest.mark.parametrize("methods", ["none", "", ()])
def test_an_empty_list_picks_nothing(methods: object) -> None:
    choices = registry(ms_osd_compression_algorithm=methods)
    assert choices.pick_method(OSD, [SNAPPY, ZLIB]) is Algorithm.NONE
    assert not choices.is_enabled


@pytest.mark.contract("F4")
def test_the_least_size_is_reported() -> None:
    assert registry().min_bytes(OSD) == 1024
    assert registry(ms_osd_compress_min_size="4K").min_bytes(OSD) == 4096
    assert registry().min_bytes(MON) == 0


@pytest.mark.contract("F5")
def test_encrypted_connections_only_where_they_are_allowed() -> None:
    choices = registry(ms_compress_secure=True)
    for is_secure in (False, True):
        assert choices.get_mode(OSD, is_secure=is_secure) is CompressionMode.FORCE


@pytest.mark.contract("F5")
def test_options_act_at_the_next_question() -> None:
    config = Config()
    choices = CompressionRegistry(config, ALL)
    assert not choices.is_enabled
    config.ms_osd_compress_mode = "force"
    config.ms_osd_compression_algorithm = "lz4 zlib"
    config.ms_compress_secure = True
    assert choices.is_enabled
    assert choices.get_methods(OSD) == (Algorithm.LZ4, Algorithm.ZLIB)
    assert choices.get_mode(OSD, is_secure=True) is CompressionMode.FORCE


@pytest.mark.contract("F1")
def test_the_peers_preference_decides() -> None:
    choices = registry(ms_osd_compression_algorithm="snappy zlib zstd")
    assert choices.pick_method(OSD, [BROTLI, 99, ZSTD, SNAPPY]) is Algorithm.ZSTD


def test_what_is_not_compiled_in_is_neither_offered_nor_picked() -> None:
    choices = registry((ZLIB,), ms_osd_compression_algorithm="snappy zlib")
    assert choices.get_methods(OSD) == (Algorithm.ZLIB,)
    assert choices.pick_method(OSD, [SNAPPY, ZLIB]) is Algorithm.ZLIB
    assert not registry(()).is_enabled
