"""One job of the client: a messenger, a connection, and always the same number of requests in flight."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

from ceph_msgr import Config, Connection, Dispatcher, EntityAddr, EntityType, Message, Messenger, Policy
from ceph_msgr.auth import Keyring
from ceph_msgr.tools.histogram import LatencyHistogram
from ceph_msgr.tools.security import CLIENT, make_auth
from ceph_msgr.tools.window import DRAINED, Window
from ceph_msgr.tools.workload import REPLY_TYPE, make_request

__all__ = ["Connected", "Drained", "Job", "JobNews", "Lost", "make_messenger"]


@dataclass(frozen=True, slots=True)
class Connected:
    """The job's connection is ready; with a lossless server this may be told again after a fault."""

    job: int


@dataclass(frozen=True, slots=True)
class Drained:
    """The job has sent its last request and every one is answered."""

    job: int


@dataclass(frozen=True, slots=True)
class Lost:
    """The job's connection is refused or gone, with requests unanswered."""

    job: int
    text: str


JobNews = Connected | Drained | Lost


def make_messenger(job: int, mode: str, keyring: Keyring | None) -> Messenger:
    """The messenger of this job, as Ceph's perf client has one per job: the same entity, told apart by the nonce."""
    # The window bounds the send queue. A bound in bytes would refuse large windows.
    config = Config(ms_send_queue_max_bytes=0, ms_client_mode=mode)
    auth = make_auth(EntityType.CLIENT, config, keyring)
    messenger = Messenger.create(CLIENT, nonce=os.getpid() + job, config=config, auth=auth)
    # Lossless as far as the client has a say; the server decides.
    messenger.set_default_policy(Policy.lossless_client())
    return messenger


class Job(Dispatcher):
    """Sends a request for each reply. ``tell`` hears of its news on the messenger's threads, so it must not block.

    Everything a reply touches belongs to the worker thread once ``start`` has been called.
    """

    def __init__(
        self,
        number: int,
        messenger: Messenger,
        server: EntityAddr,
        tell: Callable[[JobNews], object],
        *,
        concurrency: int,
        ios: int | None,
        think_time_us: int,
        msg_len_bytes: int,
    ) -> None:
        self.number = number
        self._messenger = messenger
        self._server = server
        self._tell = tell
        self._window = Window(concurrency, ios)
        self._answered = self._window.answered
        self._think_s = think_time_us / 1e6
        self._msg_len_bytes = msg_len_bytes
        #: Sending copies the header, so one request is sent over and over, each time with its tid.
        self._request = make_request(msg_len_bytes)

    def connect(self) -> None:
        """Dial; ``Connected`` or ``Lost`` follows."""
        self._messenger.add_dispatcher_head(self)
        self._messenger.start()
        self._connection = self._messenger.connect_to(EntityType.OSD, self._server)

    def start(self) -> None:
        """Send the first requests, as many as may be in flight. Once, when connected."""
        # Replies arrive on the worker while this thread still sends: the worker's request is left alone.
        request = make_request(self._msg_len_bytes)
        for tid in self._window.open():
            request.tid = tid
            self._connection.send_message(request)

    def stop(self) -> None:
        """Send no more; ``Drained`` follows with the last reply. Any thread."""
        self._window.close()

    # ---- what was measured so far: any thread ----

    @property
    def outstanding(self) -> int:
        """Requests without a reply."""
        return self._window.outstanding

    @property
    def answered(self) -> int:
        """Requests with a reply."""
        return self._window.replies

    @property
    def errors(self) -> int:
        """Replies that matched no outstanding request."""
        return self._window.errors

    @property
    def started_ns(self) -> int:
        """Monotonic, 0 before ``start``."""
        return self._window.started_ns

    @property
    def last_reply_ns(self) -> int:
        """Monotonic; ``started_ns`` until the first reply."""
        return self._window.last_reply_ns

    @property
    def latency(self) -> LatencyHistogram:
        return self._window.latency

    # ---- called by the messenger ----

    def ms_can_fast_dispatch_any(self) -> bool:
        return True

    def ms_can_fast_dispatch(self, message_type: int) -> bool:
        return message_type == REPLY_TYPE

    def ms_fast_dispatch(self, reply: Message) -> None:
        # The hot path: every bytecode here is paid for each operation.
        tid = self._answered(reply.tid)
        if tid >= 0:
            if self._think_s:
                # On the worker, as Ceph's client does it, so that figures compare.
                time.sleep(self._think_s)
                self._window.sent(tid)
            request = self._request
            request.tid = tid
            self._connection.send_message(request)
        elif tid == DRAINED:
            self._tell(Drained(self.number))

    def ms_dispatch(self, message: Message) -> bool:
        return True  # whatever else a server says is not measured

    def ms_handle_connect(self, connection: Connection) -> None:
        self._tell(Connected(self.number))

    def ms_handle_refused(self, connection: Connection) -> bool:
        self._tell(Lost(self.number, f"cannot connect to {self._server}"))
        return True

    def ms_handle_reset(self, connection: Connection) -> bool:
        self._tell(Lost(self.number, f"the connection to {self._server} was lost"))
        return True

    def ms_handle_remote_reset(self, connection: Connection) -> None:
        self._tell(Lost(self.number, f"{self._server} has forgotten the session, and with it unanswered requests"))
