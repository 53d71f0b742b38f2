"""``python -m bench``: see ``--help``."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from bench import aims, ceph, figures, instructions, progress, scale
from bench.case import CASES, by_name
from bench.compare import measure, present, seconds_of
from bench.contestants import contestants
from bench.machine import machine
from bench.plot import can_plot, plot
from bench.process import ROOT, RunFailed
from bench.table import table
from ceph_msgr.tools.exits import EXIT_OK, Failure, run_tool

PROGRAM = "bench"

_DESCRIPTION = """\
Measures the perf pair beside a plain C epoll pair (the floor) and other transports, on loopback, each as two processes.

  compare       contestants in the same cases, interleaved: operations/s, CPU per operation, latencies, ratios
  scale         our rate against depth, payload, jobs, workers and connections; is there a cliff?
  aims          what the project wants to reach: each aim, the measured figure, reached or not
  instructions  instructions of fixed work under valgrind, compared with those recorded in the repository
  figures       writes what was measured into docs/perf.md

Progress goes to standard error, tables to standard output, JSON and plots to build/bench. COMMAND --help tells more.
"""

_SCALE = """\
Sets, each point of a set once in each round:
  depth         1 to 1024 requests of 4 KiB in flight
  payload       0 to 16 MiB, 32 in flight
  jobs          1 to 64 connections, each with 33 requests of 4 KiB in flight
  workers       1 and 2 workers a side, 4 jobs
  connections   10 000, of which 32 are active; memory of an idle session; CPU of 1 000 idle sessions

step: the rate to that at half the value, median over the rounds, below 0.90 a cliff. In depth and jobs the rate is ops/s, in
payload MB/s.
"""

_AIMS = """\
Runs what the aims need, about ten minutes: cases as in compare, each with the contestants it is held against, then the
scaling sets depth, payload and connections. Of a C pair that polls and one that sleeps, the stronger counts. What
cannot be measured here, such as Ceph's programs without --ceph, is said not to be.

cases: {cases}
"""

_COMPARE = """\
Runs cases; in each case rounds; in each round every contestant once. Figures are medians over the rounds, ratios are medians
of the rounds' ratios. Every contestant moves the perf pair's bytes: a request of 310 bytes and the payload, a reply of 192.

cases:
{cases}

contestants (a peer that is not installed is left out, with a line that says what to install):
  floor, floor-crc, floor-gcm     C epoll: plain, with crc32c made and checked, with AES-128-GCM; look up to 50 us for events
                                  before they sleep. The same with -sleeping: they sleep at once
  echo, echo-sleeping             C epoll that sends the whole payload back (only if named)
  pair, pair-sleeping             our tools: adaptive polling, and none
  pair-lossless                   sessions that outlive their sockets: acknowledgements, sent list (only if named)
  uvloop, asyncio, pyzmq, grpc    a Protocol on either loop, DEALER to ROUTER, grpc.aio
  ceph                            Ceph's ceph_perf_msgr_server and _client, from --ceph DIR or {environment}

columns: to first, its rate to that of the first contestant of the case, a floor; pair to it, our rate to its; CPU, user and
system time of the whole process per operation.
"""

_INSTRUCTIONS = """\
Counts the instructions of fixed work under valgrind, about two minutes, and compares them with those recorded in the
repository: frames written, parsed, sealed and opened, the queue, messages through a pair of streams, and a request and its
reply between two messengers, in Python. Exit code 1 if one takes over {tolerance:.0%} more. Where the compiler, Python or a
library is another than recorded, nothing is compared, and what differs is told.
"""

_FIGURES = """\
Replaces the figures in docs/perf.md by those of the last compare, aims and scale, as far as their JSON files are there.
"""

_DEFAULT_CASES = ["64b", "4k-1", "4k", "1m", "4k-secure"]
_ONLY_IF_NAMED = ("echo", "echo-sleeping", "pair-lossless")


def _compare(options: argparse.Namespace) -> int:
    everybody = contestants(options.ceph)
    names = options.contestants or [contestant.name for contestant in everybody if contestant.name not in _ONLY_IF_NAMED]
    if unknown := [name for name in names if name not in {contestant.name for contestant in everybody}]:
        raise Failure(f"there is no contestant {unknown[0]} (--help lists them)")
    playing = present(everybody, names)
    cases = [by_name(name) for name in options.cases]
    about_s = seconds_of(cases, playing, options.rounds, options.seconds)
    progress.say(f"{len(cases)} cases, {options.rounds} rounds of {options.seconds:g} s: about {about_s / 60:.1f} minutes")
    cells = []
    for cell in measure(cases, playing, options.rounds, options.seconds, budget_s=options.minutes * 60):
        cells.append(cell)
        print(table(cell), end="\n\n", flush=True)
        # After each case, so that Ctrl-C costs only what was not measured yet.
        _write(options, "compare", [cell.as_json() for cell in cells])
    if cells and can_plot():
        where = machine()
        plot(options.out / "compare.png", cells, f"{where['cpu']}, {where['cpus']} CPUs, {where['date']}")
        progress.say(f"{options.out / 'compare.png'}")
    elif cells:
        progress.say("without a plot: not installed: pip install matplotlib")
    return EXIT_OK


def _scale(options: argparse.Namespace) -> int:
    if unknown := [name for name in options.sets if name not in scale.SETS]:
        raise Failure(f"there is no set {unknown[0]} (--help lists them)")
    results = {}
    for name in options.sets:
        text, results[name] = scale.SETS[name](options.rounds, options.seconds)
        print(text, end="\n\n", flush=True)
        _write(options, "scale", results)
    return EXIT_OK


def _aims(options: argparse.Namespace) -> int:
    everybody = contestants(options.ceph)
    cases = {aim.case for aim in aims.AIMS}
    if unknown := [name for name in options.cases if name not in cases]:
        raise Failure(f"there is no aim for {unknown[0]} (--help lists the cases)")
    chosen = [aim for aim in aims.AIMS if aim.case in (options.cases or cases)]
    wanted = {name for aim in chosen for name in aim.contestants}
    results = aims.run(chosen, present(everybody, list(wanted)), options.rounds, options.seconds)
    print("\n".join(aims.table(chosen, results)))
    _write(options, "aims", aims.as_json(chosen, results))
    return EXIT_OK


def _instructions(options: argparse.Namespace) -> int:
    if reason := instructions.why_not():
        progress.say(f"instructions are not counted: {reason}")
        return EXIT_OK
    if options.record:
        instructions.record(instructions.count())
        print(f"recorded in {instructions.RECORDED.relative_to(ROOT)}")
        return EXIT_OK
    surroundings, recorded = instructions.load()
    if differences := list(instructions.differences(surroundings, instructions.surroundings())):
        print("the recorded counts do not compare with any made here:", *differences, sep="\n  ")
        return EXIT_OK
    changes = instructions.changes(recorded, instructions.count())
    print("\n".join(instructions.table(changes)))
    grown = [change.case for change in changes if change.share > instructions.TOLERANCE]
    if grown:
        raise Failure(f"more instructions than recorded: {', '.join(grown)}")
    return EXIT_OK


def _figures(options: argparse.Namespace) -> int:
    document = figures.replace_figures(figures.DOCUMENT.read_text(), figures.figures(options.out))
    figures.DOCUMENT.write_text(document)
    print(f"wrote {figures.DOCUMENT.relative_to(ROOT)}")
    return EXIT_OK


def _write(options: argparse.Namespace, name: str, result: object) -> None:
    options.out.mkdir(parents=True, exist_ok=True)
    values = {"machine": machine(), "rounds": options.rounds, "seconds": options.seconds, name: result}
    (options.out / f"{name}.json").write_text(json.dumps(values, indent=2) + "\n")


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(f"python -m {PROGRAM}", description=_DESCRIPTION, allow_abbrev=False, formatter_class=raw)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Callable[[argparse.Namespace], int], text: str, description: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=description, allow_abbrev=False, formatter_class=raw)
        added.set_defaults(run=run)
        return added

    def add_out(to: argparse.ArgumentParser, text: str) -> None:
        to.add_argument("--out", type=Path, default=ROOT / "build/bench", metavar="DIR", help=f"{text} (build/bench)")

    def timed(name, run, text: str, description: str, *, rounds: int, seconds: float) -> argparse.ArgumentParser:
        added = command(name, run, text, description)
        add_out(added, "for the JSON and the plot")
        added.add_argument("--rounds", type=int, default=rounds, metavar="N", help=f"rounds ({rounds})")
        added.add_argument("--seconds", type=float, default=seconds, metavar="S", help=f"length of each run ({seconds:g})")
        return added

    cases = "\n".join(f"  {case}" for case in CASES)
    compare = timed(
        "compare", _compare, "contestants in the same cases", _COMPARE.format(cases=cases, environment=ceph.ENVIRONMENT),
        rounds=3, seconds=0.5,
    )
    compare.add_argument(
        "--cases", nargs="+", default=_DEFAULT_CASES, choices=[case.name for case in CASES], metavar="CASE",
        help=f"({' '.join(_DEFAULT_CASES)})",
    )
    compare.add_argument(
        "--minutes", type=float, default=5, metavar="M", help="leave rounds out, but the first of each case, when time is up (5)"
    )
    compare.add_argument("--contestants", nargs="+", metavar="NAME", help="(all but those only if named)")
    _add_ceph(compare)
    scaling = timed("scale", _scale, "our rate against depth, payload, connections", _SCALE, rounds=3, seconds=0.5)
    scaling.add_argument("sets", nargs="*", default=list(scale.SETS), metavar="SET", help="(all)")
    text = _AIMS.format(cases=" ".join(dict.fromkeys(aim.case for aim in aims.AIMS)))
    judged = timed("aims", _aims, "each aim, and whether it is reached", text, rounds=5, seconds=0.6)
    judged.add_argument("cases", nargs="*", metavar="CASE", help="only the aims for these (all)")
    _add_ceph(judged)
    counted = command(
        "instructions", _instructions, "instructions of fixed work, as recorded or more",
        _INSTRUCTIONS.format(tolerance=instructions.TOLERANCE),
    )
    counted.add_argument("--record", action="store_true", help=f"write them to {instructions.RECORDED.relative_to(ROOT)}")
    add_out(command("figures", _figures, "write the measured figures into docs/perf.md", _FIGURES), "where the JSON files are")
    return parser


def _add_ceph(parser: argparse.ArgumentParser) -> None:
    given = os.environ.get(ceph.ENVIRONMENT)
    parser.add_argument(
        "--ceph", type=Path, default=given and Path(given), metavar="DIR", help=f"Ceph's perf programs ({ceph.ENVIRONMENT})"
    )


def _run(argv: Sequence[str]) -> int:
    options = _parser().parse_args(argv)
    # As Ctrl-C, so that children are ended.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        code: int = options.run(options)
    except RunFailed as error:
        raise Failure(error) from error
    finally:
        progress.clear()
    return code


if __name__ == "__main__":
    sys.exit(run_tool(PROGRAM, _run, None))
