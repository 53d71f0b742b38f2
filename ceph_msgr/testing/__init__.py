"""Hooks for tests of programs that use ceph_msgr, and for our own: look into connections, and break them where you want.

Give a messenger an ``Interceptor`` before it makes connections, and add it as a dispatcher:

    interceptor = Interceptor()
    interceptor.set(Breakpoint.write(Tag.MESSAGE), Answer.FAULT)
    messenger.interceptor = interceptor
    messenger.add_dispatcher_head(interceptor)

``ceph_msgr.testing.proxy`` breaks connections from outside, between two processes.
"""

from ceph_msgr.connection.gate import Answer, Breakpoint, Moment
from ceph_msgr.protocol.tags import Tag
from ceph_msgr.testing.interceptor import Interceptor
from ceph_msgr.testing.record import Accepts, Dials, Outcome, Record, Resets

__all__ = ["Accepts", "Answer", "Breakpoint", "Dials", "Interceptor", "Moment", "Outcome", "Record", "Resets", "Tag"]
