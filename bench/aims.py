"""What the project wants to reach, measured: each aim, the figure, reached or not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from bench.case import by_name
from bench.compare import OURS, Cell, measure
from bench.contestants import Contestant, Pair
from bench.crowd import Crowd, run_crowd
from bench.sample import spread
from bench.sweep import LEAST_STEP, SWEEPS, run_sweep, steps

__all__ = ["AIMS", "Aim", "Results", "contestants_of", "table"]

_CONNECTIONS = "connections"
#: Bytes of server memory that an idle ready session may take.
_SESSION_BYTES = 16 * 1024
#: What is shown as 0.0 %.
_NO_CPU = 0.0005


@dataclass(slots=True)
class Results:
    """What was measured; what was not is absent."""

    cells: dict[str, Cell] = field(default_factory=dict)
    least_steps: dict[str, float] = field(default_factory=dict)
    crowd: Crowd | None = None

    def spread(self, aim: Aim) -> float | None:
        """The widest of the contestants that the aim's figure was made of."""
        cell = self.cells.get(aim.case)
        spreads = [spread(cell.samples[name]) for name in aim.contestants if cell.samples.get(name)] if cell else []
        return max(spreads) if spreads else None


@dataclass(frozen=True, slots=True)
class Aim:
    """``measured`` returns None if what it needs was not measured. ``contestants`` are to run in the case of this name."""

    case: str
    text: str
    bound: float
    measured: Callable[[Results], float | None]
    at_least: bool = True
    contestants: tuple[str, ...] = ()

    def is_reached(self, value: float) -> bool:
        return value >= self.bound if self.at_least else value <= self.bound


def _against(
    case: str, text: str, bound: float, *others: str, ours: str = OURS, figure: str = "ops_per_s", at_least: bool = True
) -> Aim:
    """A ratio of ours to another; of several, to the one against which it is worst."""

    def measured(results: Results) -> float | None:
        cell = results.cells.get(case)
        ratios = [cell.ratio(ours, other, figure) for other in others] if cell else []
        known = [value for value in ratios if value is not None]
        return (min if at_least else max)(known) if known else None

    return Aim(case, text, bound, measured, at_least, (ours, *others))


def _figure(case: str, text: str, bound: float, figure: str, *, at_least: bool = True) -> Aim:
    """A median of ours."""

    def measured(results: Results) -> float | None:
        middle = results.cells[case].median(OURS) if case in results.cells else None
        return None if middle is None else getattr(middle, figure)

    return Aim(case, text, bound, measured, at_least, (OURS,))


def _no_cliff(name: str, text: str) -> Aim:
    return Aim(name, text, LEAST_STEP, lambda results: results.least_steps.get(name))


def _crowd(text: str, bound: float, measured: Callable[[Crowd], float], *, at_least: bool = False) -> Aim:
    return Aim(_CONNECTIONS, text, bound, lambda results: None if results.crowd is None else measured(results.crowd), at_least)


# Polling wins where each side has a core to itself, sleeping where others want the cores too: the stronger one counts.
_ECHO = "echo", "echo-sleeping"
_CRC = "floor-crc", "floor-crc-sleeping"
_GCM = "floor-gcm", "floor-gcm-sleeping"

AIMS = (
    _against("4k", "rate to the C echo's", 0.53, *_ECHO),
    _against("4k", "rate to Ceph's", 10, "ceph"),
    _figure("4k", "client and server CPU, us per operation", 5.0, "cpu_us", at_least=False),
    _against("4k", "polling off: rate to the sleeping C echo's", 0.55, "echo-sleeping", ours="pair-sleeping"),
    *(
        aim
        for case in ("0b", "64b")
        for aim in (
            # 500 000 where the echo has 2.98 million.
            _against(case, "rate to the C echo's", 0.168, *_ECHO),
            _against(case, "rate to Ceph's", 10, "ceph"),
            _against(case, "rate to uvloop's", 2, "uvloop"),
            _against(case, "rate to pyzmq's", 5, "pyzmq"),
        )
    ),
    _figure("4k-1", "p50, us", 25, "p50_us", at_least=False),
    _against("4k-1", "p50 to the C floor's", 2.2, "floor", "floor-sleeping", figure="p50_us", at_least=False),
    _against("64k", "rate to the C floor's with crc32c", 0.8, *_CRC),
    _against("64k", "rate to Ceph's", 1.4, "ceph"),
    *(
        aim
        for case in ("1m", "4m")
        for aim in (
            _against(case, "rate to the C floor's with crc32c", 0.85, *_CRC),
            _against(case, "rate to Ceph's", 1, "ceph"),
        )
    ),
    _figure("4k-secure", "operations/s", 150_000, "ops_per_s"),
    _against("4k-secure", "rate to Ceph's", 6, "ceph"),
    *(
        aim
        for case in ("64k-secure", "1m-secure")
        for aim in (
            _against(case, "rate to the C floor's with AES-128-GCM", 0.85, *_GCM),
            _against(case, "rate to Ceph's", 1.2, "ceph"),
        )
    ),
    _against("4k", "lossless: rate to the lossy one", 0.9, "pair", ours="pair-lossless"),
    _figure("4k-4jobs", "operations/s in all", 400_000, "ops_per_s"),
    _crowd("10 000 connections, 32 active: rate to 32 connections", 0.85, lambda crowd: crowd.ratio, at_least=True),
    _crowd("server memory of an idle session, KiB", _SESSION_BYTES / 1024, lambda crowd: crowd.session_bytes / 1024),
    _no_cliff("depth", "depth 1 to 1024: ops/s to those at half the depth, least"),
    _no_cliff("payload", "payload to 16 MiB: MB/s to those at half the payload, least"),
    _crowd("CPU of 1 000 idle sessions, share of a core", _NO_CPU, lambda crowd: max(crowd.idle_cpu)),
)


def contestants_of(case: str) -> set[str]:
    """Who has to run in it."""
    return {name for aim in AIMS if aim.case == case for name in aim.contestants}


def run(chosen: Sequence[Aim], everybody: Sequence[Contestant], rounds: int, seconds: float) -> Results:
    """Everything these aims need, some minutes."""
    results = Results()
    names = dict.fromkeys(aim.case for aim in chosen if aim.contestants)
    for case in map(by_name, names):
        playing = [contestant for contestant in everybody if contestant.name in contestants_of(case.name)]
        for cell in measure([case], playing, rounds, seconds):
            results.cells[case.name] = cell
    for sweep in SWEEPS:
        if any(aim.case == sweep.name for aim in chosen):
            found = steps(sweep, run_sweep(sweep, Pair(OURS).run, rounds, seconds))
            results.least_steps[sweep.name] = min(step.ratio for step in found)
    if any(aim.case == _CONNECTIONS for aim in chosen):
        results.crowd = run_crowd(rounds, seconds)
    return results


def table(chosen: Sequence[Aim], results: Results) -> Iterator[str]:
    """A line for each aim."""
    yield f"{'case':<12} {'aim':<62} {'bound':>11} {'measured':>9} {'spread':>6}"
    for aim in chosen:
        value = aim.measured(results)
        bound = f"{'>=' if aim.at_least else '<='} {_short(aim.bound)}"
        verdict = "not measured" if value is None else "reached" if aim.is_reached(value) else "not reached"
        figure, wide = "-" if value is None else _short(value), results.spread(aim)
        spread_shown = "" if wide is None else f"{wide:.0%}"
        yield f"{aim.case:<12} {aim.text:<62} {bound:>11} {figure:>9} {spread_shown:>6}  {verdict}"


def as_json(chosen: Sequence[Aim], results: Results) -> list[Mapping[str, object]]:
    return [_aim_as_json(aim, aim.measured(results), results.spread(aim)) for aim in chosen]


def _aim_as_json(aim: Aim, value: float | None, wide: float | None) -> Mapping[str, object]:
    verdict = {} if value is None else {"reached": aim.is_reached(value)}
    known = {"case": aim.case, "aim": aim.text, "at_least": aim.at_least, "bound": aim.bound}
    return known | {"measured": value, "spread": wide} | verdict


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
