"""Fixtures of the white-box tests: the library and an environment."""

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
