"""``perf-msgr-server``: answers every request of a perf client until it is told to stop."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from queue import SimpleQueue
from signal import Signals

from ceph_msgr import Config, EntityType, Messenger, Policy
from ceph_msgr.auth import AuthRegistry
from ceph_msgr.metrics import render_prometheus, snapshot
from ceph_msgr.tools.answerer import Answerer, ThinkingAnswerer
from ceph_msgr.tools.exits import EXIT_OK, Failure, run_tool
from ceph_msgr.tools.options import OptionParser, add_mode, listening_addr, number
from ceph_msgr.tools.metrics_server import serve_metrics
from ceph_msgr.tools.server_process import announcement
from ceph_msgr.tools.signals import catch_signals

__all__ = ["main"]

_PROGRAM = "perf-msgr-server"
_POSITIONAL_ORDER = "--bind", "--workers", "--think-time"

_DESCRIPTION = """\
Answers the requests of perf-msgr-client, and those of Ceph's ceph_perf_msgr_client, until SIGINT or SIGTERM. The first
line of output is "listening on ADDR", with the port that was really bound; at the end it tells how much was served.
"""

_EPILOG = """\
exit code:
  0  ended by SIGINT or SIGTERM
  1  it could not listen, or another failure at run time
  2  a wrong option

examples:
  perf-msgr-server --bind 127.0.0.1:10001
  perf-msgr-server --bind 10.0.0.1:10001 --metrics-port 9283     then: curl http://127.0.0.1:9283/metrics
  perf-msgr-server 127.0.0.1:10001 2 500      the same values in the order of Ceph's program: two workers, 500 us
"""


def _parser() -> OptionParser:
    parser = OptionParser(_PROGRAM, _POSITIONAL_ORDER, description=_DESCRIPTION, epilog=_EPILOG)
    add = parser.add_argument
    add(
        "--bind",
        type=listening_addr,
        default="127.0.0.1:10001",
        metavar="ADDR",
        help="where to listen, such as v2:[::1]:10001; port 0 takes a free one (127.0.0.1:10001)",
    )
    add(
        "--workers",
        type=number(1, 24),
        default=1,
        metavar="N",
        help="messenger workers, threads that read, dispatch and write; with a think time also the pool's threads (1)",
    )
    add(
        "--think-time",
        type=number(0, 60_000_000),
        default=0,
        metavar="US",
        help="microseconds of sleep before each answer. 0 answers at once, on the thread that read the request; above 0 a "
        "pool of --workers threads sleeps and answers (0)",
    )
    add_mode(parser)
    add(
        "--lossless",
        action="store_true",
        help="keep a session for each client that outlives its socket; otherwise sessions are lossy, as Ceph's server has them",
    )
    add(
        "--metrics-port",
        type=number(0, 65535),
        metavar="P",
        help="serve the perf counters as Prometheus text on http://127.0.0.1:P/metrics; 0 takes a free port",
    )
    add("--until-eof", action="store_true", help="end when standard input does, so as not to outlive who started it")
    return parser


def _read_until_eof() -> None:
    # Below sys.stdin: a thread inside its buffer would hold a lock that the interpreter wants at exit.
    while os.read(0, 4096):
        pass


def _say(line: str) -> None:
    print(line, flush=True)


def _summary(counters: Mapping[str, Mapping[str, object]], cpu_ns: int) -> str:
    def total(name: str) -> int:
        return sum(int(str(group.get(name, 0))) for group in counters.values())

    received = total("msgr_recv_messages")
    rows = [
        ("connections", total("msgr_created_connections"), ""),
        ("messages received", received, f"{total('msgr_recv_bytes'):,} bytes"),
        ("messages sent", total("msgr_send_messages"), f"{total('msgr_send_bytes'):,} bytes"),
        ("server CPU", cpu_ns // 1000 // max(received, 1), "us per message received"),
    ]
    return "\n".join(f"{name:<17} {value:>14,} {unit}".rstrip() for name, value, unit in rows)


def _run(argv: Sequence[str]) -> int:
    options = _parser().parse(argv)
    config = Config(
        ms_async_op_threads=options.workers,
        # A tool says at once that an address is in use; retrying is for daemons.
        ms_bind_retry_count=0,
        # The clients' windows bound the queues.
        ms_send_queue_max_bytes=0,
    )
    # Entity osd.0 with nonce 0: what the clients of Ceph's perf server expect to meet.
    messenger = Messenger.create("osd.0", nonce=0, config=config, auth=AuthRegistry.dummy(EntityType.OSD, config))
    messenger.set_default_policy(Policy.stateful_server() if options.lossless else Policy.stateless_server())
    answerer = ThinkingAnswerer(options.workers, options.think_time) if options.think_time else Answerer()
    stop: SimpleQueue[Signals | None] = SimpleQueue()

    with ExitStack() as cleanup:
        cleanup.enter_context(catch_signals(stop.put))
        if options.metrics_port is not None:
            port = cleanup.enter_context(
                serve_metrics(options.metrics_port, lambda: render_prometheus(messenger.perf_counters()))
            )
        cleanup.enter_context(answerer)
        cleanup.enter_context(messenger)
        try:
            messenger.bind(options.bind)
        except OSError as error:
            raise Failure(f"cannot listen on {options.bind}: {error.strerror or error}") from error
        messenger.start()
        messenger.add_dispatcher_head(answerer)
        cpu_ns = time.process_time_ns()
        _say(announcement(messenger.myaddrs))
        if options.metrics_port is not None:
            _say(f"metrics on http://127.0.0.1:{port}/metrics")
        if options.until_eof:
            threading.Thread(target=lambda: stop.put(_read_until_eof()), name="stdin", daemon=True).start()
        stop.get()
        _say(_summary(snapshot(messenger.perf_counters()), time.process_time_ns() - cpu_ns))
    return EXIT_OK


def main(argv: Sequence[str] | None = None) -> int:
    """The entry point; returns the exit code. ``argv`` is without the program's name."""
    return run_tool(_PROGRAM, _run, argv)


if __name__ == "__main__":
    sys.exit(main())
