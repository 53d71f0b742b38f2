"""The report: what is promised, what all runs together have reached of it, and by what."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.chaos.campaign import Campaign
from tests.chaos.ledger import Entry, Ledger

__all__ = ["PROMISES", "Promise", "to_json", "to_markdown"]


@dataclass(frozen=True, slots=True)
class Promise:
    text: str
    campaign: str
    #: By figure; None where no number is aimed at.
    aims: Mapping[str, float | None]


PROMISES = (
    Promise(
        "exactly once, in order, unaltered; callbacks in their order; everything due arrives",
        "simulator",
        {"faults": 10**7, "seeds": 10**5},
    ),
    Promise("the same over real sockets, through the fault proxy", "proxy", {"faults": 10**5, "messages": 5 * 10**6}),
    Promise("a process is killed, or frozen for a while", "processes", {"killed": 500, "frozen": 500}),
    Promise("what is altered on its way is noticed", "edits", {"flips": None, "truncations": None}),
    Promise("secure mode: each frame has its place", "edits", {"swaps": None, "replays": None, "duplicates": None, "gaps": None}),
    Promise("hostile input costs one connection at most", "fuzz", {"parser_inputs": 10**8, "sessions": 10**6}),
    Promise("allocations and system calls fail: nothing lost or leaked", "torture", {"storms": None, "single_failures": None}),
    Promise(
        "soak: memory, descriptors and threads stay as they are",
        "soak",
        {"max_hours": 2, "max_slope_mib_per_h": None, "faults": None, "messages": None},
    ),
)


def to_json(ledger: Ledger, campaigns: Iterable[Campaign]) -> dict[str, Any]:
    promises = []
    for promise in PROMISES:
        entry = ledger.entries.get(promise.campaign)
        figures = entry.figures if entry else {}
        reached = {
            name: {"reached": figures.get(name, 0), "aim": aim}
            for name, aim in promise.aims.items()
            if aim is not None or name in figures
        }
        violations = len(entry.violations) if entry else 0
        promises.append({"promise": promise.text, "campaign": promise.campaign, "figures": reached, "violations": violations})
    return {
        "promises": promises,
        "campaigns": {name: _campaign_json(entry) for name, entry in ledger.entries.items()},
        "missing": {campaign.name: campaign.missing() for campaign in campaigns if campaign.missing()},
    }


def _campaign_json(entry: Entry) -> dict[str, Any]:
    return {
        "seeds": [entry.first_seed, entry.next_seed], "slices": entry.slices, "hours": entry.seconds / 3600,
        "figures": entry.figures, "violations": [{"command": each.command, "what": each.what} for each in entry.violations],
    }  # fmt: skip


def to_markdown(report: Mapping[str, Any]) -> str:
    lines = ["| promise | reached | aim | violations | campaign |", "| --- | --- | --- | --- | --- |"]
    for promise in report["promises"]:
        figures = promise["figures"].items()
        reached = ", ".join(_figure(name, figure["reached"]) for name, figure in figures)
        aims = ", ".join(_figure(name, figure["aim"]) for name, figure in figures if figure["aim"] is not None)
        columns = [promise["promise"], reached or "-", aims or "-", promise["violations"], promise["campaign"]]
        lines.append(f"| {' | '.join(map(str, columns))} |")
    lines += ["", "| campaign | seeds | slices | hours |", "| --- | --- | --- | --- |"]
    for name, each in report["campaigns"].items():
        first, end = each["seeds"]
        lines.append(f"| {name} | {first}:{end} | {each['slices']} | {each['hours']:.2f} |")
    lines += [f"\n{name} did not run: there is no {what}" for name, what in report["missing"].items()]
    for name, each in report["campaigns"].items():
        for violation in each["violations"]:
            lines += ["", f"Violation in {name}, repeated by `{violation['command']}`:"]
            lines += ["", "```", violation["what"].rstrip(), "```"]
    return "\n".join(lines) + "\n"


def _figure(name: str, value: float) -> str:
    number = f"{value:,.6g}" if isinstance(value, float) else f"{value:,}"
    return f"{number} {name.replace('_', ' ')}"
