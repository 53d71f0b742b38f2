"""``python -m tests.processes.leaver HOW``: the program ends in the middle of traffic, with messengers alive."""

from __future__ import annotations

import sys

from tests.processes.echo import Echo


def main() -> None:
    echo = Echo()
    echo.send(1)
    echo.wait_answered()
    echo.send(20_000)
    print("leaving", flush=True)
    match sys.argv[1]:
        case "raises":
            raise LookupError("out of the main thread")
        case "exits":
            sys.exit(7)


if __name__ == "__main__":
    main()
