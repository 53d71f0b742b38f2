"""``Soak``: a two-process run of a given time at a steady pace, with faults all along, and what both processes hold meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.proxy.run import MESSAGE_BYTES
from tests.proxy.setting import Setting
from tests.proxy.sides import Sides, States, received_of
from tests.soak.vitals import Reading, Vitals

__all__ = ["Result", "Soak"]

#: So many readings at most, evenly spread: the harness must not grow either.
_MAX_READINGS = 600
_MIN_INTERVAL_S = 0.2
#: Of the time: how long the maximum rate is measured, at most so long.
_MEASURED_SHARE, _MAX_MEASURED_S = 0.1, 10.0
#: What comes before is no slope yet: pools and arenas fill up.
_WARM_UP_SHARE, _MAX_WARM_UP_S = 0.25, 1800.0
#: Nothing received for so long: stuck. Counted in readings, so that a harness that was frozen does not misjudge.
_PATIENCE_S = 90.0
#: Descriptors count once they were the same so often.
_SAME_LOOKS = 3
_LOOK_S = 0.1
#: A fault comes at most so many bytes behind the last one; on average 0.4 of that.
_MEAN_GAP, _MIN_GAP_BYTES = 0.4, 2 << 10


@dataclass(slots=True)
class Result:
    setting: Setting
    #: None if it was given, not measured.
    max_rate_per_s: float | None = None
    aimed_rate_per_s: float = 0.0
    rate_per_s: float = 0.0
    seconds: float = 0.0
    #: The slope counts from here on.
    warm_up_s: float = 0.0
    messages: int = 0
    total_faults: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    links: int = 0
    sides: list[dict[str, Any]] = field(default_factory=list)
    #: Descriptors of each side beside those of open connections, where nothing was on its way.
    own_fds: list[int] = field(default_factory=list)
    counters: list[dict[str, int]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        about = {"policy": self.setting.policy, "mode": self.setting.mode, "seed": self.setting.seed}
        names = [name for name in Result.__slots__ if name != "setting"]
        return about | {"sessions": self.setting.sessions} | {name: getattr(self, name) for name in names}


class Soak:
    """Lossless policies only. ``rate_per_s`` counts messages of all directions; None: half of what is possible. The slope of a
    side's memory must stay below ``max_slope_mib_per_h``, if that is given."""

    def __init__(
        self,
        setting: Setting,
        *,
        seconds: float,
        rate_per_s: float | None = None,
        faults_per_s: float = 10.0,
        max_slope_mib_per_h: float | None = None,
        stop: threading.Event | None = None,
        progress: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._setting = setting.with_keys()
        self._seconds = seconds
        self._rate_per_s = rate_per_s
        self._faults_per_s = faults_per_s
        self._max_slope = max_slope_mib_per_h
        self._stop = stop or threading.Event()
        self._progress = progress
        self._interval_s = max(_MIN_INTERVAL_S, seconds / _MAX_READINGS)

    def execute(self) -> Result:
        """``stop`` ends it early, with the figures reached."""
        result = Result(self._setting)
        with Sides(self._setting, "tests.soak.endpoint") as sides:
            sides.start()
            sides.wait(lambda faults, states: all(session["received"] for side in states for session in side))
            self._set_pace(sides, result)
            vitals = [Vitals(child.pid) for child in sides.children]
            result.own_fds = self._own_fds(sides, vitals)
            gap_bytes = round(result.aimed_rate_per_s * MESSAGE_BYTES / self._faults_per_s / _MEAN_GAP)
            sides.proxy.plan(1 << 62, gap_bytes=max(gap_bytes, _MIN_GAP_BYTES))
            self._go_on(sides, vitals, result)
            if not result.failures:
                sides.heal()
                own_fds = self._own_fds(sides, vitals, expected=result.own_fds)
                if own_fds != result.own_fds:
                    result.failures.append(f"descriptors beside open connections: {result.own_fds} before, {own_fds} after")
                sides.halt()
                reports = sides.finish()
                result.counters = [report["counters"] for report in reports]
                result.failures += compare(reports) + sides.close()
        result.warm_up_s = min(result.seconds * _WARM_UP_SHARE, _MAX_WARM_UP_S)
        result.sides = [each.to_json(result.warm_up_s) for each in vitals]
        result.failures += check_vitals(result.sides, self._max_slope)
        return result

    # ---- on the way ----

    def _set_pace(self, sides: Sides, result: Result) -> None:
        rate_per_s = self._rate_per_s
        if rate_per_s is None:
            began_s, before = time.monotonic(), received_of(sides.states())
            end_s = began_s + min(self._seconds * _MEASURED_SHARE, _MAX_MEASURED_S)
            sides.wait(lambda faults, states: time.monotonic() >= end_s)
            received = received_of(sides.states()) - before
            result.max_rate_per_s = round(received / (time.monotonic() - began_s), 1)
            rate_per_s = result.max_rate_per_s / 2
        sides.ask(do="pace", per_s=rate_per_s / 2)
        result.aimed_rate_per_s = rate_per_s

    def _go_on(self, sides: Sides, vitals: list[Vitals], result: Result) -> None:
        before, patience_s = received_of(sides.states()), _PATIENCE_S
        began_s = now_s = time.monotonic()
        soaked_s = 0.0  # while the harness is frozen, so may be the sides: that counts for nothing
        for each in vitals:
            each.read(0.0)
        while soaked_s < self._seconds and not result.failures and not self._stop.wait(self._interval_s):
            last_s = now_s
            states, faults, now_s = sides.states(), sides.proxy.counts().total, time.monotonic()
            soaked_s += min(now_s - last_s, 2 * self._interval_s)
            readings = [each.read(now_s - began_s) for each in vitals]
            received = received_of(states) - before
            patience_s = _PATIENCE_S if received > result.messages else patience_s - self._interval_s
            result.messages = received
            result.failures += _wrong(states)
            if patience_s <= 0:
                result.failures.append(f"nothing has arrived for {_PATIENCE_S:g} s: {states}")
            told = "; ".join(f"{r.rss_mib:.1f} MiB, {r.fds} fds, {r.threads} threads" for r in readings)
            done = f"{(now_s - began_s) / 60:.1f} of {self._seconds / 60:g} min"
            self._progress(f"{done}, {received} messages, {faults} faults; {told}")
        result.seconds = round(now_s - began_s, 1)
        result.rate_per_s = round(result.messages / max(now_s - began_s, 0.001), 1)
        counts = sides.proxy.counts()
        result.total_faults, result.links = counts.total, counts.links
        result.faults = {str(kind): number for kind, number in counts.faults.items()}

    def _own_fds(self, sides: Sides, vitals: list[Vitals], expected: list[int] | None = None) -> list[int]:
        """As expected, if it ever becomes so; without expectation, once it does not change any more."""
        last, same = None, 0
        for _ in range(int(_PATIENCE_S / _LOOK_S)):
            sides.states(_LOOK_S)
            links = sides.proxy.counts().open_links
            own_fds = [Reading.of(each.pid, 0.0).fds - links for each in vitals]
            same = same + 1 if own_fds == last and links <= self._setting.sessions else 0
            last = own_fds
            if own_fds == expected or (expected is None and same == _SAME_LOOKS):
                break
        return own_fds


def compare(reports: list[dict[str, Any]]) -> list[str]:
    """What is wrong with what each side sent, the other one received, and was told."""
    failures = []
    for side, report in enumerate(reports):
        for number, (state, tallies) in enumerate(zip(report["sessions"], report["journals"], strict=True)):
            where = f"session {number}, from side {side}"
            sent, received = tallies[0], reports[1 - side]["journals"][number][1]
            if sent != received:
                failures.append(f"{where}: sent {sent}, received {received}")
            if state["resets"] or state["remote_resets"]:
                failures.append(f"{where}: {state['resets']} resets, {state['remote_resets']} remote resets")
    return failures


def check_vitals(sides: list[dict[str, Any]], max_slope_mib_per_h: float | None) -> list[str]:
    failures = []
    for side, figures in enumerate(sides):
        if figures["threads"]["min"] != figures["threads"]["max"]:
            failures.append(f"side {side}: threads {figures['threads']}")
        slope = figures["rss_slope_mib_per_h"]
        if max_slope_mib_per_h is not None and (slope is None or slope >= max_slope_mib_per_h):
            failures.append(f"side {side}: memory grows by {slope} MiB/h")
    return failures


def _wrong(states: States) -> list[str]:
    return [
        f"session {number}, to side {side}: {session['wrong']}"
        for side, sessions in enumerate(states)
        for number, session in enumerate(sessions)
        if session["wrong"]
    ]
