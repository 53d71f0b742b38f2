"""Who may import whom, and what the C core may touch: the rules of docs/architecture.md, held to the sources.

The tables below are the rules; the document shows the same tables, and a test compares them. Where a rule has an exception
the reason stands beside it.
"""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "ceph_msgr"
CSRC = ROOT / "csrc"
ARCHIVE = ROOT / "build" / "libcmsgr" / "libcmsgr.a"
DOCUMENT = ROOT / "docs" / "architecture.md"

# ---- Python: the table ----


@dataclass(frozen=True)
class Layer:
    """A package or module of ceph_msgr. Every layer may import itself, ``errors`` and the standard library."""

    name: str
    may_import: str = ""
    #: Neither I/O nor threads, clocks or chance.
    pure: bool = False
    #: Exceptions: a module of this layer, what it may import besides, and why.
    also: tuple[tuple[str, str, str], ...] = ()


LAYERS = (
    Layer("errors", pure=True),
    Layer("log"),
    Layer("wire", pure=True),
    Layer("config", pure=True),
    Layer("policy", "wire", pure=True),
    Layer("_core", "wire"),
    Layer("throttle", "_core"),
    Layer("metrics", "_core"),
    Layer("crypto", "_core"),
    Layer("auth", "wire policy config crypto", pure=True),
    Layer("compression", "wire config", pure=True),
    Layer("messages", "_core wire", pure=True),
    Layer(
        "protocol",
        "wire policy config auth compression",
        pure=True,
        also=(("protocol.codec", "_core", "a signature covers frames as they are on the wire"),),
    ),
    Layer("net", "_core wire config log metrics"),
    Layer("dispatch", "_core log metrics net.threads"),
    Layer(
        "connection",
        "_core wire config policy auth compression protocol log metrics throttle net dispatch",
        also=(
            ("connection.connection", "messenger", "annotations only"),
            ("connection.async_connection", "messenger", "annotations only"),
            ("connection.loopback", "messenger", "annotations only"),
        ),
    ),
    Layer("messenger", "_core wire config policy auth messages protocol log metrics throttle net dispatch connection"),
    # Hooks reach inside: that is their job. The simulator builds whole messengers and looks at what the core holds.
    Layer("testing", "_core auth policy connection dispatch protocol messenger config wire net"),
    Layer("tools", ""),  # and the public names, see PUBLIC
)

#: Public names of ceph_msgr that are modules; ``tools`` may import these and ``ceph_msgr`` itself.
PUBLIC = {"auth", "messages", "metrics"}

#: What a pure layer may not import. ``socket`` stands for the family numbers too: wire formats have their own.
IMPURE = frozenset(
    "asyncio concurrent datetime multiprocessing os random secrets select selectors signal socket ssl subprocess threading "
    "time _thread".split()
)


def table_of_layers() -> list[str]:
    """The lines of the table, as the document shows them."""
    lines = ["| layer | may import | pure | besides |", "| --- | --- | --- | --- |"]
    for layer in LAYERS:
        allowed = ", ".join(f"`{name}`" for name in layer.may_import.split())
        if layer.name == "tools":
            allowed = f"public names: `ceph_msgr`, {', '.join(f'`{name}`' for name in sorted(PUBLIC))}"
        besides = "; ".join(f"`{module}`: `{name}` ({why})" for module, name, why in layer.also)
        lines.append(f"| `{layer.name}` | {allowed or '-'} | {'yes' if layer.pure else ''} | {besides} |")
    return lines


# ---- Python: the sources ----

_CYTHON_IMPORT = re.compile(r"^[ \t]*(?:from[ \t]+([\w.]+)[ \t]+c?import[ \t]+([^#\n]+)|c?import[ \t]+([\w., ]+))", re.MULTILINE)


@dataclass(frozen=True)
class Import:
    """``module`` imports ``target``, a dotted name; for ``from a import b`` there is one for each ``a.b``."""

    module: str
    target: str
    line: int
    typing_only: bool = False

    @property
    def top(self) -> str:
        return self.target.partition(".")[0]

    @property
    def own(self) -> str:
        """The target within ceph_msgr, empty for anything else and for ``ceph_msgr`` itself."""
        return self.target.removeprefix("ceph_msgr.") if self.target.startswith("ceph_msgr.") else ""


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_module(dotted: str) -> bool:
    """Whether ``ceph_msgr.<dotted>`` is a module rather than a name in one."""
    path = PACKAGE.joinpath(*dotted.split("."))
    return path.is_dir() or any(path.with_suffix(suffix).exists() for suffix in (".py", ".pyx"))


def _target(base: str, name: str) -> str:
    """``from base import name``: a submodule counts as itself, a name as its module; for ``ceph_msgr`` the name counts."""
    dotted = f"{base}.{name}"
    if not base.startswith("ceph_msgr"):
        return base
    return dotted if base == "ceph_msgr" or is_module(dotted.removeprefix("ceph_msgr.")) else base


def _python_imports(path: Path) -> Iterator[Import]:
    module, tree = module_name(path), ast.parse(path.read_text(), str(path))
    typing_only = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(module, alias.name, node.lineno, node in typing_only)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}:{node.lineno}: imports are absolute here"
            for alias in node.names:
                yield Import(module, _target(node.module or "", alias.name), node.lineno, node in typing_only)


def _cython_imports(path: Path) -> Iterator[Import]:
    text = path.read_text()
    for match in _CYTHON_IMPORT.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        base, names, plain = match.groups()
        if plain:
            for name in plain.split(","):
                yield Import(module_name(path), name.split()[0], line)
        else:
            for name in re.findall(r"\w+(?=\s*(?:,|$| as ))|\*", names) or ["*"]:
                yield Import(module_name(path), base if name == "*" else _target(base, name), line)


def imports_of(path: Path) -> list[Import]:
    return list(_python_imports(path) if path.suffix in (".py", ".pyi") else _cython_imports(path))


SOURCES = sorted(path for suffix in (".py", ".pyi", ".pyx", ".pxd", ".pxi") for path in PACKAGE.rglob(f"*{suffix}"))
PRODUCT = [path for path in SOURCES if path != PACKAGE / "__init__.py"]  # which gathers the public names from everywhere


def layer_of(module: str) -> Layer:
    name = module.partition(".")[0]
    layer = next((layer for layer in LAYERS if layer.name == name), None)
    assert layer, f"{name} is in no row of LAYERS: decide what it may import"
    return layer


def is_within(target: str, allowed: str) -> bool:
    return target == allowed or target.startswith(f"{allowed}.")


def violation(found: Import) -> str:
    """Why this import is against the table, or empty."""
    layer = layer_of(found.module)
    if found.top == "ceph_msgr":
        if layer.name == "tools" and (not found.own or found.own in exported_names() or found.own.partition(".")[0] in PUBLIC):
            return ""
        allowed = {"errors", layer.name, *layer.may_import.split()}
        for module, name, why in layer.also:
            if module == found.module and (why != "annotations only" or found.typing_only):
                allowed.add(name)
        if any(is_within(found.own, name) for name in allowed):
            return ""
        return f"{found.module}:{found.line} imports {found.target}; {layer.name} may import {', '.join(sorted(allowed))}"
    if layer.pure and found.top in IMPURE:
        return f"{found.module}:{found.line} imports {found.target}; {layer.name} is pure"
    return ""


def exported_names() -> set[str]:
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets):
            return set(ast.literal_eval(node.value))
    raise AssertionError("ceph_msgr/__init__.py has no __all__")


# ---- Python: the tests ----


@pytest.mark.parametrize("path", PRODUCT, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_follow_the_table(path: Path) -> None:
    assert not [text for found in imports_of(path) if (text := violation(found))]


@pytest.mark.parametrize(
    ("found", "is_wrong"),
    [
        (Import("protocol.session", "socket", 1), True),
        (Import("protocol.session", "time", 1), True),
        (Import("protocol.session", "logging", 1), False),
        (Import("protocol.session", "ceph_msgr._core", 1), True),
        (Import("protocol.session", "ceph_msgr.net.worker", 1, typing_only=True), True),
        (Import("protocol.codec", "ceph_msgr._core", 1), False),
        (Import("wire.addr", "ceph_msgr.config", 1), True),
        (Import("net.worker", "ceph_msgr.protocol.session", 1), True),
        (Import("dispatch.queue", "ceph_msgr.net.threads", 1), False),
        (Import("dispatch.queue", "ceph_msgr.net.worker", 1), True),
        (Import("connection.connection", "ceph_msgr.messenger", 1, typing_only=True), False),
        (Import("connection.connection", "ceph_msgr.messenger", 1), True),
        (Import("tools.job", "ceph_msgr.Messenger", 1), False),
        (Import("tools.job", "ceph_msgr.messages", 1), False),
        (Import("tools.job", "ceph_msgr.connection.async_connection", 1), True),
        (Import("messages.osd_op", "ceph_msgr._core._core", 1), False),
    ],
)
def test_the_check_itself(found: Import, is_wrong: bool) -> None:
    assert bool(violation(found)) == is_wrong


def test_cython_imports_are_seen() -> None:
    targets = {found.target for found in imports_of(PACKAGE / "_core" / "_core.pyx")}
    assert {"ceph_msgr._core.cmsgr", "ceph_msgr.errors", "ceph_msgr.wire.addr", "threading", "libc.errno"} <= targets
    assert "ceph_msgr._core._core" in {found.target for found in imports_of(PACKAGE / "messages" / "osd_op.pyx")}


def test_every_layer_of_the_table_exists() -> None:
    assert {module_name(path).partition(".")[0] for path in PRODUCT} == {layer.name for layer in LAYERS}


@pytest.mark.parametrize(("module", "name"), [(m, n) for layer in LAYERS for m, n, _ in layer.also])
def test_exceptions_are_still_needed(module: str, name: str) -> None:
    path = PACKAGE.joinpath(*module.split(".")).with_suffix(".py")
    assert any(is_within(found.own, name) for found in imports_of(path)), f"{module} no longer imports {name}: strike it"


# ---- the C core: sources ----

#: Headers that are not ours, and which sources may include them; "*" is all.
HEADERS = {
    "errno.h limits.h stdatomic.h stddef.h stdint.h stdlib.h string.h assert.h sys/types.h sys/uio.h": "*",
    "sys/socket.h": "cmsgr.h sock.c",
    "pthread.h": "extq.h session.h throttle.c",
    "sched.h": "center.c driver_linux.c",
    "time.h unistd.h sys/random.h sys/epoll.h sys/eventfd.h netinet/in.h netinet/ip.h netinet/tcp.h sys/syscall.h": (
        "driver_linux.c epoll.c sock.c"
    ),
    "arm_acle.h sys/auxv.h": "crc32c.c",
    "immintrin.h": "crc32c_x86.c",
    "openssl/err.h": "aes_cbc.c",
    "openssl/evp.h": "aes_cbc.c aes_gcm.c",
    "snappy-c.h": "compress_snappy.c",
    "zlib.h": "compress_zlib.c",
    "zstd.h zstd_errors.h": "compress_zstd.c",
    "lz4.h": "compress_lz4.c",
}

#: Layers of the C core, lowest first: sources may include headers of their own layer and of those below.
C_LAYERS = (
    "internal cmsgr error env crc32c crc32c_x86 aead aes_gcm aes_cbc compress compress_snappy compress_zlib compress_zstd "
    "compress_lz4 driver_linux epoll sock list",
    "frame seal parser header center polling files timers extq kicks pool",
    "throttle",
    "chain msg entry outq session stream receive transmit worker",
)

#: System calls and clocks: only the driver makes them, everything else asks the env's driver.
DRIVER_SOURCES = {"driver_linux", "epoll", "sock"}
DRIVER_CALLS = frozenset(
    "accept accept4 bind clock_gettime close connect epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 epoll_wait eventfd fcntl "
    "getpeername getrandom getsockname getsockopt gettimeofday listen nanosleep poll read readv recv recvfrom recvmsg select "
    "send sendmsg sendto setsockopt shutdown socket syscall time usleep write writev".split()
)

C_SOURCES = sorted([*(CSRC / "src").glob("*.[ch]"), *(CSRC / "include").rglob("*.h")])


def table_of_c_layers() -> list[str]:
    lines = ["| C layer | sources |", "| --- | --- |"]
    return lines + [f"| {number} | {', '.join(f'`{name}`' for name in row.split())} |" for number, row in enumerate(C_LAYERS, 1)]


def c_layer(stem: str) -> int:
    return next((number for number, row in enumerate(C_LAYERS) if stem in row.split()), -1)


def includes_of(path: Path) -> list[str]:
    """``<stdio.h>`` or ``"chain.h"``, each as written."""
    return re.findall(r'^[ \t]*#[ \t]*include[ \t]+([<"][^>"]+[>"])', path.read_text(), re.MULTILINE)


@pytest.mark.parametrize("path", C_SOURCES, ids=lambda path: path.name)
def test_c_sources_include_only_what_they_may(path: Path) -> None:
    wrong = []
    for include in includes_of(path):
        name = include[1:-1]
        if include[0] == "<":
            where = next((where for names, where in HEADERS.items() if name in names.split()), "")
            if where != "*" and path.name not in where.split():
                wrong.append(f"{include}: {f'only in {where}' if where else 'not a header of HEADERS'}")
        elif not (CSRC / "src" / name).exists() and not (CSRC / "include" / name).exists():
            wrong.append(f"{include}: not a header of ours")
    assert not wrong


@pytest.mark.parametrize("path", C_SOURCES, ids=lambda path: path.name)
def test_c_layers_look_down_only(path: Path) -> None:
    own = c_layer(path.stem)
    assert own >= 0, f"{path.stem} is in no row of C_LAYERS"
    assert not [i for i in includes_of(path) if i[0] == '"' and c_layer(Path(i[1:-1]).stem) > own]


def test_every_source_of_the_c_layers_exists() -> None:
    assert {path.stem for path in C_SOURCES} == {name for row in C_LAYERS for name in row.split()}


def test_no_python_in_the_c_core() -> None:
    everywhere = [path for path in CSRC.rglob("*.[ch]") if "build" not in path.parts]
    assert not [path.name for path in everywhere if "Python.h" in path.read_text() or "PyObject" in path.read_text()]


#: Besides their own header and the core's public one.
SIM_HEADERS = frozenset({"errno.h", "stdlib.h", "string.h", "netinet/in.h"})


@pytest.mark.parametrize("path", sorted((CSRC / "sim").glob("*.[ch]")), ids=lambda path: path.name)
def test_the_simulated_world_has_no_other_behind_it(path: Path) -> None:
    """Neither the core's insides nor a system call: it stands where the driver stands."""
    assert {include[1:-1] for include in includes_of(path)} <= SIM_HEADERS | {"sim.h", "world.h", "cmsgr/cmsgr.h"}


# ---- the C core: what was compiled ----


def archive_symbols() -> list[tuple[str, str, str, str]]:
    """(object, symbol, class, section) of everything in the archive."""
    if not ARCHIVE.exists():
        pytest.skip(f"{ARCHIVE.relative_to(ROOT)} is not built")
    if not shutil.which("nm"):
        pytest.skip("nm (binutils) is not installed")
    if re.search("-fsanitize|--coverage", (ROOT / "build" / "recipe.txt").read_text()):
        pytest.skip("an instrumented build has variables of its tool's")
    listing = subprocess.run(["nm", "-f", "sysv", str(ARCHIVE)], capture_output=True, text=True, check=True, timeout=30).stdout
    symbols, current = [], ""
    for line in listing.splitlines():
        if match := re.match(r"\s*(?:Symbols|Undefined symbols) from .*\[(\S+)\.o\]:", line):
            current = match[1]
        elif line.count("|") == 6:
            name, _, symbol_class, _, _, _, section = (field.strip() for field in line.split("|"))
            if symbol_class and name != "Name":
                symbols.append((current, name, symbol_class, section))
    assert symbols and current, "nm's listing was not understood"
    return symbols


def test_the_core_has_no_variables() -> None:
    """Two copies of the library may live in one process: nothing may change outside of the objects it hands out."""
    variables = [
        f"{unit}.c: {name} in {section}"
        for unit, name, symbol_class, section in archive_symbols()
        if symbol_class in "DdBbCGgSs" and not section.startswith(".data.rel.ro")
    ]
    assert not variables


def test_only_the_driver_talks_to_the_kernel() -> None:
    undefined = [(unit, name) for unit, name, symbol_class, _ in archive_symbols() if symbol_class == "U"]
    assert {"sendmsg", "clock_gettime"} <= {name for unit, name in undefined if unit in DRIVER_SOURCES}
    assert not [f"{unit}.c calls {name}" for unit, name in undefined if name in DRIVER_CALLS and unit not in DRIVER_SOURCES]


def test_names_of_the_core_have_its_prefix() -> None:
    defined = [name for _, name, symbol_class, _ in archive_symbols() if symbol_class in "TDBRVW"]
    assert "cmsgr_env_new" in defined
    assert not [name for name in defined if not name.startswith("cmsgr_")]


# ---- the document ----


@pytest.mark.parametrize("table", [table_of_layers(), table_of_c_layers()], ids=["python", "c"])
def test_the_document_shows_the_tables(table: list[str]) -> None:
    assert "\n".join(table) in DOCUMENT.read_text(), "docs/architecture.md should show:\n" + "\n".join(table)
