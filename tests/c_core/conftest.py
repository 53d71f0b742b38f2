"""Fixtures of the white-box tests: the library, an environment, and an allocator that fails when told to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.c_core.build_white_box import build


@pytest.fixture(scope="session")
def white_box() -> Any:
    return build()


@pytest.fixture(scope="session")
def ffi(white_box: Any) -> Any:
    return white_box.ffi


@pytest.fixture(scope="session")
def lib(white_box: Any) -> Any:
    return white_box.lib


@pytest.fixture
def env(ffi: Any, lib: Any) -> Iterator[Any]:
    out = ffi.new("cmsgr_env **")
    assert lib.cmsgr_env_new(out, ffi.NULL, ffi.NULL) == 0
    yield out[0]
    lib.cmsgr_env_free(out[0])


class Allocator:
    """Counts what is alive, and fails the n-th allocation from now on demand."""

    def __init__(self, ffi: Any, lib: Any) -> None:
        self.ffi = ffi
        self.blocks: dict[int, Any] = {}
        self.fail_at = -1
        self.calls = 0
        self.c = ffi.new("cmsgr_allocator *", {"realloc": lib.white_box_realloc, "free": lib.white_box_free})
        ffi.def_extern("white_box_realloc")(self._realloc)
        ffi.def_extern("white_box_free")(self._free)

    def _realloc(self, _ctx: Any, block: Any, len_bytes: int) -> Any:
        self.calls += 1
        if self.calls - 1 == self.fail_at:
            return self.ffi.NULL
        new = self.ffi.new("char[]", len_bytes + 64)
        address = int(self.ffi.cast("uintptr_t", new))
        aligned = self.ffi.cast("char *", (address + 63) & ~63)
        if block != self.ffi.NULL:
            old = self.blocks.pop(int(self.ffi.cast("uintptr_t", block)))
            self.ffi.memmove(aligned, block, min(old[1], len_bytes))
        self.blocks[int(self.ffi.cast("uintptr_t", aligned))] = (new, len_bytes)
        return self.ffi.cast("void *", aligned)

    def _free(self, _ctx: Any, block: Any) -> None:
        del self.blocks[int(self.ffi.cast("uintptr_t", block))]


@pytest.fixture
def allocator(ffi: Any, lib: Any) -> Allocator:
    return Allocator(ffi, lib)
