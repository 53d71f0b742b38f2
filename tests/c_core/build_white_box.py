"""The white-box binding: cmsgr through cffi, for tests only.

What it declares is cut out of cmsgr.h between the header's two marks, so that header and binding cannot drift apart; what
it links is the archive the extension modules link. It holds a second copy of the library and is never packaged.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import cffi  # type: ignore[import-untyped]

ROOT = Path(__file__).resolve().parent.parent.parent
HEADER = ROOT / "csrc" / "include" / "cmsgr" / "cmsgr.h"
BUILD_DIR = ROOT / "build" / "c_core"
MARKS = ("cffi: begin", "cffi: end")

# What the header takes from the system. "..." lets the compiler fill in the rest.
SYSTEM = """
typedef unsigned int socklen_t;
struct sockaddr { ...; };
struct sockaddr_storage { ...; };
struct iovec { void *iov_base; size_t iov_len; ...; };
"""


def declarations() -> str:
    """The part of the header between the marks."""
    lines = HEADER.read_text().splitlines()
    begin, end = (next(i for i, line in enumerate(lines) if mark in line) for mark in MARKS)
    return "\n".join(lines[begin + 1 : end])


def load_setup() -> ModuleType:
    """setup.py as a module: it knows the flags and the archive's place."""
    spec = importlib.util.spec_from_file_location("cmsgr_setup", ROOT / "setup.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def build() -> ModuleType:
    """Compiles the binding if it is older than the archive, and imports it."""
    setup = load_setup()
    archive = ROOT / setup.LIBRARY_DIR / "libcmsgr.a"
    if not archive.exists():
        raise FileNotFoundError(f"{archive} is missing: run `make` or `python setup.py build_ext --inplace`")
    cdef = SYSTEM + declarations()
    recipe = repr((cdef, setup.COMPILER_FLAGS, setup.LINKER_FLAGS, sys.version))
    name = f"_cmsgr_white_box_{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"
    built = sorted(BUILD_DIR.glob(f"{name}.*.so"))
    if built and built[0].stat().st_mtime > archive.stat().st_mtime:
        path = str(built[0])
    else:
        ffi = cffi.FFI()
        ffi.cdef(cdef)
        ffi.set_source(
            name,
            '#include "cmsgr/cmsgr.h"',
            include_dirs=[str(ROOT / directory) for directory in setup.INCLUDE_DIRS],
            extra_objects=[str(archive)],
            extra_compile_args=[*setup.COMPILER_FLAGS, "-O0"],
            extra_link_args=setup.LINKER_FLAGS,
        )
        BUILD_DIR.mkdir(parents=True, exist_ok=True)
        path = ffi.compile(tmpdir=str(BUILD_DIR))
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
