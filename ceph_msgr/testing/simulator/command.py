"""The command ``python -m ceph_msgr.testing.simulator``."""

from __future__ import annotations

import argparse
import json
import random
import signal
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path
from types import FrameType

from ceph_msgr.testing.simulator.campaign import Totals, run_seeds, shrink_seed
from ceph_msgr.testing.simulator.options import MODES, POLICIES, Options

__all__ = ["main"]

_LOOK_S = 1.0
_TRACE_LINES = 40
_MAX_VIOLATIONS = 5


def _seed_range(text: str) -> range:
    first, colon, end = text.partition(":")
    try:
        seeds = range(int(first), int(end)) if colon else range(int(first), int(first) + 1)
    except ValueError:
        raise argparse.ArgumentTypeError(f'"{text}" is not FIRST:END') from None
    if not seeds:
        raise argparse.ArgumentTypeError(f'"{text}" has no seed in it')
    return seeds


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ceph_msgr.testing.simulator",
        description="Messengers on a simulated network and clock, broken at random, every guarantee checked at every step. What "
        "happens follows from the seed alone. Figures of several ranges of seeds add up. "
        f"Ends after {_MAX_VIOLATIONS} violations.",
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--seeds", metavar="FIRST:END", type=_seed_range, help="without END; default: 100 fresh ones")
    which.add_argument("--seed", type=int, help="this one alone, with its log; a failure is the same again")
    parser.add_argument("--faults", metavar="N", type=int, default=100, help="in each seed's schedule, default %(default)s")
    parser.add_argument("--policy", choices=[*POLICIES], help="of those who dial; default: the seed decides")
    parser.add_argument("--mode", choices=MODES, help="default: the seed decides")
    parser.add_argument("--hosts", metavar="N", type=int, choices=range(2, 9), help="2 to 8; default: the seed decides")
    parser.add_argument("--no-memory", action=argparse.BooleanOptionalAction, help="allocations fail, too; default: by the seed")
    parser.add_argument("--seconds", metavar="S", type=float, help="begin no further seed after so many")
    parser.add_argument("--jobs", metavar="N", type=int, default=1, help="processes, default %(default)s")
    parser.add_argument("--shrink-seconds", metavar="S", type=float, default=60, help="for shrinking a failure, 0: not at all")
    parser.add_argument("--json", metavar="FILE", help="the figures as JSON; - is standard output")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status: 1 if something was violated."""
    parser = _parser()
    args = parser.parse_args(arguments)
    options = Options(args.faults, args.policy, args.mode, args.hosts, args.no_memory)
    # With the figures on standard output nothing else goes there.
    out = sys.stderr if args.json == "-" else sys.stdout
    if args.seed is not None:
        seeds = range(args.seed, args.seed + 1)
    else:
        first = random.SystemRandom().randrange(1 << 31)
        seeds = args.seeds or range(first, first + 100)
    print(f"seeds {seeds.start}:{seeds.stop}, {options}", file=out, flush=True)
    began_s = shown_s = time.monotonic()
    totals = Totals()
    stop = _stop_at_interrupt()

    def has_time() -> bool:
        return args.seconds is None or time.monotonic() - began_s < args.seconds

    def go_on() -> bool:
        return has_time() and not stop.is_set() and len(totals.violations) < _MAX_VIOLATIONS

    is_traced = args.seed is not None
    for outcome in run_seeds(seeds, options, jobs=args.jobs, go_on=go_on, trace=is_traced):
        totals.add(outcome)
        if is_traced:
            print("\n".join(outcome.log), file=out)
        if outcome.violation:
            print(f"VIOLATION seed {outcome.seed}, {outcome.options}: {outcome.violation}", file=out, flush=True)
        if time.monotonic() - shown_s > _LOOK_S and sys.stderr.isatty():
            shown_s = time.monotonic()
            rate = totals.faults / (shown_s - began_s)
            progress = f"\r{totals.seeds}/{len(seeds)} seeds, {totals.faults} faults, {rate:.0f}/s "
            print(progress, end="", file=sys.stderr, flush=True)
    elapsed_s = time.monotonic() - began_s
    if sys.stderr.isatty():
        print(file=sys.stderr)
    if totals.violations and args.shrink_seconds:
        _show_shrunk(next(iter(totals.violations)), options, args.shrink_seconds)
    print(
        f"{totals.seeds} seeds, {totals.faults} faults, {totals.sessions} times a session was set up or taken up again, "
        f"{totals.received} of {totals.messages} messages arrived, {totals.virtual_hours:.2f} virtual hours in {elapsed_s:.1f} s "
        f"({totals.faults / elapsed_s:.0f} faults/s), {len(totals.violations)} violations, digest {totals.digest}",
        file=out,
    )
    if args.json:
        figures = {
            "first_seed": seeds.start, "end_seed": seeds.start + totals.seeds, "options": asdict(options),
            "seconds": elapsed_s, **totals.as_json(),
        }
        text = json.dumps(figures, indent=2) + "\n"
        if args.json == "-":
            print(text, end="")
        else:
            Path(args.json).write_text(text)
    return 1 if totals.violations else 0


def _stop_at_interrupt() -> threading.Event:
    """The first Ctrl-C ends it behind the seed that is run, with the figures reached; the second at once."""
    stop = threading.Event()

    def on_interrupt(number: int, frame: FrameType | None) -> None:
        stop.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    signal.signal(signal.SIGINT, on_interrupt)
    return stop


def _show_shrunk(seed: int, options: Options, patience_s: float) -> None:
    schedule, outcome = shrink_seed(seed, options, patience_s=patience_s)
    print(f"seed {seed} fails with these {len(schedule)} faults alone:", file=sys.stderr)
    for fault in schedule:
        print(f"  {fault}", file=sys.stderr)
    print("\n".join(outcome.log[-_TRACE_LINES:]), file=sys.stderr)
    print(f"{outcome.violation}", file=sys.stderr)
