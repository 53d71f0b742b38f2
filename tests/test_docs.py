"""The documents tell the truth where a program can check it: tables, examples, names of sections, paths, links.

``python -m tests.test_docs`` writes the generated tables anew.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ceph_msgr import Config, Messenger, Policy, Stack
from ceph_msgr.config import Option
from tests.test_architecture import ROOT, table_of_c_layers, table_of_layers

DOCS = ROOT / "docs"
README = ROOT / "README.md"
DOCUMENTS = sorted([README, *DOCS.rglob("*.md"), *(ROOT / "changes").glob("*.md")])

# ---- generated tables ----


def _size(value: int) -> str:
    for shift, unit in (30, "GiB"), (20, "MiB"), (10, "KiB"):
        if value >= 1 << shift and value % (1 << shift) == 0:
            return f"{value >> shift} {unit}"
    return str(value)


def _default(option: Option[object]) -> str:
    value = option.default
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return " ".join(value) or '""'
    if isinstance(value, str):
        return value or '""'
    assert isinstance(value, int | float)
    return _size(int(value)) if option.unit == "bytes" else f"{value} {option.unit}".strip()


def options_read() -> set[str]:
    """Options that any source but the declaration mentions as an attribute."""
    sources = [path for path in (ROOT / "ceph_msgr").rglob("*.py") if path.parent.name != "config"]
    text = "\n".join(path.read_text() for path in sources)
    return set(re.findall(r"\w*config\.(\w+)", text))


def table_of_options() -> list[str]:
    read = options_read()
    lines = ["| option | default | meaning | read |", "| --- | --- | --- | --- |"]
    for option in Config.options():
        lines.append(f"| `{option.name}` | {_default(option)} | {option.meaning} | {'yes' if option.name in read else 'no'} |")
    return lines


_PRESETS = {
    "Policy()": Policy(),
    **{
        name: getattr(Policy, name)()
        for name in (
            "stateful_server stateless_server stateless_registered_server lossless_peer lossless_peer_reuse lossy_client "
            "lossless_client"
        ).split()
    },
}


def table_of_policies() -> list[str]:
    meant_for = {
        "Policy()": "",
        "stateful_server": "a session per client",
        "stateless_server": "lossy clients, many per address",
        "stateless_registered_server": "lossy clients, one per address",
        "lossless_peer": "daemon to daemon",
        "lossless_peer_reuse": "daemon to daemon, noticing resets",
        "lossy_client": "a client that sends again by itself",
        "lossless_client": "the client of a stateful server",
    }
    bits = "lossy", "server", "standby", "resetcheck", "register_lossy_clients"
    lines = ["| preset | lossy | server | standby | resetcheck | registers lossy clients | for |", f"|{' --- |' * 7}"]
    for name, policy in _PRESETS.items():
        values = " | ".join("yes" if getattr(policy, bit) else "no" for bit in bits)
        lines.append(f"| `{name}` | {values} | {meant_for[name]} |")
    return lines


def table_of_counters() -> list[str]:
    stack = Stack(thread_starter=lambda name, run: None)
    messenger = Messenger.create("client.0", nonce=1, stack=stack)
    stack.stop()
    lines = ["| group | counter | kind | meaning |", "| --- | --- | --- | --- |"]
    for group in messenger.perf_counters():
        name = re.sub(r"-(0|client\.0)$", "-…", group.name)
        for metric in group.metrics.values():
            lines.append(f"| `{name}` | `{metric.name}` | {metric.kind.value} | {metric.help} |")
    return lines


#: File, and the table it shows between ``<!-- generated: NAME -->`` and ``<!-- end -->``.
GENERATED: dict[str, tuple[Path, Callable[[], list[str]]]] = {
    "layers": (DOCS / "architecture.md", table_of_layers),
    "C layers": (DOCS / "architecture.md", table_of_c_layers),
    "options": (DOCS / "behaviour.md", table_of_options),
    "policies": (DOCS / "behaviour.md", table_of_policies),
    "counters": (DOCS / "behaviour.md", table_of_counters),
}


def _with_table(text: str, name: str, table: list[str]) -> str:
    before, begin, rest = text.partition(f"<!-- generated: {name} -->\n")
    _, end, after = rest.partition("<!-- end -->")
    assert begin and end, f"no place is marked for {name}"
    return "".join([before, begin, "\n", *(f"{line}\n" for line in table), "\n", end, after])


def rewrite() -> None:
    for name, (path, make) in GENERATED.items():
        path.write_text(_with_table(path.read_text(), name, make()))


@pytest.mark.parametrize("name", GENERATED)
def test_generated_tables_are_current(name: str) -> None:
    path, make = GENERATED[name]
    text = path.read_text()
    assert _with_table(text, name, make()) == text, f"{name} in {path.name} is out of date: python -m tests.test_docs"


def test_all_presets_are_told() -> None:
    presets = {name for name, value in vars(Policy).items() if isinstance(value, classmethod)}
    assert presets == set(_PRESETS) - {"Policy()"}


# ---- examples ----


def test_the_readmes_example_is_the_file() -> None:
    [block] = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert block == (ROOT / "examples" / "ping_readme.py").read_text()


def test_the_readmes_example_runs() -> None:
    script = ROOT / "examples" / "ping_readme.py"
    run = subprocess.run([sys.executable, "-W", "error", str(script)], capture_output=True, text=True, timeout=100, check=False)
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.startswith("<MPing")


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_python_in_the_documents_compiles(path: Path) -> None:
    for number, block in enumerate(re.findall(r"```python\n(.*?)```", path.read_text(), re.DOTALL)):
        compile(block, f"{path.name}, example {number}", "exec")


# ---- names, paths, links ----


def _slug(heading: str) -> str:
    """The anchor a heading gets."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def headings(path: Path) -> set[str]:
    text = re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL)
    return {match.strip() for match in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}


_QUOTED = r'((?:"[^"]{3,80}"(?:,\s+|\s+and\s+)?)+)'
_NAMED = re.compile(rf"\s\((?:msgr2 )?{_QUOTED}\)|\b(?:tables?(?: are| is)?|checks of) {_QUOTED}")


def named_sections() -> list[tuple[str, str]]:
    """(file, name) for sections that comments quote: ``("Banner exchange")`` and the like."""
    sources = [path for pattern in ("*.py", "*.pyx", "*.pxi") for path in (ROOT / "ceph_msgr").rglob(pattern)]
    sources += [path for path in (ROOT / "csrc").rglob("*.[ch]") if "build" not in path.parts]
    found = []
    for path in sorted(sources):
        for quoted in _NAMED.findall(path.read_text()):
            names = [" ".join(name.split()) for name in re.findall(r'"([^"]+)"', "".join(quoted))]
            found += [(path.name, name) for name in names if name[0].isupper() or re.match(r"[a-z]+ ", name)]
    return found


def test_sections_that_the_code_names_exist() -> None:
    known = {heading.lower() for path in (DOCS / "wire.md", DOCS / "behaviour.md") for heading in headings(path)}
    names = named_sections()
    assert ("reconnect.py", "Connection races") in names and ("banner.py", "Banner exchange") in names
    assert not [f"{file}: {name}" for file, name in names if name.lower() not in known]


_PATH = re.compile(
    r"(?<![\w/.])((?:csrc|ceph_msgr|tests|docs|bench|examples|changes|_core|wire|auth|messages|protocol|net|dispatch|connection)"
    r"/[\w/.]*\w)"
)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_paths_exist(path: Path) -> None:
    named = set(_PATH.findall(re.sub(r"\]\([^)]*\)", "]", path.read_text())))
    assert not [name for name in named if not any((base / name).exists() for base in (ROOT, ROOT / "ceph_msgr"))]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    dead = []
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL)):
        if target.startswith("http"):
            continue
        file, _, anchor = target.partition("#")
        linked = (path.parent / file).resolve() if file else path
        if not linked.exists() or (anchor and anchor not in {_slug(heading) for heading in headings(linked)}):
            dead.append(target)
    assert not dead


if __name__ == "__main__":
    rewrite()
