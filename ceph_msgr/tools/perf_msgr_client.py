"""``perf-msgr-client``: keeps requests in flight to a perf server and measures rate, latency and CPU."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ceph_msgr import EntityAddr
from ceph_msgr.tools.exits import EXIT_OK, EXIT_RUN_TIME, complain, exit_of_signal, run_tool
from ceph_msgr.tools.job import Job, make_messenger
from ceph_msgr.tools.measurement import Mailbox, Measurement
from ceph_msgr.tools.options import OptionParser, add_mode, addr_with_port, number, positive_seconds
from ceph_msgr.tools.plot import can_plot, plot
from ceph_msgr.tools.progress import Progress
from ceph_msgr.tools.result import Result
from ceph_msgr.tools.server_process import ServerProcess
from ceph_msgr.tools.signals import catch_signals

__all__ = ["main"]

_PROGRAM = "perf-msgr-client"
_DEFAULT_SECONDS = 5.0
_POSITIONAL_ORDER = "--server", "--jobs", "--concurrency", "--ios", "--think-time", "--msg-len"

_DESCRIPTION = """\
Measures a messenger: every job opens one connection to a perf server (ours, or Ceph's ceph_perf_msgr_server), keeps
exactly --concurrency requests in flight on it, and sends the next one when a reply arrives. Each reply must match an
outstanding request by its tid. The client then waits for the last replies and prints what it measured.

Without --server it starts a server of its own on a free loopback port for the time of the run.
"""

_EPILOG = """\
measured:
  operations/s   replies per second, from the first request until the last reply
  MB/s           request data per second, in 10^6 bytes; fronts, headers and replies are not counted
  latency        from the decision to send a request until its reply is dispatched, in microseconds, within 0.4 %;
                 p99 is what 99 % of the requests did not exceed
  client CPU     user and system time of the whole client process per operation, in microseconds
  errors         replies that matched no outstanding request

JSON: one object with ops, seconds, ops_per_s, mb_per_s, latency_us {mean, p50, p90, p99, p999, max}, cpu_us_per_op,
errors and parameters.

exit code:
  0  measured; also when SIGINT or SIGTERM ended the run early. The first signal stops sending and waits for
     outstanding replies, the second one does not wait.
  1  the server refused, was lost or fell silent (what was measured until then is still shown), or there were errors
  2  a wrong option
  130, 143  SIGINT or SIGTERM came before anything was measured

examples:
  perf-msgr-client                                     5 s of 4 KiB requests, 32 in flight, to a server of its own
  perf-msgr-client --msg-len 64 --concurrency 1        the latency of a lone small message
  perf-msgr-client --server 10.0.0.1:10001 --jobs 4 --seconds 30 --json -
  perf-msgr-client 10.0.0.1:10001 1 32 100000 0 4096   the same values in the order of Ceph's program
"""


def _parser() -> OptionParser:
    parser = OptionParser(_PROGRAM, _POSITIONAL_ORDER, description=_DESCRIPTION, epilog=_EPILOG)
    add = parser.add_argument
    add("--server", type=addr_with_port, metavar="ADDR", help="such as 127.0.0.1:10001 or v2:[::1]:10001 (default: own)")
    add("--jobs", type=number(1, 1000), default=1, metavar="N", help="connections, each with a messenger of its own (1)")
    add("--concurrency", type=number(1, 1_000_000), default=32, metavar="N", help="requests in flight per job (32)")
    add("--ios", type=number(1), metavar="N", help="requests per job; the run ends when all are answered")
    add("--seconds", type=positive_seconds, metavar="S", help=f"length of the run instead of --ios ({_DEFAULT_SECONDS:g})")
    add(
        "--think-time",
        type=number(0, 60_000_000),
        default=0,
        metavar="US",
        help="microseconds the client sleeps on every reply before it goes on, on the messenger's thread (0)",
    )
    add("--msg-len", type=number(0, 256 << 20), default=4096, metavar="BYTES", help="data of a request, zeros (4096)")
    add_mode(parser)
    add(
        "--lossless",
        action="store_true",
        help="the session outlives its socket: sent requests are kept until acknowledged. The accepting side decides, so a "
        "server of one's own must be started with --lossless too; the client's own server is.",
    )
    add("--connect-timeout", type=positive_seconds, default=10.0, metavar="S", help="until all jobs are connected (10)")
    add("--reply-timeout", type=positive_seconds, default=30.0, metavar="S", help="the longest silence of the server (30)")
    add("--json", metavar="FILE|-", help="write the result as JSON to this file, or to standard output instead of the table")
    add("--plot", type=Path, metavar="FILE.png", help="draw latencies and rate (needs matplotlib: ceph-msgr[plot])")
    return parser


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = _parser()
    options = parser.parse(argv)
    if options.ios and options.seconds:
        parser.error("--ios and --seconds both tell when the run ends, give one of them")
    if not options.ios:
        options.seconds = options.seconds or _DEFAULT_SECONDS
    if options.plot and not can_plot():
        parser.error("--plot needs matplotlib: pip install ceph-msgr[plot]")
    for option, path in ("--json", options.json), ("--plot", options.plot):
        # Before the run: a mistyped directory must not cost a measurement.
        if path and path != "-" and not Path(path).absolute().parent.is_dir():
            parser.error(f"argument {option}: {Path(path).parent} is not a directory")
    return options


@contextmanager
def _server(options: argparse.Namespace) -> Iterator[EntityAddr]:
    """The address to dial: the one given, or that of a process that lives as long as this context."""
    if options.server:
        yield options.server
        return
    with ServerProcess(["--lossless"] if options.lossless else []) as process:
        yield process.addr


def _measure(options: argparse.Namespace) -> tuple[EntityAddr, Measurement]:
    mailbox: Mailbox = Mailbox()
    with ExitStack() as cleanup:
        cleanup.enter_context(catch_signals(mailbox.put))
        server = cleanup.enter_context(_server(options))
        jobs = []
        for number_of_job in range(options.jobs):
            messenger = cleanup.enter_context(make_messenger(number_of_job))
            job = Job(
                number_of_job,
                messenger,
                server,
                mailbox.put,
                concurrency=options.concurrency,
                ios=options.ios,
                think_time_us=options.think_time,
                msg_len_bytes=options.msg_len,
            )
            jobs.append(job)
        measurement = Measurement(jobs, mailbox)
        if measurement.connect(options.connect_timeout):
            with Progress(sys.stderr) as progress:
                measurement.run(
                    seconds=options.seconds,
                    total_ops=options.jobs * (options.ios or 0),
                    reply_timeout_s=options.reply_timeout,
                    progress=progress,
                )
    return server, measurement


def _report(options: argparse.Namespace, server: EntityAddr, measurement: Measurement) -> None:
    title = f"{options.jobs} x {options.concurrency} requests of {options.msg_len} bytes in flight to {server}"
    names = "jobs", "concurrency", "ios", "seconds", "think_time", "msg_len", "mode", "lossless"
    parameters = {"server": str(server)} | {name: getattr(options, name) for name in names}
    parameters["think_time_us"] = parameters.pop("think_time")
    result = Result(
        ops=len(measurement.latency),
        seconds=measurement.seconds,
        msg_len_bytes=options.msg_len,
        latency=measurement.latency,
        cpu_ns=measurement.cpu_ns,
        errors=measurement.errors,
        parameters=parameters,
    )
    if options.json != "-":
        print(title, result.table(), sep="\n")
    if options.json:
        text = json.dumps(result.as_json(), indent=2)
        if options.json == "-":
            print(text)
        else:
            Path(options.json).write_text(text + "\n")
    if options.plot and result.ops:
        plot(options.plot, title, result, measurement.samples)


def _run(argv: Sequence[str]) -> int:
    options = _options(argv)
    server, measurement = _measure(options)
    measured = len(measurement.latency) > 0
    if measured:
        _report(options, server, measurement)
    if measurement.failure:
        complain(_PROGRAM, measurement.failure)
        return EXIT_RUN_TIME
    if measurement.errors:
        complain(_PROGRAM, f"{measurement.errors} replies matched no outstanding request")
        return EXIT_RUN_TIME
    if not measured:
        return exit_of_signal(measurement.signals[0])
    return EXIT_OK


def main(argv: Sequence[str] | None = None) -> int:
    """The entry point; returns the exit code. ``argv`` is without the program's name."""
    return run_tool(_PROGRAM, _run, argv)


if __name__ == "__main__":
    sys.exit(main())
