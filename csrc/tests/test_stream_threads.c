/* Sending from many threads while the owner turns: nothing lost, each sender's order kept, no wakeup lost. */
#include <pthread.h>

#include "pair.h"

enum { SENDERS = 4, MESSAGES = 5000 };

static pair p;
static atomic_int senders_left;

static void *sender(void *arg)
{
    static uint8_t bytes[2000];
    uint64_t which = (uint64_t)(uintptr_t)arg;

    for (uint64_t i = 0; i < MESSAGES; i++) {
        cmsgr_entry *entry = pair_entry(&p, 127, which << 32 | i, bytes, (i * 37) % sizeof bytes);
        cmsgr_session_info info;

        CHECK(entry);
        CHECK_EQ(cmsgr_session_send(p.session[0], entry, 0), 0);
        if (i % 64 == 0)
            CHECK_EQ(cmsgr_session_send_keepalive(p.session[0], 0), 0);
        if (i % 256 == 0)
            cmsgr_session_get_info(p.session[0], &info);
    }
    atomic_fetch_sub(&senders_left, 1);
    cmsgr_center_wakeup(cmsgr_worker_center(p.worker));
    return NULL;
}

/* One user phase; messages go back to the pool from here, as a user's would. */
static int receive(uint64_t next[SENDERS])
{
    cmsgr_item *item;
    int received = 0;

    pair_collect_garbage(&p);
    cmsgr_center_dispatch(cmsgr_worker_center(p.worker));
    while ((item = cmsgr_worker_take_item(p.worker))) {
        uint64_t tid;

        CHECK_EQ(item->kind, CMSGR_ITEM_MESSAGE);
        tid = item->msg->header.tid;
        CHECK_EQ(tid & 0xFFFFFFFF, next[tid >> 32]);
        next[tid >> 32]++;
        cmsgr_msg_dispatched(item->msg);
        cmsgr_msg_unref(item->msg);
        received++;
    }
    return received;
}

static void test_send_from_threads(cmsgr_env *env, int lossless)
{
    pthread_t thread[SENDERS];
    uint64_t next[SENDERS] = {0};
    int received = 0;

    pair_open(&p, env, NULL);
    pair_start(&p, lossless);
    atomic_store(&senders_left, SENDERS);
    for (uintptr_t i = 0; i < SENDERS; i++)
        CHECK_EQ(pthread_create(&thread[i], NULL, sender, (void *)i), 0);
    while (received < SENDERS * MESSAGES) {
        CHECK(cmsgr_worker_turn(p.worker, INT64_C(5000000000)) >= 0); /* a lost wakeup shows as the deadline passing */
        received += receive(next);
    }
    for (int i = 0; i < SENDERS; i++)
        CHECK_EQ(pthread_join(thread[i], NULL), 0);
    pair_settle(&p);
    CHECK_EQ(received, SENDERS * MESSAGES);
    CHECK_EQ(pair_info(&p, 0).queued_bytes, 0);
    CHECK_EQ(p.garbage, SENDERS * MESSAGES);
    pair_close(&p);
}

/* The last reference of a session with queued messages goes away on another thread: its entries still come back. */
static void *drop(void *arg)
{
    cmsgr_session_unref(arg);
    return NULL;
}

static void test_drop_from_thread(cmsgr_env *env)
{
    cmsgr_session *session;
    pthread_t thread;

    pair_open(&p, env, NULL);
    CHECK_EQ(cmsgr_session_new(&session, p.worker, 0, NULL), 0);
    for (int i = 0; i < 10; i++)
        CHECK_EQ(cmsgr_session_send(session, pair_entry(&p, 127, 0, NULL, 0), 1), 0);
    CHECK_EQ(pthread_create(&thread, NULL, drop, session), 0);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    pair_collect_garbage(&p);
    CHECK_EQ(p.garbage, 10);
    pair_close(&p);
}

int main(void)
{
    cmsgr_env *env;

    check_deadline(120);
    CHECK_EQ(cmsgr_env_new(&env, NULL, NULL), 0);
    test_send_from_threads(env, 0);
    test_send_from_threads(env, 1);
    test_drop_from_thread(env);
    cmsgr_env_free(env);
    return 0;
}
