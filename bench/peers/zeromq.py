"""pyzmq, DEALER to ROUTER: ``python -m bench.peers.zeromq server|client``. Its I/O runs on a thread of its own."""

from __future__ import annotations

from argparse import Namespace

import zmq

from bench.peers.window import NUMBER_BYTES, Window, announce, end_with_stdin, parse

#: As pyzmq's own threshold: below it a copy is cheaper than a frame that is tracked.
_COPIED_BYTES = 64 << 10


def _unbounded(socket: zmq.Socket) -> zmq.Socket:
    """The window bounds the queues."""
    socket.set_hwm(0)
    return socket


def serve(options: Namespace) -> None:
    socket = _unbounded(zmq.Context.instance().socket(zmq.ROUTER))
    announce(socket.bind_to_random_port("tcp://127.0.0.1"))
    rest = bytes(options.reply_bytes - NUMBER_BYTES)
    copied = options.request_bytes <= _COPIED_BYTES
    while True:
        client, request = socket.recv_multipart(copy=copied)
        number = request[:NUMBER_BYTES] if copied else bytes(request.buffer[:NUMBER_BYTES])
        socket.send_multipart((client, number + rest))


def ask(options: Namespace) -> None:
    socket = _unbounded(zmq.Context.instance().socket(zmq.DEALER))
    socket.connect(f"tcp://127.0.0.1:{options.port}")
    copied = options.request_bytes <= _COPIED_BYTES
    window = Window(options)
    for _ in range(options.in_flight):
        socket.send(b"".join(window.request()), copy=copied)
    while window.outstanding:
        if window.answered(socket.recv()):
            socket.send(b"".join(window.request()), copy=copied)
    window.report()


def main() -> None:
    options = parse("bench.peers.zeromq")
    if options.role == "server":
        end_with_stdin()
        serve(options)
    else:
        ask(options)


if __name__ == "__main__":
    main()
