"""Each allocation in turn fails: the call says -ENOMEM, and nothing is left behind."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

import pytest

from tests.c_core.conftest import Allocator

Make = Callable[[Any, Any, Any, Any], int]


def make_center(ffi: Any, lib: Any, env: Any, out: Any) -> int:
    result = lib.cmsgr_center_new(out, env, 10)
    if result == 0:
        lib.cmsgr_center_free(ffi.cast("cmsgr_center *", out[0]))
    return int(result)


def make_throttle(ffi: Any, lib: Any, env: Any, out: Any) -> int:
    result = lib.cmsgr_throttle_new(ffi.cast("cmsgr_throttle **", out), env, 10)
    if result == 0:
        lib.cmsgr_throttle_unref(ffi.cast("cmsgr_throttle *", out[0]))
    return int(result)


def make_parser(ffi: Any, lib: Any, env: Any, out: Any) -> int:
    limits = ffi.new("cmsgr_limits *")
    lib.cmsgr_limits_default(limits)
    result = lib.cmsgr_parser_new(ffi.cast("cmsgr_parser **", out), env, 1, limits)
    if result == 0:
        lib.cmsgr_parser_free(ffi.cast("cmsgr_parser *", out[0]))
    return int(result)


def make_entry(ffi: Any, lib: Any, env: Any, out: Any) -> int:
    entry = lib.cmsgr_entry_new(env)
    if entry == ffi.NULL:
        return -errno.ENOMEM
    lib.cmsgr_entry_free(env, entry)
    return 0


def make_session(ffi: Any, lib: Any, env: Any, out: Any) -> int:
    worker = ffi.new("cmsgr_worker **")
    result = lib.cmsgr_worker_new(worker, env)
    if result < 0:
        return int(result)
    session = ffi.new("cmsgr_session **")
    result = lib.cmsgr_session_new(session, worker[0], 0, ffi.NULL)
    if result == 0:
        lib.cmsgr_session_unref(session[0])
    lib.cmsgr_worker_free(worker[0])
    return int(result)


@pytest.mark.parametrize("make", [make_center, make_throttle, make_parser, make_entry, make_session])
def test_each_allocation_may_fail(ffi: Any, lib: Any, allocator: Allocator, make: Make) -> None:
    env_out = ffi.new("cmsgr_env **")
    assert lib.cmsgr_env_new(env_out, allocator.c, ffi.NULL) == 0
    before = len(allocator.blocks)
    failed = 0
    for fail_at in range(100):
        allocator.calls, allocator.fail_at = 0, fail_at
        result = make(ffi, lib, env_out[0], ffi.new("cmsgr_center **"))
        assert len(allocator.blocks) == before, f"allocation {fail_at} leaves memory behind"
        if allocator.calls <= fail_at:
            assert result == 0
            break
        assert result == -errno.ENOMEM
        failed += 1
    else:
        pytest.fail("it never succeeded")
    assert failed, "nothing was allocated"
    allocator.fail_at = -1
    lib.cmsgr_env_free(env_out[0])
    assert not allocator.blocks


def test_the_environment_itself(ffi: Any, lib: Any, allocator: Allocator) -> None:
    allocator.fail_at = 0
    assert lib.cmsgr_env_new(ffi.new("cmsgr_env **"), allocator.c, ffi.NULL) == -errno.ENOMEM
    assert not allocator.blocks
