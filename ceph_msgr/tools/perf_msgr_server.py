"""``perf-msgr-server``: answers every request of a perf client until it is told to stop."""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from queue import SimpleQueue
from signal import Signals

from ceph_msgr import Config, EntityType, Messenger, Policy
from ceph_msgr.metrics import render_prometheus, snapshot
from ceph_msgr.tools.answerer import Answerer, ThinkingAnswerer
from ceph_msgr.tools.exits import EXIT_OK, run_tool
from ceph_msgr.tools.faults import log_to_stderr
from ceph_msgr.tools.metrics_server import serve_metrics
from ceph_msgr.tools.security import SERVER, load_keyring, make_auth
from ceph_msgr.tools.server_options import PROGRAM, server_options
from ceph_msgr.tools.server_process import announcement
from ceph_msgr.tools.signals import catch_signals, wait_for

__all__ = ["main"]


def _await_eof(tell: Callable[[None], object]) -> None:
    # Below sys.stdin: a thread inside its buffer would hold a lock that the interpreter wants at exit.
    while os.read(0, 4096):
        pass
    tell(None)


def _say(line: str) -> None:
    print(line, flush=True)


def _summary(counters: Mapping[str, Mapping[str, object]], cpu_ns: int) -> str:
    def total(name: str) -> int:
        values = (group.get(name, 0) for group in counters.values())
        return sum(value for value in values if isinstance(value, int))

    received = total("msgr_recv_messages")
    rows = [
        ("connections", f"{total('msgr_created_connections'):,}", ""),
        ("requests", f"{received:,}", f"{total('msgr_recv_bytes'):,} bytes"),
        ("replies", f"{total('msgr_send_messages'):,}", f"{total('msgr_send_bytes'):,} bytes"),
        ("server CPU", f"{cpu_ns / 1000 / received if received else 0:,.2f}", "us per request"),
    ]
    return "\n".join(f"{name:<17} {value:>14} {unit}".rstrip() for name, value, unit in rows)


def _make_messenger(options: argparse.Namespace) -> Messenger:
    config = Config(
        ms_async_op_threads=options.workers,
        # A tool says at once that an address is in use; retrying is for daemons.
        ms_bind_retry_count=0,
        # The clients' windows bound the queues.
        ms_send_queue_max_bytes=0,
        ms_service_mode=options.mode,
    )
    auth = make_auth(EntityType.OSD, config, load_keyring(options.keyring))
    # Nonce 0 is what the clients of Ceph's perf server expect to meet.
    messenger = Messenger.create(SERVER, nonce=0, config=config, auth=auth)
    messenger.set_default_policy(Policy.stateful_server() if options.lossless else Policy.stateless_server())
    return messenger


def _run(argv: Sequence[str]) -> int:
    options = server_options(argv)
    log_to_stderr(PROGRAM)
    answerer = ThinkingAnswerer(options.workers, options.think_time_us) if options.think_time_us else Answerer()
    stop: SimpleQueue[Signals | None] = SimpleQueue()
    # Signals inside: should the clean-up ever hang, Ctrl-C ends it.
    with answerer, _make_messenger(options) as messenger, ExitStack() as cleanup, catch_signals(stop.put):
        messenger.bind(options.bind)
        messenger.start()
        messenger.add_dispatcher_head(answerer)
        cpu_ns = time.process_time_ns()
        _say(announcement(messenger.myaddrs))
        if options.metrics_port is not None:
            metrics = serve_metrics(options.metrics_port, lambda: render_prometheus(messenger.perf_counters()))
            _say(f"metrics on http://127.0.0.1:{cleanup.enter_context(metrics)}/metrics")
        if options.until_eof:
            threading.Thread(target=_await_eof, args=[stop.put], name="stdin", daemon=True).start()
        wait_for(stop)
        _say(_summary(snapshot(messenger.perf_counters()), time.process_time_ns() - cpu_ns))
    return EXIT_OK


def main(argv: Sequence[str] | None = None) -> int:
    """The entry point; returns the exit code. ``argv`` is without the program's name."""
    return run_tool(PROGRAM, _run, argv)


if __name__ == "__main__":
    sys.exit(main())
