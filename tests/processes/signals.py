"""``python -m tests.processes.signals MESSAGES``: a timer's signal every 200 us, first to the main thread, then to the workers,
while messages are exchanged. Tells how many signals there were."""

from __future__ import annotations

import signal
import sys

from tests.processes.echo import Echo

_INTERVAL_S = 0.0002


def main() -> None:
    messages = int(sys.argv[1])
    handled = 0

    def handle(number: int, frame: object) -> None:
        nonlocal handled
        handled += 1

    signal.signal(signal.SIGALRM, handle)
    with Echo() as echo:
        echo.send(1)
        echo.wait_answered()
        signal.setitimer(signal.ITIMER_REAL, _INTERVAL_S, _INTERVAL_S)
        for who in "main", "workers":
            if who == "workers":  # the kernel takes a thread that does not block it
                signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
            before = handled
            for _ in range(messages // 100):
                echo.send(100)
                echo.wait_answered()
            print(who, handled - before)
        signal.setitimer(signal.ITIMER_REAL, 0)
        assert echo.faults() == 0


if __name__ == "__main__":
    main()
