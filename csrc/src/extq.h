/* Posted ("external") events of one center. Posted by any thread, taken by the owner. */
#ifndef CMSGR_EXTQ_H
#define CMSGR_EXTQ_H

#include <pthread.h>
#include <stdatomic.h>

#include "internal.h"

typedef struct cmsgr__posted {
    cmsgr_fn fn;
    void *arg;
} cmsgr__posted;

typedef struct cmsgr__extq {
    const cmsgr_env *env;
    pthread_mutex_t lock;
    cmsgr__posted *ring;   /* `cap` places, a power of two */
    size_t cap, head;      /* head counts up for ever; its place is head % cap */
    atomic_size_t count;   /* written under the lock, sequentially consistent: see center.c */
} cmsgr__extq;

int cmsgr__extq_init(cmsgr__extq *queue, const cmsgr_env *env);
void cmsgr__extq_destroy(cmsgr__extq *queue);

/* Any thread. 1 queued, 0 equal to the last one in the queue, -ENOMEM. */
int cmsgr__extq_post(cmsgr__extq *queue, cmsgr_fn fn, void *arg);

/* Any thread. */
static inline size_t cmsgr__extq_len(const cmsgr__extq *queue) { return atomic_load(&queue->count); }

/* Takes the first `max` at most and returns how many. */
size_t cmsgr__extq_take(cmsgr__extq *queue, cmsgr__posted *out, size_t max);

#endif
