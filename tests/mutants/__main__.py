"""``python -m tests.mutants [NAME ...]``: puts the named mistakes back, all unless told, one at a time, each into its own copy.

Prints a table: mutant, found by, seconds. The end code is 1 if one was not found. ``--list`` tells the stories instead.
Before that, each tool that finds is run without a mistake: one that fails then proves nothing.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.mutants.mutant import Mutant, copy_tree, load_all


@contextmanager
def _copy() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as directory:
        tree = Path(directory) / "tree"
        copy_tree(tree)
        yield tree


def _choose(names: list[str]) -> list[Mutant]:
    known = {mutant.name: mutant for mutant in load_all()}
    if unknown := [name for name in names if name not in known]:
        raise SystemExit(f"no such mutant: {', '.join(unknown)}; --list tells their names")
    return [known[name] for name in names or known]


def _control(mutants: list[Mutant]) -> None:
    with _copy() as tree:
        for mutant in {(mutant.finder, mutant.variant): mutant for mutant in mutants}.values():
            outcome = mutant.run(tree)
            if outcome.found:
                raise SystemExit(f"{mutant.finder} fails without any mistake:\n{outcome.output}")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants")
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--list", action="store_true", help="names and stories")
    parser.add_argument("--verbose", action="store_true", help="what the tests said")
    options = parser.parse_args(arguments)
    mutants = _choose(options.names)
    if options.list:
        for mutant in mutants:
            print(f"{mutant.name}: {mutant.story}")
        return 0
    _control(mutants)
    print("| mutant | found by | seconds |\n| --- | --- | --- |")
    missed = 0
    for mutant in mutants:
        with _copy() as tree:
            mutant.apply(tree)
            outcome = mutant.run(tree)
        missed += not outcome.found
        print(f"| {mutant.name} | {mutant.finder if outcome.found else 'nothing'} | {outcome.seconds:.1f} |", flush=True)
        if options.verbose:
            print(outcome.output)
    print(f"\n{len(mutants) - missed} of {len(mutants)} found")
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
