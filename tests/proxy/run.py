"""A two-process run: both sides, the proxy between them, and the comparison of their journals."""

from __future__ import annotations

import bisect
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.proxy.journal import Journal
from tests.proxy.setting import Setting
from tests.proxy.sides import Sides, States, received_of

__all__ = ["MESSAGE_BYTES", "Result", "Run"]

#: On the wire, on average; see ``journal``.
MESSAGE_BYTES = 260
_MIN_GAP_BYTES, _MAX_GAP_BYTES = 2 << 10, 256 << 10


@dataclass(slots=True)
class Result:
    setting: Setting
    sent: int = 0
    received: int = 0
    #: Lossy only: what was sent on connections that were reset, and did not arrive.
    lost: int = 0
    resets: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    links: int = 0
    bytes: int = 0
    seconds: float = 0.0
    counters: dict[str, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    @property
    def total_faults(self) -> int:
        return sum(self.faults.values())

    def to_json(self) -> dict[str, Any]:
        names = "sent received lost resets total_faults faults links bytes seconds counters failures".split()
        about = {"policy": self.setting.policy, "mode": self.setting.mode, "seed": self.setting.seed}
        return about | {name: getattr(self, name) for name in names}


class Run:
    """Goes on until at least so many faults have happened and so many messages have arrived; then nothing is broken any more, and
    what is due must arrive."""

    def __init__(
        self, setting: Setting, *, faults: int, messages: int, progress: Callable[[int, int], None] | None = None
    ) -> None:
        self._setting = setting.with_keys()
        self._faults = faults
        self._messages = messages
        self._progress = progress

    def execute(self) -> Result:
        began_s = time.monotonic()
        with Sides(self._setting) as sides:
            gap_bytes = 2 * MESSAGE_BYTES * self._messages // max(1, self._faults)
            sides.proxy.plan(self._faults, gap_bytes=min(max(gap_bytes, _MIN_GAP_BYTES), _MAX_GAP_BYTES))
            sides.start()
            sides.wait(self._is_enough, self._progress)
            sides.heal(self._progress)
            sides.halt(self._progress)
            result = self._compare(sides.finish())
            counts = sides.proxy.counts()
            result.faults = {str(kind): number for kind, number in counts.faults.items()}
            result.links, result.bytes = counts.links, sum(counts.bytes.values())
            result.failures += sides.close()
        result.seconds = round(time.monotonic() - began_s, 1)
        return result

    def _is_enough(self, faults: int, states: States) -> bool:
        return faults >= self._faults and received_of(states) >= self._messages

    # ---- the promise ----

    def _compare(self, reports: list[dict[str, Any]]) -> Result:
        result = Result(self._setting)
        for side, report in enumerate(reports):
            for name, value in report["counters"].items():
                result.counters[name] = result.counters.get(name, 0) + value
            for number, (state, journals) in enumerate(zip(report["sessions"], report["journals"], strict=True)):
                sent = Journal.from_text(journals[0])
                received = Journal.from_text(reports[1 - side]["journals"][number][1])
                result.sent += len(sent)
                result.received += len(received)
                result.resets += state["resets"]
                where = f"seed {self._setting.seed}, session {number}, from side {side}"
                if self._setting.pair.is_lossless:
                    failures = check_lossless(sent, received)
                    if state["resets"] or state["remote_resets"]:
                        failures.append(f"{state['resets']} resets, {state['remote_resets']} remote resets")
                else:
                    failures = check_lossy(sent, received, state["starts"], state["resets"])
                    result.lost += len(sent) - len(received)
                result.failures += [f"{where}: {failure}" for failure in failures]
        return result


def check_lossless(sent: Journal, received: Journal) -> list[str]:
    """Exactly once, in order, unaltered."""
    if sent.numbers == received.numbers and sent.checksums == received.checksums:
        return []
    return [_first_difference(sent, received)]


def check_lossy(sent: Journal, received: Journal, starts: list[int], resets: int) -> list[str]:
    """At most once, unaltered, in order on each connection; nothing is missing of a connection that was not reset. A connection
    begins with the number in ``starts``, after the reset of the one before."""
    failures = []
    last: dict[int, int] = {}
    for number, checksum in zip(received.numbers, received.checksums, strict=True):
        if number >= len(sent) or checksum != sent.checksums[number]:
            failures.append(f"message {number} is not as it was sent")
            break
        connection = bisect.bisect_right(starts, number)
        if number <= last.get(connection, -1):
            failures.append(f"message {number} came behind {last[connection]} of the same connection")
            break
        last[connection] = number
    if resets < len(starts):
        missing = set(range(starts[resets], len(sent))) - set(received.numbers)
        if missing:
            failures.append(f"{len(missing)} messages are lost without a reset, first {min(missing)}")
    return failures


def _first_difference(sent: Journal, received: Journal) -> str:
    for at, ours in enumerate(zip(sent.numbers, sent.checksums, strict=True)):
        if at >= len(received):
            return f"message {ours[0]} and {len(sent) - at - 1} behind it have not arrived"
        theirs = received.numbers[at], received.checksums[at]
        if ours != theirs:
            what = "altered" if ours[0] == theirs[0] else f"message {theirs[0]} came"
            return f"in place of message {ours[0]}: {what}"
    return f"{len(received) - len(sent)} messages more than were sent"
