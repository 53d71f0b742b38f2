/* Throttle: the arithmetic, the line, cancelling, failing allocations. One thread; the fake driver counts wakeups. */
#include "fake_driver.h"
#include "throttle.h"

static fake_driver *fake;
static cmsgr_env *env;
static cmsgr_center *center;
static cmsgr_throttle *throttle;

enum { WAITERS = 5 };
static cmsgr__waiter waiters[WAITERS];
static char granted[32];

static void on_granted(cmsgr__kick *kick)
{
    for (int i = 0; i < WAITERS; i++)
        if (kick == &waiters[i].kick)
            granted[strlen(granted)] = (char)('0' + i);
}

static void begin(int64_t max)
{
    fake = fake_new();
    CHECK_EQ(cmsgr_env_new(&env, NULL, &fake->driver), 0);
    CHECK_EQ(cmsgr_center_new(&center, env, 0), 0);
    CHECK_EQ(cmsgr_throttle_new(&throttle, env, max), 0);
    memset(waiters, 0, sizeof(waiters));
    for (int i = 0; i < WAITERS; i++) {
        waiters[i].center = center;
        waiters[i].kick.fn = on_granted;
    }
}

static void end(void)
{
    cmsgr_throttle_unref(throttle);
    cmsgr_center_free(center);
    cmsgr_env_free(env);
    free(fake);
}

static cmsgr_throttle_stats stats(void)
{
    cmsgr_throttle_stats got;

    cmsgr_throttle_get_stats(throttle, &got);
    return got;
}

/* Who was told, in order; looking also shows that nobody polled: only what was kicked runs. */
static void expect_granted(const char *who)
{
    memset(granted, 0, sizeof(granted));
    cmsgr_center_wait(center, 0);
    CHECK_STR(granted, who);
}

static void test_arithmetic(void)
{
    begin(10);
    CHECK_EQ(cmsgr_throttle_get_or_fail(throttle, 10), 1); /* exactly full */
    CHECK_EQ(cmsgr_throttle_get_or_fail(throttle, 1), 0);
    CHECK_EQ(cmsgr_throttle_get_or_fail(throttle, 11), 1); /* larger than the limit, and the limit is kept */
    CHECK_EQ(cmsgr_throttle_get_or_fail(throttle, 11), 0); /* it no longer is */
    cmsgr_throttle_put(throttle, 11);
    cmsgr_throttle_put(throttle, 1);
    CHECK_EQ(cmsgr_throttle_get_or_fail(throttle, 2), 0);
    CHECK_EQ(cmsgr_throttle_get_or_fail(throttle, 1), 1);
    cmsgr_throttle_take(throttle, 100); /* asks nobody */
    CHECK_EQ(stats().current, 110);
    cmsgr_throttle_put(throttle, 110);
    CHECK_EQ(stats().current, 0);
    end();
}

static void test_unlimited_is_counted(void)
{
    begin(0);
    CHECK_EQ(cmsgr_throttle_get_or_fail(throttle, INT64_C(1) << 40), 1);
    CHECK_EQ(cmsgr__throttle_acquire(throttle, &waiters[0], 7), 1);
    CHECK_EQ(stats().current, (INT64_C(1) << 40) + 7);
    CHECK_EQ(stats().max, 0);
    end();
}

/* Served in order, as many as fit; who comes later waits behind, even if there would be room for it. */
static void test_line(void)
{
    begin(10);
    CHECK_EQ(cmsgr__throttle_acquire(throttle, &waiters[0], 8), 1);
    CHECK_EQ(cmsgr__throttle_acquire(throttle, &waiters[1], 5), 0);
    CHECK_EQ(cmsgr__throttle_acquire(throttle, &waiters[2], 2), 0); /* fits, but is not first */
    CHECK_EQ(cmsgr__throttle_acquire(throttle, &waiters[3], 4), 0);
    CHECK_EQ(cmsgr_throttle_get_or_fail(throttle, 1), 0); /* somebody waits */
    cmsgr_throttle_put(throttle, 1);
    expect_granted("");
    cmsgr_throttle_put(throttle, 3); /* 4 left + 5 + 2 would exceed */
    expect_granted("1");
    CHECK_EQ(stats().current, 9);
    cmsgr_throttle_put(throttle, 9);
    expect_granted("23");
    CHECK_EQ(stats().current, 6);
    CHECK_EQ(cmsgr_throttle_get_or_fail(throttle, 1), 1);
    end();
}

/* 11.3: a request larger than the limit gets through as soon as the limit is kept, and holds up the line until then. */
static void test_oversized_waits_its_turn(void)
{
    begin(10);
    cmsgr_throttle_take(throttle, 11);
    CHECK_EQ(cmsgr__throttle_acquire(throttle, &waiters[0], 50), 0);
    CHECK_EQ(cmsgr__throttle_acquire(throttle, &waiters[1], 1), 0);
    cmsgr_throttle_put(throttle, 1);
    expect_granted("0");
    CHECK_EQ(stats().current, 60);
    cmsgr_throttle_put(throttle, 50);
    expect_granted("");
    cmsgr_throttle_put(throttle, 1);
    expect_granted("1");
    CHECK_EQ(stats().current, 10);
    end();
}

static void test_set_max(void)
{
    begin(10);
    cmsgr_throttle_take(throttle, 10);
    CHECK_EQ(cmsgr__throttle_acquire(throttle, &waiters[0], 5), 0);
    CHECK_EQ(cmsgr__throttle_acquire(throttle, &waiters[1], 5), 0);
    CHECK_EQ(cmsgr__throttle_acquire(throttle, &waiters[2], 900), 0);
    cmsgr_throttle_set_max(throttle, 15);
    expect_granted("0");
    cmsgr_throttle_set_max(throttle, 12);
    expect_granted("");
    cmsgr_throttle_set_max(throttle, 0); /* unlimited: everybody */
    expect_granted("12");
    CHECK_EQ(stats().current, 920);
    CHECK_EQ(stats().max, 0);
    end();
}

/* Leaving the line lets in those it kept out; what was granted stays granted, but nobody is told any more. */
static void test_cancel(void)
{
    begin(10);
    cmsgr_throttle_take(throttle, 6);
    CHECK_EQ(cmsgr__throttle_acquire(throttle, &waiters[0], 9), 0);
    CHECK_EQ(cmsgr__throttle_acquire(throttle, &waiters[1], 2), 0);
    CHECK_EQ(cmsgr__throttle_acquire(throttle, &waiters[2], 9), 0);
    CHECK_EQ(cmsgr__throttle_acquire(throttle, &waiters[3], 2), 0);
    CHECK_EQ(cmsgr__throttle_acquire(throttle, &waiters[4], 9), 0);
    CHECK_EQ(cmsgr__throttle_cancel(throttle, &waiters[2]), 1); /* from the middle */
    CHECK_EQ(cmsgr__throttle_cancel(throttle, &waiters[4]), 1); /* the last */
    expect_granted("");
    CHECK_EQ(cmsgr__throttle_cancel(throttle, &waiters[0]), 1); /* the first: 1 and 3 fit now */
    CHECK_EQ(stats().current, 10);
    CHECK_EQ(cmsgr__throttle_cancel(throttle, &waiters[1]), 0);
    expect_granted("3");
    cmsgr_throttle_put(throttle, 10);
    CHECK_EQ(cmsgr__throttle_acquire(throttle, &waiters[2], 10), 1); /* a waiter can be used again */
    CHECK_EQ(cmsgr__throttle_acquire(throttle, &waiters[2], 1), 0);
    cmsgr_throttle_put(throttle, 10);
    expect_granted("2");
    end();
}

static void test_stats(void)
{
    cmsgr_throttle_stats s;

    begin(10);
    CHECK_EQ(cmsgr_throttle_get_or_fail(throttle, 4), 1);
    CHECK_EQ(cmsgr_throttle_get_or_fail(throttle, 7), 0);
    cmsgr_throttle_take(throttle, 3);
    CHECK_EQ(cmsgr__throttle_acquire(throttle, &waiters[0], 2), 1);
    CHECK_EQ(cmsgr__throttle_acquire(throttle, &waiters[1], 5), 0);
    cmsgr_throttle_put(throttle, 4);
    s = stats();
    CHECK_EQ(s.current, 10);
    CHECK_EQ(s.max, 10);
    CHECK_EQ(s.get, 3);
    CHECK_EQ(s.get_sum, 11);
    CHECK_EQ(s.get_or_fail_success, 1);
    CHECK_EQ(s.get_or_fail_fail, 1);
    CHECK_EQ(s.take, 1);
    CHECK_EQ(s.take_sum, 3);
    CHECK_EQ(s.put, 1);
    CHECK_EQ(s.put_sum, 4);
    CHECK_EQ(s.waited, 1);
    end();
}

/* Only making one allocates: none of the other calls may fail. */
static void failing_allocations(void *ctx, cmsgr_env *failing_env)
{
    cmsgr_throttle *t;
    int rc = cmsgr_throttle_new(&t, failing_env, 5);

    (void)ctx;
    if (rc) {
        CHECK_EQ(rc, -ENOMEM);
        CHECK(t == NULL);
        return;
    }
    cmsgr_throttle_ref(t);
    cmsgr_throttle_unref(t);
    CHECK_EQ(cmsgr_throttle_get_or_fail(t, 5), 1);
    cmsgr_throttle_unref(t);
    cmsgr_throttle_unref(NULL);
}

int main(void)
{
    check_deadline(60);
    test_arithmetic();
    test_unlimited_is_counted();
    test_line();
    test_oversized_waits_its_turn();
    test_set_max();
    test_cancel();
    test_stats();
    check_each_failing_allocation(failing_allocations, NULL, NULL);
    return 0;
}
