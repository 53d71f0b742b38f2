"""Where inputs lie: a file each, named by what is in it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from tests.test_architecture import CSRC

__all__ = ["CORPUS", "C_CORPUS", "load", "save"]

CORPUS = Path(__file__).parent / "corpus"
C_CORPUS = CSRC / "fuzz" / "corpus"


def load(directory: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(directory.glob("*"))] if directory.is_dir() else []


def save(directory: Path, inputs: Iterable[bytes]) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for data in inputs:
        (directory / hashlib.sha1(data).hexdigest()).write_bytes(data)
