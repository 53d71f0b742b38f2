"""The corpus, and random changes of it, raise nothing but the documented errors."""

from __future__ import annotations

import time
from random import Random

import pytest

from tests.fuzz.corpus import C_CORPUS, CORPUS, load
from tests.fuzz.seeds import c_seeds, python_seeds
from tests.fuzz.targets import TARGETS

#: For each target.
_SECONDS = 0.4

_MAX_CORPUS_BYTES = 1 << 20


def _change(rng: Random, inputs: list[bytes]) -> bytes:
    """Some bytes of one input changed, dropped or doubled, or its beginning joined to another's end."""
    data = bytearray(rng.choice(inputs))
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(5):
            case 0:
                data[at:at] = rng.randbytes(rng.randint(1, 4))
            case 1:
                del data[at : at + rng.randint(1, 8)]
            case 2:
                data[at : at + 4] = rng.choice((0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)).to_bytes(4, "little")
            case 3:
                other = rng.choice(inputs)
                data[at:] = other[rng.randrange(len(other) + 1) :]
            case _ if at < len(data):
                data[at] ^= 1 << rng.randrange(8)
    return bytes(data)


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_but_documented_errors(name: str, rng: Random) -> None:
    """The input that fails is told in hex: put it into the corpus with the fix."""
    inputs = python_seeds(name) + load(CORPUS / name)
    data = b""
    try:
        for data in inputs:
            TARGETS[name](data)
        end = time.monotonic() + _SECONDS
        while time.monotonic() < end:
            data = _change(rng, inputs)
            TARGETS[name](data)
    except Exception as error:
        error.add_note(f"{name}: {data.hex()}")
        raise


def test_each_target_has_a_corpus_and_none_is_large() -> None:
    assert {path.name for path in CORPUS.iterdir()} == set(TARGETS)
    sizes = [path.stat().st_size for root in (CORPUS, C_CORPUS) for path in root.rglob("*") if path.is_file()]
    assert sum(sizes) < _MAX_CORPUS_BYTES


@pytest.mark.parametrize("name", ["fuzz_parser", "fuzz_stream"])
def test_there_are_seeds_for_the_c_core(name: str) -> None:
    assert len(set(c_seeds(name))) > 50
