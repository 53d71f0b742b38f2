"""``Chaos``: gives each campaign its share of the time, slice by slice."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from tests.chaos.campaign import Campaign, Outcome
from tests.chaos.ledger import Ledger

__all__ = ["Chaos"]


class Chaos:
    """The next slice is that of whoever is furthest behind its share. A campaign that finds a violation rests for this run."""

    def __init__(
        self,
        campaigns: Sequence[Campaign],
        ledger: Ledger,
        *,
        seconds: float,
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._campaigns = [campaign for campaign in campaigns if not campaign.missing()]
        self._ledger = ledger
        self._seconds = seconds
        self._say = say
        self._clock = clock
        self._used_s = dict.fromkeys((campaign.name for campaign in self._campaigns), 0.0)
        self.num_violations = 0

    def run(self) -> None:
        """Until the time is up: then no further slice begins. Ctrl-C ends it too, and what was reached counts."""
        began_s = self._clock()
        all_shares = sum(campaign.share for campaign in self._campaigns)
        while self._campaigns and (left_s := self._seconds - (self._clock() - began_s)) > 0:
            campaign = min(self._campaigns, key=lambda each: self._used_s[each.name] / each.share)
            share_s = self._seconds * campaign.share / all_shares
            seconds = min(left_s, campaign.slice_seconds(share_s))
            seed = self._ledger.entry(campaign.name).next_seed
            done = f"{(self._seconds - left_s) / 60:.1f} of {self._seconds / 60:.1f} min"
            self._say(f"{done}: {campaign.name}, seed {seed}, for {seconds:.0f} s")
            started_s = self._clock()
            outcome = campaign.run(seed, seconds)
            self._used_s[campaign.name] += self._clock() - started_s
            if outcome.figures or outcome.violations:
                self._ledger.add(campaign.name, outcome)
            self._tell(campaign, outcome)
            if outcome.was_interrupted:
                self._say("interrupted: what was reached is kept")
                return
            if outcome.violations:
                self._campaigns.remove(campaign)

    def _tell(self, campaign: Campaign, outcome: Outcome) -> None:
        figures = ", ".join(f"{value:,.10g} {name}" for name, value in outcome.figures.items())
        self._say(f"    {figures or 'no figures'}")
        for violation in outcome.violations:
            self.num_violations += 1
            self._say(f"VIOLATION in {campaign.name}; to repeat it: {violation.command}\n{violation.what}")
