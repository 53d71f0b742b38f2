"""The client's side of every peer: which requests are in flight, since when, and the result at the end.

In all peers a request begins with its number of eight bytes, and its reply does too, as in the floor. Every message is
handed to a function as an object of its own, because that is what a messenger does.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time

from ceph_msgr.tools.histogram import FINE_SHIFT, LatencyHistogram

__all__ = ["NUMBER_BYTES", "Window", "announce", "end_with_stdin", "parse"]

NUMBER_BYTES = 8

_now_ns = time.monotonic_ns


def parse(program: str) -> argparse.Namespace:
    """``role``, ``port``, ``request_bytes``, ``reply_bytes``, ``in_flight``, ``seconds``."""
    parser = argparse.ArgumentParser(program, allow_abbrev=False)
    parser.add_argument("role", choices=("server", "client"))
    parser.add_argument("--port", type=int, help="of the server, for the client")
    parser.add_argument("--request-bytes", type=int, default=310 + 4096)
    parser.add_argument("--reply-bytes", type=int, default=192)
    parser.add_argument("--in-flight", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=5.0)
    return parser.parse_args()


def announce(port: int) -> None:
    print(f"listening on {port}", flush=True)


def end_with_stdin() -> None:
    """A server that does not outlive who started it."""

    def wait() -> None:
        while os.read(0, 4096):
            pass
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()


class Window:
    """Each reply must answer a request that is in flight, and ``answered`` checks that. One thread."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._body = bytes(options.request_bytes - NUMBER_BYTES)
        self._reply_bytes = options.reply_bytes
        self._histogram = LatencyHistogram()
        self._fine = self._histogram.fine
        self._sent_ns: dict[int, int] = {}
        self._begun = self._ops = 0
        self._cpu_ns = time.process_time_ns()
        self._start_ns = self._last_ns = _now_ns()
        self._end_ns = self._start_ns + int(options.seconds * 1e9)

    def request(self) -> tuple[bytes, bytes]:
        """The next one in two pieces. It counts as sent now."""
        number = self._begun
        self._begun = number + 1
        self._sent_ns[number] = _now_ns()
        return number.to_bytes(NUMBER_BYTES, "little"), self._body

    def answered(self, reply: bytes) -> bool:
        """True while another request is due."""
        now_ns = self._last_ns = _now_ns()
        number = int.from_bytes(reply[:NUMBER_BYTES], "little")
        sent_ns = self._sent_ns.pop(number, None)
        if sent_ns is None or len(reply) != self._reply_bytes:
            sys.exit(f"reply {number} of {len(reply)} bytes answers nothing")
        self._ops += 1
        latency_ns = now_ns - sent_ns
        try:
            self._fine[latency_ns >> FINE_SHIFT] += 1
        except IndexError:
            self._histogram.record(latency_ns)
        return now_ns < self._end_ns

    @property
    def outstanding(self) -> int:
        return len(self._sent_ns)

    def report(self) -> None:
        """Once nothing is outstanding."""
        cpu_ns = time.process_time_ns() - self._cpu_ns
        quantiles = {name: self._histogram.quantile_ns(per_mille) / 1000 for name, per_mille in (("p50", 500), ("p99", 990))}
        result = {
            "ops": self._ops,
            "ops_per_s": self._ops / (self._last_ns - self._start_ns) * 1e9,
            "latency_us": quantiles,
            "cpu_us_per_op": cpu_ns / 1000 / self._ops,
        }
        print(json.dumps(result))
