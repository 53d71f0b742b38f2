"""``Recording``: what both sides say in one mode when nothing is altered, and what an alteration of it may bring about."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator

from tests.corruption.session import COMPLETE, MODES, Alteration, Kind, Outcome
from tests.session.reference_codec import PREAMBLE_BYTES, crc32c, split_banner, wire_len

__all__ = ["BANNER_BYTES", "VERDICTS", "Recording", "Unseen"]

BANNER_BYTES = 26
_CRC_BYTES = 4

#: What an alteration may come to.
VERDICTS = {
    "refused": "a socket was given up; on the next one everything arrived",
    "identical": "both sides went on as if nothing were altered: the bit means nothing",
    "aborted": "the abort bit of msgr2.0 in crc mode, which nothing protects: that frame was dropped",
    "given up": "a bit of the banner, which nothing protects, said that both sides can never talk: the client was told",
}


class Unseen(AssertionError):
    """An alteration came to something that it must not come to."""


class Recording:
    """Of the mode of this name, and what came of it."""

    def __init__(self, name: str, outcome: Outcome) -> None:
        if not outcome.is_complete or outcome.faults or outcome.resets or outcome.defects:
            raise ValueError(f"{name}: the session fails without any alteration: {outcome}")
        self.name = name
        self.sent = outcome.sent
        self._digest = outcome.digest
        self._mode = MODES[name]
        #: Of either side: bits that no checksum covers.
        self._loose: tuple[set[int], set[int]] = (set(), set())
        #: Of either side: bits that say that a frame was given up by its sender.
        self._aborting: tuple[set[int], set[int]] = (set(), set())
        for side, sent in enumerate(self.sent):
            self._loose[side].update(range(8 * BANNER_BYTES))
            for trailer, absent_crcs in _trailers(sent, self._mode.revision):
                self._add_trailer(side, trailer, absent_crcs)

    def _add_trailer(self, side: int, trailer: int, absent_crcs: range) -> None:
        bits = range(8 * trailer, 8 * trailer + 8)
        self._loose[side].update(bits[4:] if self._mode.revision else bits[1:])
        self._loose[side].update(range(8 * absent_crcs.start, 8 * absent_crcs.stop))
        if not self._mode.revision:
            self._aborting[side].add(bits[0])

    def alterations(self) -> list[Alteration]:
        """Every bit of both sides, and every end."""
        return [
            Alteration(kind, side, at)
            for side, sent in enumerate(self.sent)
            for kind, count in ((Kind.BIT, 8 * len(sent)), (Kind.END, len(sent)))
            for at in range(count)
        ]

    def judge(self, alteration: Alteration, outcome: Outcome) -> str:
        """One of ``VERDICTS``; ``Unseen`` if it is none of them, or one that this alteration must not have."""
        verdict = self._verdict(alteration, outcome)
        if not verdict or outcome.defects or outcome.gaps != sum(map(_gaps, outcome.received)):
            raise Unseen(f"{self.name} {alteration}: {outcome}")
        return verdict

    def _verdict(self, alteration: Alteration, outcome: Outcome) -> str:
        """Empty: must not be."""
        is_bit, side, at = alteration.kind is Kind.BIT, alteration.side, alteration.at
        if outcome.resets:
            is_last_word = outcome.resets == ["reset at the client"] and not any(outcome.received)
            return "given up" if is_bit and at < 8 * BANNER_BYTES and is_last_word else ""
        if is_bit and at in self._aborting[side]:
            return "aborted" if _lost(outcome) in (0, 1) else ""
        if not outcome.is_complete:
            return ""
        if outcome.faults:
            return "refused"
        # In secure mode the handshake is signed, and nothing behind it is loose.
        is_same = outcome.digest == self._digest
        return "identical" if is_bit and at in self._loose[side] and is_same and not self._mode.is_secure else ""


def _gaps(numbers: list[int]) -> int:
    return sum(number != before + 1 for before, number in itertools.pairwise([-1, *numbers]))


def _lost(outcome: Outcome) -> int:
    """How many messages are missing, if the others came in order; else -1."""
    lost = 0
    for complete, got in zip(COMPLETE, outcome.received, strict=True):
        if got != [number for number in complete if number in got]:
            return -1
        lost += len(complete) - len(got)
    return lost


def _trailers(sent: bytes, revision: int) -> Iterator[tuple[int, range]]:
    """Where the trailers of the frames in crc mode begin, and where in them the checksums of absent segments lie."""
    at = len(split_banner(sent)[0])  # type: ignore[index]
    while at + PREAMBLE_BYTES <= len(sent):
        preamble = sent[at : at + PREAMBLE_BYTES]
        if crc32c(0, preamble[:-_CRC_BYTES]) != int.from_bytes(preamble[-_CRC_BYTES:], "little"):
            return  # here it begins to be encrypted
        count = preamble[1]
        lengths = struct.unpack_from("<" + "I2x" * count, preamble, 2)
        end = at + wire_len(lengths, revision)
        slots = 4 if revision == 0 else 3
        if revision == 0 or count > 1:
            yield end - 1 - _CRC_BYTES * slots, range(end - _CRC_BYTES * (4 - count), end)
        at = end
