"""The two tools beside the floor, in one interleaved run: ``python -m bench.loopback``.

A single figure says little: machines differ, and the same machine differs from minute to minute. So every figure is the
median of some rounds, each round runs the floor and then the pair, and the ratio is the median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import median

from bench.contestants import Floor, Pair, Sample
from ceph_msgr.tools.exits import EXIT_OK, Failure, run_tool

PROGRAM = "bench.loopback"
FLOOR = Path("build/floor")


@dataclass(frozen=True, slots=True)
class Cell:
    """One size at one concurrency: the samples of both, round by round."""

    msg_len_bytes: int
    concurrency: int
    floor: list[Sample]
    pair: list[Sample]

    @property
    def ratio(self) -> float:
        """Operations per second of the pair, in those of the floor."""
        return median(pair.ops_per_s / floor.ops_per_s for floor, pair in zip(self.floor, self.pair, strict=True))

    def as_json(self) -> dict[str, object]:
        return {
            "msg_len": self.msg_len_bytes,
            "concurrency": self.concurrency,
            "ratio": round(self.ratio, 3),
            **{
                name: {
                    "median": asdict(medians(samples)),
                    "spread": round(spread(samples), 3),
                    "rounds": [asdict(sample) for sample in samples],
                }
                for name, samples in (("floor", self.floor), ("pair", self.pair))
            },
        }


def medians(samples: Sequence[Sample]) -> Sample:
    """Each figure's own median."""
    return Sample(*(median(getattr(sample, field.name) for sample in samples) for field in fields(Sample)))


def spread(samples: Sequence[Sample]) -> float:
    """How far the rates of the rounds lie apart, as a share of their median."""
    rates = [sample.ops_per_s for sample in samples]
    return (max(rates) - min(rates)) / median(rates)


HEAD = f"""\
{"bytes":>7} {"in":>6} | {"ops/s":>19} {"spread":>11} {"ratio":>5} | {"p50 us":>15} | {"p99 us":>15} \
| {"client CPU us":>13} | {"server CPU us":>13}
{"":>7} {"flight":>6} | {"floor":>9} {"pair":>9} {"floor":>5} {"pair":>5} {"":>5} | {"floor":>7} {"pair":>7} \
| {"floor":>7} {"pair":>7} | {"floor":>6} {"pair":>6} | {"floor":>6} {"pair":>6}"""


def row(cell: Cell) -> str:
    floor, pair = medians(cell.floor), medians(cell.pair)
    return (
        f"{cell.msg_len_bytes:>7} {cell.concurrency:>6} | {floor.ops_per_s:>9,.0f} {pair.ops_per_s:>9,.0f} "
        f"{spread(cell.floor):>5.0%} {spread(cell.pair):>5.0%} {cell.ratio:>5.2f} "
        f"| {floor.p50_us:>7,.0f} {pair.p50_us:>7,.0f} | {floor.p99_us:>7,.0f} {pair.p99_us:>7,.0f} "
        f"| {floor.client_cpu_us:>6.2f} {pair.client_cpu_us:>6.2f} | {floor.server_cpu_us:>6.2f} {pair.server_cpu_us:>6.2f}"
    )


def measure(options: argparse.Namespace) -> Iterator[Cell]:
    """One cell after the other; what is running is shown on a terminal."""
    floor, pair = Floor(options.floor, options.shape), Pair()
    for msg_len_bytes in options.msg_len:
        for concurrency in options.concurrency:
            cell = Cell(msg_len_bytes, concurrency, [], [])
            for number in range(1, options.rounds + 1):
                for contestant, samples in ((floor, cell.floor), (pair, cell.pair)):
                    show(f"{msg_len_bytes} bytes, {concurrency} in flight, round {number}: {contestant.name}")
                    samples.append(contestant.run(msg_len_bytes, concurrency, options.seconds))
            show("")
            yield cell


def show(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r{text}\x1b[K", end="", file=sys.stderr, flush=True)


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        f"python -m {PROGRAM}", description=__doc__, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--msg-len", type=int, nargs="+", default=[64, 4096], metavar="BYTES", help="data of a request (64 4096)")
    add("--concurrency", type=int, nargs="+", default=[1, 32, 128], metavar="N", help="requests in flight (1 32 128)")
    add("--seconds", type=float, default=1.0, metavar="S", help="length of each run (1)")
    add("--rounds", type=int, default=3, metavar="N", help="rounds of floor and pair in each cell (3)")
    add("--floor", type=Path, default=FLOOR, metavar="FILE", help=f"the floor's program ({FLOOR}, made by `make floor`)")
    add(
        "--shape",
        choices=("perf", "echo"),
        default="perf",
        help="what the floor sends: perf, as many bytes each way as the pair (default), or echo, the data both ways",
    )
    add("--json", metavar="FILE|-", help="write everything as JSON to this file, or to standard output instead of the table")
    return parser.parse_args(argv)


def run(argv: Sequence[str]) -> int:
    options = parse(argv)
    if not options.floor.exists():
        raise Failure(f"{options.floor} is missing: make floor")
    runs = 2 * options.rounds * len(options.msg_len) * len(options.concurrency)
    table = sys.stderr if options.json == "-" else sys.stdout
    print(f"{runs} runs of {options.seconds:g} s, medians of {options.rounds} rounds\n{HEAD}", file=table, flush=True)
    cells = []
    try:
        for cell in measure(options):
            cells.append(cell)
            print(row(cell), file=table, flush=True)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        raise Failure(error) from error
    if options.json:
        values = {
            "seconds": options.seconds,
            "rounds": options.rounds,
            "shape": options.shape,
            "cpus": os.cpu_count(),
            "machine": platform.machine(),
            "python": platform.python_version(),
            "cells": [cell.as_json() for cell in cells],
        }
        text = json.dumps(values, indent=2)
        if options.json == "-":
            print(text)
        else:
            Path(options.json).write_text(text + "\n")
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(run_tool(PROGRAM, run, None))
