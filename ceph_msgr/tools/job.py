"""One job of the client: a messenger, a connection, and always the same number of requests in flight."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

from ceph_msgr import Config, Connection, Dispatcher, EntityAddr, EntityType, Message, Messenger, Policy
from ceph_msgr.auth import Keyring
from ceph_msgr.tools.histogram import FINE_SHIFT, LatencyHistogram
from ceph_msgr.tools.security import CLIENT, make_auth
from ceph_msgr.tools.workload import REPLY_TYPE, make_request

__all__ = ["Connected", "Drained", "Job", "JobNews", "Lost", "make_messenger"]

_ENDLESS = 1 << 62

_now_ns = time.monotonic_ns


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
        self.latency = LatencyHistogram()
        self._latencies = self.latency.fine
        #: Replies that matched no outstanding request.
        self.errors = 0
        #: Monotonic stamps; equal until the first reply.
        self.started_ns = self.last_reply_ns = 0
        self._tell = tell
        self._concurrency = concurrency
        self._msg_len_bytes = msg_len_bytes
        self._think_s = think_time_us / 1e6
        #: Outstanding requests: when each was sent, by tid.
        self._sent_ns: dict[int, int] = {}
        self._next_tid = 0
        #: The first tid that is not sent any more.
        self._end_tid = _ENDLESS if ios is None else ios
        #: Sending copies the header, so one request is sent over and over, each time with its tid.
        self._request = make_request(msg_len_bytes)

    def connect(self) -> None:
        """Dial; ``Connected`` or ``Lost`` follows."""
        self._messenger.add_dispatcher_head(self)
        self._messenger.start()
        self._connection = self._messenger.connect_to(EntityType.OSD, self._server)

    def start(self) -> None:
        """Send the first requests, as many as may be in flight. Once, when connected."""
        first = range(min(self._concurrency, self._end_tid))
        self.started_ns = self.last_reply_ns = _now_ns()
        # Replies arrive on the worker while this thread still sends: from here on all tids are taken, all requests
        # count as outstanding, and the worker's request is left alone.
        self._next_tid = len(first)
        self._sent_ns = dict.fromkeys(first, self.started_ns)
        request = make_request(self._msg_len_bytes)
        for tid in first:
            request.tid = tid
            self._connection.send_message(request)

    def stop(self) -> None:
        """Send no more; ``Drained`` follows with the last reply. Any thread."""
        self._end_tid = 0

    @property
    def outstanding(self) -> int:
        """Requests without a reply. Any thread."""
        return len(self._sent_ns)

    @property
    def answered(self) -> int:
        """Requests with a reply. Any thread, where it may be one behind."""
        return self._next_tid - len(self._sent_ns)

    # ---- called by the messenger ----

    def ms_can_fast_dispatch_any(self) -> bool:
        return True

    def ms_can_fast_dispatch(self, message_type: int) -> bool:
        return message_type == REPLY_TYPE

    def ms_fast_dispatch(self, reply: Message) -> None:
        # The hot path: every bytecode here is paid for each operation.
        now_ns = _now_ns()
        sent_ns = self._sent_ns.pop(reply.tid, None)
        if sent_ns is None:
            self.errors += 1
            return
        try:
            self._latencies[(now_ns - sent_ns) >> FINE_SHIFT] += 1
        except IndexError:
            self.latency.record(now_ns - sent_ns)
        self.last_reply_ns = now_ns
        if self._think_s:
            # On the worker, as Ceph's client does it, so that figures compare.
            time.sleep(self._think_s)
            now_ns = _now_ns()
        tid = self._next_tid
        if tid < self._end_tid:
            self._next_tid = tid + 1
            self._sent_ns[tid] = now_ns
            request = self._request
            request.tid = tid
            self._connection.send_message(request)
        elif not self._sent_ns:
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
