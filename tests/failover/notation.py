"""The contract's short form for what became of a connection, such as ``est C(1,1,0,1) A(0,0,0,1) R(0,0)``.

First the outcome: est(ablished), cl(osed), rep(laced) or standby. Then three groups of counts, a missing one being zeros:
C(dials, client idents sent, session reconnects sent, connect callbacks), A(sockets accepted, client idents read, session
reconnects read, accept callbacks), R(reset callbacks, remote reset callbacks). A dot stands for any number, >=1 for at least
one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import astuple

from ceph_msgr.testing import Outcome, Record

OUTCOMES = {
    "est": Outcome.ESTABLISHED,
    "cl": Outcome.CLOSED,
    "rep": Outcome.REPLACED,
    "standby": Outcome.STANDBY,
    "underway": Outcome.UNDERWAY,
}
WORDS = {outcome: word for word, outcome in OUTCOMES.items()}
GROUPS = {"C": ("dials", 4), "A": ("accepts", 4), "R": ("resets", 2)}

_FORM = re.compile(r"(\w+)((?: [CAR]\([^)]*\))*)")
_GROUP = re.compile(r"([CAR])\(([^)]*)\)")


def matches(record: Record, expected: str) -> bool:
    form = _FORM.fullmatch(expected)
    if not form:
        raise ValueError(f"not in the short form: {expected}")
    given = {group: counts.split(",") for group, counts in _GROUP.findall(form[2])}
    is_so = OUTCOMES[form[1]] is record.outcome
    for group, (name, length) in GROUPS.items():
        counts = given.get(group, ["0"] * length)
        if len(counts) != length:
            raise ValueError(f"{group} has {length} counts: {expected}")
        is_so &= all(map(_count_matches, astuple(getattr(record, name)), counts))
    return is_so


def _count_matches(count: int, expected: str) -> bool:
    if expected == ".":
        return True
    if expected.startswith(">="):
        return count >= int(expected[2:])
    return count == int(expected)


def describe(record: Record) -> str:
    groups = [(group, astuple(getattr(record, name))) for group, (name, _) in GROUPS.items()]
    shown = [f"{group}({','.join(map(str, counts))})" for group, counts in groups if any(counts)]
    blocked = [f"[blocked at {record.blocked_at}]"] if record.blocked_at else []
    return " ".join([WORDS[record.outcome], *shown, *blocked])


def describe_all(records: Sequence[Record]) -> str:
    return "; ".join(f"{i}: {describe(record)}" for i, record in enumerate(records)) or "no connections"
