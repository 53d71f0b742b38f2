"""The campaigns there are: commands of this repository, and how to read what they print."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar

from tests.chaos.campaign import Campaign, Figures, Outcome, Violation
from tests.conftest import SEED_VARIABLE
from tests.fuzz.targets import TARGETS
from tests.proxy.setting import PAIRS
from tests.test_architecture import CSRC

__all__ = ["CAMPAIGNS"]

_PYTHON = sys.executable
#: The simulator stops by its time, long before.
_SEEDS_OF_A_SLICE = 1 << 20


class Simulator(Campaign):
    name = "simulator"
    share = 35.0

    def command(self, seed: int, seconds: float) -> list[str]:
        seeds = f"{seed}:{seed + _SEEDS_OF_A_SLICE}"
        return [_PYTHON, "-m", "ceph_msgr.testing.simulator", "--seeds", seeds, "--seconds", f"{seconds:.0f}", "--json", "-"]

    def figures(self, output: str) -> Figures:
        told = json.loads(output)
        return {name: told[name] for name in ("faults", "seeds", "messages", "received", "virtual_hours")}

    def next_seed(self, seed: int, output: str) -> int:
        end: int = json.loads(output)["end_seed"]
        return end

    def violations(self, seed: int, seconds: float, output: str) -> list[Violation]:
        try:
            found = json.loads(output)["violations"]
        except (ValueError, KeyError):
            return super().violations(seed, seconds, output)
        return [Violation(f"python -m ceph_msgr.testing.simulator --seed {each}", what) for each, what in found.items()]


class Proxy(Campaign):
    """One after the other, each pair of policies in each mode."""

    name = "proxy"
    share = 20.0

    #: What a slow machine does in a second.
    _FAULTS_PER_S, _MESSAGES_PER_S = 150, 7_500
    _SETTINGS: ClassVar = [(policy, mode) for mode in ("crc", "secure") for policy in PAIRS]

    def command(self, seed: int, seconds: float) -> list[str]:
        policy, mode = self._SETTINGS[seed % len(self._SETTINGS)]
        faults, messages = round(seconds * self._FAULTS_PER_S), round(seconds * self._MESSAGES_PER_S)
        return [
            _PYTHON, "-m", "tests.proxy", "--faults", f"{faults}", "--messages", f"{messages}", "--seed", f"{seed}",
            "--policy", policy, "--mode", mode, "--sessions", "16",
        ]  # fmt: skip

    def figures(self, output: str) -> Figures:
        told = json.loads(output)
        return {"faults": told["total_faults"], "messages": told["received"], "links": told["links"]}


class Tests(Campaign):
    """Tests that record properties: how much they have done. A slice is one run of them, with a seed."""

    paths: ClassVar[tuple[str, ...]]
    properties: ClassVar[tuple[str, ...]]

    def command(self, seed: int, seconds: float) -> list[str]:
        return [_PYTHON, "-m", "pytest", "-q", *self.paths, f"--junitxml={self._results}", "-o", "junit_family=xunit1"]

    def environment(self, seed: int) -> dict[str, str]:
        return {SEED_VARIABLE: str(seed)}

    def run(self, seed: int, seconds: float) -> Outcome:
        self._results.unlink(missing_ok=True)
        return super().run(seed, seconds)

    def figures(self, output: str) -> Figures:
        figures: Figures = dict.fromkeys(self.properties, 0)
        try:
            properties = ElementTree.parse(self._results).iter("property")
        except (OSError, ElementTree.ParseError) as error:
            raise ValueError("no results") from error
        for each in properties:
            figures[each.attrib["name"]] += int(each.attrib["value"])
        return figures

    def violations(self, seed: int, seconds: float, output: str) -> list[Violation]:
        return [Violation(f"{SEED_VARIABLE}={seed} python -m pytest {' '.join(self.paths)}", output[-4000:])]

    @property
    def _results(self) -> Path:
        return self.work / f"{self.name}.xml"


class Processes(Tests):
    name = "processes"
    share = 5.0
    paths = ("tests/processes/test_killed_and_frozen.py",)
    properties = ("killed", "frozen")


class Edits(Tests):
    name = "edits"
    share = 5.0
    paths = ("tests/proxy/test_edits.py",)
    properties = ("flips", "truncations", "swaps", "replays", "duplicates", "gaps", "crc_edits")


class Torture(Campaign):
    name = "torture"
    share = 5.0

    def command(self, seed: int, seconds: float) -> list[str]:
        return ["make", "-s", "-C", str(CSRC), "torture"]

    def environment(self, seed: int) -> dict[str, str]:
        return {"CMSGR_TORTURE": "storms", "CMSGR_TEST_SEED": str(seed)}

    def figures(self, output: str) -> Figures:
        found: Counter[str] = Counter()
        for number, what in re.findall(r": (\d+) (runs|storms)\b", output):
            found[{"runs": "single_failures", "storms": "storms"}[what]] += int(number)
        return {name: found[name] for name in ("single_failures", "storms")}


class Fuzz(Campaign):
    name = "fuzz"
    share = 15.0

    def missing(self) -> str:
        lacking = [each for each, is_there in (("clang", self._has_clang), ("atheris", self._has_atheris)) if not is_there]
        return " and ".join(lacking) if len(lacking) == 2 else ""

    def command(self, seed: int, seconds: float) -> list[str]:
        targets = [*(_C_TARGETS if self._has_clang else ()), *(TARGETS if self._has_atheris else ())]
        each_s = max(1, round(seconds / len(targets)))
        return [_PYTHON, "-m", "tests.fuzz", "--seconds", str(each_s), "--json", "-", *targets]

    def figures(self, output: str) -> Figures:
        found: Counter[str] = Counter()
        for report in json.loads(output):
            found[_FUZZ_FIGURES.get(report["target"], "other_inputs")] += report["executions"]
        return {name: found[name] for name in ("parser_inputs", "sessions", "other_inputs")}

    def violations(self, seed: int, seconds: float, output: str) -> list[Violation]:
        try:
            failed = [report["target"] for report in json.loads(output) if report["failed"]]
        except ValueError:
            return super().violations(seed, seconds, output)
        return [
            Violation(f"python -m tests.fuzz --seconds {seconds:.0f} {target}", f"the input is build/fuzz/{target}-*")
            for target in failed
        ]

    @property
    def _has_clang(self) -> bool:
        return shutil.which("clang") is not None

    @property
    def _has_atheris(self) -> bool:
        return importlib.util.find_spec("atheris") is not None


_C_TARGETS = sorted(path.stem for path in (CSRC / "fuzz").glob("fuzz_*.c"))
_FUZZ_FIGURES = {"fuzz_parser": "parser_inputs", "fuzz_stream": "sessions", "session": "sessions"}


class Soak(Campaign):
    """One run as long as its share, at most as long as the promise."""

    name = "soak"
    share = 15.0

    _MAX_MINUTES = 120.0
    #: Before that memory tells no slope.
    _MIN_HOURS_OF_SLOPE = 1.0

    def slice_seconds(self, share_s: float) -> float:
        return min(self._MAX_MINUTES * 60, share_s)

    def command(self, seed: int, seconds: float) -> list[str]:
        return [_PYTHON, "-m", "tests.soak", "--minutes", f"{seconds / 60:.3f}", "--seed", f"{seed}"]

    def figures(self, output: str) -> Figures:
        told: dict[str, Any] = json.loads(output)
        hours = told["seconds"] / 3600
        figures: Figures = {"hours": hours, "max_hours": hours, "faults": told["total_faults"], "messages": told["messages"]}
        if hours >= self._MIN_HOURS_OF_SLOPE:
            figures["max_slope_mib_per_h"] = max(side["rss_slope_mib_per_h"] for side in told["sides"])
        return figures


CAMPAIGNS: tuple[type[Campaign], ...] = (Simulator, Proxy, Fuzz, Processes, Edits, Torture, Soak)
