"""Throttles: bounds on how much may be under way at once.

A MESSAGE frame passes three of them before any of its segments is read, in this order: the policy's message throttle
(1), the policy's byte throttle and the messenger's dispatch throttle (front + middle + data). The policy's amounts
come back when the ``Message`` object is destroyed, so whoever keeps messages keeps the throttle; the dispatch amount
comes back when the dispatcher's callback has returned.

- Maximum 0 means unlimited; what is taken is counted all the same.
- A request larger than the maximum passes while the throttle is not over its maximum, so it can never dead-lock.
- Waiters are served in order and woken by whoever gives back; nothing polls. While somebody waits, ``get_or_fail``
  refuses everybody else.
- Every method may be called from any thread and never blocks.
"""

from __future__ import annotations

from ceph_msgr._core import Throttle

__all__ = ["Throttle"]
