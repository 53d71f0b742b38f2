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

from ceph_msgr.tools import window

__all__ = ["NUMBER_BYTES", "Window", "announce", "end_with_stdin", "parse"]

NUMBER_BYTES = 8


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
    """Each reply must answer a request that is in flight, and ``answered`` checks that. One thread.

    What is noted of each request costs every peer the same as it costs our own client: it is the same compiled object.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self._body = bytes(options.request_bytes - NUMBER_BYTES)
        self._reply_bytes = options.reply_bytes
        self._window = window.Window(options.in_flight)
        self._cpu_ns = time.process_time_ns()
        self._first = list(reversed(self._window.open()))
        self._following = 0
        self._end_ns = self._window.started_ns + int(options.seconds * 1e9)

    def request(self) -> tuple[bytes, bytes]:
        """The next one in two pieces: at the start as many as may be in flight, then one for each reply. It counts as sent
        when that came."""
        number = self._first.pop() if self._first else self._following
        return number.to_bytes(NUMBER_BYTES, "little"), self._body

    def answered(self, reply: bytes) -> bool:
        """True while another request is due."""
        number = int.from_bytes(reply[:NUMBER_BYTES], "little")
        self._following = following = self._window.answered(number)
        if (following < 0 and self._window.errors) or len(reply) != self._reply_bytes:
            sys.exit(f"reply {number} of {len(reply)} bytes answers nothing")
        if self._window.last_reply_ns >= self._end_ns:
            self._window.close()
        return following >= 0

    @property
    def outstanding(self) -> int:
        return self._window.outstanding

    def report(self) -> None:
        """Once nothing is outstanding."""
        cpu_ns = time.process_time_ns() - self._cpu_ns
        ops, latency = self._window.replies, self._window.latency
        result = {
            "ops": ops,
            "ops_per_s": ops / (self._window.last_reply_ns - self._window.started_ns) * 1e9,
            "latency_us": {name: latency.quantile_ns(per_mille) / 1000 for name, per_mille in (("p50", 500), ("p99", 990))},
            "cpu_us_per_op": cpu_ns / 1000 / ops,
        }
        print(json.dumps(result))
