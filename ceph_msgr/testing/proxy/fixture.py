"""The proxy as a fixture of pytest, which this module alone needs. In a ``conftest.py``:

from ceph_msgr.testing.proxy.fixture import fault_proxy
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ceph_msgr.testing.proxy.fault_proxy import FaultProxy

__all__ = ["fault_proxy"]


@pytest.fixture
def fault_proxy() -> Iterator[FaultProxy]:
    """A proxy with a fresh seed, which is printed: pytest shows it if the test fails."""
    with FaultProxy.start() as proxy:
        print(f"fault proxy: seed {proxy.seed}")
        yield proxy
