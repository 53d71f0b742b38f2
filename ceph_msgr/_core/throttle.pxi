# Throttle.


@cython.final
cdef class Throttle:
    cdef cmsgr_throttle *c
    cdef int generation
    cdef readonly str name

    def __cinit__(self, str name not None, int64_t max=0):
        if max < 0:
            raise ValueError(f"throttle {name}: max {max} is negative")
        self.name = name
        self.generation = current_generation
        check(cmsgr_throttle_new(&self.c, ENV, max), f"throttle {name}")
        live.throttles += 1

    def __dealloc__(self):
        if self.c and self.generation == current_generation:
            cmsgr_throttle_unref(self.c)
            live.throttles -= 1

    cdef int ensure(self, int64_t amount) except -1:
        if self.generation != current_generation:
            refuse_after_fork("Throttle")
        if amount < 0:
            raise ValueError(f"throttle {self.name}: amount {amount} is negative")
        return 0

    @property
    def max(self):
        return self.stats()["max"]

    @max.setter
    def max(self, int64_t max):
        self.ensure(max)
        cmsgr_throttle_set_max(self.c, max)

    @property
    def current(self):
        return self.stats()["current"]

    def get_or_fail(self, int64_t amount=1):
        self.ensure(amount)
        return cmsgr_throttle_get_or_fail(self.c, amount) == 1

    def take(self, int64_t amount=1):
        self.ensure(amount)
        cmsgr_throttle_take(self.c, amount)

    def put(self, int64_t amount=1):
        self.ensure(amount)
        cmsgr_throttle_put(self.c, amount)

    def stats(self):
        cdef cmsgr_throttle_stats stats
        self.ensure(0)
        cmsgr_throttle_get_stats(self.c, &stats)
        return stats

    def __repr__(self):
        stats = self.stats()
        return f"<Throttle {self.name} {stats['current']}/{stats['max'] or 'unlimited'}>"
