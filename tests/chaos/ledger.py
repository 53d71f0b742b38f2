"""``Ledger``: what all runs together have reached, kept in a file, and where the next one goes on."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.chaos.campaign import Figures, Outcome, Violation

__all__ = ["Entry", "Ledger"]


@dataclass(slots=True)
class Entry:
    """Of a campaign. Seeds from ``first_seed`` to before ``next_seed`` were run."""

    first_seed: int
    next_seed: int
    slices: int = 0
    seconds: float = 0.0
    figures: Figures = field(default_factory=dict)
    violations: list[Violation] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        self.next_seed = outcome.next_seed
        self.slices += 1
        self.seconds += outcome.seconds
        self.violations += outcome.violations
        for name, value in outcome.figures.items():
            before = self.figures.get(name)
            if before is None:
                self.figures[name] = value
            else:
                self.figures[name] = max(before, value) if name.startswith("max_") else before + value


class Ledger:
    """Written after each slice, whole or not at all."""

    def __init__(self, path: Path, first_seed: int) -> None:
        """``first_seed`` is for campaigns that are not in the file yet. ``ValueError`` if the file is no ledger."""
        self.entries: dict[str, Entry] = {}
        self._path = path
        self._first_seed = first_seed
        if path.exists():
            self._load()

    def entry(self, name: str) -> Entry:
        return self.entries.setdefault(name, Entry(self._first_seed, self._first_seed))

    def add(self, name: str, outcome: Outcome) -> None:
        self.entry(name).add(outcome)
        self._save()

    def _load(self) -> None:
        try:
            for name, values in json.loads(self._path.read_text()).items():
                violations = [Violation(**each) for each in values.pop("violations")]
                self.entries[name] = Entry(**values, violations=violations)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"{self._path} is no ledger: {error!r}") from error

    def _save(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._path.with_suffix(".new")
        fresh.write_text(json.dumps({name: asdict(entry) for name, entry in self.entries.items()}, indent=2) + "\n")
        os.replace(fresh, self._path)
