"""A world in memory for whole messengers: both planes, on a simulated network and clock, one thread, one seed.

``Simulation`` builds messengers, breaks the network and the processes as a schedule says, and checks with a ``Model`` that
nothing is lost, doubled, altered or out of order, and that everybody is told what they must be told. ``World`` and ``Host`` are
the parts for simulations of one's own. What happens follows from the seed: a failure can be repeated, and shrunk to a short
schedule.

    outcome = Simulation(42, Options(policy="lossless_peer")).run()
    assert not outcome.violation

The command ``python -m ceph_msgr.testing.simulator`` runs many seeds. A process that has entered the simulated world cannot leave
it: there are no real messengers beside simulated ones.
"""

from ceph_msgr.testing.simulator.campaign import Totals, run_seed, run_seeds, shrink_seed
from ceph_msgr.testing.simulator.endpoint import Endpoint
from ceph_msgr.testing.simulator.faults import CUTS, DEATHS, FAULTS, Fault, make_schedule
from ceph_msgr.testing.simulator.host import Host
from ceph_msgr.testing.simulator.model import Model, Violation
from ceph_msgr.testing.simulator.options import MODES, POLICIES, Options
from ceph_msgr.testing.simulator.shrink import shrink
from ceph_msgr.testing.simulator.simulation import Outcome, Simulation
from ceph_msgr.testing.simulator.world import World

__all__ = [
    "CUTS",
    "DEATHS",
    "FAULTS",
    "MODES",
    "POLICIES",
    "Endpoint",
    "Fault",
    "Host",
    "Model",
    "Options",
    "Outcome",
    "Simulation",
    "Totals",
    "Violation",
    "World",
    "make_schedule",
    "run_seed",
    "run_seeds",
    "shrink",
    "shrink_seed",
]
