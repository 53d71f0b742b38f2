# Session: Python's handle on a cmsgr_session. C knows the way back (`user`), without a reference.


@cython.final
@cython.no_gc_clear
cdef class Session:
    cdef cmsgr_session *c
    cdef WorkerCore worker
    cdef DispatchTable table
    cdef public object owner
    cdef int generation
    cdef bint is_closed
    cdef int64_t max_queued_bytes

    def __cinit__(self, WorkerCore worker not None, owner, DispatchTable table not None, *, int64_t max_queued_bytes=0):
        worker.ensure_open()
        if max_queued_bytes < 0:
            raise ValueError(f"max_queued_bytes {max_queued_bytes} is negative")
        self.worker = worker
        self.owner = owner
        self.table = table
        self.max_queued_bytes = max_queued_bytes
        self.generation = current_generation
        check(cmsgr_session_new(&self.c, worker.c, max_queued_bytes, <void *>self), "Session")
        worker.sessions.add(<uintptr_t><void *>self)
        live.sessions += 1

    def __dealloc__(self):
        if self.c and self.generation == current_generation:
            self.let_go()

    # Any thread.
    cdef int let_go(self) except -1:
        cdef cmsgr_session *c = self.c
        self.worker.sessions.discard(<uintptr_t><void *>self)
        self.c = NULL
        cmsgr_session_set_user(c, NULL)
        cmsgr_session_unref(c)
        live.sessions -= 1
        if not self.worker.is_owner():
            cmsgr_center_wakeup(self.worker.center.c)  # to release what was queued
        return 0

    cdef int ensure_open(self) except -1:
        if self.generation != current_generation:
            refuse_after_fork("Session")
        if not self.c:
            raise RuntimeError("this session's worker is closed")
        return 0

    cdef int ensure_owner(self) except -1:
        self.ensure_open()
        self.worker.center.ensure_owner()
        return 0

    # ---- any thread ----

    @cython.binding(False)
    def send(self, Message message not None, bint borrow=False):
        cdef cmsgr_entry *entry
        cdef uint64_t features, current
        cdef int rc
        if self.generation != current_generation:
            refuse_after_fork("Session")
        if self.is_closed:
            return False
        # A received message goes on as it came, whatever its class.
        cdef bint encodes = not message.msg and flags_of(type(message)) & ENCODES
        cdef object front = None
        features = CMSGR_FEATURES_ANY
        if encodes:
            features = cmsgr_session_features(self.c)
            while features:
                front = message.encode_payload(features)
                if self.is_closed:
                    return False
                # encode_payload may have let other threads run.
                current = cmsgr_session_features(self.c)
                if current == features:
                    break
                features = current
        entry = new_entry(message)
        try:
            entry.features = features
            # Before the features are known only the front has to wait: the rest is copied and counted now like any other.
            fill_entry(entry, message, front if features else b"", borrow)
            entry.unencoded = not features
            if encodes:
                hold_message(entry, message)
            # Taking the segments' memory may have run anything.
            rc = CMSGR_E_CLOSED if self.is_closed else cmsgr_session_send(self.c, entry, self.worker.is_owner())
            if rc == 0:
                return True
            if rc == CMSGR_E_QUEUE_FULL:
                self.raise_full(entry)
            if rc != CMSGR_E_CLOSED:
                check(rc, "send")
        except BaseException:
            free_entry(entry)
            raise
        free_entry(entry)
        return False

    cdef int raise_full(self, const cmsgr_entry *entry) except -1:
        cdef cmsgr_session_info info
        cmsgr_session_get_info(self.c, &info)
        self.owner._on_queue_full()
        raise SendQueueFull(
            f"a message of {entry.segment[0].len + entry.segment[1].len + entry.segment[2].len} bytes does not fit: "
            f"{info.queued_bytes} bytes are unsent or unacknowledged, at most {self.max_queued_bytes}")

    def send_keepalive(self):
        if self.is_closed:
            return
        self.ensure_open()
        cmsgr_session_send_keepalive(self.c, self.worker.is_owner())

    def notify_drained(self, int64_t limit_bytes):
        self.ensure_open()
        if limit_bytes < 0:
            raise ValueError(f"limit_bytes {limit_bytes} is negative")
        cmsgr_session_notify_drained(self.c, limit_bytes, self.worker.is_owner())

    @property
    def features(self):
        self.ensure_open()
        return cmsgr_session_features(self.c)

    def info(self):
        cdef cmsgr_session_info info
        self.ensure_open()
        cmsgr_session_get_info(self.c, &info)
        return info

    @property
    def in_seq(self):
        return self.info()["in_seq"]

    @property
    def out_seq(self):
        return self.info()["out_seq"]

    def priorities(self):
        cdef uint16_t *priority = NULL
        cdef uint64_t *count = NULL
        cdef int i, found, room = 8
        self.ensure_open()
        try:
            while True:
                priority = <uint16_t *>realloc(priority, room * sizeof(uint16_t))
                count = <uint64_t *>realloc(count, room * sizeof(uint64_t))
                if not priority or not count:
                    raise MemoryError()
                found = cmsgr_session_priorities(self.c, priority, count, room)
                if found <= room:
                    return [(priority[i], count[i]) for i in range(found)]
                room = found
        finally:
            free(priority)
            free(count)

    # ---- the owner's thread ----

    def take_features(self, uint64_t features):
        cdef cmsgr_entry *first
        cdef cmsgr_entry *entry
        self.ensure_owner()
        if not features:
            raise ValueError("features 0 stands for features that are not known yet")
        first = entry = cmsgr_session_take_stale(self.c, features)
        while entry:
            entry.done = not self.encode_entry(entry, features)
            entry = entry.next
        if self.is_closed:  # an encoder has marked the connection down
            entry = first
            while entry:
                entry.done = True
                entry = entry.next
        cmsgr_session_put_stale(self.c, first)

    # False if it cannot be encoded: the message is dropped, and somebody was told.
    cdef bint encode_entry(self, cmsgr_entry *entry, uint64_t features) noexcept:
        cdef Message message
        if not entry.unencoded and (entry.features == features or entry.features == CMSGR_FEATURES_ANY):
            return True
        message = <Message>entry.owner[OWNER_MESSAGE]
        try:
            front = message.encode_payload(features)
            release_owners(entry, 1)
            fill_segment(entry, 0, front, False)
        except BaseException as exc:
            self.table.fail(message, exc)
            return False
        entry.header.version = message.header.version
        entry.header.compat_version = message.header.compat_version
        entry.features = features
        entry.unencoded = False
        return True

    def notify_send(self, bint on):
        self.ensure_owner()
        cmsgr_session_notify_send(self.c, on)

    def requeue(self):
        self.ensure_owner()
        cmsgr_session_requeue(self.c)

    def drop_acked(self, uint64_t seq):
        self.ensure_owner()
        cmsgr_session_drop_acked(self.c, seq)

    def reset(self, *, bint drop_queue):
        self.ensure_owner()
        cmsgr_session_reset(self.c, drop_queue)

    def move(self, WorkerCore worker not None):
        self.ensure_owner()
        worker.ensure_open()
        check(cmsgr_session_move(self.c, worker.c), "move")
        self.worker.sessions.discard(<uintptr_t><void *>self)
        self.worker = worker
        worker.sessions.add(<uintptr_t><void *>self)

    # Any thread: from here on nothing is accepted for sending, and nothing that was received is delivered.
    def mute(self):
        self.is_closed = True

    def close(self):
        if not self.c:  # its worker has closed it
            return
        self.ensure_owner()
        self.is_closed = True
        cmsgr_session_close(self.c)
