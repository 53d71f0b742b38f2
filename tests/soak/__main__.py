"""``python -m tests.soak --minutes 120``: two processes at half their maximum rate with faults all along, and what they hold.

Prints JSON with figures and seed. Exit code 1 if a message was lost, doubled, altered or out of order, if descriptors or threads
became more, or if memory grew by a MiB/h; the latter in runs of an hour and longer, shorter ones tell no slope. Ctrl-C ends it
early, with the figures reached.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import sys
import threading
import time
from pathlib import Path

from tests.proxy.setting import PAIRS, Setting
from tests.soak.soak import Soak

_PROGRESS_EVERY_S = 1.0
_MIN_MINUTES_OF_SLOPE = 60.0
_MAX_SLOPE_MIB_PER_H = 1.0

LOSSLESS = [policy for policy, pair in PAIRS.items() if pair.is_lossless]


class Progress:
    """A line on standard error, once a second."""

    def __init__(self) -> None:
        self._next_s = 0.0

    def __call__(self, line: str) -> None:
        if time.monotonic() >= self._next_s:
            self._next_s = time.monotonic() + _PROGRESS_EVERY_S
            print(line, file=sys.stderr, flush=True)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=120.0, help="default 120")
    parser.add_argument("--rate", type=float, help="messages a second, all directions; default: half of the maximum, measured")
    parser.add_argument("--faults-per-second", type=float, default=10.0, help="about so many (default 10)")
    parser.add_argument("--seed", type=int, help="of faults and payloads; a fresh one without")
    parser.add_argument("--mode", choices=("crc", "secure"), default="crc")
    parser.add_argument("--policy", choices=LOSSLESS, default="lossless_peer")
    parser.add_argument("--sessions", type=int, default=8, help="side by side (default 8)")
    parser.add_argument("--max-slope", type=float, metavar="MIB_PER_H", help="of each side's memory; default 1 from an hour on")
    parser.add_argument("--json", metavar="FILE", default="-", help="the figures; - is standard output (default)")
    options = parser.parse_args(arguments)
    seed = random.SystemRandom().randrange(1 << 32) if options.seed is None else options.seed
    max_slope = options.max_slope
    if max_slope is None and options.minutes >= _MIN_MINUTES_OF_SLOPE:
        max_slope = _MAX_SLOPE_MIB_PER_H
    stop = threading.Event()
    signal.signal(signal.SIGINT, lambda number, frame: stop.set())
    print(f"seed {seed}", file=sys.stderr, flush=True)
    soak = Soak(
        Setting(options.policy, options.mode, seed, options.sessions),
        seconds=options.minutes * 60,
        rate_per_s=options.rate,
        faults_per_s=options.faults_per_second,
        max_slope_mib_per_h=max_slope,
        stop=stop,
        progress=Progress(),
    )
    result = soak.execute()
    text = json.dumps(result.to_json(), indent=2) + "\n"
    if options.json == "-":
        print(text, end="")
    else:
        Path(options.json).write_text(text)
    return 1 if result.failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
