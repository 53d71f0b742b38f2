"""grpc.aio, one unary call per request, without protobuf: ``python -m bench.peers.grpc_aio server|client``."""

from __future__ import annotations

import asyncio
from argparse import Namespace

import grpc
import grpc.aio

from bench.peers.window import NUMBER_BYTES, Window, announce, end_with_stdin, parse

_SERVICE, _METHOD = "bench.Window", "Ask"
_UNBOUNDED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


async def serve(options: Namespace) -> None:
    rest = bytes(options.reply_bytes - NUMBER_BYTES)

    async def answer(request: bytes, context: object) -> bytes:
        return request[:NUMBER_BYTES] + rest

    server = grpc.aio.server(options=_UNBOUNDED)
    methods = {_METHOD: grpc.unary_unary_rpc_method_handler(answer)}
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(_SERVICE, methods)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    announce(port)
    await server.wait_for_termination()


async def ask(options: Namespace) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{options.port}", options=_UNBOUNDED) as channel:
        call = channel.unary_unary(f"/{_SERVICE}/{_METHOD}")
        await asyncio.wait_for(channel.channel_ready(), 30)
        window = Window(options)

        async def ask_on() -> None:
            while window.answered(await call(b"".join(window.request()))):
                pass

        await asyncio.gather(*(ask_on() for _ in range(options.in_flight)))
        window.report()


def main() -> None:
    options = parse("bench.peers.grpc_aio")
    if options.role == "server":
        end_with_stdin()
    asyncio.run(serve(options) if options.role == "server" else ask(options))


if __name__ == "__main__":
    main()
