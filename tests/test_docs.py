"""The documents tell the truth where a program can check it: tables, examples, names of sections, paths, links.

``python -m tests.test_docs`` writes the generated tables anew.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
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
    if option.unit == "bytes":
        return _size(int(value))
    return f"{value:g}{f' {option.unit}' if option.unit else ''}"


def options_read() -> set[str]:
    """Options that any source but the declaration mentions as an attribute."""
    sources = [path for path in (ROOT / "ceph_msgr").rglob("*.py*") if path.parent.name != "config" and path.suffix in (".py", ".pyx")]
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
    return [
        f"| `{name}` | {' | '.join('yes' if getattr(policy, bit) else 'no' for bit in bits)} | {meant_for[name]} |"
        for name, policy in _PRESETS.items()
    ]


def table_of_counters() -> list[str]:
    messenger = Messenger.create("client.0", nonce=1, stack=Stack(thread_starter=lambda name, run: None))
    lines = ["| group | counter | kind | meaning |", "| --- | --- | --- | --- |"]
    for group in messenger.perf_counters():
        name = re.sub(r"-(0|client\.0)$", "-…", group.name).replace("throttler-client.0", "throttler-…")
        for metric in group.metrics.values():
            label = f", by {metric.label}" if metric.label else ""
            lines.append(f"| `{name}` | `{metric.name}` | {metric.kind.value} | {metric.help}{label} |")
    return lines


#: File, and the table it shows.
GENERATED: dict[str, tuple[Path, Callable[[], list[str]]]] = {
    "layers": (DOCS / "architecture.md", table_of_layers),
    "C layers": (DOCS / "architecture.md", table_of_c_layers),
    "options": (DOCS / "behaviour.md", table_of_options),
    "policies": (DOCS / "behaviour.md", table_of_policies),
    "counters": (DOCS / "behaviour.md", table_of_counters),
}


def rewrite() -> None:
    """Each table stands between lines that begin like its own first column, in one run of lines beginning with "|"."""
    for path, make in GENERATED.values():
        table = make()
        text = path.read_text()
        start = re.search(rf"^{re.escape(table[0])}$|^{re.escape(table[0].split('|')[1])}", text, re.MULTILINE)
        begin = text.find(table[0].rpartition("` |")[0] or table[0]) if start is None else text.find(table[0][:12])
        assert begin >= 0, f"{path}: no place for {table[0]}"
        end = begin
        while text.startswith("|", end):
            end = text.find("\n", end) + 1
        path.write_text(text[:begin] + "\n".join(table) + "\n" + text[end:])


@pytest.mark.parametrize("name", GENERATED)
def test_generated_tables_are_current(name: str) -> None:
    path, make = GENERATED[name]
    assert "\n".join(make()) in path.read_text(), f"{name} in {path.name} is out of date: python -m tests.test_docs"


def test_all_presets_are_told() -> None:
    presets = {name for name, value in vars(Policy).items() if isinstance(value, classmethod)}
    assert presets == set(_PRESETS) - {"Policy()"}
    assert {"lossy", "server", "standby", "resetcheck", "register_lossy_clients"} <= {field.name for field in fields(Policy)}
