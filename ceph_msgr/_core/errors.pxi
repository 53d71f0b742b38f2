# C's results as exceptions, and the one hook for exceptions that nobody called for.


def error_name(int code):
    return cmsgr_error_name(code).decode()


def error_text(int code):
    return cmsgr_error_text(code).decode()


def error_from_code(int code, *, int tag=0, uint64_t got=0, uint64_t expected=0, str what=""):
    if code >= 0:
        raise ValueError(f"{code} is not an error")
    prefix = f"{what}: " if what else ""
    if code > -10000:
        return OSError(-code, prefix + os.strerror(-code))
    text = prefix + error_text(code)
    if code == CMSGR_E_QUEUE_FULL:
        return SendQueueFull(text)
    if code == CMSGR_E_NOT_READY:
        return LocalProtocolError(text)
    if code in (CMSGR_E_END_OF_STREAM, CMSGR_E_CLOSED, CMSGR_E_INJECTED, CMSGR_E_NONCE_USED_UP, CMSGR_E_CIPHER):
        return ConnectionFault(text, cause=error_name(code).lower())
    if got != expected:
        if code in (CMSGR_E_PREAMBLE_CRC, CMSGR_E_SEGMENT_CRC):
            text += f": got 0x{got:08x}, expected 0x{expected:08x}"
        else:
            text += f": got {got}, expected {expected}"
    if tag:
        text += f" (frame tag {tag})"
    return RemoteProtocolError(text)


cdef int check(ssize_t rc, str what) except -1:
    if rc == -ENOMEM:
        raise MemoryError(what)
    if rc < 0:
        raise error_from_code(<int>rc, what=what)
    return 0


# ---- exceptions out of callbacks ----

cdef object logger = logging.getLogger("ceph_msgr")
cdef object exception_hook = None
cdef unsigned long long reported = 0
# A KeyboardInterrupt that came out of a callback, and the thread whose loop shall raise it.
cdef object interrupt = None
cdef unsigned long interrupt_thread = 0


def set_exception_hook(hook):
    global exception_hook
    previous, exception_hook = exception_hook, hook
    return previous


def callback_errors():
    return reported


cdef void report(object exc, str where) noexcept:
    # The loop goes on whatever a callback raised. Only Ctrl-C ends it, once this turn's other callbacks have run. What the
    # hook raises goes, as noexcept has it, to sys.unraisablehook, with what it was told as its context.
    global reported, interrupt, interrupt_thread
    if isinstance(exc, KeyboardInterrupt):
        interrupt = exc
        interrupt_thread = PyThread_get_thread_ident()
        return
    reported += 1
    if exception_hook is not None:
        exception_hook(exc, where)
    else:
        logger.error("exception in %s", where, exc_info=exc)


cdef int raise_interrupt() except -1:
    global interrupt
    if interrupt is not None and interrupt_thread == PyThread_get_thread_ident():
        exc, interrupt = interrupt, None
        raise exc
    return 0
