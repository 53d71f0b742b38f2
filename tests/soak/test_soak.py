"""A short soak, and what it would notice in a long one; in full length: ``python -m tests.soak``."""

from __future__ import annotations

import mmap
import os
import random
from typing import Any

import pytest

from ceph_msgr import Message
from tests.proxy.journal import TYPE
from tests.proxy.setting import Setting
from tests.soak.pace import Pace
from tests.soak.soak import Soak, check_vitals, compare
from tests.soak.tally import Tally
from tests.soak.vitals import Reading, Vitals

SECONDS = 1.5


@pytest.mark.slow
def test_a_short_soak(rng: random.Random) -> None:
    lines: list[str] = []
    setting = Setting("lossless_peer", "crc", rng.randrange(1 << 32), sessions=4)
    soak = Soak(setting, seconds=SECONDS, rate_per_s=4_000, faults_per_s=40, progress=lines.append)
    result = soak.execute()
    print(result.to_json())
    assert result.failures == []
    assert result.messages > 0
    assert result.total_faults > 0
    assert result.seconds >= SECONDS
    assert len(lines) > 1
    assert [side["threads"]["min"] > 2 for side in result.sides] == [True, True]


# ---- what it would notice ----


def tally(*messages: tuple[int, bytes]) -> Tally:
    tally = Tally()
    for number, data in messages:
        tally.note(Message(TYPE, tid=number, front=b"%d" % number, data=data))
    return tally


def test_equal_tallies() -> None:
    one, other = tally((0, b"x"), (1, b"")), tally((0, b"x"), (1, b""))
    assert (one.to_text(), one.wrong, len(one), one.highest) == (other.to_text(), "", 2, 1)


@pytest.mark.parametrize(
    ("messages", "wrong"),
    [
        ([(0, b"x"), (1, b"Y"), (2, b"z")], ""),
        ([(0, b"x"), (2, b"z")], "message 2 came in place of 1"),
        ([(0, b"x"), (0, b"x"), (1, b"y"), (2, b"z")], "message 0 came in place of 1"),
        ([(0, b"x"), (2, b"z"), (1, b"y")], "message 2 came in place of 1"),
    ],
    ids=["altered", "lost", "doubled", "swapped"],
)
def test_a_tally_tells_what_is_wrong(messages: list[tuple[int, bytes]], wrong: str) -> None:
    received = tally(*messages)
    assert received.wrong == wrong
    assert received.to_text() != tally((0, b"x"), (1, b"y"), (2, b"z")).to_text()


def test_comparing() -> None:
    def report(sent: str, received: str, resets: int = 0) -> dict[str, Any]:
        return {"sessions": [{"resets": resets, "remote_resets": 0}], "journals": [[sent, received]]}

    assert compare([report("a", "b"), report("b", "a")]) == []
    assert compare([report("a", "c"), report("b", "a")]) == ["session 0, from side 1: sent b, received c"]
    assert compare([report("a", "b", resets=1), report("b", "a")]) == ["session 0, from side 0: 1 resets, 0 remote resets"]


def test_growth_is_told() -> None:
    vitals = Vitals(os.getpid())
    for minute in range(60):
        growing_mib = 100.0 if minute < 15 else 50 + 2 * (minute - 15) / 60
        vitals.readings.append(Reading(60.0 * minute, growing_mib, 10.0, fds=7, threads=3 if minute < 50 else 4))
    figures = vitals.to_json(since_s=900)
    assert figures["rss_slope_mib_per_h"] == pytest.approx(2)
    assert figures["pss_slope_mib_per_h"] == pytest.approx(0)
    assert figures["rss_mib"]["max"] == 100
    failures = check_vitals([figures], max_slope_mib_per_h=2.5)
    assert failures == ["side 0: threads {'first': 3, 'last': 4, 'min': 3, 'max': 4}"]
    assert check_vitals([figures], max_slope_mib_per_h=1.0) == [*failures, "side 0: memory grows by 2.0 MiB/h"]
    assert vitals.slope_mib_per_h("rss_mib", since_s=3_540) is None


def test_vitals_are_those_of_the_process() -> None:
    vitals = Vitals(os.getpid())
    before = vitals.read(0.0)
    ends = os.pipe()
    kept = mmap.mmap(-1, 8 << 20)  # the heap might have had as much to spare
    kept.write(bytes(len(kept)))
    after = vitals.read(1.0)
    for end in ends:
        os.close(end)
    assert after.fds - before.fds == len(ends)
    assert after.rss_mib - before.rss_mib > 4
    assert len(kept) == 8 << 20
    assert after.threads >= 1


def test_a_pace_does_not_make_up_for_a_long_pause() -> None:
    pace = Pace(100.0, now_s=10.0)
    assert pace.due(10.0) == 0
    assert pace.due(10.25) == 25
    pace.took(20)
    assert pace.due(10.25) == 5
    assert pace.due(20.0) == 50
    pace.took(60)
    assert pace.due(20.0) == -10
