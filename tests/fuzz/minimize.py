"""The inputs of a Python target that reach something: smallest first, each kept if it runs through a new pair of lines."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from types import FrameType
from typing import Any

from tests.fuzz.targets import TARGETS

__all__ = ["minimize"]

_Pair = tuple[str, int, int]


def _reached(name: str, data: bytes) -> set[_Pair]:
    pairs: set[_Pair] = set()
    last: dict[int, int] = {}

    def trace(frame: FrameType, event: str, _: object) -> Any:
        if "ceph_msgr" not in frame.f_code.co_filename:
            return None
        before = last.get(id(frame), 0) if event == "line" else 0
        pairs.add((frame.f_code.co_filename, before, frame.f_lineno))
        last[id(frame)] = frame.f_lineno
        return trace

    previous = sys.gettrace()
    sys.settrace(trace)
    try:
        TARGETS[name](data)
    finally:
        sys.settrace(previous)
    return pairs


def minimize(name: str, inputs: Iterable[bytes]) -> list[bytes]:
    reached: set[_Pair] = set()
    kept = []
    for data in sorted(set(inputs), key=lambda data: (len(data), data)):
        pairs = _reached(name, data)
        if not pairs <= reached:
            reached |= pairs
            kept.append(data)
    return kept
