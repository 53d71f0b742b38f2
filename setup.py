"""Builds libcmsgr.a once, then the extension modules that link it. All metadata is in pyproject.toml.

Switches, read from the environment; changing one rebuilds everything:

- ``CEPH_MSGR_SANITIZE=address,undefined`` or ``thread``: passed to ``-fsanitize``
- ``CEPH_MSGR_COVERAGE=1``: gcov instrumentation of the C core and of the generated C
- ``CEPH_MSGR_DEBUG=1``: assertions on, optimisation off, full debug information
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

from setuptools import Extension, setup
from setuptools.command.build_clib import build_clib
from setuptools.command.build_ext import build_ext
from setuptools.modified import newer_group


def files(root: str, *patterns: str) -> list[str]:
    return sorted(str(path) for pattern in patterns for path in Path(root).rglob(pattern))


#: At a fixed place, not in setuptools' per-platform directory: the white-box tests link the same archive.
LIBRARY_DIR = Path("build/libcmsgr")
#: Its content is the flags and the sources of the last build; see ``remember_recipe``.
RECIPE = Path("build/recipe.txt")

INCLUDE_DIRS = ["csrc/include", "csrc/src", "csrc/sim"]
CORE_SOURCES = files("csrc/src", "*.c")
CORE_HEADERS = files("csrc/include", "*.h") + files("csrc/src", "*.h")
CYTHON_SOURCES = files("ceph_msgr", "*.pyx", "*.pxd", "*.pxi")
#: The simulated world is a module of its own, so that production does not carry it.
SIM_SOURCES = files("csrc/sim", "*.c")
SIM_HEADERS = files("csrc/sim", "*.h")
EXTENSIONS = {
    "ceph_msgr._core._core": ["ceph_msgr/_core/_core.pyx"],
    "ceph_msgr.messages.osd_op": ["ceph_msgr/messages/osd_op.pyx"],
    "ceph_msgr.tools.window": ["ceph_msgr/tools/window.pyx"],
    "ceph_msgr.testing._sim": ["ceph_msgr/testing/_sim.pyx", *SIM_SOURCES],
}


#: Optional libraries of on-wire compression: name for the linker, header, macro. What is not there is not compiled in, and so
#: never offered to a peer. The same table as in csrc/Makefile.
COMPRESSION = (
    ("snappy", "snappy-c.h", "CMSGR_HAVE_SNAPPY"),
    ("z", "zlib.h", "CMSGR_HAVE_ZLIB"),
    ("zstd", "zstd.h", "CMSGR_HAVE_ZSTD"),
    ("lz4", "lz4.h", "CMSGR_HAVE_LZ4"),
)


def compiler() -> list[str]:
    return shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")


def has_header(name: str) -> bool:
    try:
        probe = subprocess.run([*compiler(), "-E", "-"], input=f"#include <{name}>\n".encode(), capture_output=True, check=False)
    except FileNotFoundError:
        return False  # require_toolchain says it in words
    return probe.returncode == 0


def switched_flags(environ: os._Environ[str]) -> tuple[list[str], list[str]]:
    """Flags for the compiler and for the linker. They come after Python's own, so they win."""
    compiler = ["-O3", "-std=c11", "-D_GNU_SOURCE", "-fvisibility=hidden", "-pthread"]
    linker = ["-pthread", "-lcrypto"]  # as flags they come behind the archive that needs them
    for library, header, macro in COMPRESSION:
        if has_header(header):
            compiler.append(f"-D{macro}")
            linker.append(f"-l{library}")
    if environ.get("CEPH_MSGR_DEBUG"):
        compiler += ["-O0", "-g3", "-UNDEBUG"]
    if environ.get("CEPH_MSGR_COVERAGE"):
        compiler += ["-O0", "--coverage"]
        linker += ["--coverage"]
    if sanitizers := environ.get("CEPH_MSGR_SANITIZE"):
        flag = f"-fsanitize={sanitizers}"
        compiler += ["-O1", "-g", "-fno-omit-frame-pointer", "-fno-sanitize-recover=all", "-UNDEBUG", flag]
        linker += [flag]
    return compiler, linker


COMPILER_FLAGS, LINKER_FLAGS = switched_flags(os.environ)


def require_toolchain() -> None:
    """Ends with one line that names the package to install, instead of pages of compiler output."""
    if not shutil.which(compiler()[0]):
        raise SystemExit(f"ceph_msgr: C compiler {compiler()[0]!r} not found; on Debian: apt install gcc")
    header = Path(sysconfig.get_path("include"), "Python.h")
    if not header.exists():
        raise SystemExit(f"ceph_msgr: {header} not found; on Debian: apt install python3-dev")
    if not has_header("openssl/evp.h"):
        raise SystemExit("ceph_msgr: openssl/evp.h not found; on Debian: apt install libssl-dev")


def remember_recipe() -> None:
    """Makes flags and the list of sources a dependency like any file: time stamps alone do not see them change."""
    recipe = "\n".join([os.environ.get("CC", ""), *COMPILER_FLAGS, *LINKER_FLAGS, *CORE_SOURCES, ""])
    if RECIPE.exists() and RECIPE.read_text() == recipe:
        return
    shutil.rmtree(LIBRARY_DIR, ignore_errors=True)  # ar would keep the objects of sources that are gone
    RECIPE.parent.mkdir(exist_ok=True)
    RECIPE.write_text(recipe)


class BuildLibrary(build_clib):
    def finalize_options(self) -> None:
        super().finalize_options()
        self.build_clib = self.build_temp = str(LIBRARY_DIR)

    def run(self) -> None:
        require_toolchain()
        remember_recipe()
        super().run()


class BuildExtensions(build_ext):
    def finalize_options(self) -> None:
        super().finalize_options()
        if self.inplace or self.editable_mode:
            # One directory for both: an editable install would compile into a temporary one of its own, and so
            # compile all again what `build_ext --inplace` has just made.
            self.build_lib = "build/inplace"

    def run(self) -> None:
        # `setup.py build_ext` alone does not run build_clib, and would find no archive in a clean tree.
        self.run_command("build_clib")
        super().run()

    def build_extension(self, ext: Extension) -> None:
        from Cython.Build import cythonize  # late: reading the metadata does not need Cython

        # A bare Extension, because cythonize copies everything in `depends` into build_dir.
        bare = Extension(ext.name, ext.sources, include_dirs=ext.include_dirs)
        [generated] = cythonize([bare], build_dir="build/cython", language_level=3, quiet=True)
        ext.sources = generated.sources
        objects = self.compiler.object_filenames(ext.sources, output_dir=self.build_temp)
        if not newer_group([*ext.sources, *CORE_HEADERS, *SIM_HEADERS, str(RECIPE)], objects[0]):
            # Only the archive is new. Linking takes a moment, compiling generated C the better part of a minute.
            ext.sources, ext.extra_objects = [], objects
        self.compiler.force = True  # once `depends` has called for it, link, even if no object is newer
        super().build_extension(ext)


def extension(name: str, sources: list[str]) -> Extension:
    return Extension(
        name,
        sources,
        include_dirs=INCLUDE_DIRS,
        # setuptools links the archive by itself, but compares only these with the module: without csrc/** it would not
        # link a rebuilt archive again.
        depends=[*CORE_SOURCES, *CORE_HEADERS, *SIM_SOURCES, *SIM_HEADERS, *CYTHON_SOURCES, str(RECIPE)],
        extra_compile_args=COMPILER_FLAGS,
        extra_link_args=LINKER_FLAGS,
    )


LIBRARY: tuple[str, dict[str, Any]] = (
    "cmsgr",
    {
        "sources": CORE_SOURCES,
        "obj_deps": {"": [*CORE_HEADERS, str(RECIPE)]},
        "include_dirs": INCLUDE_DIRS,
        "cflags": [*COMPILER_FLAGS, "-Wall", "-Wextra"],
    },
)

if __name__ == "__main__":
    setup(
        libraries=[LIBRARY],
        ext_modules=[extension(name, sources) for name, sources in EXTENSIONS.items()],
        cmdclass={"build_clib": BuildLibrary, "build_ext": BuildExtensions},
    )
