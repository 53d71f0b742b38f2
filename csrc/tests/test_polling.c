/* Adaptive polling: looking before sleeping, learned from what the waits before have shown. And what else a wait's length tells. */
#include "center.h"
#include "fake_driver.h"
#include "worker.h"

static fake_driver *fake;
static cmsgr_env *env;
static cmsgr_center *center;
static int calls;

static void on_file(void *arg, int fd, int mask)
{
    (void)arg, (void)fd, (void)mask;
    calls++;
}
static void on_event(void *arg) { (void)arg; }

static void begin(int64_t poll_ns)
{
    fake = fake_new();
    CHECK_EQ(cmsgr_env_new(&env, NULL, &fake->driver), 0);
    CHECK_EQ(cmsgr_center_new(&center, env, 0), 0);
    cmsgr_center_set_polling(center, poll_ns);
    CHECK_EQ(cmsgr_center_add_file(center, 5, CMSGR_READABLE, CMSGR_PHASE_IO, on_file, NULL), 0);
}

static void end(void)
{
    cmsgr_center_free(center);
    cmsgr_env_free(env);
    free(fake);
}

static cmsgr_center_stats stats(void)
{
    cmsgr_center_stats got;

    cmsgr_center_get_stats(center, &got);
    return got;
}

/* A wait that finds nothing: how many calls of the poller it took. */
static int idle_wait(int64_t max_wait_ns)
{
    int before = fake->wait_calls;

    CHECK_EQ(cmsgr_center_wait(center, max_wait_ns), 0);
    return fake->wait_calls - before;
}

static void busy_wait(void)
{
    calls = 0;
    fake_make_ready(fake, 5, CMSGR_READABLE);
    CHECK_EQ(cmsgr_center_wait(center, 1000000000), 0);
    CHECK_EQ(calls, 1);
}

static void test_off(void)
{
    begin(0);
    for (int i = 0; i < 20; i++)
        busy_wait();
    CHECK_EQ(idle_wait(1000000), 1);
    CHECK_EQ(stats().polls_won + stats().polls_lost, 0);
    end();
}

/* An idle center never looks; one that is busy does; one that falls idle stops within a few waits. */
static void test_adaptive(void)
{
    begin(-1);
    CHECK_EQ(idle_wait(1000000000), 1);
    for (int i = 0; i < 20; i++)
        busy_wait();
    CHECK(stats().polls_won > 0);
    CHECK_EQ(stats().polls_lost, 0);
    CHECK(idle_wait(1000000000) > 10);
    CHECK_EQ(stats().polls_lost, 1);
    for (int i = 0; i < 10; i++)
        idle_wait(1000000000);
    CHECK(stats().polls_lost < 10);
    CHECK_EQ(idle_wait(1000000000), 1);
    end();
}

/* Looking ends with the time asked for and with the first timer, and counts as waiting. */
static void test_bounds(void)
{
    int64_t before_ns;

    begin(40000);
    before_ns = fake->now_ns;
    CHECK(idle_wait(10000) > 1);
    CHECK(fake->now_ns - before_ns <= 11000);
    CHECK(stats().polled_ns >= 10000 && stats().polled_ns <= 11000);
    CHECK(cmsgr_center_add_timer(center, 5000, on_event, NULL, NULL) > 0);
    before_ns = fake->now_ns;
    CHECK_EQ(cmsgr_center_wait(center, -1), 1);
    CHECK(fake->now_ns - before_ns >= 5000 && fake->now_ns - before_ns <= 7000);
    CHECK_EQ(cmsgr_center_dispatch(center), 1);
    end();
}

/* The longer of the last wait and of the work before it, whichever way one waits, tells whether we and a peer take turns. */
static void test_who_takes_turns(int64_t poll_ns)
{
    begin(poll_ns);
    idle_wait(1000); /* what the work before the first wait was is not known */
    fake->now_ns += 5000;
    idle_wait(20000);
    CHECK(cmsgr__center_takes_turns(center));
    fake->now_ns += 50000;
    idle_wait(20000);
    CHECK(!cmsgr__center_takes_turns(center));
    fake->now_ns += 50000;
    busy_wait(); /* there at once */
    CHECK(!cmsgr__center_takes_turns(center));
    busy_wait();
    CHECK(!cmsgr__center_takes_turns(center)); /* nothing took any time */
    end();
}

/* When the answers to a batch leave ahead of its end. */
static void test_flush_every(void)
{
    static const size_t whole[] = {0, 1, 7, 8, 31, 127, 128, 129, 1000}, parted[] = {0, 1, 7, 4, 16, 64, 64, 65, 128};
    static cmsgr_item items[1000];
    cmsgr_worker *worker;

    fake = fake_new();
    CHECK_EQ(cmsgr_env_new(&env, NULL, &fake->driver), 0);
    CHECK_EQ(cmsgr_worker_new(&worker, env), 0);
    for (int takes_turns = 0; takes_turns <= 1; takes_turns++) {
        CHECK_EQ(cmsgr_worker_turn(worker, 0), 0);
        fake->now_ns += 10000;
        CHECK_EQ(cmsgr_worker_turn(worker, takes_turns ? 20000 : 1000), 0);
        for (size_t i = 0, count = 0; i < sizeof whole / sizeof whole[0]; i++) {
            for (; count < whole[i]; count++)
                cmsgr__worker_add_item(worker, &items[count]);
            CHECK_EQ(cmsgr_worker_flush_every(worker), takes_turns ? parted[i] : count < 128 ? count : 128);
        }
        for (size_t i = 0; i < 1000; i++)
            cmsgr__worker_remove_item(worker, &items[i]);
        CHECK_EQ(cmsgr_worker_flush_every(worker), 0);
    }
    cmsgr_worker_free(worker);
    cmsgr_env_free(env);
    free(fake);
}

/* A post made while the owner looks needs no wakeup. */
static void post_instead_of_yielding(void *ctx)
{
    (void)ctx;
    CHECK_EQ(cmsgr_center_post(center, on_event, NULL), 1);
}

static void test_post_while_looking(void)
{
    begin(40000);
    fake->driver.yield = post_instead_of_yielding;
    cmsgr_center_free(center);
    cmsgr_env_free(env);
    CHECK_EQ(cmsgr_env_new(&env, NULL, &fake->driver), 0);
    CHECK_EQ(cmsgr_center_new(&center, env, 0), 0);
    cmsgr_center_set_polling(center, 40000);
    CHECK_EQ(cmsgr_center_wait(center, 1000000000), 1);
    CHECK_EQ(stats().polls_won, 1);
    CHECK_EQ(stats().wakeups_sent, 0);
    CHECK_EQ(fake->wakeups, 0);
    CHECK_EQ(cmsgr_center_dispatch(center), 1);
    end();
}

int main(void)
{
    check_deadline(30);
    test_off();
    test_adaptive();
    test_bounds();
    test_post_while_looking();
    test_who_takes_turns(0);
    test_who_takes_turns(15000);
    test_who_takes_turns(-1);
    test_flush_every();
    return 0;
}
