"""``python -m tests.processes.forks WHERE HOW``: a fork in the middle of traffic, on the main thread or inside a callback, fast
or queued. The child is refused, and leaves at once or comes back from the callback; the parent goes on."""

from __future__ import annotations

import os
import select
import sys
import threading
import warnings

from ceph_msgr import Message
from tests.processes.echo import DEADLINE_S, Echo

_MESSAGES = 2_000
_FORK_AT = 700


def fork(echo: Echo, how: str) -> int:
    """The child's pid. In the child it returns only if ``how`` is "returns"."""
    pid = os.fork()
    if pid == 0:
        try:
            echo.send(1)
        except RuntimeError as error:
            if "fork" in str(error) and how == "returns":
                return 0
            os._exit(0 if "fork" in str(error) else 3)
        os._exit(4)
    return pid


def reap(pid: int) -> int:
    """The child's exit code."""
    ended = os.pidfd_open(pid)
    assert select.select([ended], [], [], DEADLINE_S)[0], "the child does not end"
    os.close(ended)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def main() -> None:
    where, how = sys.argv[1:]
    warnings.simplefilter("ignore", DeprecationWarning)  # fork with threads: that is the point
    parent = os.getpid()
    children: list[int] = []
    forked = threading.Event()
    with Echo(is_fast=where != "queued callback") as echo:

        def hook(message: Message) -> None:
            if message.tid == _FORK_AT:
                children.append(fork(echo, how))
                forked.set()
            elif os.getpid() != parent:
                os._exit(5)  # the rest of the batch is the parent's

        if where != "main":
            echo.answers.hook = hook
        echo.send(_FORK_AT)
        if where == "main":
            children.append(fork(echo, "leaves"))
            forked.set()
        echo.send(_MESSAGES)
        assert forked.wait(DEADLINE_S)
        echo.wait_answered()
        print("child", reap(children[0]))
    print("alive")


if __name__ == "__main__":
    main()
