"""``python -m tests.recovery``: how soon messages flow again when the link of one connection is back, and when a thousand
connections are cut at once.

Prints what was found, or with ``--json`` a line of JSON.
"""

from __future__ import annotations

import argparse
import json
import random

from tests.recovery.run import Link, percentile


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.recovery", description=__doc__.partition(":")[2].strip())
    parser.add_argument("--rounds", type=int, default=300, help="how often the link of one is interrupted (default 300)")
    parser.add_argument("--connections", type=int, default=1000, help="that are cut at once (default 1000)")
    parser.add_argument("--cuts", type=int, default=5, help="how often (default 5)")
    parser.add_argument("--seed", type=int, help="of how long the link is down; a fresh one without")
    parser.add_argument("--json", action="store_true", help="for programs")
    arguments = parser.parse_args()
    seed = random.SystemRandom().randrange(1 << 32) if arguments.seed is None else arguments.seed
    rng = random.Random(seed)
    with Link.between(1) as link:
        back_ms = [1e3 * seconds for _ in range(arguments.rounds) for seconds in link.interrupt(rng)]
    with Link.between(arguments.connections) as link:
        before_s = link.cpu_s()
        cuts = [link.cut() for _ in range(arguments.cuts)]
        cpu_s = [(after - before) / arguments.cuts for before, after in zip(before_s, link.cpu_s(), strict=True)]
    found = {
        "seed": seed,
        "rounds": arguments.rounds,
        "first_message_p50_ms": round(percentile(back_ms, 0.5), 3),
        "first_message_p99_ms": round(percentile(back_ms, 0.99), 3),
        "first_message_max_ms": round(max(back_ms), 3),
        "connections": arguments.connections,
        "all_back_s": [round(max(each), 3) for each in cuts],
        "server_cpu_s": round(cpu_s[0], 3),
        "client_cpu_s": round(cpu_s[1], 3),
    }
    if arguments.json:
        print(json.dumps(found))
        return
    print(f"link back, one connection, {arguments.rounds} times (seed {seed}); beyond the pause that was due:")
    for name in "p50", "p99", "max":
        print(f"  first message {name}  {found[f'first_message_{name}_ms']:8.3f} ms")
    print(f"{arguments.connections} connections cut at once, {arguments.cuts} times; each has had a message answered after:")
    print("  " + "  ".join(f"{max(each):.3f} s" for each in cuts))
    print("  CPU time of each cut: server {:.3f} s, clients {:.3f} s".format(*cpu_s))


if __name__ == "__main__":
    main()
