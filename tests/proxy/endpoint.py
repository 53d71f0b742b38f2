"""One side of a two-process run, a process of its own: ``python -m tests.proxy.endpoint SIDE SETTING``.

It sends numbered messages in each of its sessions until it is told to stop, and keeps a journal of what it sent and one of what
it received. Lines of JSON: on standard output first where it listens; on standard input orders, each of them answered by a line.
"""

from __future__ import annotations

import json
import sys
import threading
from collections import Counter
from typing import Any

from ceph_msgr import Config, Connection, Dispatcher, EntityType, Message, Messenger, SendQueueFull, Stack
from ceph_msgr.auth import AuthRegistry, Keyring
from tests.proxy.journal import Journal, Payloads
from tests.proxy.setting import Setting

__all__ = ["BURST", "Endpoint", "Session", "main"]

#: Faults are to be noticed and gone over soon; the queue bounds what is sent again after each.
_OPTIONS = {
    "ms_initial_backoff": 0.005, "ms_max_backoff": 0.1, "ms_bind_port_min": 0, "ms_bind_port_max": 0,
    "ms_send_queue_max_bytes": 64 << 10, "ms_keepalive_interval": 0.25, "ms_keepalive_timeout": 1.0,
    "ms_connection_ready_timeout": 2.0, "ms_accept_handshake_timeout": 2.0,
}  # fmt: skip

#: Of messages of one session, before the next one has its turn.
BURST = 200
_END_TIMEOUT_S = 60.0


class Session(Dispatcher):
    """One messenger, the connection it sends on, and its journals."""

    journal_type: type[Any] = Journal

    def __init__(self, setting: Setting, side: int, number: int, stack: Stack, changed: threading.Condition) -> None:
        name = setting.pair.names[side]
        type_ = EntityType[name.partition(".")[0].upper()]
        config = Config(**_OPTIONS, **dict.fromkeys(("ms_cluster_mode", "ms_service_mode", "ms_client_mode"), setting.mode))
        auth = AuthRegistry.dummy(type_, config)
        if setting.mode == "secure":
            auth = AuthRegistry.standalone(name, config, Keyring.parse(setting.keyring))
        # Far from any process id, and which of two peers has the smaller address changes from session to session.
        nonce = (1 << 24) + 2 * number + (side ^ (number & 1))
        self.messenger = Messenger.create(name, nonce=nonce, config=config, auth=auth, stack=stack)
        self.messenger.set_default_policy(setting.pair.policies[side]())
        self.listens = side == 0 or setting.pair.both_listen
        if self.listens:
            self.messenger.bind("127.0.0.1:0")
        self.messenger.add_dispatcher_head(self)
        self.sent, self.received = self.journal_type(), self.journal_type()
        #: Of a lossy session: with which number each connection began. All but the last one were reset.
        self.starts: list[int] = []
        self.resets = 0
        self.remote_resets = 0
        self.connection: Any = None
        self._is_lossless = setting.pair.is_lossless
        self._sends = self._is_lossless or side == 1
        self._changed = changed
        self._payloads = Payloads(setting.seed * 2 + side)
        self._unsent: Message | None = None
        self._peer: str | None = None

    def start(self, announced: str | None, peer: str | None) -> None:
        if announced:
            self.messenger.set_addrs(announced)
        self.messenger.start()
        self._peer = peer
        if peer:
            self._dial()

    def _dial(self) -> None:
        assert self._peer
        self.starts.append(len(self.sent))
        peer_type = EntityType.OSD
        self.connection = self.messenger.connect_to(peer_type, self._peer)

    # ---- sending: one thread ----

    def send(self, limit: int) -> bool:
        """Up to so many messages; False if there is no room."""
        if not self._sends or not self.mend():
            return False
        if not self._is_lossless and not self.connection.is_connected:
            return False  # what would be lost there proves nothing
        for _ in range(limit):
            message = self._unsent or self._payloads.make(len(self.sent))
            try:
                self.connection.send_message(message)
            except SendQueueFull:
                self._unsent = message
                return False
            self._unsent = None
            self.sent.note(message)
        return True

    def mend(self) -> bool:
        """After a reset dial anew and say something, which tells the other side how far we are. False if not connected yet."""
        if not self._is_lossless and self._sends and self.resets == len(self.starts):
            self._dial()
            self._unsent = None
            message = self._payloads.make(len(self.sent))
            self.connection.send_message(message)
            self.sent.note(message)
        return self.connection is not None

    @property
    def is_sent(self) -> bool:
        return not self._sends or (self.connection is not None and self.connection.flush(0))

    # ---- callbacks ----

    def ms_can_fast_dispatch_any(self) -> bool:
        return True

    def ms_can_fast_dispatch(self, message_type: int) -> bool:
        return True

    def ms_fast_dispatch(self, message: Message) -> None:
        self.received.note(message)

    def ms_handle_accept(self, connection: Connection) -> None:
        if self._peer is None:
            self.connection = connection
            self._wake()

    def ms_handle_connect(self, connection: Connection) -> None:
        self._wake()

    def ms_handle_drained(self, connection: Connection) -> None:
        self._wake()

    def ms_handle_reset(self, connection: Connection) -> bool:
        self.resets += 1
        return True

    def ms_handle_remote_reset(self, connection: Connection) -> None:
        self.remote_resets += 1

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()


class Endpoint:
    """All sessions of one side, and the thread that sends in them."""

    session_type = Session
    #: Callbacks wake the sender; past this it looks by itself.
    look_again_s = 0.1

    def __init__(self, setting: Setting, side: int) -> None:
        self._changed = threading.Condition()
        self._stack = Stack(workers=2)
        numbers = range(setting.sessions)
        self._sessions = [self.session_type(setting, side, number, self._stack, self._changed) for number in numbers]
        self._sender = threading.Thread(target=self._send, name="sender")
        self._is_stopped = self._is_halted = False
        self.listening = [str(session.messenger.myaddrs) for session in self._sessions if session.listens]

    def _send(self) -> None:
        while not self._is_halted:
            if self._is_stopped:
                has_room = False
                for session in self._sessions:
                    session.mend()
            else:
                has_room = self._send_round()
            if not has_room:
                with self._changed:
                    self._changed.wait(self.look_again_s)

    def _send_round(self) -> bool:
        """A burst in each session; False if none has room for more."""
        return sum(session.send(BURST) for session in self._sessions) > 0

    # ---- orders ----

    def obey(self, order: dict[str, Any]) -> dict[str, Any]:
        match order["do"]:
            case "start":
                nothing = [None] * len(self._sessions)
                for session, announced, peer in zip(
                    self._sessions, order["announced"] or nothing, order["peers"] or nothing, strict=True
                ):
                    session.start(announced, peer)
                self._sender.start()
            case "stop":
                self._is_stopped = True
            case "halt":
                self._is_halted = True
                self._sender.join()
            case "state":
                with self._changed:
                    self._changed.wait(order["after_s"])  # the pace of whoever asks again and again
            case "finish":
                return self._finish()
        return {"sessions": [self._state(session) for session in self._sessions]}

    @staticmethod
    def _state(session: Session) -> dict[str, Any]:
        return {
            "sent": len(session.sent), "received": len(session.received), "highest": session.received.highest,
            "is_sent": session.is_sent, "starts": session.starts, "resets": session.resets,
            "remote_resets": session.remote_resets, "now": repr(session.connection),
        }  # fmt: skip

    def _finish(self) -> dict[str, Any]:
        states = [self._state(session) for session in self._sessions]
        counters = self._counters()
        for session in self._sessions:
            session.messenger.shutdown()
        for session in self._sessions:
            assert session.messenger.wait(_END_TIMEOUT_S), f"{session.messenger!r} does not end"
        journals = [[session.sent.to_text(), session.received.to_text()] for session in self._sessions]
        self._stack.stop()
        return {"sessions": states, "journals": journals, "counters": counters}

    def _counters(self) -> dict[str, int]:
        names = ("msgr_faults", "msgr_reconnects", "msgr_replayed_messages", "msgr_duplicates_dropped", "msgr_sequence_gaps")
        found: Counter[str] = Counter()
        for group in self._stack.perf_counters():
            for metric, _, value in group.values():
                if metric.name in names:
                    found[metric.name] += value
        return dict(found)


def main(endpoint_type: type[Endpoint] = Endpoint) -> None:
    side, setting = int(sys.argv[1]), Setting.from_json(sys.argv[2])
    endpoint = endpoint_type(setting, side)
    print(json.dumps({"listening": endpoint.listening}), flush=True)
    for line in sys.stdin:
        print(json.dumps(endpoint.obey(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
