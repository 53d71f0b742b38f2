"""Sessions that are ready and idle: ``python -m bench.peers.sessions ADDRESS COUNT``. Says so once all are, and holds them
until its standard input ends."""

from __future__ import annotations

import os
import sys
from queue import Empty, SimpleQueue

from ceph_msgr import Config, Connection, Dispatcher, EntityAddr, EntityType, Messenger, Policy
from ceph_msgr.auth import AuthRegistry

#: Handshakes under way at once: fewer than a listener's backlog holds.
_AT_ONCE = 128
_CONNECT_TIMEOUT_S = 60.0


class Ready(Dispatcher):
    """Tells of each connection that is ready, or gone."""

    def __init__(self) -> None:
        self.news: SimpleQueue[bool] = SimpleQueue()

    def ms_handle_connect(self, connection: Connection) -> None:
        self.news.put(True)

    def ms_handle_refused(self, connection: Connection) -> bool:
        return self.ms_handle_reset(connection)

    def ms_handle_reset(self, connection: Connection) -> bool:
        self.news.put(False)
        return True


def hold(address: str, count: int) -> None:
    config = Config(ms_client_mode="crc")
    messenger = Messenger.create("client.0", config=config, auth=AuthRegistry.dummy(EntityType.CLIENT, config))
    messenger.set_default_policy(Policy.lossless_client())
    ready = Ready()
    with messenger:
        messenger.add_dispatcher_head(ready)
        messenger.start()
        server = EntityAddr.parse(address)
        dialled = 0
        for done in range(count):
            while dialled < min(count, done + _AT_ONCE):
                messenger.connect_to(EntityType.OSD, server, anon=True)
                dialled += 1
            try:
                if not ready.news.get(timeout=_CONNECT_TIMEOUT_S):
                    sys.exit(f"a connection was lost after {done} were ready")
            except Empty:
                sys.exit(f"no connection became ready for {_CONNECT_TIMEOUT_S:g} s, after {done} that did")
        print(f"ready {count}", flush=True)
        while os.read(0, 4096):
            pass
        os._exit(0)  # thousands of orderly goodbyes are not what is measured


if __name__ == "__main__":
    hold(sys.argv[1], int(sys.argv[2]))
