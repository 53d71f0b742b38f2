"""``Window``: the requests a measuring client has in flight, and how long each took."""

from collections.abc import Callable

from ceph_msgr.tools.histogram import LatencyHistogram

#: What ``answered`` returns instead of a tid: nothing is to be sent; nor will there be, since that was the last reply.
NOTHING: int
DRAINED: int

class Window:
    """Always ``concurrency`` requests in flight, ``ios`` in all (None: until ``close``). Tids count from 0.

    Compiled, since a client in Python would otherwise spend more on its bookkeeping than on the messages it measures. One
    thread calls ``answered``; everything else may be read by any thread, where it may be one behind. ``clock`` returns
    nanoseconds, by default those of the monotonic clock.
    """

    def __init__(self, concurrency: int, ios: int | None = None, clock: Callable[[], int] | None = None) -> None: ...
    def open(self) -> range:
        """The tids of the first requests, which count as sent now: replies may arrive while others are still being sent. Once."""

    def answered(self, tid: int) -> int:
        """A reply has come. Returns the tid of the next request, which counts as sent now, ``NOTHING`` or ``DRAINED``. A tid
        that is not outstanding is counted in ``errors``."""

    def sent(self, tid: int) -> None:
        """The request that ``answered`` told is sent only now."""

    def close(self) -> None:
        """No more requests; what is outstanding may still be answered. Any thread."""

    @property
    def outstanding(self) -> int:
        """Requests without a reply."""

    @property
    def replies(self) -> int:
        """Requests with a reply."""

    @property
    def errors(self) -> int:
        """Replies that matched no outstanding request."""

    @property
    def started_ns(self) -> int:
        """When the window was opened, 0 before."""

    @property
    def last_reply_ns(self) -> int:
        """When the last reply came; ``started_ns`` until the first."""

    @property
    def latency(self) -> LatencyHistogram:
        """Of all replies so far, in nanoseconds; a copy."""
