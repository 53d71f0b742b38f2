# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""Window, compiled: what a measuring client notes of every request costs less than what it measures. See window.pyi."""

cimport cython
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from ceph_msgr.tools.histogram import FINE_SHIFT, LatencyHistogram

cdef extern from *:
    """
    #include <time.h>

    static int64_t monotonic_ns(void)
    {
        struct timespec at;

        clock_gettime(CLOCK_MONOTONIC, &at);
        return (int64_t)at.tv_sec * 1000000000 + at.tv_nsec;
    }
    """
    int64_t monotonic_ns() nogil

cdef enum:
    _NOTHING = -1
    _DRAINED = -2

NOTHING, DRAINED = _NOTHING, _DRAINED

cdef int SHIFT = FINE_SHIFT
cdef uint64_t ENDLESS = <uint64_t>1 << 62


# One outstanding request. Numbers follow each other, so almost every one finds its own place free; while all of them do, one is
# forgotten without a look at its neighbours, however many there are.
cdef struct Request:
    uint64_t tid
    int64_t sent_ns
    bint is_taken


@cython.final
cdef class Window:
    cdef object clock
    cdef readonly uint32_t outstanding
    cdef readonly uint64_t errors
    cdef readonly int64_t started_ns, last_reply_ns
    cdef uint64_t next_tid, end_tid, concurrency
    # A table with open addressing, four times as large as it ever has to be.
    cdef Request *requests
    cdef uint64_t mask
    # How many are not in their own place.
    cdef uint64_t displaced
    cdef uint32_t *fine
    cdef uint64_t fine_len
    # What is beyond `fine`.
    cdef object slow

    def __cinit__(self, uint32_t concurrency, ios=None, clock=None):
        cdef uint64_t cap = 8
        if not concurrency:
            raise ValueError("a window of 0 requests")
        while cap < 4 * <uint64_t>concurrency:
            cap *= 2
        self.clock = clock
        self.concurrency = concurrency
        self.end_tid = ENDLESS if ios is None else ios
        self.slow = LatencyHistogram()
        self.fine_len = len(self.slow.fine)
        self.mask = cap - 1
        self.requests = <Request *>calloc(cap, sizeof(Request))
        self.fine = <uint32_t *>calloc(self.fine_len, sizeof(uint32_t))
        if not self.requests or not self.fine:
            raise MemoryError()

    def __dealloc__(self):
        free(self.requests)
        free(self.fine)

    cdef int64_t now_ns(self) except? -1:
        return monotonic_ns() if self.clock is None else self.clock()

    cdef Request *place_of(self, uint64_t tid) noexcept:
        # Where it is, or would be put.
        cdef uint64_t at = tid & self.mask
        while self.requests[at].is_taken and self.requests[at].tid != tid:
            at = (at + 1) & self.mask
        return &self.requests[at]

    cdef bint is_home(self, const Request *request, uint64_t tid) noexcept:
        return <uint64_t>(request - self.requests) == tid & self.mask

    cdef void note(self, uint64_t tid, int64_t now_ns) noexcept:
        cdef Request *request = self.place_of(tid)
        if not request.is_taken:
            self.outstanding += 1
            self.displaced += not self.is_home(request, tid)
        request.tid, request.sent_ns, request.is_taken = tid, now_ns, True

    cdef void forget(self, Request *request) noexcept:
        # Those behind it move up, unless that were before their own place: none may lie behind a gap.
        cdef uint64_t gap = request - self.requests, at = gap, home
        cdef bint anybody = self.displaced > 0
        self.displaced -= not self.is_home(request, request.tid)
        while anybody:
            at = (at + 1) & self.mask
            if not self.requests[at].is_taken:
                break
            home = self.requests[at].tid & self.mask
            if ((at - home) & self.mask) >= ((at - gap) & self.mask):
                self.requests[gap] = self.requests[at]
                self.displaced -= gap == home
                gap = at
        self.requests[gap].is_taken = False
        self.outstanding -= 1

    cdef int record(self, int64_t latency_ns) except -1:
        cdef uint64_t index = <uint64_t>latency_ns >> SHIFT
        if index < self.fine_len:
            self.fine[index] += 1
        else:
            self.slow.record(latency_ns)
        return 0

    def open(self):
        cdef uint64_t tid
        self.started_ns = self.last_reply_ns = self.now_ns()
        self.next_tid = min(self.concurrency, self.end_tid)
        for tid in range(self.next_tid):
            self.note(tid, self.started_ns)
        return range(self.next_tid)

    def answered(self, uint64_t tid):
        cdef Request *request = self.place_of(tid)
        cdef int64_t now_ns
        if not request.is_taken:
            self.errors += 1
            return NOTHING
        now_ns = self.now_ns()
        self.record(now_ns - request.sent_ns)
        self.forget(request)
        self.last_reply_ns = now_ns
        if self.next_tid >= self.end_tid:
            return NOTHING if self.outstanding else DRAINED
        tid = self.next_tid
        self.next_tid += 1
        self.note(tid, now_ns)
        return tid

    def sent(self, uint64_t tid):
        self.note(tid, self.now_ns())

    def close(self):
        self.end_tid = 0

    @property
    def replies(self):
        return self.next_tid - self.outstanding

    @property
    def latency(self):
        cdef uint64_t index
        result = LatencyHistogram()
        result.merge(self.slow)
        for index in range(self.fine_len):
            if self.fine[index]:
                result.fine[index] += self.fine[index]
        return result
