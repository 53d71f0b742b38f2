# EventCenter: Python callbacks on a C loop. Callbacks are of the user phase: they run in cmsgr_center_dispatch.

EVENT_NONE = CMSGR_NONE
EVENT_READABLE = CMSGR_READABLE
EVENT_WRITABLE = CMSGR_WRITABLE

# A signal's Python handler runs only when the main thread is back in Python, and C's wait goes on after a signal.
# So the main thread looks up this often; other threads, and shorter waits, are not affected.
cdef enum:
    SIGNAL_SLICE_NS = 250000000

cdef unsigned long main_thread = threading.main_thread().ident

ctypedef int (*wait_fn)(void *obj, int64_t max_wait_ns) noexcept nogil


cdef int wait_center(void *center, int64_t max_wait_ns) noexcept nogil:
    return cmsgr_center_wait(<cmsgr_center *>center, max_wait_ns)


cdef int wait_sliced(wait_fn wait, void *obj, int64_t max_wait_ns) except? -1:
    # Waits without the interpreter lock. 1 something to do, 0 the time passed or a wakeup, < 0 an error of C.
    cdef bint in_main = PyThread_get_thread_ident() == main_thread
    cdef int64_t end_ns
    cdef int rc
    while in_main and (max_wait_ns < 0 or max_wait_ns > SIGNAL_SLICE_NS):
        end_ns = cmsgr_env_now_ns(ENV) + SIGNAL_SLICE_NS
        with nogil:
            rc = wait(obj, SIGNAL_SLICE_NS)
        PyErr_CheckSignals()
        if rc or cmsgr_env_now_ns(ENV) < end_ns:  # early without anything to do: somebody called wakeup()
            return rc
        if max_wait_ns > 0:
            max_wait_ns -= SIGNAL_SLICE_NS
    with nogil:
        rc = wait(obj, max_wait_ns)
    return rc


# ---- trampolines: each is called while we hold the interpreter lock ----

cdef void on_file(void *arg, int fd, int mask) noexcept:
    callback = <object>arg  # a reference of our own: the callback may remove itself
    try:
        callback(fd, mask & (CMSGR_READABLE | CMSGR_WRITABLE))
    except BaseException as exc:
        report(exc, "a file callback")


cdef void on_timer(void *arg) noexcept:
    callback = <object>arg
    Py_DECREF(callback)
    try:
        callback()
    except BaseException as exc:
        report(exc, "a time event")


cdef void on_posted(void *arg) noexcept:
    callback = <object>arg
    Py_DECREF(callback)
    try:
        callback()
    except BaseException as exc:
        report(exc, "an external event")


# What a dropped timer held. Freed only when the C function that dropped it is over: an object's end may run anything.
cdef list dropped = []


cdef void on_timer_dropped(void *arg) noexcept:
    try:
        dropped.append(<object>arg)
    except BaseException as exc:  # no memory for the list: better to leak the callback than to run its end here
        report(exc, "dropping a time event")
    else:
        Py_DECREF(<object>arg)


cdef int free_dropped() except -1:
    global dropped
    if dropped:
        held, dropped = dropped, []
        del held
    return 0


@cython.final
cdef class Submission:
    # A callback that another thread waits for.
    cdef object callback, done, error

    def __call__(self):
        try:
            self.callback()
        except BaseException as exc:
            self.error = exc
        finally:
            self.callback = None
            self.done.release()


@cython.no_gc_clear
cdef class EventCenter:
    cdef cmsgr_center *c
    # The worker frees its own center.
    cdef bint is_workers
    cdef bint is_stepping
    cdef int generation
    # The Python callbacks' bits by fd: only these arguments in C are ours to release.
    cdef dict masks

    def __cinit__(self, int num_files=5000):
        self.masks = {}
        self.generation = current_generation
        if num_files >= 0:
            check(cmsgr_center_new(&self.c, ENV, num_files), "EventCenter")
            live.centers += 1

    @staticmethod
    cdef EventCenter of_worker(cmsgr_center *c):
        cdef EventCenter self = EventCenter.__new__(EventCenter, -1)
        self.c = c
        self.is_workers = True
        return self

    def __dealloc__(self):
        # In a forked child the poller's memory is left alone: only an exec or an exit closes its fds.
        if self.c and not self.is_workers and self.generation == current_generation:
            self.end()

    cdef int end(self) except -1:
        cdef cmsgr_center *c = self.c
        self.release_files()
        # From here on callbacks find the center closed; those posted before still run once, in cmsgr_center_free.
        self.c = NULL
        if not self.is_workers:
            cmsgr_center_free(c)
            live.centers -= 1
            free_dropped()
        return 0

    cdef int release_files(self) except -1:
        for fd in list(self.masks):
            self.delete_bits(fd, CMSGR_READABLE | CMSGR_WRITABLE)
        return 0

    cdef int ensure_open(self) except -1:
        if not self.c:
            raise RuntimeError("this EventCenter is closed")
        if self.generation != current_generation:
            refuse_after_fork("EventCenter")
        return 0

    cdef int ensure_owner(self) except -1:
        cdef uint64_t owner
        self.ensure_open()
        owner = cmsgr_center_owner(self.c)
        if owner != PyThread_get_thread_ident() and owner != 0:
            raise RuntimeError(f"called by thread {PyThread_get_thread_ident()}, but thread {owner} owns this EventCenter; "
                               "use dispatch_event_external() or submit_to()")
        return 0

    # ---- who steps it ----

    @property
    def owner(self):
        self.ensure_open()
        return cmsgr_center_owner(self.c)

    @owner.setter
    def owner(self, uint64_t owner):
        self.ensure_open()
        cmsgr_center_set_owner(self.c, owner)

    def in_thread(self):
        self.ensure_open()
        return cmsgr_center_owner(self.c) == PyThread_get_thread_ident()

    # ---- files ----

    def create_file_event(self, int fd, int mask, callback):
        cdef int kept, ours, added, bit
        cdef void *arg
        self.ensure_owner()
        if fd < 0 or mask & ~(CMSGR_READABLE | CMSGR_WRITABLE) or not mask:
            raise ValueError(f"cannot watch fd {fd} for mask {mask}")
        if not callable(callback):
            raise TypeError(f"a file callback must be callable, not {type(callback).__name__}")
        ours = self.masks.get(fd, 0)
        if cmsgr_center_file_mask(self.c, fd) & ~ours:
            raise ValueError(f"fd {fd} belongs to a stream")
        if ours | mask == ours:
            return
        kept = ours & ~mask
        if kept:
            # C calls once for both bits if their arguments are the same; a bound method is a new object each time.
            arg = cmsgr_center_file_arg(self.c, fd, kept)
            if <object>arg == callback:
                callback = <object>arg
        released = []
        for bit in (CMSGR_READABLE, CMSGR_WRITABLE):
            if ours & mask & bit:
                released.append(<object>cmsgr_center_file_arg(self.c, fd, bit))
        check(cmsgr_center_add_file(self.c, fd, mask, CMSGR_PHASE_USER, on_file, <void *>callback), f"watch fd {fd}")
        for bit in (CMSGR_READABLE, CMSGR_WRITABLE):
            if mask & bit:
                Py_INCREF(callback)
        for old in released:
            Py_DECREF(old)
        self.masks[fd] = ours | mask

    def delete_file_event(self, int fd, int mask):
        self.ensure_owner()
        self.delete_bits(fd, mask)

    cdef int delete_bits(self, int fd, int mask) except -1:
        cdef int bit, ours = self.masks.get(fd, 0)
        mask &= ours
        if not mask:
            return 0
        released = []
        for bit in (CMSGR_READABLE, CMSGR_WRITABLE):
            if mask & bit:
                released.append(<object>cmsgr_center_file_arg(self.c, fd, bit))
        # An fd closed by its user before has left epoll already: what remains is to forget it.
        cmsgr_center_del_file(self.c, fd, mask)
        if ours == mask:
            del self.masks[fd]
        else:
            self.masks[fd] = ours & ~mask
        for old in released:
            Py_DECREF(old)
        return 0

    def file_event_mask(self, int fd):
        self.ensure_open()
        return cmsgr_center_file_mask(self.c, fd)

    # ---- timers and posts ----

    def create_time_event(self, int64_t delay_ns, callback):
        cdef int64_t event_id
        self.ensure_owner()
        if delay_ns < 0:
            raise ValueError(f"a delay of {delay_ns} ns is negative")
        if not callable(callback):
            raise TypeError(f"a time event must be callable, not {type(callback).__name__}")
        Py_INCREF(callback)
        event_id = cmsgr_center_add_timer(self.c, delay_ns, on_timer, on_timer_dropped, <void *>callback)
        if event_id < 0:
            Py_DECREF(callback)
            check(event_id, "create_time_event")
        return event_id

    def delete_time_event(self, int64_t event_id):
        cdef int was_pending
        self.ensure_owner()
        was_pending = cmsgr_center_del_timer(self.c, event_id)
        free_dropped()
        return was_pending == 1

    def dispatch_event_external(self, callback):
        cdef int rc
        self.ensure_open()
        if not callable(callback):
            raise TypeError(f"an external event must be callable, not {type(callback).__name__}")
        Py_INCREF(callback)
        rc = cmsgr_center_post(self.c, on_posted, <void *>callback)
        if rc != 1:
            Py_DECREF(callback)
            check(rc, "dispatch_event_external")

    def submit_to(self, callback, *, bint nowait=False):
        cdef Submission submission
        if nowait:
            self.dispatch_event_external(callback)
            return
        if self.in_thread():
            callback()
            return
        submission = Submission.__new__(Submission)
        submission.callback = callback
        submission.done = threading.Lock()
        submission.done.acquire()
        self.dispatch_event_external(submission)
        submission.done.acquire()
        if submission.error is not None:
            raise submission.error

    def wakeup(self):
        self.ensure_open()
        cmsgr_center_wakeup(self.c)

    # ---- the loop ----

    def process_events(self, int64_t timeout_ns):
        cdef int rc
        cdef int ran = 0
        if self.is_workers:
            raise RuntimeError("a worker's EventCenter is stepped by WorkerCore.turn()")
        cdef bint claimed = self.begin_step()
        try:
            rc = wait_sliced(wait_center, self.c, timeout_ns)
            check(rc, "waiting for events")
            if rc and not Py_IsFinalizing():
                ran = cmsgr_center_dispatch(self.c)
        finally:
            self.end_step(claimed)
        raise_interrupt()
        return ran

    # Whoever steps owns: set the owner for the time of the step if nobody is.
    cdef bint begin_step(self) except -1:
        self.ensure_owner()
        if self.is_stepping:
            raise RuntimeError("this EventCenter is being stepped already")
        self.is_stepping = True
        if cmsgr_center_owner(self.c):
            return False
        cmsgr_center_set_owner(self.c, PyThread_get_thread_ident())
        return True

    cdef int end_step(self, bint claimed) except -1:
        self.is_stepping = False
        if claimed:
            cmsgr_center_set_owner(self.c, 0)
        return 0

    def now_ns(self):
        return cmsgr_env_now_ns(ENV)

    def set_polling(self, int64_t poll_ns):
        self.ensure_open()
        cmsgr_center_set_polling(self.c, poll_ns)

    def stats(self):
        cdef cmsgr_center_stats stats
        self.ensure_open()
        cmsgr_center_get_stats(self.c, &stats)
        return stats

    def close(self):
        if not self.c:
            return
        if self.is_workers:
            raise RuntimeError("a worker's EventCenter is closed with its WorkerCore")
        self.ensure_owner()
        if self.is_stepping:
            raise RuntimeError("an EventCenter cannot be closed from inside its own callbacks")
        self.end()
