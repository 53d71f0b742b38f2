"""The figures of ``docs/perf.md``, made of the JSON files that the other commands left."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.process import ROOT, RunFailed

__all__ = ["DOCUMENT", "figures", "replace_figures"]

DOCUMENT = ROOT / "docs/perf.md"

_BEGIN, _END = "<!-- figures: begin -->", "<!-- figures: end -->"

#: A spread from which on figures come with a warning.
_WIDE = 0.25

Json = dict[str, Any]


def replace_figures(document: str, text: str) -> str:
    """What stands between the two marks is replaced. ``RunFailed`` if they are not there."""
    replaced, times = re.subn(
        f"{re.escape(_BEGIN)}.*{re.escape(_END)}", lambda _: f"{_BEGIN}\n\n{text}\n\n{_END}", document, flags=re.DOTALL
    )
    if times != 1:
        raise RunFailed(f"the marks {_BEGIN} and {_END} are not in the document")
    return replaced


def figures(folder: Path) -> str:
    """Markdown of what is there. ``RunFailed`` if nothing is."""
    parts = []
    for name, write in ("compare", _compare), ("aims", _aims), ("scale", _scale):
        path = folder / f"{name}.json"
        if path.exists():
            parts += write(json.loads(path.read_text()))
    if not parts:
        raise RunFailed(f"there are no figures in {folder}")
    return "\n\n".join(parts)


def _where(values: Json) -> str:
    machine = values["machine"]
    return (
        f"{machine['cpu']}, {machine['cpus']} CPUs, Linux {machine['kernel']}, Python {machine['python']}, {machine['date']}; "
        f"medians of up to {values['rounds']} interleaved rounds of {values['seconds']:g} s.{_warning(values)}"
    )


def _warning(values: object) -> str:
    """Said where the rounds lie so far apart that the figures say little."""
    widest = max(_spreads(values), default=0.0)
    return f" **The machine was busy: the rounds lie up to {widest:.0%} apart.**" if widest > _WIDE else ""


def _spreads(values: object) -> Iterator[float]:
    """All that are anywhere in there."""
    if isinstance(values, dict):
        if values.get("spread") is not None:
            yield values["spread"]
        values = list(values.values())
    if isinstance(values, list):
        for value in values:
            yield from _spreads(value)


def _rows(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


def _rate(found: Json) -> str:
    return f"{found['median']['ops_per_s']:,.0f} ({found['spread']:.0%})"


def _compare(values: Json) -> Iterator[str]:
    cells = values["compare"]
    names = list(dict.fromkeys(name for cell in cells for name in cell["contestants"]))
    heads = [cell["case"]["name"] for cell in cells]

    def by_case(title: str, show: Callable[[Json], str]) -> str:
        everybody = [cell["contestants"] for cell in cells]
        shown = [[name, *(show(found[name]) if name in found else "" for found in everybody)] for name in names]
        return _rows([title, *heads], shown)

    def latencies(found: Json) -> str:
        middle = found["median"]
        return "" if middle["p50_us"] is None else f"{middle['p50_us']:,.0f} / {middle['p99_us']:,.0f}"

    def cpu(found: Json) -> str:
        return f"{found['median']['client_cpu_us']:.1f} + {found['median']['server_cpu_us']:.1f}"

    yield f"### Beside others\n\n{_where(values)}"
    yield by_case("operations/s (spread)", _rate)
    yield by_case("pair to it", lambda found: "" if found["ours_to_it"] is None else f"{found['ours_to_it']:.2f}")
    yield by_case("CPU us, client + server", cpu)
    yield by_case("p50 / p99, us", latencies)


def _aims(values: Json) -> Iterator[str]:
    yield f"### Aims\n\n{_where(values)}"
    shown = []
    for aim in values["aims"]:
        measured, bound = aim["measured"], f"{'>=' if aim['at_least'] else '<='} {_short(aim['bound'])}"
        verdict = "not measured" if measured is None else "reached" if aim["reached"] else "not reached"
        spread = "" if aim["spread"] is None else f"{aim['spread']:.0%}"
        shown.append([aim["case"], aim["aim"], bound, "" if measured is None else _short(measured), spread, verdict])
    yield _rows(["case", "aim", "bound", "measured", "spread", ""], shown)


def _scale(values: Json) -> Iterator[str]:
    yield f"### Scaling\n\n{_where(values)}"
    for found in values["scale"].values():
        if "points" in found:
            ratios = {step["to"]: step for step in found["steps"]}
            shown = []
            for point in found["points"]:
                step = ratios.get(point["value"])
                verdict = f"{step['ratio']:.2f}{', a cliff' if step['is_cliff'] else ''}" if step else ""
                shown.append([f"{point['value']:,}", _rate(point), f"{point['mb_per_s']:,.0f}", verdict])
            yield _rows([found["unit"], "operations/s (spread)", "MB/s", "step"], shown)
        elif "cells" in found:
            shown = [
                [cell["case"]["name"], count, _rate(one), f"{one['to_first']:.2f}"]
                for cell in found["cells"]
                for count, one in cell["contestants"].items()
            ]
            yield _rows(["case", "workers a side", "operations/s (spread)", "to one"], shown)
        else:
            server, client = found["idle_cpu"]
            yield (
                f"With {found['connections']:,} connections, 32 of them active, the rate is {found['ratio']:.2f} of that with "
                f"the 32 alone. An idle ready session takes {found['session_bytes'] / 1024:.1f} KiB of the server's memory. "
                f"{found['idle_sessions']:,} idle sessions use {server:.2%} of a core in the server, {client:.2%} in the client."
            )


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
