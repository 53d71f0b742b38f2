"""Every single-bit flip and every truncation of a recorded session: ``python -m tests.corruption``."""

from __future__ import annotations

import argparse
import itertools
import json
import random
import sys
import time
from collections import Counter

from tests.corruption.campaign import recording, run
from tests.corruption.recording import VERDICTS
from tests.corruption.session import MODES, Alteration

_MAX_VIOLATIONS = 10


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.corruption",
        description="Plays a session of two messengers once for each of its bits, with that bit flipped on its way, and once for "
        "each of its bytes, with the stream ended there. What each came to: "
        + "; ".join(f"{verdict}: {meaning}" for verdict, meaning in VERDICTS.items())
        + ".",
    )
    parser.add_argument("--mode", choices=[*MODES], action="append", help="may be given several times; default: all")
    parser.add_argument("--sample", metavar="N", type=int, help="of each mode, instead of all")
    parser.add_argument("--seed", type=int, help="of the sample; default: a fresh one")
    parser.add_argument("--only", metavar="KIND:SIDE:AT", type=Alteration.parse, help="this one alone, as a violation names it")
    parser.add_argument("--jobs", metavar="N", type=int, default=2, help="processes, default %(default)s")
    parser.add_argument("--json", action="store_true", help="the figures as JSON on standard output")
    return parser


def _choose(name: str, args: argparse.Namespace, chance: random.Random) -> list[Alteration]:
    if args.only:
        return [args.only]
    every = recording(name).alterations()
    return every if args.sample is None else chance.sample(every, min(args.sample, len(every)))


def main() -> int:
    """Returns the exit status: 1 if something was not seen."""
    args = _parser().parse_args()
    seed = random.SystemRandom().randrange(1 << 31) if args.seed is None else args.seed
    if args.sample is not None:
        print(f"seed {seed}", file=sys.stderr)
    chance = random.Random(seed)
    chosen = {name: _choose(name, args, chance) for name in args.mode or MODES}
    verdicts: dict[str, Counter[str]] = {}
    violations: list[str] = []
    began_s = time.monotonic()
    done = itertools.takewhile(lambda _: len(violations) < _MAX_VIOLATIONS, run(chosen, jobs=args.jobs))
    for name, batches in itertools.groupby(done, lambda figures: figures.mode):
        counted = verdicts[name] = Counter()
        for figures in batches:
            counted.update(figures.verdicts)
            violations += figures.violations
            if sys.stderr.isatty():
                print(f"\r{name}: {counted.total()}/{len(chosen[name])} ", end="", file=sys.stderr, flush=True)
        client, server = (len(sent) for sent in recording(name).sent)
        print(f"\r{name} ({client} + {server} bytes): {_in_words(counted)}", file=sys.stderr, flush=True)
    for violation in violations[:_MAX_VIOLATIONS]:
        print(f"VIOLATION {violation}", file=sys.stderr)
    total = sum(counted.total() for counted in verdicts.values())
    print(f"{total} alterations in {time.monotonic() - began_s:.1f} s, {len(violations)} violations", file=sys.stderr)
    if args.json:
        print(json.dumps({"seed": seed, "verdicts": verdicts, "violations": violations}))
    return 1 if violations else 0


def _in_words(counted: Counter[str]) -> str:
    return ", ".join(f"{count} {verdict}" for verdict, count in sorted(counted.items()))


if __name__ == "__main__":
    sys.exit(main())
