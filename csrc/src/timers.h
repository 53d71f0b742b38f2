/* Timers of one center: a binary heap. One thread. */
#ifndef CMSGR_TIMERS_H
#define CMSGR_TIMERS_H

#include "internal.h"

typedef struct cmsgr__timer {
    int64_t due_ns;
    uint64_t seq; /* order of adding: decides between equal times */
    cmsgr_fn fn, drop;
    void *arg;
    uint32_t generation; /* of this place in the table */
    uint32_t position;   /* in the heap; next free place while unused */
} cmsgr__timer;

typedef struct cmsgr__timers {
    cmsgr__timer *table; /* never moves an entry: ids name places */
    uint32_t *heap;      /* places, earliest first */
    uint32_t count, cap, used, free_head;
    uint64_t next_seq;
} cmsgr__timers;

/* A zeroed struct is an empty one. Clearing drops what is left, also what the drop functions add meanwhile. */
void cmsgr__timers_clear(cmsgr__timers *timers, const cmsgr_env *env);

/* An id > 0, or -ENOMEM. */
int64_t cmsgr__timers_add(cmsgr__timers *timers, const cmsgr_env *env, int64_t due_ns, cmsgr_fn fn, cmsgr_fn drop,
                          void *arg);

/* 1 if it was pending; its drop function has run then. */
int cmsgr__timers_del(cmsgr__timers *timers, int64_t id);

/* INT64_MAX when there is none. */
int64_t cmsgr__timers_next_ns(const cmsgr__timers *timers);

/* Takes out the earliest timer that is due and was added before number `seq_limit`. Returns 0 if there is none. */
int cmsgr__timers_take_due(cmsgr__timers *timers, int64_t now_ns, uint64_t seq_limit, cmsgr__timer *out);

#endif
