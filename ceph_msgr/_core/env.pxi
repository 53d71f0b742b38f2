# The environment all C objects of this module are made from, what is counted, and what fork and exit do to us.

cdef extern from *:
    """
    #if PY_VERSION_HEX < 0x030D0000
    #define Py_IsFinalizing _Py_IsFinalizing
    #endif
    """
    bint Py_IsFinalizing()


# One per process and never freed: objects may outlive everything that could end it.
cdef cmsgr_env *ENV = NULL
# How many forks lie between this process and the one that imported the module. Objects remember theirs.
cdef int current_generation = 0

# C objects alive, for leak tests. Only touched under the interpreter lock.
cdef struct Live:
    long centers
    long workers
    long sessions
    long streams
    long throttles
    long parsers
    long entries
    long messages

cdef Live live


def live_objects():
    return live


def fork_count():
    return current_generation


def _after_fork_in_child():
    global current_generation
    current_generation += 1


cdef int refuse_after_fork(what) except -1:
    raise RuntimeError(f"this {what} was made before fork(): it belongs to the parent process, make another one")


cdef int start_env() except -1:
    cdef int rc = cmsgr_env_new(&ENV, NULL, NULL)
    if rc < 0:
        raise error_from_code(rc, what="cmsgr_env_new")
    os.register_at_fork(after_in_child=_after_fork_in_child)


start_env()


# ---- the world we are in: its clocks, its chance, and another one for simulations ----

def monotonic_ns():
    return cmsgr_env_now_ns(ENV)


def wall_ns():
    cdef const cmsgr_driver *driver = cmsgr_env_driver(ENV)
    return driver.wall_ns(driver.ctx)


def random_bytes(Py_ssize_t len_bytes):
    cdef const cmsgr_driver *driver = cmsgr_env_driver(ENV)
    data = PyBytes_FromStringAndSize(NULL, len_bytes)
    check(driver.random(driver.ctx, PyBytes_AS_STRING(data), len_bytes), "random_bytes")
    return data


# Kept for ever, as ENV is.
cdef list worlds = []


def enter_world(allocator, driver):
    global ENV
    if any(dict(live).values()):
        raise RuntimeError(f"another world can be entered only before anything is made, alive are {dict(live)}")
    cdef cmsgr_env *env = NULL
    check(
        cmsgr_env_new(
            &env,
            <const cmsgr_allocator *>PyCapsule_GetPointer(allocator, b"cmsgr_allocator"),
            <const cmsgr_driver *>PyCapsule_GetPointer(driver, b"cmsgr_driver"),
        ),
        "cmsgr_env_new",
    )
    worlds.append((allocator, driver))
    ENV = env
