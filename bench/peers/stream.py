"""A Protocol of asyncio, on its own loop or on uvloop's: ``python -m bench.peers.stream asyncio|uvloop server|client``.

What one read brought is split into messages, and what they lead to goes out in one ``writelines``.
"""

from __future__ import annotations

import asyncio
import sys
from argparse import Namespace
from collections.abc import Callable

from bench.peers.window import NUMBER_BYTES, Window, announce, end_with_stdin, parse


class Messages(asyncio.Protocol):
    """Cuts the stream into messages of one size. Until one is complete its pieces are only gathered."""

    def __init__(self, size_bytes: int) -> None:
        self._size_bytes = size_bytes
        self._pieces: list[bytes] = []
        self._have_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        size, out, start = self._size_bytes, [], 0
        if self._have_bytes:
            start = size - self._have_bytes
            self._pieces.append(data[:start])
            if len(data) < start:
                self._have_bytes += len(data)
                return
            out += self.message_received(b"".join(self._pieces))
            self._pieces.clear()
        end = len(data) - (len(data) - start) % size
        for at in range(start, end, size):
            out += self.message_received(data[at : at + size])
        if out:
            self.transport.writelines(out)
        self._have_bytes = len(data) - end
        if self._have_bytes:
            self._pieces.append(data[end:])

    def message_received(self, message: bytes) -> tuple[bytes, ...]:
        """What to write."""
        raise NotImplementedError


class Answerer(Messages):
    def __init__(self, options: Namespace) -> None:
        super().__init__(options.request_bytes)
        self._rest = bytes(options.reply_bytes - NUMBER_BYTES)

    def message_received(self, message: bytes) -> tuple[bytes, ...]:
        return (message[:NUMBER_BYTES], self._rest)


class Asker(Messages):
    def __init__(self, options: Namespace, done: asyncio.Future[None]) -> None:
        super().__init__(options.reply_bytes)
        self._options = options
        self._done = done

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self.window = Window(self._options)
        transport.writelines([piece for _ in range(self._options.in_flight) for piece in self.window.request()])

    def message_received(self, message: bytes) -> tuple[bytes, ...]:
        if self.window.answered(message):
            return self.window.request()
        if not self.window.outstanding:
            self._done.set_result(None)
        return ()

    def connection_lost(self, error: Exception | None) -> None:
        if not self._done.done():
            self._done.set_exception(error or ConnectionError("the server closed the connection"))


async def serve(options: Namespace) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: Answerer(options), "127.0.0.1")
    announce(server.sockets[0].getsockname()[1])
    await server.serve_forever()


async def ask(options: Namespace) -> None:
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    _, asker = await loop.create_connection(lambda: Asker(options, done), "127.0.0.1", options.port)
    await done
    asker.window.report()


def main() -> None:
    loop = sys.argv.pop(1)
    options = parse("bench.peers.stream")
    run: Callable[..., None] = asyncio.run
    if loop == "uvloop":
        from uvloop import run
    if options.role == "server":
        end_with_stdin()
    run(serve(options) if options.role == "server" else ask(options))


if __name__ == "__main__":
    main()
