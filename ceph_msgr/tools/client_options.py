"""The command line of ``perf-msgr-client``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ceph_msgr.tools.options import OptionParser, addr_with_port, number, positive_seconds
from ceph_msgr.tools.plot import can_plot

__all__ = ["PROGRAM", "client_options"]

PROGRAM = "perf-msgr-client"

_DEFAULT_SECONDS = 5.0
_POSITIONAL_ORDER = "--server", "--jobs", "--concurrency", "--ios", "--think-time", "--msg-len"

_DESCRIPTION = """\
Measures a messenger: every job opens one connection to a perf server (ours, or Ceph's ceph_perf_msgr_server), keeps
exactly --concurrency requests in flight on it, and sends the next one when a reply arrives. Each reply must match an
outstanding request by its tid. The client then waits for the last replies and prints what it measured.

Without --server it starts a server of its own on a free loopback port for the time of the run, in secure mode with a
key made for this run.
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
  perf-msgr-client --mode secure                       authenticated by cephx, encrypted
  perf-msgr-client 10.0.0.1:10001 1 32 100000 0 4096   the same values in the order of Ceph's program
"""


def client_options(argv: Sequence[str]) -> argparse.Namespace:
    """The checked options. ``ios`` or ``seconds`` is set, not both."""
    parser = _parser()
    options = parser.parse(argv)
    if options.ios and options.seconds:
        parser.error("--ios and --seconds both tell when the run ends, give one of them")
    if not options.ios:
        options.seconds = options.seconds or _DEFAULT_SECONDS
    if options.mode == "secure" and options.server and not options.keyring:
        parser.error("--mode secure to a --server needs --keyring, with the key that server knows")
    if options.plot and not can_plot():
        parser.error("--plot needs matplotlib: pip install ceph-msgr[plot]")
    for option, path in ("--json", options.json), ("--plot", options.plot):
        # Before the run: a mistyped directory must not cost a measurement.
        if path and path != "-" and not Path(path).absolute().parent.is_dir():
            parser.error(f"argument {option}: {Path(path).parent} is not a directory")
    return options


def _parser() -> OptionParser:
    parser = OptionParser(PROGRAM, _POSITIONAL_ORDER, description=_DESCRIPTION, epilog=_EPILOG)
    add = parser.add_option
    add("--server", "such as 127.0.0.1:10001 or v2:[::1]:10001 (default: its own)", type=addr_with_port, metavar="ADDR")
    add("--jobs", "connections, each with a messenger of its own", type=number(1, 1000), default=1, metavar="N")
    add("--concurrency", "requests in flight per job", type=number(1, 1_000_000), default=32, metavar="N")
    add("--ios", "requests per job; the run ends when all are answered", type=number(1), metavar="N")
    add("--seconds", f"length of the run instead ({_DEFAULT_SECONDS:g})", type=positive_seconds, metavar="S")
    add(
        "--think-time",
        "microseconds the client sleeps on every reply before it goes on, on the messenger's thread",
        dest="think_time_us",
        type=number(0, 60_000_000),
        default=0,
        metavar="US",
    )
    add("--msg-len", "data of a request, zeros", type=number(0, 256 << 20), default=4096, metavar="BYTES")
    parser.add_security()
    add(
        "--lossless",
        "the session outlives its socket: sent requests are kept until acknowledged. The accepting side decides, so a "
        "--server must have been started with --lossless too; the client's own one is.",
        action="store_true",
    )
    add("--connect-timeout", "until all jobs are connected", type=positive_seconds, default=10, metavar="S")
    add("--reply-timeout", "longest silence of the server", type=positive_seconds, default=30, metavar="S")
    add("--json", "write the result as JSON to this file, or to standard output instead of the table", metavar="FILE|-")
    add("--plot", "draw latencies and rate (needs matplotlib: ceph-msgr[plot])", type=Path, metavar="FILE.png")
    return parser
