/*
 * C4 step by step: another thread's post, kick or wakeup comes at each moment of a wait in turn. The moments are the calls of
 * the driver; the owner must either find the work, or be woken.
 */
#include "center.h"
#include "fake_driver.h"

enum { POST, KICK, WAKEUP, KINDS };

static fake_driver *fake;
static cmsgr_center *center;
static cmsgr__kick kick;
static int kind, calls, strike_at, struck, slept, ran;

static void on_post(void *arg) { ++*(int *)arg; }
static void on_kick(cmsgr__kick *unused)
{
    (void)unused;
    ran++;
}

/* The other thread is as fast as can be: all it does lies within this call. */
static void other_thread(void)
{
    if (calls++ != strike_at)
        return;
    struck = 1;
    if (kind == POST)
        cmsgr_center_post(center, on_post, &ran);
    else if (kind == KICK)
        cmsgr__center_kick(center, &kick);
    else
        cmsgr_center_wakeup(center);
}

static int64_t now_ns(void *ctx)
{
    other_thread();
    return fake_now(ctx);
}

static void yield(void *ctx)
{
    other_thread();
    fake_yield(ctx);
}

static int poller_wait(void *ctx, void *poller, cmsgr_ready *ready, int max, int64_t timeout_ns)
{
    other_thread();
    if (timeout_ns < 0) {
        slept = 1;
        CHECK(!struck || fake->wakeups); /* else it sleeps over it */
        return 0;
    }
    return fake_wait(ctx, poller, ready, max, timeout_ns);
}

/* 1 if there was such a moment. */
static int strike(int64_t poll_ns)
{
    cmsgr_env *env;

    fake = fake_new();
    fake->driver.now_ns = now_ns;
    fake->driver.yield = yield;
    fake->driver.poller_wait = poller_wait;
    kick = (cmsgr__kick){.fn = on_kick};
    calls = struck = slept = ran = 0;
    CHECK_EQ(cmsgr_env_new(&env, NULL, &fake->driver), 0);
    CHECK_EQ(cmsgr_center_new(&center, env, 0), 0);
    cmsgr_center_set_polling(center, poll_ns);
    CHECK(cmsgr__center_wait(center, -1) >= 0);
    CHECK(struck || slept);
    if (struck && kind != WAKEUP) {
        cmsgr__center_wait(center, 0);
        cmsgr_center_dispatch(center);
        CHECK_EQ(ran, 1);
    }
    cmsgr_center_free(center);
    cmsgr_env_free(env);
    free(fake);
    return struck;
}

/* C4: whoever comes while the owner falls asleep is not slept over. */
static void test_falling_asleep(int64_t poll_ns, int min_moments)
{
    for (kind = POST; kind < KINDS; kind++) {
        for (strike_at = 0; strike(poll_ns); strike_at++)
            ;
        CHECK(strike_at >= min_moments);
    }
}

int main(void)
{
    check_deadline(60);
    test_falling_asleep(0, 2);     /* the clock, the wait */
    test_falling_asleep(3000, 10); /* and the looks before */
    return 0;
}
