"""A server that sends every message back: ``python examples/ping_server.py [ADDR]``, 127.0.0.1:7000 by default.

It ends with Ctrl-C. Talk to it with ping_client.py.
"""

from __future__ import annotations

import signal
import sys

from ceph_msgr import Dispatcher, Message, Messenger, Policy


class Echo(Dispatcher):
    """Claims all messages for fast dispatch: they are answered at once, on the thread that read them."""

    def ms_can_fast_dispatch_any(self) -> bool:
        return True

    def ms_can_fast_dispatch(self, message_type: int) -> bool:
        return True

    def ms_fast_dispatch(self, message: Message) -> None:
        message.connection.send_message(message)


def main() -> None:
    stop_signals = {signal.SIGINT, signal.SIGTERM}
    # Before any thread starts, so that all inherit it: the signals wait until the last line asks for them.
    signal.pthread_sigmask(signal.SIG_BLOCK, stop_signals)
    with Messenger.create("osd.0") as messenger:
        # Clients come and go, and send again what was not answered: nothing is kept for them.
        messenger.set_default_policy(Policy.stateless_server())
        messenger.bind(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:7000")
        messenger.add_dispatcher_tail(Echo())
        messenger.start()
        print(f"listening on {messenger.myaddrs}", flush=True)
        signal.sigwait(stop_signals)


if __name__ == "__main__":
    main()
