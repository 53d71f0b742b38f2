/* EventCenter between threads: no wakeup is lost, few are sent. Contract C4. */
#include <pthread.h>
#include <semaphore.h>

#include "center.h"
#include "check.h"

enum { ROUNDS = 10000, LOOPS = 2, POSTERS = 3, POSTS = 20000 };
static const int64_t NEVER_NS = -1;

static cmsgr_env *env;

typedef struct loop {
    cmsgr_center *center;
    pthread_t thread;
    int stop;  /* the owner's */
    int count; /* events run; the owner's */
} loop;

static void stop(void *arg) { ((loop *)arg)->stop = 1; }

static void *run_loop(void *arg)
{
    loop *l = arg;

    cmsgr_center_set_owner(l->center, (uint64_t)(uintptr_t)l);
    while (!l->stop) {
        CHECK(cmsgr_center_wait(l->center, NEVER_NS) >= 0);
        cmsgr_center_dispatch(l->center);
    }
    CHECK(cmsgr_center_wait(l->center, 0) >= 0); /* the last kick, and the stop after it, may both have come behind this turn's kicks */
    cmsgr_center_free(l->center); /* at once: the poster of the stop may still be about to leave */
    return NULL;
}

static void start(loop *l)
{
    *l = (loop){0};
    CHECK_EQ(cmsgr_center_new(&l->center, env, 0), 0);
    CHECK_EQ(pthread_create(&l->thread, NULL, run_loop, l), 0);
}

static void join(loop *l)
{
    CHECK_EQ(cmsgr_center_post(l->center, stop, l), 1);
    CHECK_EQ(pthread_join(l->thread, NULL), 0);
}

/* C4: 10000 times one event on each of two loops. The loops wait without limit, so one lost wakeup hangs the test. */
static sem_t arrived;
static void arrive(void *arg)
{
    ((loop *)arg)->count++;
    sem_post(&arrived);
}

static void test_C4_dispatch(void)
{
    loop loops[LOOPS];

    CHECK_EQ(sem_init(&arrived, 0, 0), 0);
    for (int i = 0; i < LOOPS; i++)
        start(&loops[i]);
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < LOOPS; i++)
            CHECK_EQ(cmsgr_center_post(loops[i].center, arrive, &loops[i]), 1);
        for (int i = 0; i < LOOPS; i++)
            while (sem_wait(&arrived) < 0)
                ;
    }
    for (int i = 0; i < LOOPS; i++) {
        join(&loops[i]);
        CHECK_EQ(loops[i].count, ROUNDS);
    }
    sem_destroy(&arrived);
}

/* Many posters, no pauses: every event runs, each poster's in its order, and wakeups are far fewer than posts. */
typedef struct poster {
    loop *l;
    pthread_t thread;
    int next; /* expected by the owner */
    struct numbered {
        struct poster *poster;
        int number;
    } event[POSTS];
} poster;

static void check_order(void *arg)
{
    struct numbered *event = arg;

    CHECK_EQ(event->number, event->poster->next);
    event->poster->next++;
    event->poster->l->count++;
}

static void *post_all(void *arg)
{
    poster *p = arg;

    for (int i = 0; i < POSTS; i++) {
        p->event[i].poster = p;
        p->event[i].number = i;
        CHECK_EQ(cmsgr_center_post(p->l->center, check_order, &p->event[i]), 1);
    }
    return NULL;
}

static cmsgr_center_stats last_stats;
static void keep_stats(void *arg) { cmsgr_center_get_stats(((loop *)arg)->center, &last_stats); }

static void test_posters(void)
{
    static poster posters[POSTERS];
    loop l;

    start(&l);
    for (int i = 0; i < POSTERS; i++) {
        posters[i] = (poster){.l = &l};
        CHECK_EQ(pthread_create(&posters[i].thread, NULL, post_all, &posters[i]), 0);
    }
    for (int i = 0; i < POSTERS; i++)
        pthread_join(posters[i].thread, NULL);
    CHECK_EQ(cmsgr_center_post(l.center, keep_stats, &l), 1);
    join(&l);
    CHECK_EQ(l.count, POSTERS * POSTS);
    CHECK(last_stats.wakeups_sent <= last_stats.waits + 1); /* at most one per sleep */
    fprintf(stderr, "%d posts, %d waits, %d wakeups\n", POSTERS * POSTS, (int)last_stats.waits,
            (int)last_stats.wakeups_sent);
}

/* Kicks: whatever was written before a kick is seen by a run of fn after it, also when the kick was coalesced. */
typedef struct kicked {
    cmsgr__kick kick;
    loop *l;
    pthread_t thread;
    atomic_int written; /* relaxed: only the kick orders it */
    int seen;
} kicked;

static void see(cmsgr__kick *kick)
{
    kicked *k = (kicked *)kick;

    k->seen = atomic_load_explicit(&k->written, memory_order_relaxed);
    k->l->count++;
}

static void *kick_often(void *arg)
{
    kicked *k = arg;

    for (int i = 1; i <= POSTS; i++) {
        atomic_store_explicit(&k->written, i, memory_order_relaxed);
        cmsgr__center_kick(k->l->center, &k->kick);
    }
    return NULL;
}

static void test_kicks(void)
{
    static kicked targets[POSTERS];
    loop l;

    start(&l);
    for (int i = 0; i < POSTERS; i++) {
        memset(&targets[i], 0, sizeof(targets[i]));
        targets[i].l = &l;
        targets[i].kick.fn = see;
        CHECK_EQ(pthread_create(&targets[i].thread, NULL, kick_often, &targets[i]), 0);
    }
    for (int i = 0; i < POSTERS; i++)
        pthread_join(targets[i].thread, NULL);
    join(&l); /* its post comes after the kicks, and they run once more after it */
    for (int i = 0; i < POSTERS; i++)
        CHECK_EQ(targets[i].seen, POSTS);
    CHECK(l.count >= POSTERS && l.count <= POSTERS * POSTS);
}

/* Several threads kick one and the same. */
static void *kick_shared(void *arg)
{
    kicked *k = arg;

    for (int i = 0; i < POSTS; i++) {
        atomic_fetch_add_explicit(&k->written, 1, memory_order_relaxed);
        cmsgr__center_kick(k->l->center, &k->kick);
    }
    return NULL;
}

static void test_shared_kick(void)
{
    static kicked target;
    pthread_t thread[POSTERS];
    loop l;

    start(&l);
    target.l = &l;
    target.kick.fn = see;
    for (int i = 0; i < POSTERS; i++)
        CHECK_EQ(pthread_create(&thread[i], NULL, kick_shared, &target), 0);
    for (int i = 0; i < POSTERS; i++)
        pthread_join(thread[i], NULL);
    join(&l);
    CHECK_EQ(target.seen, POSTERS * POSTS);
}

/* Wakeups: each one sent after the flag was set ends a wait that comes after it. */
static atomic_int flag, acknowledged;
static void *wait_for_flags(void *arg)
{
    loop *l = arg;

    for (int seen = 0; seen < ROUNDS;) {
        CHECK_EQ(cmsgr_center_wait(l->center, NEVER_NS), 0);
        seen = atomic_load_explicit(&flag, memory_order_relaxed);
        atomic_store_explicit(&acknowledged, seen, memory_order_relaxed);
    }
    return NULL;
}

static void test_wakeups(void)
{
    loop l = {0};

    CHECK_EQ(cmsgr_center_new(&l.center, env, 0), 0);
    CHECK_EQ(pthread_create(&l.thread, NULL, wait_for_flags, &l), 0);
    for (int i = 1; i <= ROUNDS; i++) {
        atomic_store_explicit(&flag, i, memory_order_relaxed);
        cmsgr_center_wakeup(l.center);
        if (i % 3 == 0) /* mostly find it asleep, sometimes awake */
            while (atomic_load_explicit(&acknowledged, memory_order_relaxed) != i)
                ;
    }
    pthread_join(l.thread, NULL);
    cmsgr_center_free(l.center);
}

/* The event posted makes the owner free the center at once, while its poster is still inside the call. */
static void test_free_waits_for_posters(void)
{
    for (int i = 0; i < 300; i++) {
        loop l;

        start(&l);
        join(&l);
    }
}

/* The owner posting to itself pays nothing; an awake owner is not woken. */
static void test_own_posts_are_free(void)
{
    cmsgr_center_stats stats;
    loop l = {0};

    CHECK_EQ(cmsgr_center_new(&l.center, env, 0), 0);
    for (int i = 0; i < 100; i++) {
        CHECK_EQ(cmsgr_center_post(l.center, stop, &l), 1);
        CHECK_EQ(cmsgr_center_wait(l.center, NEVER_NS), 1);
        CHECK_EQ(cmsgr_center_dispatch(l.center), 1);
    }
    cmsgr_center_get_stats(l.center, &stats);
    CHECK_EQ(stats.wakeups_sent, 0);
    CHECK_EQ(stats.slept_ns, 0);
    cmsgr_center_free(l.center);
}

/* C6 with the real clock: never early, however the time was waited for. */
static int64_t due_ns;
static int fired;
static void check_not_early(void *arg)
{
    (void)arg;
    CHECK(cmsgr_env_now_ns(env) >= due_ns);
    fired++;
}

static void test_C6_never_early(void)
{
    cmsgr_center *center;

    CHECK_EQ(cmsgr_center_new(&center, env, 0), 0);
    for (int64_t delay_ns = 1; delay_ns < 4000000; delay_ns *= 3) {
        due_ns = cmsgr_env_now_ns(env) + delay_ns;
        CHECK(cmsgr_center_add_timer(center, delay_ns, check_not_early, NULL, NULL) > 0);
        CHECK_EQ(cmsgr_center_wait(center, NEVER_NS), 1); /* one wait is enough: it is not short either */
        CHECK_EQ(cmsgr_center_dispatch(center), 1);
    }
    CHECK(fired > 10);
    cmsgr_center_free(center);
}

int main(void)
{
    check_deadline(120);
    CHECK_EQ(cmsgr_env_new(&env, NULL, NULL), 0);
    test_C4_dispatch();
    test_posters();
    test_kicks();
    test_shared_kick();
    test_wakeups();
    test_free_waits_for_posters();
    test_own_posts_are_free();
    test_C6_never_early();
    cmsgr_env_free(env);
    return 0;
}
