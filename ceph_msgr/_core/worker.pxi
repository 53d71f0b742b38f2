# WorkerCore: the turn. This loop is the hot path: one entry into Python per message, the user's handler.


cdef int wait_worker(void *worker, int64_t max_wait_ns) noexcept nogil:
    return cmsgr_worker_turn(<cmsgr_worker *>worker, max_wait_ns)


@cython.final
@cython.no_gc_clear
cdef class WorkerCore:
    cdef cmsgr_worker *c
    cdef readonly EventCenter center
    cdef int generation
    # Addresses of the Session objects and the StreamSlots that live, for close().
    cdef set sessions, slots
    cdef uint64_t python_entries, messages_delivered

    def __cinit__(self):
        self.generation = current_generation
        self.sessions = set()
        self.slots = set()
        check(cmsgr_worker_new(&self.c, ENV), "WorkerCore")
        live.workers += 1
        self.center = EventCenter.of_worker(cmsgr_worker_center(self.c))

    def __dealloc__(self):
        # Sessions and streams hold the worker: there are none left but those whose end could not be posted.
        if self.c and self.generation == current_generation:
            self.end()

    cdef int ensure_open(self) except -1:
        if self.generation != current_generation:
            refuse_after_fork("WorkerCore")
        if not self.c:
            raise RuntimeError("this WorkerCore is closed")
        return 0

    cdef bint is_owner(self) noexcept:
        return cmsgr_center_owner(self.center.c) == PyThread_get_thread_ident()

    cdef bint is_owner_or_free(self) noexcept:
        cdef uint64_t owner = cmsgr_center_owner(self.center.c)
        return owner == PyThread_get_thread_ident() or owner == 0

    def turn(self, int64_t max_wait_ns):
        cdef bint claimed
        cdef int rc
        self.ensure_open()
        claimed = self.center.begin_step()
        try:
            rc = wait_sliced(wait_worker, self.c, max_wait_ns)
            check(rc, "a worker's turn")
            if not Py_IsFinalizing():
                free_entries(cmsgr_worker_take_garbage(self.c))
                if rc:
                    self.python_entries += 1
                    self.user_phase()
        finally:
            self.center.end_step(claimed)
        raise_interrupt()
        return rc

    cdef void user_phase(self) noexcept:
        # Items before posts: what a post is about to change (a reset, a take-over) must not overtake what came before it.
        cdef size_t flush_every = cmsgr_worker_flush_every(self.c), taken = 0
        cdef cmsgr_item *item = cmsgr_worker_take_item(self.c)
        while item:
            if taken == flush_every:
                # Under the interpreter lock: to take it again could cost a switch interval, the send costs microseconds.
                cmsgr_worker_flush(self.c)
                taken = 0
            if item.kind == CMSGR_ITEM_MESSAGE:
                self.take_message(item)
            else:
                self.take_event(item)
            taken += 1
            if self.generation != current_generation:
                return  # in the child of a callback that forked: the rest, and every byte, is the parent's
            item = cmsgr_worker_take_item(self.c)
        cmsgr_center_dispatch(self.center.c)

    cdef void take_message(self, const cmsgr_item *item) noexcept:
        cdef void *user = cmsgr_session_user(item.session)
        cdef Session session
        if user:
            session = <Session>user
            if not session.is_closed:
                self.messages_delivered += 1
                session.table.receive(item.msg, session.owner)
                return
        cmsgr_msg_dispatched(item.msg)
        cmsgr_msg_unref(item.msg)

    # Everything an item points to is copied before Python runs: a callback may close its stream.
    cdef void take_event(self, const cmsgr_item *item) noexcept:
        cdef int kind = item.kind
        cdef int tag = item.tag
        cdef bint sent = item.sent
        cdef StreamSlot *slot
        cdef void *user
        owner = None
        if kind == CMSGR_ITEM_SEND_QUEUED or kind == CMSGR_ITEM_DRAINED:
            user = cmsgr_session_user(item.session)
            if user:
                owner = (<Session>user).owner
        else:
            slot = <StreamSlot *>cmsgr_stream_user(item.stream)
            if slot.stream:
                owner = (<Stream>slot.stream).owner
        if owner is None:
            return
        try:
            if kind == CMSGR_ITEM_FRAME:
                owner._on_frame(tag, span_bytes(&item.payload), span_bytes(&item.wire))
            elif kind == CMSGR_ITEM_CONNECTED:
                owner._on_connected()
            elif kind == CMSGR_ITEM_FAULT:
                owner._on_fault(error_from_code(item.error, tag=tag, got=item.got, expected=item.expected), tag,
                                span_bytes(&item.payload))
            elif kind == CMSGR_ITEM_INTERCEPTED:
                owner._on_intercepted(tag, sent)
            elif kind == CMSGR_ITEM_SEND_QUEUED:
                owner._on_send_queued()
            elif kind == CMSGR_ITEM_DRAINED:
                owner._on_drained()
            elif kind == CMSGR_ITEM_SEQUENCE:
                owner._on_odd_sequence(item.got, item.expected)
        except BaseException as exc:
            report(exc, f"the event handler of a {type(owner).__name__}")

    def stats(self):
        cdef cmsgr_worker_stats stats
        self.ensure_open()
        cmsgr_worker_get_stats(self.c, &stats)
        result = dict(stats)
        result["python_entries"] = self.python_entries
        result["messages_delivered"] = self.messages_delivered
        return result

    def close(self):
        if not self.c:
            return
        self.ensure_open()
        self.center.ensure_owner()
        if self.center.is_stepping:
            raise RuntimeError("a WorkerCore cannot be closed from inside its own turn")
        self.end()

    cdef void drop_items(self) noexcept:
        cdef cmsgr_item *item = cmsgr_worker_take_item(self.c)
        while item:
            if item.kind == CMSGR_ITEM_MESSAGE:
                cmsgr_msg_dispatched(item.msg)
                cmsgr_msg_unref(item.msg)
            item = cmsgr_worker_take_item(self.c)

    cdef int end(self) except -1:
        cdef StreamSlot *slot
        cdef Session session
        for address in list(self.slots):
            slot = <StreamSlot *><uintptr_t>address
            if slot.stream:
                (<Stream>slot.stream).end()
            else:
                close_slot(slot)  # the post that is under way frees it
        for address in list(self.sessions):
            session = <Session><PyObject *><uintptr_t>address
            session.is_closed = True
            cmsgr_session_close(session.c)
            session.let_go()
        cmsgr_center_wait(self.center.c, 0)  # what was under way inside C may still turn into garbage
        self.drop_items()
        free_entries(cmsgr_worker_take_garbage(self.c))
        self.center.end()
        cmsgr_worker_free(self.c)
        free_dropped()
        self.c = NULL
        live.workers -= 1
        if not live.workers:
            free_spare_entries()
        return 0


cdef bytes span_bytes(const cmsgr_span *span):
    return PyBytes_FromStringAndSize(<const char *>span.data, span.len)
