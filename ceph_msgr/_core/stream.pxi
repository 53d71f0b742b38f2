# Stream: Python's handle on a cmsgr_stream, which owns the socket.

# C's way back to the Stream. It has a life of its own: a Stream that ends on a foreign thread can only post the end of its C
# half, and until that runs items may still name it.
cdef struct StreamSlot:
    cmsgr_stream *c     # NULL: closed, because its worker ended first
    PyObject *stream    # NULL: nobody listens any more
    PyObject *worker    # lists this slot as long as c is not NULL


cdef void close_slot(StreamSlot *slot) noexcept:
    if slot.c:
        (<WorkerCore>slot.worker).slots.discard(<uintptr_t>slot)
        cmsgr_stream_close(slot.c)
        slot.c = NULL
        live.streams -= 1


cdef void on_end_posted(void *arg) noexcept:
    close_slot(<StreamSlot *>arg)
    free(arg)


@cython.final
@cython.no_gc_clear
cdef class Stream:
    cdef StreamSlot *slot
    cdef WorkerCore worker
    cdef public object owner
    cdef readonly int fd
    cdef int generation
    cdef cmsgr_stream_config config

    def __cinit__(self, WorkerCore worker not None, int fd, owner, *, bint connecting, Limits limits=None,
                  Throttle policy_messages=None, Throttle policy_bytes=None, Throttle dispatch_bytes=None,
                  Throttle dispatch_messages=None,
                  uint32_t inject_socket_failures=0, uint32_t inject_network_congestion=0):
        cdef int rc
        worker.ensure_open()
        worker.center.ensure_owner()
        self.worker = worker
        self.owner = owner
        self.fd = fd
        self.generation = current_generation
        if limits is None:
            limits = Limits()
        self.config.limits = limits.c
        self.configure(policy_messages, policy_bytes, dispatch_bytes, dispatch_messages)
        self.config.inject_socket_failures = inject_socket_failures
        self.config.inject_network_congestion = inject_network_congestion
        self.slot = <StreamSlot *>malloc(sizeof(StreamSlot))
        if not self.slot:
            raise MemoryError()
        self.slot.c = NULL
        self.slot.stream = <PyObject *>self
        self.slot.worker = <PyObject *>worker
        rc = cmsgr_stream_new(&self.slot.c, worker.c, fd, connecting, &self.config, self.slot)
        if rc < 0:
            free(self.slot)
            self.slot = NULL
            raise error_from_code(rc, what=f"stream of fd {fd}")
        worker.slots.add(<uintptr_t>self.slot)
        live.streams += 1

    def __dealloc__(self):
        if not self.slot:
            return
        if self.generation != current_generation:
            # The parent shares the socket and its place in epoll: give up our copy of the fd and nothing else.
            driver_close(self.fd)
            return
        self.slot.stream = NULL
        if self.worker.is_owner_or_free():
            close_slot(self.slot)
            free(self.slot)
        else:
            # If there is no memory for the post, the worker's end closes it.
            cmsgr_center_post(self.worker.center.c, on_end_posted, self.slot)
        warn_unclosed("Stream", self.fd)

    cdef void configure(self, Throttle policy_messages, Throttle policy_bytes, Throttle dispatch_bytes,
                        Throttle dispatch_messages) noexcept:
        self.config.policy_messages = NULL if policy_messages is None else policy_messages.c
        self.config.policy_bytes = NULL if policy_bytes is None else policy_bytes.c
        self.config.dispatch_bytes = NULL if dispatch_bytes is None else dispatch_bytes.c
        self.config.dispatch_messages = NULL if dispatch_messages is None else dispatch_messages.c

    cdef int ensure_open(self) except -1:
        if self.generation != current_generation:
            refuse_after_fork("Stream")
        if not self.slot:
            raise RuntimeError("this Stream is closed")
        self.worker.center.ensure_owner()
        return 0

    def set_throttles(self, Throttle policy_messages, Throttle policy_bytes, Throttle dispatch_bytes,
                      Throttle dispatch_messages=None):
        self.ensure_open()
        self.configure(policy_messages, policy_bytes, dispatch_bytes, dispatch_messages)
        cmsgr_stream_set_throttles(self.slot.c, &self.config)

    def set_revision(self, int revision):
        self.ensure_open()
        check_revision(revision)
        cmsgr_stream_set_revision(self.slot.c, revision)

    def set_keys(self, bytes secret not None, *, bint is_client):
        self.ensure_open()
        check(cmsgr_stream_set_keys(self.slot.c, <uint8_t *>PyBytes_AS_STRING(secret), len(secret), is_client), "set_keys")

    def set_compression(self, int algorithm, size_t min_bytes):
        self.ensure_open()
        check(cmsgr_stream_set_compression(self.slot.c, algorithm, min_bytes), "set_compression")

    def set_mask(self, uint32_t received, uint32_t sent):
        self.ensure_open()
        cmsgr_stream_set_mask(self.slot.c, received, sent)

    def send_bytes(self, data):
        cdef Py_buffer view
        self.ensure_open()
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            check(cmsgr_stream_send_bytes(self.slot.c, view.buf, view.len), "send_bytes")
        finally:
            PyBuffer_Release(&view)

    def send_frame(self, int tag, payload):
        cdef Py_buffer view
        self.ensure_open()
        PyObject_GetBuffer(payload, &view, PyBUF_SIMPLE)
        try:
            cmsgr_stream_send_frame(self.slot.c, tag, view.buf, view.len)  # an error surfaces as the fault, and only there
        finally:
            PyBuffer_Release(&view)

    def continue_(self):
        self.ensure_open()
        cmsgr_stream_continue(self.slot.c)

    def continue_sent(self):
        self.ensure_open()
        cmsgr_stream_continue_sent(self.slot.c)

    def start(self, Session session not None, *, bint lossless):
        self.ensure_open()
        session.ensure_open()
        cdef int rc = cmsgr_stream_start(self.slot.c, session.c, lossless)
        if rc != CMSGR_E_CLOSED:  # faulted meanwhile: that surfaces by itself
            check(rc, "start")

    def try_send(self):
        cdef ssize_t unsent
        self.ensure_open()
        unsent = cmsgr_stream_try_send(self.slot.c)
        return unsent if unsent > 0 else 0  # an error surfaces as the fault, and only there

    @property
    def unsent_bytes(self):
        self.ensure_open()
        return cmsgr_stream_unsent_bytes(self.slot.c)

    def fail(self):
        self.ensure_open()
        cmsgr_stream_fail(self.slot.c)

    def close(self):
        if not self.slot:
            return
        self.ensure_open()
        self.end()

    cdef int end(self) except -1:
        close_slot(self.slot)
        free(self.slot)
        self.slot = NULL
        return 0

    def __repr__(self):
        return f"<Stream fd={self.fd}{'' if self.slot else ' closed'}>"


cdef int driver_close(int fd) noexcept:
    cdef const cmsgr_driver *driver = cmsgr_env_driver(ENV)
    return driver.close(driver.ctx, fd)


# noexcept: where a filter makes it an error, nobody could catch it.
cdef void warn_unclosed(str what, int fd) noexcept:
    warnings.warn(f"unclosed {what} of fd {fd}", ResourceWarning, stacklevel=1)
