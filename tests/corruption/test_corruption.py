"""Every single-bit flip and every truncation of a recorded session is seen, in each mode.

``CEPH_MSGR_CORRUPTION=full`` tries all of them, 20 minutes; otherwise a sample.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from tests.conftest import Deadline
from tests.corruption.recording import BANNER_BYTES, VERDICTS, Recording, Unseen
from tests.corruption.session import COMPLETE, MODES, Alteration, Kind, Outcome
from tests.session import reference_codec

FULL = os.environ.get("CEPH_MSGR_CORRUPTION") == "full"

_SAMPLE = 334  # of each mode: 2 000 of all


def run(deadline: Deadline, *arguments: str) -> tuple[dict[str, Any], str]:
    """Figures, and what it said; in a process of its own, as whoever has entered the simulated world cannot leave it."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.corruption", "--json", *arguments], capture_output=True, text=True, check=False,
        timeout=deadline.remaining_s("the command"),
    )
    print(done.stderr)
    return json.loads(done.stdout or "{}"), done.stderr


@pytest.mark.slow
@pytest.mark.contract("E4", "E5")
@pytest.mark.timeout(7200 if FULL else 300)
@pytest.mark.parametrize("deadline", [7200 if FULL else 240], indirect=True)
def test_every_alteration_is_seen(deadline: Deadline, rng: random.Random) -> None:
    arguments = [] if FULL else ["--sample", str(_SAMPLE), "--seed", str(rng.randrange(1 << 31))]
    figures, said = run(deadline, *arguments)
    assert figures, said
    assert not figures["violations"]
    assert set(figures["verdicts"]) == set(MODES)
    for counted in figures["verdicts"].values():
        assert sum(counted.values()) >= _SAMPLE
        assert counted["bit refused"] > _SAMPLE / 2
        assert set(counted) <= {"end refused", *(f"bit {verdict}" for verdict in VERDICTS)}


# ---- what it has found ----


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "alteration", "verdict"),
    [
        ("compressed_crc", "bit:server:150", "given up"),  # who compresses took no notice of required features without a name
    ],
)
def test_found_before(mode: str, alteration: str, verdict: str, deadline: Deadline) -> None:
    figures, said = run(deadline, "--mode", mode, "--only", alteration, "--jobs", "1")
    assert figures["verdicts"] == {mode: {f"bit {verdict}": 1}}, said


# ---- the judge ----

_BANNER = b"ceph v2\n\x10\0" + bytes(16)
_BIT, _END = Kind.BIT, Kind.END


def recorded(mode: str) -> Recording:
    """Of a client that sends a banner and a frame of two segments, and a server that sends a banner."""
    frame = reference_codec.assemble(17, [b"header", b"front"], MODES[mode].revision)
    return Recording(mode, Outcome(COMPLETE, sent=(_BANNER + frame, _BANNER), digest="same"))


def of_trailer(mode: str, bit: int) -> Alteration:
    """Of the only trailer there is: its first byte tells the state, a checksum of each segment follows."""
    trailer_bytes = 13 if MODES[mode].revision else 17
    return Alteration(_BIT, 0, 8 * (len(recorded(mode).sent[0]) - trailer_bytes) + bit)


SAME = Outcome(COMPLETE, digest="same")
REFUSED = Outcome(COMPLETE, faults=2, digest="other")
GIVEN_UP = Outcome(([], []), resets=["reset at the client"])
MIDDLE_LOST = Outcome(([0, 2, 3], COMPLETE[1]), gaps=1)
_IN_BANNER, _IN_FRAME = Alteration(_BIT, 1, 8 * BANNER_BYTES - 1), Alteration(_BIT, 0, 8 * BANNER_BYTES)


@pytest.mark.parametrize(
    ("mode", "alteration", "outcome", "verdict"),
    [
        ("crc_2.1", _IN_FRAME, REFUSED, "refused"),
        ("secure_2.1", _IN_FRAME, REFUSED, "refused"),
        ("crc_2.1", Alteration(_END, 0, 3), REFUSED, "refused"),
        ("crc_2.1", _IN_BANNER, GIVEN_UP, "given up"),
        ("crc_2.1", _IN_BANNER, SAME, "identical"),
        ("crc_2.1", of_trailer("crc_2.1", 4), SAME, "identical"),
        ("crc_2.1", of_trailer("crc_2.1", 8 * 5), SAME, "identical"),
        ("crc_2.0", of_trailer("crc_2.0", 1), SAME, "identical"),
        ("crc_2.0", of_trailer("crc_2.0", 8 * 9), SAME, "identical"),
        ("crc_2.0", of_trailer("crc_2.0", 0), MIDDLE_LOST, "aborted"),
        ("crc_2.0", of_trailer("crc_2.0", 0), REFUSED, "aborted"),
    ],
)
def test_what_the_judge_is_content_with(mode: str, alteration: Alteration, outcome: Outcome, verdict: str) -> None:
    assert recorded(mode).judge(alteration, outcome) == verdict


@pytest.mark.parametrize(
    ("mode", "alteration", "outcome"),
    [
        ("crc_2.1", _IN_FRAME, SAME),
        ("crc_2.1", of_trailer("crc_2.1", 3), SAME),
        ("crc_2.1", of_trailer("crc_2.1", 8 * 5 - 1), SAME),
        ("crc_2.0", of_trailer("crc_2.0", 8 * 9 - 1), SAME),
        ("crc_2.1", of_trailer("crc_2.1", 0), MIDDLE_LOST),
        ("crc_2.0", of_trailer("crc_2.0", 0), replace(MIDDLE_LOST, gaps=0)),
        ("crc_2.0", of_trailer("crc_2.0", 0), Outcome(([0, 3], COMPLETE[1]), gaps=1)),
        ("crc_2.1", _IN_BANNER, replace(SAME, digest="other")),
        ("secure_2.1", _IN_BANNER, SAME),
        ("crc_2.1", Alteration(_END, 0, 3), SAME),
        ("crc_2.1", _IN_FRAME, GIVEN_UP),
        ("crc_2.1", _IN_BANNER, replace(GIVEN_UP, received=([0], []))),
        ("crc_2.1", _IN_FRAME, replace(REFUSED, resets=["remote reset at the server"])),
        ("crc_2.1", _IN_FRAME, replace(REFUSED, defects=["<Throttle>"])),
        ("crc_2.1", _IN_FRAME, replace(REFUSED, received=([0, 1, 3, 2], COMPLETE[1]))),
        ("crc_2.1", _IN_FRAME, replace(REFUSED, received=([0, 1, 1, 2, 3], COMPLETE[1]))),
        ("crc_2.1", _IN_FRAME, replace(REFUSED, received=([0, -1, 2, 3], COMPLETE[1]))),
        ("crc_2.1", _IN_FRAME, replace(REFUSED, received=(COMPLETE[0], [0, 1, 2]))),
    ],
)
def test_what_the_judge_objects_to(mode: str, alteration: Alteration, outcome: Outcome) -> None:
    with pytest.raises(Unseen, match=str(alteration)):
        recorded(mode).judge(alteration, outcome)


def test_an_alteration_is_named_by_its_text() -> None:
    for alteration in recorded("crc_2.1").alterations():
        assert Alteration.parse(str(alteration)) == alteration
