"""``python -m ceph_msgr.testing.proxy --seed 7``: orders come on standard input, answers go to standard output; it ends with its
input."""

from __future__ import annotations

import argparse
import signal
import sys

from ceph_msgr.testing.proxy.relay import Relay


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m ceph_msgr.testing.proxy", description=__doc__)
    parser.add_argument("--seed", type=int, required=True, help="of the faults that are planned")
    arguments = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for whoever started it, and closes its input
    Relay(arguments.seed, sys.stdin.fileno(), sys.stdout.fileno()).run()


if __name__ == "__main__":
    main()
