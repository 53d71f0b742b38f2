"""How a tool ends: its exit codes, and failures as one line instead of a traceback."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence

from ceph_msgr import MessengerError

__all__ = ["EXIT_OK", "EXIT_RUN_TIME", "EXIT_USAGE", "Failure", "complain", "exit_of_signal", "run_tool"]

EXIT_OK = 0
EXIT_RUN_TIME = 1
EXIT_USAGE = 2


class Failure(Exception):
    """The tool cannot go on, for a reason its user can act on. The text is one line without a full stop."""


def exit_of_signal(number: int) -> int:
    """What a shell reports for a program that a signal ended."""
    return 128 + number


def complain(program: str, text: object) -> None:
    """One line on standard error."""
    print(f"{program}: {' '.join(str(text).split())}", file=sys.stderr, flush=True)


def run_tool(program: str, body: Callable[[Sequence[str]], int], argv: Sequence[str] | None) -> int:
    """The whole of a tool's ``main``: its exit code, after a line on standard error if it failed."""
    try:
        code = body(sys.argv[1:] if argv is None else argv)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # Whoever read our output has gone (perf-msgr-client --help | head). What is still buffered would raise once
        # more when the interpreter flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return exit_of_signal(signal.SIGPIPE)
    except KeyboardInterrupt:
        return exit_of_signal(signal.SIGINT)
    except OSError as error:
        # Without "[Errno 98]", and with the file if there is one.
        complain(program, ": ".join(filter(None, (error.filename, error.strerror))) or error)
        return EXIT_RUN_TIME
    except (Failure, MessengerError) as error:
        complain(program, error)
        return EXIT_RUN_TIME
