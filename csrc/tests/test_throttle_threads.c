/* Throttle between threads: loops that wait in line, one that gives back and moves the limit, waiters that give up. */
#include <pthread.h>

#include "check.h"
#include "throttle.h"

enum { LOOPS = 2, WAITERS = 8, GRANTS = 3000, MAX = 20 };

static cmsgr_env *env;
static cmsgr_throttle *throttle;
static atomic_long held; /* what all of us hold: must be what the throttle counts */
static atomic_int loops_left;

/* What was granted, to be given back by another thread. */
static _Atomic(int64_t) give_back;

typedef struct customer {
    cmsgr__waiter waiter;
    struct loop *loop;
    int waiting;
} customer;

typedef struct loop {
    cmsgr_center *center;
    pthread_t thread;
    customer customers[WAITERS];
    int grants, cancels;
    uint64_t chance;
} loop;

static void got(loop *l, int64_t amount)
{
    l->grants++;
    atomic_fetch_add(&held, amount);
    atomic_fetch_add(&give_back, amount);
}

static void on_granted(cmsgr__kick *kick)
{
    customer *c = (customer *)((char *)kick - offsetof(customer, waiter.kick));

    CHECK(c->waiting);
    c->waiting = 0;
    got(c->loop, c->waiter.amount);
}

static void ask(loop *l, customer *c)
{
    int64_t amount = 1 + (int64_t)(check_random(&l->chance) % (MAX + 5)); /* some are larger than the limit */

    c->waiter.amount = amount;
    if (cmsgr__throttle_acquire(throttle, &c->waiter, amount))
        got(l, amount);
    else
        c->waiting = 1;
}

static void give_up(loop *l, customer *c)
{
    c->waiting = 0;
    l->cancels++;
    if (cmsgr__throttle_cancel(throttle, &c->waiter) == 0)
        got(l, c->waiter.amount); /* granted meanwhile: ours to put back */
}

static void *run_loop(void *arg)
{
    loop *l = arg;

    while (l->grants < GRANTS) {
        int idle = 0;

        for (int i = 0; i < WAITERS; i++) {
            customer *c = &l->customers[i];

            if (!c->waiting)
                ask(l, c);
            else if (check_random(&l->chance) % 16 == 0)
                give_up(l, c);
            idle += c->waiting;
        }
        CHECK(cmsgr_center_wait(l->center, idle == WAITERS ? -1 : 0) >= 0); /* all wait: only a grant wakes us */
    }
    for (int i = 0; i < WAITERS; i++)
        if (l->customers[i].waiting)
            give_up(l, &l->customers[i]);
    atomic_fetch_sub(&loops_left, 1);
    return NULL;
}

static void put_back(void)
{
    int64_t amount = atomic_exchange(&give_back, 0);

    if (!amount)
        return;
    atomic_fetch_sub(&held, amount);
    cmsgr_throttle_put(throttle, amount);
}

static void *run_giver(void *arg)
{
    uint64_t chance = *(uint64_t *)arg;

    while (atomic_load(&loops_left)) {
        put_back();
        if (check_random(&chance) % 8 == 0)
            cmsgr_throttle_set_max(throttle, 1 + (int64_t)(check_random(&chance) % MAX));
        if (check_random(&chance) % 8 == 0 && cmsgr_throttle_get_or_fail(throttle, 3)) {
            atomic_fetch_add(&held, 3);
            atomic_fetch_add(&give_back, 3);
        }
    }
    return NULL;
}

/* Nobody is forgotten (a loop whose customers all wait sleeps without limit) and every amount comes back. */
static void test_everybody_is_served(uint64_t seed)
{
    static loop loops[LOOPS];
    pthread_t giver;
    cmsgr_throttle_stats stats;
    uint64_t granted = 0;

    CHECK_EQ(cmsgr_throttle_new(&throttle, env, MAX), 0);
    atomic_store(&loops_left, LOOPS);
    for (int i = 0; i < LOOPS; i++) {
        loops[i].chance = seed + (uint64_t)i;
        CHECK_EQ(cmsgr_center_new(&loops[i].center, env, 0), 0);
        for (int w = 0; w < WAITERS; w++) {
            customer *c = &loops[i].customers[w];

            c->loop = &loops[i];
            c->waiter.center = loops[i].center;
            c->waiter.kick.fn = on_granted;
        }
        CHECK_EQ(pthread_create(&loops[i].thread, NULL, run_loop, &loops[i]), 0);
    }
    CHECK_EQ(pthread_create(&giver, NULL, run_giver, &seed), 0);
    for (int i = 0; i < LOOPS; i++) {
        pthread_join(loops[i].thread, NULL);
        granted += (uint64_t)loops[i].grants;
    }
    pthread_join(giver, NULL);
    put_back();
    CHECK_EQ(atomic_load(&held), 0);
    cmsgr_throttle_get_stats(throttle, &stats);
    CHECK_EQ(stats.current, 0);
    CHECK_EQ(stats.get, granted + stats.get_or_fail_success);
    CHECK_EQ(stats.get_sum, stats.put_sum);
    CHECK(stats.waited > 100); /* else nobody stood in line and this tests nothing */
    for (int i = 0; i < LOOPS; i++)
        cmsgr_center_free(loops[i].center);
    cmsgr_throttle_unref(throttle);
}

/* The last reference may go on any thread. */
static void *drop_reference(void *arg)
{
    cmsgr_throttle_put(arg, 1);
    cmsgr_throttle_unref(arg);
    return NULL;
}

static void test_references(void)
{
    enum { THREADS = 4 };
    pthread_t thread[THREADS];
    cmsgr_throttle *t;

    CHECK_EQ(cmsgr_throttle_new(&t, env, 0), 0);
    cmsgr_throttle_take(t, THREADS);
    for (int i = 0; i < THREADS; i++) {
        cmsgr_throttle_ref(t);
        CHECK_EQ(pthread_create(&thread[i], NULL, drop_reference, t), 0);
    }
    cmsgr_throttle_unref(t);
    for (int i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
}

int main(void)
{
    check_memory memory;
    const cmsgr_allocator allocator = check_allocator(&memory);

    check_deadline(120);
    CHECK_EQ(cmsgr_env_new(&env, &allocator, NULL), 0);
    test_everybody_is_served(check_seed());
    test_references();
    cmsgr_env_free(env);
    CHECK_EQ(atomic_load(&memory.live), 0);
    return 0;
}
