"""One Python target in a loop guided by coverage, by atheris: ``python -m tests.fuzz.loop TARGET [LIBFUZZER_ARGUMENT ...]``."""

from __future__ import annotations

import sys

import atheris  # type: ignore[import-not-found]

with atheris.instrument_imports(include=["ceph_msgr"]):
    from tests.fuzz.targets import TARGETS

if __name__ == "__main__":
    name, arguments = sys.argv[1], sys.argv[2:]
    atheris.Setup([f"{sys.argv[0]} {name}", *arguments], TARGETS[name])
    atheris.Fuzz()
