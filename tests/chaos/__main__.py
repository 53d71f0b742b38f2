"""``python -m tests.chaos --hours 8``: all campaigns, each for its share of the time, from where the last run has ended.

What all runs together have reached is in ``build/chaos/figures.json``; ``report.md`` and ``report.json`` beside it compare that
with what is aimed at. Ctrl-C ends it with what was reached. Exit status 1 if this run has found a violation.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import sys
from pathlib import Path

from tests.chaos import report
from tests.chaos.campaigns import CAMPAIGNS
from tests.chaos.chaos import Chaos
from tests.chaos.ledger import Ledger
from tests.test_architecture import ROOT

_WORK = ROOT / "build" / "chaos"


def main(arguments: list[str]) -> int:
    names = [campaign.name for campaign in CAMPAIGNS]
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__.splitlines()[0])
    parser.add_argument("campaigns", nargs="*", metavar="CAMPAIGN", help=f"these only, of {', '.join(names)}")
    parser.add_argument("--hours", type=float, default=1.0, help="default 1; slices under way at the end are finished")
    parser.add_argument("--work", type=Path, default=_WORK, help="directory of figures and reports, default build/chaos")
    parser.add_argument("--first-seed", type=int, help="of campaigns without figures; a fresh one without")
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.campaigns if name not in names]:
        parser.error(f"no such campaign: {', '.join(unknown)}")
    for number in signal.SIGINT, signal.SIGTERM:  # a shell may have had the former ignored
        signal.signal(number, signal.default_int_handler)
    first_seed = random.SystemRandom().randrange(1 << 31) if options.first_seed is None else options.first_seed
    chosen = [campaign(options.work) for campaign in CAMPAIGNS if campaign.name in (options.campaigns or names)]
    ledger = Ledger(options.work / "figures.json", first_seed)
    for campaign in chosen:
        if campaign.missing():
            print(f"{campaign.name} does not run: there is no {campaign.missing()}", flush=True)
    chaos = Chaos(chosen, ledger, seconds=options.hours * 3600, say=lambda line: print(line, flush=True))
    chaos.run()
    told = report.to_json(ledger, chosen)
    text = report.to_markdown(told)
    options.work.mkdir(parents=True, exist_ok=True)
    (options.work / "report.json").write_text(json.dumps(told, indent=2) + "\n")
    (options.work / "report.md").write_text(text)
    print(f"\n{text}", end="")
    return 1 if chaos.num_violations else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
