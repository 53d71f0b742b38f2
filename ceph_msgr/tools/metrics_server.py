"""Perf counters over HTTP in Prometheus' text format, on loopback only."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from ceph_msgr.tools.exits import Failure

__all__ = ["serve_metrics"]

_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@contextmanager
def serve_metrics(port: int, render: Callable[[], str]) -> Iterator[int]:
    """Inside ``with``, ``http://127.0.0.1:PORT/metrics`` answers with ``render()``. Gives the port, useful for 0.

    ``render`` is called on the threads of the HTTP server. ``Failure`` if the port is taken.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.partition("?")[0] not in ("/", "/metrics"):
                self.send_error(HTTPStatus.NOT_FOUND)
                return
            body = render().encode()
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", _CONTENT_TYPE)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Scrapes are not worth a line each."""

    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    except OSError as error:
        raise Failure(f"cannot serve metrics on 127.0.0.1:{port}: {error.strerror}") from error
    with server:
        # A scraper may come once a minute; the default would let the end of the tool wait half a second for nobody.
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, name="metrics")
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()
