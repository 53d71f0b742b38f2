"""``python -m tests.proxy --faults 1000 --messages 50000``: two processes, the proxy between them, and their journals compared.

Prints a line of JSON with figures and seed. Exit code 1 if the promise of the policy was broken.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time

from tests.proxy.run import Run
from tests.proxy.setting import PAIRS, Setting

_PROGRESS_EVERY_S = 1.0


class Progress:
    """A line on standard error, once a second."""

    def __init__(self, faults: int, messages: int) -> None:
        self._aims = faults, messages
        self._next_s = 0.0

    def __call__(self, faults: int, messages: int) -> None:
        if time.monotonic() >= self._next_s:
            self._next_s = time.monotonic() + _PROGRESS_EVERY_S
            print(f"{faults} of {self._aims[0]} faults, {messages} of {self._aims[1]} messages", file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.proxy", description=__doc__.splitlines()[0])
    parser.add_argument("--faults", type=int, default=1_000, help="at least so many (default 1000)")
    parser.add_argument("--messages", type=int, default=50_000, help="at least so many, all directions together (default 50000)")
    parser.add_argument("--seed", type=int, help="of faults and payloads; a fresh one without")
    parser.add_argument("--mode", choices=("crc", "secure"), default="crc")
    parser.add_argument("--policy", choices=PAIRS, default="lossless_peer")
    parser.add_argument("--sessions", type=int, default=8, help="side by side (default 8)")
    arguments = parser.parse_args()
    seed = random.SystemRandom().randrange(1 << 32) if arguments.seed is None else arguments.seed
    setting = Setting(arguments.policy, arguments.mode, seed, arguments.sessions)
    print(f"seed {seed}", file=sys.stderr, flush=True)
    progress = Progress(arguments.faults, arguments.messages)
    result = Run(setting, faults=arguments.faults, messages=arguments.messages, progress=progress).execute()
    print(json.dumps(result.to_json()))
    return 1 if result.failures else 0


if __name__ == "__main__":
    sys.exit(main())
