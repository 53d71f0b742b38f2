"""The simulator: that nothing is lost in it, that a seed says everything, and that it finds what it is there to find."""

from __future__ import annotations

import random
import re

import pytest

from ceph_msgr._core import Message
from ceph_msgr.connection.connection import Connection
from ceph_msgr.policy import Policy
from ceph_msgr.testing.simulator import FAULTS, MODES, POLICIES, Fault, Model, Options, Violation, make_schedule, shrink
from ceph_msgr.testing.simulator.model import QUEUED_TYPE, ConnectionBook
from tests.simulator.mutant import MUTANTS
from tests.simulator.process import figures, run_command, run_python

#: In every run of the tests; some more than the seeds' schedules have, as not all of them strike something.
_FAULTS = 10_000
_SEEDS = 120


@pytest.mark.slow
@pytest.mark.contract("H1", "H6")
@pytest.mark.timeout(300)
def test_nothing_is_lost(rng: random.Random) -> None:
    first = rng.randrange(1 << 31)
    print(f"seeds {first}:{first + _SEEDS}")
    status, totals, said = figures("--seeds", f"{first}:{first + _SEEDS}", "--jobs", "2")
    assert (status, totals["violations"]) == (0, {}), said
    assert totals["faults"] >= _FAULTS
    assert totals["received"] > _FAULTS / 4 < totals["sessions"], "hardly anything happened between the faults"


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("mode", ["crc", "compressed_secure"])
def test_a_seed_says_everything(mode: str, rng: random.Random) -> None:
    """Two processes with other hash seeds do the same, bit for bit: every call of the driver goes into the digest."""
    seed = rng.randrange(1 << 31)
    runs = [run_command("--seed", str(seed), "--faults", "30", "--mode", mode, hash_seed=n) for n in (1, 2)]
    texts = [re.sub(r"in [0-9.]+ s \([0-9]+ faults/s\)", "", run.stdout) for run in runs]
    assert texts[0] == texts[1]
    assert runs[0].returncode == 0, texts[0]
    assert re.search("digest [0-9a-f]{16}", texts[0])
    assert texts[0].count("fault ") == 30


_TWICE = """
from ceph_msgr.testing.simulator import Options, run_seed
digests = [run_seed(seed, Options(faults=30)).digest for seed in ({0}, {1}, {0})]
assert digests[0] == digests[2] != digests[1], digests
"""


@pytest.mark.slow
def test_a_seed_does_the_same_whatever_ran_before(rng: random.Random) -> None:
    seed = rng.randrange(1 << 31)
    run = run_python("-c", _TWICE.format(seed, seed + 1))
    assert not run.returncode, run.stderr


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", MUTANTS)
def test_a_mistake_is_found(name: str) -> None:
    run = run_python("-m", "tests.simulator.mutant", name)
    assert not run.returncode, run.stdout + run.stderr
    assert "found by seed" in run.stdout


_SHRINK = """
from dataclasses import replace
from tests.simulator.mutant import MUTANTS
from ceph_msgr.testing.simulator import run_seed, shrink_seed
options = replace(MUTANTS["acknowledged_sent_again"](), faults=40)
seed = next(seed for seed in range(100) if run_seed(seed, options).violation)
schedule, outcome = shrink_seed(seed, options)
assert outcome.violation and outcome.log
assert run_seed(seed, options, schedule=schedule).violation == outcome.violation
print(len(schedule))
"""


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_failure_is_shrunk() -> None:
    run = run_python("-c", _SHRINK)
    assert not run.returncode, run.stderr
    assert int(run.stdout) < 20


_LATE = """
from ceph_msgr._core import Throttle
from ceph_msgr.testing.simulator import World
kept = Throttle("made in the real world")
try:
    World(1)
except RuntimeError as error:
    print(error)
"""


def test_there_is_no_way_into_the_simulation_once_something_is_made() -> None:
    run = run_python("-c", _LATE)
    assert "before anything is made" in run.stdout, run.stderr


@pytest.mark.parametrize(("arguments", "complaint"), [(["--seeds", "5:5"], "no seed"), (["--seeds", "a:b"], "FIRST:END")])
def test_wrong_seeds(arguments: list[str], complaint: str) -> None:
    run = run_command(*arguments)
    assert run.returncode == 2
    assert complaint in run.stderr


# ---- what it has found ----


@pytest.mark.slow
@pytest.mark.parametrize(
    "seed",
    [
        20029,  # two peers grant each other's dial, and each knows a session of its own
    ],
)
def test_found_before(seed: int) -> None:
    status, totals, said = figures("--seeds", str(seed), "--shrink-seconds", "0")
    assert (status, totals["violations"]) == (0, {}), said


# ---- schedules ----


def test_schedules() -> None:
    schedule = make_schedule(1, 2_000)
    assert schedule == make_schedule(1, 2_000) != make_schedule(2, 2_000)
    drawn = {kind for kind, weight in FAULTS.items() if weight}
    assert {fault.kind for fault in schedule} == drawn
    assert {fault.kind for fault in make_schedule(1, 2_000, no_memory=True)} == {*drawn, "no_memory"}


def test_options_leave_nothing_open() -> None:
    chosen = [Options().choose(seed) for seed in range(300)]
    assert {options.policy for options in chosen} == {*POLICIES}
    assert {options.mode for options in chosen} == {*MODES}
    assert {options.no_memory for options in chosen} == {False, True}
    assert Options(policy="lossy_client", hosts=2, no_memory=False).choose(7).policy == "lossy_client"


def test_shrinking_keeps_what_is_needed() -> None:
    schedule = make_schedule(3, 100)
    needed = {schedule[17], schedule[63], schedule[64]}
    tries = []

    def fails(part: list[Fault]) -> bool:
        tries.append(len(part))
        return needed <= {*part}

    assert shrink(schedule, fails) == [schedule[17], schedule[63], schedule[64]]
    assert len(tries) < 100
    assert shrink(schedule, lambda part: True) == []
    assert shrink(schedule, fails, patience_s=0) == schedule


# ---- the model ----


class FakeConnection:
    """What the model needs of one."""

    priv: ConnectionBook


class Books:
    """Process 1 on host 5 and process 2 on host 6, and what goes from the first to the second."""

    def __init__(self, policy: Policy) -> None:
        self.model = Model(bytes(range(256)) * 40)
        self.policy = policy
        self.sender = self.open(process=1)
        self.receiver = self.open(process=2)
        self.model.up(self.sender)
        self.model.up(self.receiver)

    def open(self, *, process: int) -> ConnectionBook:
        connection: Connection = FakeConnection()  # type: ignore[assignment]
        return self.model.open(
            process=process, host=4 + process, peer_host=7 - process, peer_process=3 - process, policy=self.policy,
            is_dialled=process == 1, connection=connection,
        )

    def send(self, count: int) -> list[Message]:
        messages = []
        for _ in range(count):
            messages.append(self.model.make(self.sender, (QUEUED_TYPE, 127), 90))
            self.model.was_sent(self.sender, (QUEUED_TYPE, 127))
        return messages

    def receive(self, *messages: Message) -> None:
        for message in messages:
            self.model.receive(self.receiver, message)


def test_what_the_model_is_content_with() -> None:
    books = Books(Policy.lossless_peer())
    books.receive(*books.send(5))
    assert not books.model.undelivered(books.sender)
    books.model.check_gaps()
    books.send(1)
    assert books.model.undelivered(books.sender) == [((QUEUED_TYPE, 127), 4, 5)]


def _twice(books: Books) -> None:
    books.receive(*books.send(2) * 2)


def _swapped(books: Books) -> None:
    books.receive(*reversed(books.send(2)))


def _gap(books: Books) -> None:
    books.receive(books.send(3)[2])
    books.model.check_gaps()


def _altered(books: Books) -> None:
    [message] = books.send(1)
    message.data = bytes(message.data)[:-1] + b"\0"
    books.receive(message)


def _never_sent(books: Books) -> None:
    books.receive(books.model.make(books.sender, (QUEUED_TYPE, 127), 9))


def _after_mark_down(books: Books) -> None:
    [message] = books.send(1)
    books.model.silence(books.receiver)
    books.receive(message)


def _reset_of_a_lossless(books: Books) -> None:
    books.model.reset(books.receiver)


def _two_resets(books: Books) -> None:
    books.model.mark(books.receiver)
    books.model.reset(books.receiver)
    books.model.reset(books.receiver)


def _up_after_the_end(books: Books) -> None:
    books.model.silence(books.receiver)
    books.model.up(books.receiver)


def _remote_reset_for_nothing(books: Books) -> None:
    books.model.remote_reset(books.sender)


def _mark_down_without_reset(books: Books) -> None:
    books.model.queued_up(books.receiver)
    books.model.mark(books.receiver)
    books.model.check_callbacks({2})


@pytest.mark.parametrize(
    "breach",
    [
        _twice, _swapped, _gap, _altered, _never_sent, _after_mark_down, _reset_of_a_lossless, _two_resets, _up_after_the_end,
        _remote_reset_for_nothing, _mark_down_without_reset,
    ],
)
def test_what_the_model_objects_to(breach: object) -> None:
    with pytest.raises(Violation):
        breach(Books(Policy.lossless_peer_reuse()))  # type: ignore[operator]


def test_a_gap_is_forgiven_once_for_each_reset() -> None:
    books = Books(Policy.lossless_peer_reuse())
    books.model.disturb(5, 6)
    messages = books.send(5)
    books.receive(messages[2])
    books.model.remote_reset(books.sender)
    books.model.check_gaps()
    books.receive(messages[4])
    with pytest.raises(Violation, match="misses messages 2 times"):
        books.model.check_gaps()


def test_a_lossy_connection_skips_nothing() -> None:
    books = Books(Policy.lossy_client())
    with pytest.raises(Violation, match="skips"):
        books.receive(books.send(2)[1])
