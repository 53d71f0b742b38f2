/*
 * Throttle: a counter with a limit and a line of waiters.
 *
 * One lock guards everything but the reference count. Invariant, whenever the lock is free: the head of the line
 * does not fit. So whoever makes room (put, set_max, cancel) lets in as many heads as fit, and new requests go to
 * the end of a line that is not empty, however small they are: that is the fairness.
 *
 * A waiter's kick is made under the lock. Its owner leaves the line under the lock too (cancel), so no kick can come
 * after that. Nothing here waits or calls back.
 */
#include "throttle.h"

#include <errno.h>
#include <pthread.h>

#include "internal.h"

struct cmsgr_throttle {
    cmsgr_env *env;
    pthread_mutex_t lock;
    cmsgr__waiter *head, *tail;
    cmsgr_throttle_stats stats; /* with the amounts themselves: current, max */
    atomic_int refs;
};

int cmsgr_throttle_new(cmsgr_throttle **out, cmsgr_env *env, int64_t max)
{
    cmsgr_throttle *t = cmsgr__zalloc(env, sizeof(*t));
    int rc;

    *out = NULL;
    if (!t)
        return -ENOMEM;
    rc = pthread_mutex_init(&t->lock, NULL);
    if (rc) {
        cmsgr__free(env, t);
        return -rc;
    }
    t->env = env;
    t->stats.max = max;
    atomic_init(&t->refs, 1);
    *out = t;
    return 0;
}

void cmsgr_throttle_ref(cmsgr_throttle *t)
{
    atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
}

void cmsgr_throttle_unref(cmsgr_throttle *t)
{
    if (!t || atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) != 1)
        return;
    pthread_mutex_destroy(&t->lock);
    cmsgr__free(t->env, t);
}

/* One that is larger than the limit passes while the limit is kept; else it could never pass. */
static int fits(const cmsgr_throttle *t, int64_t amount)
{
    const int64_t max = t->stats.max, current = t->stats.current;

    if (max <= 0)
        return 1;
    return amount <= max ? current + amount <= max : current <= max;
}

static void count_get(cmsgr_throttle *t, int64_t amount)
{
    t->stats.current += amount;
    t->stats.get++;
    t->stats.get_sum += (uint64_t)amount;
}

static void leave_line(cmsgr_throttle *t, cmsgr__waiter *w)
{
    *(w->prev ? &w->prev->next : &t->head) = w->next;
    *(w->next ? &w->next->prev : &t->tail) = w->prev;
    w->next = w->prev = NULL;
    w->waiting = 0;
}

static void let_in(cmsgr_throttle *t)
{
    while (t->head && fits(t, t->head->amount)) {
        cmsgr__waiter *w = t->head;

        leave_line(t, w);
        count_get(t, w->amount);
        cmsgr__center_kick(w->center, &w->kick); /* last: from here on its owner may end it */
    }
}

int cmsgr_throttle_get_or_fail(cmsgr_throttle *t, int64_t amount)
{
    int taken;

    pthread_mutex_lock(&t->lock);
    taken = !t->head && fits(t, amount);
    if (taken) {
        count_get(t, amount);
        t->stats.get_or_fail_success++;
    } else {
        t->stats.get_or_fail_fail++;
    }
    pthread_mutex_unlock(&t->lock);
    return taken;
}

void cmsgr_throttle_take(cmsgr_throttle *t, int64_t amount)
{
    pthread_mutex_lock(&t->lock);
    t->stats.current += amount;
    t->stats.take++;
    t->stats.take_sum += (uint64_t)amount;
    pthread_mutex_unlock(&t->lock);
}

void cmsgr_throttle_put(cmsgr_throttle *t, int64_t amount)
{
    pthread_mutex_lock(&t->lock);
    t->stats.current -= amount;
    t->stats.put++;
    t->stats.put_sum += (uint64_t)amount;
    let_in(t);
    pthread_mutex_unlock(&t->lock);
}

void cmsgr_throttle_set_max(cmsgr_throttle *t, int64_t max)
{
    pthread_mutex_lock(&t->lock);
    t->stats.max = max;
    let_in(t);
    pthread_mutex_unlock(&t->lock);
}

void cmsgr_throttle_get_stats(cmsgr_throttle *t, cmsgr_throttle_stats *stats)
{
    pthread_mutex_lock(&t->lock);
    *stats = t->stats;
    pthread_mutex_unlock(&t->lock);
}

int cmsgr__throttle_acquire(cmsgr_throttle *t, cmsgr__waiter *w, int64_t amount)
{
    int taken;

    pthread_mutex_lock(&t->lock);
    taken = !t->head && fits(t, amount);
    if (taken) {
        count_get(t, amount);
    } else {
        w->amount = amount;
        w->waiting = 1;
        w->next = NULL;
        w->prev = t->tail;
        *(t->tail ? &t->tail->next : &t->head) = w;
        t->tail = w;
        t->stats.waited++;
    }
    pthread_mutex_unlock(&t->lock);
    return taken;
}

int cmsgr__throttle_cancel(cmsgr_throttle *t, cmsgr__waiter *w)
{
    int waiting;

    pthread_mutex_lock(&t->lock);
    waiting = w->waiting;
    if (waiting) {
        leave_line(t, w);
        let_in(t); /* it may have been the one that kept the others out */
    }
    pthread_mutex_unlock(&t->lock);
    cmsgr__center_unkick(w->center, &w->kick);
    return waiting;
}
