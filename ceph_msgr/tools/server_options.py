"""The command line of ``perf-msgr-server``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from ceph_msgr.tools.options import OptionParser, listening_addr, number

__all__ = ["PROGRAM", "server_options"]

PROGRAM = "perf-msgr-server"

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
  perf-msgr-server --mode secure --keyring perf.keyring           made once by:
      python -c 'from ceph_msgr.auth import Keyring; Keyring.generate("client.0").save("perf.keyring")'
  perf-msgr-server 127.0.0.1:10001 2 500      the same values in the order of Ceph's program: two workers, 500 us
"""


def server_options(argv: Sequence[str]) -> argparse.Namespace:
    """The checked options."""
    parser = OptionParser(PROGRAM, _POSITIONAL_ORDER, description=_DESCRIPTION, epilog=_EPILOG)
    add = parser.add_option
    add(
        "--bind",
        "where to listen, such as v2:[::1]:10001; port 0 takes a free one",
        type=listening_addr,
        default="127.0.0.1:10001",
        metavar="ADDR",
    )
    add(
        "--workers",
        "messenger workers, threads that read, dispatch and write; with a think time also the pool's threads",
        type=number(1, 24),
        default=1,
        metavar="N",
    )
    add(
        "--think-time",
        "microseconds of sleep before each answer. 0 answers at once, on the thread that read the request; above 0 a "
        "pool of --workers threads sleeps and answers",
        dest="think_time_us",
        type=number(0, 60_000_000),
        default=0,
        metavar="US",
    )
    parser.add_security()
    add(
        "--lossless",
        "keep a session for each client that outlives its socket; without it they are lossy, as at Ceph's server",
        action="store_true",
    )
    add(
        "--metrics-port",
        "serve the perf counters as Prometheus text on http://127.0.0.1:P/metrics; 0 takes a free port",
        type=number(0, 65535),
        metavar="P",
    )
    add("--until-eof", "end when standard input does, so as not to outlive who started it", action="store_true")
    options = parser.parse(argv)
    if options.mode == "secure" and not options.keyring:
        parser.error("--mode secure needs --keyring, which holds the client's key")
    return options
