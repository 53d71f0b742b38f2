/*
 * Posted events: a ring under a lock.
 *
 * Why a lock: coalescing compares with the last event still queued, and a lock-free queue cannot look at its last
 * node without the taker freeing it meanwhile. The lock is held for some ten nanoseconds, and taking is one lock per
 * batch. The ring only grows, so posting allocates nothing once a center has settled.
 */
#include <errno.h>

#include "extq.h"

enum { FIRST_CAP = 64 };

int cmsgr__extq_init(cmsgr__extq *q, const cmsgr_env *env)
{
    int rc;

    *q = (cmsgr__extq){.env = env, .cap = FIRST_CAP};
    q->ring = cmsgr__alloc(env, FIRST_CAP * sizeof(*q->ring));
    if (!q->ring)
        return -ENOMEM;
    rc = pthread_mutex_init(&q->lock, NULL);
    if (rc) {
        cmsgr__free(env, q->ring);
        q->ring = NULL;
    }
    return -rc;
}

void cmsgr__extq_destroy(cmsgr__extq *q)
{
    pthread_mutex_destroy(&q->lock);
    cmsgr__free(q->env, q->ring);
}

static cmsgr__posted *place(const cmsgr__extq *q, size_t number)
{
    return &q->ring[number & (q->cap - 1)];
}

static int grow(cmsgr__extq *q, size_t count)
{
    cmsgr__posted *ring = cmsgr__alloc(q->env, 2 * q->cap * sizeof(*ring));

    if (!ring)
        return -ENOMEM;
    for (size_t i = 0; i < count; i++)
        ring[i] = *place(q, q->head + i);
    cmsgr__free(q->env, q->ring);
    q->ring = ring;
    q->cap *= 2;
    q->head = 0;
    return 0;
}

static int post_locked(cmsgr__extq *q, cmsgr_fn fn, void *arg)
{
    size_t count = atomic_load_explicit(&q->count, memory_order_relaxed);

    if (count) {
        const cmsgr__posted *last = place(q, q->head + count - 1);

        if (last->fn == fn && last->arg == arg)
            return 0;
    }
    if (count == q->cap && grow(q, count) < 0)
        return -ENOMEM;
    *place(q, q->head + count) = (cmsgr__posted){fn, arg};
    atomic_store(&q->count, count + 1);
    return 1;
}

int cmsgr__extq_post(cmsgr__extq *q, cmsgr_fn fn, void *arg)
{
    int rc;

    pthread_mutex_lock(&q->lock);
    rc = post_locked(q, fn, arg);
    pthread_mutex_unlock(&q->lock);
    return rc;
}

size_t cmsgr__extq_take(cmsgr__extq *q, cmsgr__posted *out, size_t max)
{
    size_t count, taken;

    if (!cmsgr__extq_len(q)) /* most turns: nothing was posted */
        return 0;
    pthread_mutex_lock(&q->lock);
    count = atomic_load_explicit(&q->count, memory_order_relaxed);
    taken = count < max ? count : max;
    for (size_t i = 0; i < taken; i++)
        out[i] = *place(q, q->head + i);
    q->head += taken;
    atomic_store(&q->count, count - taken);
    pthread_mutex_unlock(&q->lock);
    return taken;
}
