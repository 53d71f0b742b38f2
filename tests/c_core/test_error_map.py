"""Every code of the header's error map has its name and its sentence, and nothing else does."""

from __future__ import annotations

import errno
import re
from typing import Any

import pytest

from tests.c_core.build_white_box import HEADER

MAP = [(name, int(code), text) for name, code, text in re.findall(r'X\((\w+), (-\d+), "(.*?)"\)', HEADER.read_text())]


def test_the_map_was_found_and_codes_are_unique() -> None:
    assert len(MAP) >= 18
    assert len({code for _, code, _ in MAP}) == len({name for name, _, _ in MAP}) == len(MAP)
    assert all(code < -10000 for _, code, _ in MAP)


@pytest.mark.parametrize(("name", "code", "text"), MAP)
def test_a_code_has_its_name_and_text(ffi: Any, lib: Any, name: str, code: int, text: str) -> None:
    assert ffi.string(lib.cmsgr_error_name(code)).decode() == name
    assert ffi.string(lib.cmsgr_error_text(code)).decode() == text


@pytest.mark.parametrize("code", [-errno.ECONNRESET, -errno.EPIPE, -errno.ETIMEDOUT])
def test_system_errors_have_their_symbol(ffi: Any, lib: Any, code: int) -> None:
    assert ffi.string(lib.cmsgr_error_name(code)).decode() == errno.errorcode[-code]


@pytest.mark.parametrize("code", [0, 1, -9999, -10000, -10099, -(2**31), 2**31 - 1])
def test_no_code_is_without_an_answer(ffi: Any, lib: Any, code: int) -> None:
    assert ffi.string(lib.cmsgr_error_name(code))
    assert ffi.string(lib.cmsgr_error_text(code))
