"""What the micro benches share.

Each name is the key of a series of measurements: a renamed bench starts a new one. Each bench checks its answer, because a
fast wrong one is worth nothing. Those of one primitive repeat it BATCH times per round, so that the clock and the loop
around it disappear; their times are per batch.
"""

from __future__ import annotations

import pytest

#: How often a bench repeats what takes well below a microsecond.
BATCH = 1000


@pytest.fixture
def batch(benchmark) -> int:
    benchmark.extra_info["operations_per_round"] = BATCH
    return BATCH
