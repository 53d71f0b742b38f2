/* A poller that fails, as a sandbox or a simulated world may have it: the turn says so, and loses nothing. */
#include "pair.h"

static int fail_waits; /* so many */

static int failing_wait(void *ctx, void *poller, cmsgr_ready *ready, int max, int64_t timeout_ns)
{
    if (fail_waits && fail_waits--)
        return -ENOMEM;
    return cmsgr_driver_linux()->poller_wait(ctx, poller, ready, max, timeout_ns);
}

static pair p;

static cmsgr_env *make_env(check_memory *memory)
{
    const cmsgr_allocator allocator = check_allocator(memory);
    cmsgr_driver driver = *cmsgr_driver_linux();
    cmsgr_env *env;

    driver.poller_wait = failing_wait;
    CHECK_EQ(cmsgr_env_new(&env, &allocator, &driver), 0);
    return env;
}

static void on_event(void *arg) { ++*(int *)arg; }

/* Messages, kicks, posts and wakeups made around a failed wait come with the next one. */
static void test_turn(void)
{
    check_memory memory;
    cmsgr_env *env = make_env(&memory);
    cmsgr_entry *entry;
    int ran = 0;

    pair_open(&p, env, NULL);
    pair_start(&p, 1);
    pair_settle(&p);
    entry = pair_entry(&p, 127, 1, "x", 1);
    CHECK_EQ(cmsgr_session_send(p.session[0], entry, 0), 0); /* by a kick */
    CHECK_EQ(cmsgr_center_post(cmsgr_worker_center(p.worker), on_event, &ran), 1);
    fail_waits = 2;
    CHECK_EQ(cmsgr_worker_turn(p.worker, -1), -ENOMEM);
    CHECK_EQ(cmsgr_worker_turn(p.worker, -1), -ENOMEM);
    pair_settle(&p);
    CHECK_EQ(ran, 1);
    CHECK_EQ(pair_count(&p, CMSGR_ITEM_MESSAGE), 1);
    CHECK_EQ(pair_info(&p, 0).unacked_messages, 0);
    pair_close(&p);
    cmsgr_env_free(env);
    CHECK_EQ(atomic_load(&memory.live), 0);
}

/* A kick holds a reference on its session: the worker's end gives it back, whatever the poller says. */
static void test_free(void)
{
    check_memory memory;
    cmsgr_env *env = make_env(&memory);
    cmsgr_worker *worker;
    cmsgr_session *session;

    CHECK_EQ(cmsgr_worker_new(&worker, env), 0);
    CHECK_EQ(cmsgr_session_new(&session, worker, 0, NULL), 0);
    CHECK_EQ(cmsgr_session_send_keepalive(session, 0), 0);
    cmsgr_session_unref(session);
    fail_waits = 1;
    cmsgr_worker_free(worker);
    cmsgr_env_free(env);
    CHECK_EQ(atomic_load(&memory.live), 0);
}

int main(void)
{
    check_deadline(60);
    test_turn();
    test_free();
    return 0;
}
