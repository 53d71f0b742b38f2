"""The mutants follow the code, and one of them, by chance, is found."""

from __future__ import annotations

import shutil
from pathlib import Path
from random import Random

import pytest

from tests.mutants.mutant import LIMIT_S, Mutant, copy_tree, load_all
from tests.test_architecture import CSRC, ROOT

MUTANTS = load_all()


def test_there_are_enough_and_each_has_its_story() -> None:
    assert len({mutant.story for mutant in MUTANTS}) == len(MUTANTS) >= 20


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    for path in {path for mutant in MUTANTS for path in mutant.paths}:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, tmp_path / path)
    return tmp_path


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_fits_the_code(mutant: Mutant, sources: Path) -> None:
    mutant.apply(sources)
    assert all((sources / path).read_text() != (ROOT / path).read_text() for path in mutant.paths)


def test_a_mutant_whose_code_has_moved_says_so(sources: Path) -> None:
    mutant = MUTANTS[0]
    (sources / mutant.paths[0]).write_text("something else\n")
    with pytest.raises(LookupError, match="does not fit any more"):
        mutant.apply(sources)


@pytest.mark.slow
def test_one_by_chance_is_found(rng: Random, tmp_path: Path) -> None:
    # Without the library as released there would be too much to build.
    has_library = (CSRC / "build" / "release" / "libcmsgr.a").exists()
    mutant = rng.choice([mutant for mutant in MUTANTS if mutant.is_quick and (has_library or not mutant.is_c_test)])
    print(f"{mutant.name}: {mutant.story}")
    tree = tmp_path / "tree"
    copy_tree(tree)
    mutant.apply(tree)
    outcome = mutant.run(tree)
    assert outcome.found, f"{mutant.name} was not noticed by {mutant.finder}:\n{outcome.output}"
    assert outcome.seconds < LIMIT_S
