"""``python -m tests.processes.jumps``, with a wall clock that jumps: every time-out is on, none may notice."""

from __future__ import annotations

import time

from tests.processes.echo import Echo


def main() -> None:
    looks = [time.time() for _ in range(2)]
    assert abs(looks[1] - looks[0]) > 3600, "the wall clock does not jump"
    with Echo(
        ms_keepalive_interval=0.05, ms_keepalive_timeout=30, ms_connection_idle_timeout=60, ms_connection_ready_timeout=30,
        ms_accept_handshake_timeout=30,
    ) as echo:  # fmt: skip
        first_ack = None
        for _ in range(50):
            echo.send(100)
            echo.wait_answered()
        end_s = time.monotonic() + 60
        while first_ack is None:  # keepalives are due every 50 ms, by the monotonic clock
            assert time.monotonic() < end_s, "no keepalive was answered"
            first_ack = echo.connection.last_keepalive_ack
            echo.send(1)
            echo.wait_answered()
        assert echo.faults() == 0
    print("alive")


if __name__ == "__main__":
    main()
