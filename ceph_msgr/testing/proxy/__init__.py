"""A proxy between two messengers that breaks what goes through it: a program of its own, ordered about from a test.

    server.bind("127.0.0.1:0")
    with FaultProxy.start(seed=7) as proxy:
        server.set_addrs(proxy.route(server.myaddrs))
        ...
        proxy.order(Fault(Kind.RESET))                       # all links that are open, now
        proxy.order(Fault(Kind.FLIP, at=900), link=3)        # the fourth link, before byte 900 on its way to the target
        proxy.plan(faults=1000)                              # a thousand at random, the same ones for the same seed

A *link* is a socket that the proxy accepted and the one it dialled for it; links are counted from 0 as they come. A *route* is a
port of the proxy and the target behind it. Peers must see the proxy's address where they dial and where the server tells its own
one, as a messenger compares the two: that is what ``set_addrs`` is for.

With pytest: ``from ceph_msgr.testing.proxy.fixture import fault_proxy``.
"""

from ceph_msgr.testing.proxy.fault import Direction, Fault, Kind
from ceph_msgr.testing.proxy.fault_proxy import Counts, FaultProxy, ProxyError

__all__ = ["Counts", "Direction", "Fault", "FaultProxy", "Kind", "ProxyError"]
