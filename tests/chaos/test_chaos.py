"""How campaigns share the time, go on, add up, fail and are interrupted; and that what they print is understood."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.chaos import report
from tests.chaos.campaign import Campaign, Figures, Outcome, Violation
from tests.chaos.campaigns import CAMPAIGNS, Edits, Fuzz, Processes, Proxy, Simulator, Soak, Torture
from tests.chaos.chaos import Chaos
from tests.chaos.ledger import Ledger
from tests.fuzz.__main__ import Report
from tests.proxy.run import Result
from tests.proxy.setting import Setting
from tests.soak.soak import Result as SoakResult

PRINTS_SEED = "import json, sys; print(json.dumps({'faults': int(sys.argv[1]), 'max_slope': int(sys.argv[1])}))"
FAILS = "import sys; print('{}'); print('message 7 is missing', file=sys.stderr); sys.exit(1)"
#: Presses Ctrl-C for whoever runs it, and tells figures when it is told in turn.
INTERRUPTED = """
import os, signal
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
os.kill(os.getppid(), signal.SIGINT)
signal.sigwait([signal.SIGINT])
print('{"faults": 5}')
"""


class Fake(Campaign):
    name = "simulator"
    share = 3.0
    script = PRINTS_SEED

    def command(self, seed: int, seconds: float) -> list[str]:
        return [sys.executable, "-c", self.script, str(seed)]

    def figures(self, output: str) -> Figures:
        figures: Figures = json.loads(output)
        return figures


class OtherFake(Fake):
    name = "proxy"
    share = 1.0


class Clock:
    """Moves on by a second whenever somebody looks."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        self.now_s += 1.0
        return self.now_s


@pytest.fixture
def chaos(tmp_path: Path) -> Callable[..., tuple[Chaos, Ledger, list[str]]]:
    def make(*campaigns: type[Campaign], seconds: float = 2.0) -> tuple[Chaos, Ledger, list[str]]:
        said: list[str] = []
        ledger = Ledger(tmp_path / "figures.json", first_seed=10)
        run = Chaos([each(tmp_path) for each in campaigns], ledger, seconds=seconds, say=said.append, clock=Clock())
        return run, ledger, said

    return make


Maker = Callable[..., tuple[Chaos, Ledger, list[str]]]


def test_a_second_run_goes_on_and_adds(chaos: Maker) -> None:
    """Each run looks at the clock at its beginning and around each slice: two slices in six seconds."""
    run, ledger, _ = chaos(Fake, seconds=6.0)
    run.run()
    entry = ledger.entry("simulator")
    assert (entry.first_seed, entry.next_seed, entry.slices) == (10, 12, 2)
    assert entry.figures == {"faults": 10 + 11, "max_slope": 11}
    run, ledger, _ = chaos(Fake, seconds=6.0)
    run.run()
    entry = ledger.entry("simulator")
    assert (entry.first_seed, entry.next_seed, entry.slices) == (10, 14, 4)
    assert entry.figures == {"faults": 10 + 11 + 12 + 13, "max_slope": 13}
    assert entry.seconds > 0
    assert run.num_violations == 0


def test_the_time_is_shared(chaos: Maker) -> None:
    run, ledger, said = chaos(Fake, OtherFake, seconds=24.0)
    run.run()
    assert (ledger.entry("simulator").slices, ledger.entry("proxy").slices) == (6, 2)
    assert said[0] == "0.0 of 0.4 min: simulator, seed 10, for 18 s"


def test_a_violation_is_told_with_what_repeats_it(chaos: Maker) -> None:
    class Failing(Fake):
        script = FAILS

        def environment(self, seed: int) -> dict[str, str]:
            return {"SEED": f"{seed} x"}

    run, ledger, said = chaos(Failing, OtherFake, seconds=12.0)
    run.run()
    violation = Violation(f"SEED='10 x' {shlex.join([sys.executable, '-c', FAILS, '10'])}", "message 7 is missing\n")
    assert ledger.entry("simulator").violations == [violation]
    assert ledger.entry("simulator").next_seed == 11
    assert run.num_violations == 1
    assert any(line.startswith("VIOLATION in simulator; to repeat it: SEED=") for line in said)
    assert ledger.entry("simulator").slices == 1, "it rests"
    assert ledger.entry("proxy").slices == 3, "the others go on"
    text = report.to_markdown(report.to_json(ledger, []))
    assert violation.command in text
    assert "message 7 is missing" in text


def test_figures_that_cannot_be_read_are_a_violation(chaos: Maker) -> None:
    class Mute(Fake):
        script = "print('nothing')"

    run, ledger, _ = chaos(Mute)
    run.run()
    assert run.num_violations == 1
    assert "in what it printed:\nnothing" in ledger.entry("simulator").violations[0].what


def test_a_command_that_does_not_end_is_a_violation(chaos: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stuck(Fake):
        script = "import signal; signal.pause()"

    monkeypatch.setattr("tests.chaos.campaign._STUCK_S", 0.1)
    monkeypatch.setattr("tests.chaos.campaign._STUCK_FACTOR", 0.0)
    run, _, _ = chaos(Stuck)
    run.run()
    assert run.num_violations == 1


def test_ctrl_c_keeps_what_was_reached(chaos: Maker) -> None:
    class Interrupted(Fake):
        script = INTERRUPTED

    run, ledger, said = chaos(Interrupted, OtherFake, seconds=100.0)
    run.run()
    assert ledger.entry("simulator").figures == {"faults": 5}
    assert "proxy" not in ledger.entries
    assert run.num_violations == 0
    assert said[-1] == "interrupted: what was reached is kept"


def test_what_is_missing_is_told(chaos: Maker, tmp_path: Path) -> None:
    class Missing(Fake):
        name = "fuzz"

        def missing(self) -> str:
            return "clang"

    run, ledger, _ = chaos(Missing, Fake)
    run.run()
    told = report.to_json(ledger, [Missing(tmp_path), Fake(tmp_path)])
    assert told["missing"] == {"fuzz": "clang"}
    assert "fuzz did not run: there is no clang" in report.to_markdown(told)


def test_a_file_that_is_no_ledger(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    path.write_text('{"simulator": {"first_seed": 3}}')
    with pytest.raises(ValueError, match="is no ledger"):
        Ledger(path, 0)


def test_the_report_compares_with_what_is_aimed_at(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "figures.json", first_seed=7)
    ledger.add("simulator", Outcome(1207, {"faults": 120_000, "seeds": 1200, "virtual_hours": 2.5}, seconds=1800))
    told = report.to_json(ledger, [])
    first = told["promises"][0]
    assert first["figures"] == {"faults": {"reached": 120_000, "aim": 10**7}, "seeds": {"reached": 1200, "aim": 10**5}}
    lines = report.to_markdown(told).splitlines()
    assert lines[2].endswith("| 120,000 faults, 1,200 seeds | 10,000,000 faults, 100,000 seeds | 0 | simulator |")
    assert "| simulator | 7:1207 | 1 | 0.50 |" in lines
    assert json.loads(json.dumps(told)) == told


def test_every_promise_has_a_campaign_that_tells_its_figures() -> None:
    told: dict[str, set[str]] = {}
    for campaign, output in PRINTED.items():
        told[campaign.name] = set(campaign(Path()).figures(output))
    told |= {each.name: set(each.properties) for each in (Processes, Edits)}
    assert told.keys() == {campaign.name for campaign in CAMPAIGNS}
    for promise in report.PROMISES:
        assert promise.aims.keys() <= told[promise.campaign], promise


# ---- what the commands print ----

_SETTING = Setting("lossy", "crc", seed=3, sessions=4)
_SIMULATED: Figures = {"faults": 900, "seeds": 9, "messages": 50, "received": 40, "virtual_hours": 0.5}
_SIDE: dict[str, Any] = {"rss_slope_mib_per_h": 0.25}
PRINTED: dict[type[Campaign], str] = {
    Simulator: json.dumps({"end_seed": 19, "violations": {"12": "lost"}} | _SIMULATED),
    Proxy: json.dumps(Result(_SETTING, received=70, faults={"reset": 5, "flip": 2}, links=9).to_json()),
    Fuzz: json.dumps([asdict(Report(*each, 10, 5, 6, 70, failed=False)) for each in [("fuzz_parser", 80), ("session", 7)]]),
    Torture: "link: 12 runs with one of the allocations failing\nlink: 500 storms, one call in 50 failing\nlink: 3 runs with",
    Soak: json.dumps(SoakResult(_SETTING, seconds=7200.0, messages=8, total_faults=3, sides=[_SIDE, _SIDE]).to_json()),
}
EXPECTED: dict[type[Campaign], Figures] = {
    Simulator: _SIMULATED,
    Proxy: {"faults": 7, "messages": 70, "links": 9},
    Fuzz: {"parser_inputs": 80, "sessions": 7, "other_inputs": 0},
    Torture: {"storms": 500, "single_failures": 15},
    Soak: {"hours": 2.0, "max_hours": 2.0, "faults": 3, "messages": 8, "max_slope_mib_per_h": 0.25},
}


@pytest.mark.parametrize("campaign", PRINTED, ids=lambda campaign: campaign.name)
def test_what_a_command_prints_is_understood(
    campaign: type[Campaign], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Fuzz, "_has_clang", True)  # without any fuzzer nobody asks it for a command
    assert campaign(tmp_path).figures(PRINTED[campaign]) == EXPECTED[campaign]
    assert campaign(tmp_path).command(8, 60.0)


def test_the_simulator_tells_where_it_ended_and_which_seeds_failed(tmp_path: Path) -> None:
    simulator = Simulator(tmp_path)
    assert simulator.next_seed(10, PRINTED[Simulator]) == 19
    assert simulator.violations(10, 60.0, PRINTED[Simulator]) == [
        Violation("python -m ceph_msgr.testing.simulator --seed 12", "lost")
    ]


@pytest.mark.slow
def test_recorded_properties_are_figures(tmp_path: Path) -> None:
    test = tmp_path / "test_one.py"
    test.write_text("def test(record_property):\n    record_property('killed', 3)\n    record_property('killed', 4)\n")

    class Recording(Processes):
        paths: ClassVar = (str(test),)

    outcome = Recording(tmp_path).run(5, 1.0)
    assert (outcome.figures, outcome.next_seed, outcome.violations) == ({"killed": 7, "frozen": 0}, 6, [])
    test.write_text("def test():\n    assert False\n")
    outcome = Recording(tmp_path).run(6, 1.0)
    assert [violation.command for violation in outcome.violations] == [f"CEPH_MSGR_TEST_SEED=6 python -m pytest {test}"]


@pytest.mark.slow
def test_the_simulator_goes_on_where_it_ended(tmp_path: Path) -> None:
    simulator = Simulator(tmp_path)
    first = simulator.run(100, 1.0)
    assert first.violations == []
    assert first.figures["seeds"] == first.next_seed - 100 > 0
    assert first.figures["faults"] > 0
