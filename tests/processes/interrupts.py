"""``python -m tests.processes.interrupts CALL``: Ctrl-C while the main thread is inside a blocking call. Says "interrupted" if
that ended the call, and "alive" if messages go on afterwards."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from ceph_msgr import Config, EntityType, Message, Messenger
from tests.processes.echo import DEADLINE_S, Echo


def interrupt_inside(function: str) -> threading.Thread:
    """SIGINT, once the main thread has called this function of ours and has not moved on in it for a while."""
    main_id = threading.main_thread().ident
    assert main_id is not None

    def place() -> tuple[int, int] | None:
        top = frame = sys._current_frames()[main_id]
        while frame:
            code = frame.f_code
            if code.co_name == function and "ceph_msgr" in Path(code.co_filename).parts:
                return id(top), top.f_lasti
            frame = frame.f_back  # type: ignore[assignment]
        return None

    def watch() -> None:
        end_s = time.monotonic() + DEADLINE_S
        before = None
        while (now := place()) is None or now != before:
            assert time.monotonic() < end_s, f"nobody waits in {function}"
            before = now
            threading.Event().wait(0.02)  # the distance between two looks
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


def interrupted(function: str, call: Callable[[], object]) -> None:
    watcher = interrupt_inside(function)
    try:
        call()
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    watcher.join(DEADLINE_S)


def flush(echo: Echo) -> None:
    with held(echo):
        echo.send(10)
        interrupted("flush", lambda: echo.connection.flush(DEADLINE_S))


def wait_writable(echo: Echo) -> None:
    client = Messenger.create("client.2", nonce=3, config=Config(ms_send_queue_max_bytes=1000))
    with client, socket.create_server(("127.0.0.1", 0)) as silent:
        client.start()
        connection = client.connect_to(EntityType.OSD, f"v2:127.0.0.1:{silent.getsockname()[1]}/1")
        connection.send_message(Message(60_000, data=bytes(900)))
        interrupted("wait_writable", lambda: connection.wait_writable(DEADLINE_S))


def wait(echo: Echo) -> None:
    interrupted("wait", lambda: echo.client.wait(DEADLINE_S))


def bind(echo: Echo) -> None:
    config = Config(ms_bind_retry_count=1000, ms_bind_retry_delay=DEADLINE_S)
    other = Messenger.create("osd.9", config=config)
    interrupted("bind", lambda: other.bind(f"127.0.0.1:{echo.server.myaddrs[0].port}"))
    other.bind("127.0.0.1:0")


def shutdown(echo: Echo) -> None:
    """Of another messenger, while a callback keeps the worker."""
    other = Messenger.create("client.3", nonce=4)
    other.start()
    with held(echo):
        interrupted("shutdown", other.shutdown)
    other.shutdown()
    assert other.wait(DEADLINE_S)


class held:
    """The server's next callback does not return while the block runs."""

    def __init__(self, echo: Echo) -> None:
        self._echo = echo
        self._is_held, self._release = threading.Event(), threading.Event()

    def __enter__(self) -> None:
        def hold(message: Message) -> None:
            self._is_held.set()
            self._release.wait(DEADLINE_S)

        self._echo.answers.hook = hold
        self._echo.send(1)
        assert self._is_held.wait(DEADLINE_S)

    def __exit__(self, *error: object) -> None:
        self._release.set()


CALLS: dict[str, Callable[[Echo], None]] = {
    "flush": flush, "wait_writable": wait_writable, "wait": wait, "bind": bind, "shutdown": shutdown,
}  # fmt: skip


def main() -> None:
    with Echo() as echo:
        echo.send(10)
        echo.wait_answered()
        CALLS[sys.argv[1]](echo)
        echo.answers.hook = lambda message: None
        echo.send(10)
        echo.wait_answered()
    print("alive")


if __name__ == "__main__":
    main()
