"""The one place where the control plane meets the compiled core: its framing is that of the reference codec."""

from __future__ import annotations

import pytest

from ceph_msgr.protocol.codec import assemble_control
from tests.session import reference_codec


@pytest.mark.contract("E1")
@pytest.mark.parametrize("revision", [0, 1])
@pytest.mark.parametrize("payload_bytes", [0, 1, 16, 123, 4096])
def test_a_control_frame_is_framed_as_the_oracle_does(revision: int, payload_bytes: int) -> None:
    payload = bytes(index % 251 for index in range(payload_bytes))
    assert assemble_control(8, payload, revision) == reference_codec.assemble_control(8, payload, revision)
