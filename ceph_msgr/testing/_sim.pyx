# cython: language_level=3, boundscheck=False, wraparound=False, binding=True
"""The binding of csrc/sim, the world in memory. Its typed face and its manual are _sim.pyi."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.pycapsule cimport PyCapsule_New
from libc.stdint cimport INT64_MAX, int64_t, uint64_t

cdef extern from "cmsgr/cmsgr.h":
    ctypedef struct cmsgr_allocator:
        pass
    ctypedef struct cmsgr_driver:
        pass

cdef extern from "sim.h":
    ctypedef struct sim_world:
        pass
    ctypedef struct sim_link:
        int64_t latency_ns, jitter_ns, bytes_per_s, chunk_bytes, window_bytes
    ctypedef struct sim_stats:
        uint64_t events, bytes, calls
        int open_sockets, open_pollers
    ctypedef int sim_cut
    ctypedef int sim_death
    ctypedef int sim_alteration
    enum:
        SIM_MAX_HOSTS
        SIM_CUTS
        SIM_DEATHS
        SIM_ALTERATIONS

    int sim_world_new(sim_world **out)
    int sim_world_reset(sim_world *world, uint64_t seed)
    const cmsgr_allocator *sim_allocator(const sim_world *world)
    const cmsgr_driver *sim_driver(const sim_world *world)
    int64_t sim_now_ns(const sim_world *world)
    void sim_advance(sim_world *world, int64_t now_ns)
    void sim_set_wall_ns(sim_world *world, int64_t wall_ns)
    uint64_t sim_random(sim_world *world)
    uint64_t sim_digest(const sim_world *world)
    void sim_note(sim_world *world, const void *data, size_t len)
    void sim_fail_allocations(sim_world *world, int64_t after, int64_t count)
    int64_t sim_failed_allocations(const sim_world *world)
    int64_t sim_live_blocks(const sim_world *world)
    void sim_enter(sim_world *world, int host)
    void sim_set_link(sim_world *world, int a, int b, const sim_link *link)
    void sim_set_down(sim_world *world, int a, int b, int down)
    void sim_stall(sim_world *world, int a, int b, int64_t until_ns)
    int sim_streams(const sim_world *world)
    void sim_cut_stream(sim_world *world, int nth, sim_cut kind, int side)
    void sim_tap(sim_world *world, sim_alteration kind, int side, int64_t at)
    const unsigned char *sim_tapped(const sim_world *world, int side, size_t *len)
    void sim_kill(sim_world *world, int host, sim_death kind)
    int64_t sim_next_ns(const sim_world *world)
    int sim_step(sim_world *world)
    void sim_get_stats(const sim_world *world, sim_stats *stats)
    int sim_pollers(const sim_world *world)
    int sim_awake(const sim_world *world, int nth)
    int64_t sim_idle_until_ns(const sim_world *world)
    void sim_poller_rouse(sim_world *world, int poller)


MAX_HOSTS = SIM_MAX_HOSTS

# The one world of this process, never freed: the core keeps its driver for ever.
cdef sim_world *world = NULL
if sim_world_new(&world) < 0:
    raise MemoryError()


def capsules():
    return (
        PyCapsule_New(<void *>sim_allocator(world), b"cmsgr_allocator", NULL),
        PyCapsule_New(<void *>sim_driver(world), b"cmsgr_driver", NULL),
    )


def reset(uint64_t seed):
    if sim_world_reset(world, seed) < 0:
        raise RuntimeError(f"sockets or pollers are still open: {stats()}")


def now_ns():
    return sim_now_ns(world)


def advance(int64_t now_ns):
    sim_advance(world, now_ns)


def set_wall_ns(int64_t wall_ns):
    sim_set_wall_ns(world, wall_ns)


def random64():
    return sim_random(world)


def digest():
    return sim_digest(world)


def note(bytes data not None):
    sim_note(world, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))


def fail_allocations(int64_t after, int64_t count=1):
    sim_fail_allocations(world, after, count)


def failed_allocations():
    return sim_failed_allocations(world)


def live_blocks():
    return sim_live_blocks(world)


cdef int check_host(int host) except -1:
    if not 0 <= host <= SIM_MAX_HOSTS:
        raise ValueError(f"host {host} is not within 0..{SIM_MAX_HOSTS}")
    return 0


def enter(int host):
    check_host(host)
    sim_enter(world, host)


def set_link(int a, int b, int64_t latency_ns, int64_t jitter_ns, int64_t bytes_per_s, int64_t chunk_bytes,
             int64_t window_bytes):
    cdef sim_link link
    check_host(a)
    check_host(b)
    link.latency_ns = latency_ns
    link.jitter_ns = jitter_ns
    link.bytes_per_s = bytes_per_s
    link.chunk_bytes = chunk_bytes
    link.window_bytes = window_bytes
    sim_set_link(world, a, b, &link)


def set_down(int a, int b, bint down):
    check_host(a)
    check_host(b)
    sim_set_down(world, a, b, down)


def stall(int a, int b, int64_t until_ns):
    check_host(a)
    check_host(b)
    sim_stall(world, a, b, until_ns)


def streams():
    return sim_streams(world)


def cut_stream(int nth, int kind, int side):
    if not 0 <= kind < SIM_CUTS:
        raise ValueError(f"cut {kind} is not within 0..{SIM_CUTS - 1}")
    sim_cut_stream(world, nth, kind, side & 1)


def tap(int kind=0, int side=0, int64_t at=0):
    if not 0 <= kind < SIM_ALTERATIONS:
        raise ValueError(f"alteration {kind} is not within 0..{SIM_ALTERATIONS - 1}")
    sim_tap(world, kind, side & 1, at)


def tapped(int side):
    cdef size_t length
    cdef const unsigned char *data = sim_tapped(world, side & 1, &length)
    return data[:length] if length else b""


def kill(int host, int kind):
    check_host(host)
    if not 0 <= kind < SIM_DEATHS:
        raise ValueError(f"death {kind} is not within 0..{SIM_DEATHS - 1}")
    sim_kill(world, host, kind)


cpdef run_until(int64_t end_ns):
    sim_advance(world, end_ns)
    while sim_next_ns(world) <= end_ns:
        sim_step(world)


def wait(int64_t limit_ns):
    cdef int64_t next_ns
    while sim_awake(world, 0) < 0:
        next_ns = min(sim_next_ns(world), sim_idle_until_ns(world))
        if next_ns > limit_ns or next_ns == INT64_MAX:
            return False
        run_until(next_ns)
    return True


def run_for(int64_t duration_ns):
    run_until(sim_now_ns(world) + duration_ns)
    return sim_now_ns(world)


def stats():
    cdef sim_stats stats
    sim_get_stats(world, &stats)
    return stats


def calls():
    cdef sim_stats stats
    sim_get_stats(world, &stats)
    return stats.calls


def pollers():
    return sim_pollers(world)


def awake():
    cdef int poller = sim_awake(world, 0)
    found = []
    while poller >= 0:
        found.append(poller)
        poller = sim_awake(world, len(found))
    return found


def rouse(int poller):
    if not 0 <= poller < sim_pollers(world):
        raise ValueError(f"there is no poller {poller}")
    sim_poller_rouse(world, poller)
