/*
 * Counters at their ends, in whole streams: sequence numbers, and nonces across reconnects. The cipher's source is included, so
 * that the test can tell how many operations are left.
 */
#include "aes_gcm.c"
#include "pair.h"
#include "session.h"
#include "stream.h"
#include "torture_link.h"

static pair p;

/* ---- Sequence numbers ---- */

/* The last two numbers there are: delivered, and acknowledged by a header and by a frame. */
static void test_last_sequence_numbers(cmsgr_env *env)
{
    pair_open(&p, env, NULL);
    pair_start(&p, 1);
    p.session[0]->out_seq = p.session[0]->acked_seq = UINT64_MAX - 2;
    p.session[1]->in_seq = p.session[1]->told_seq = UINT64_MAX - 2;
    pair_send(&p, 0, 127, 1, "a", 1);
    pair_settle(&p);
    CHECK_EQ(pair_info(&p, 0).acked_seq, UINT64_MAX - 1);
    pair_send(&p, 0, 127, 2, "b", 1);
    pair_send(&p, 1, 127, 3, "c", 1);
    pair_settle(&p);
    CHECK_EQ(p.logged, 3);
    for (int i = 0; i < 3; i++)
        CHECK_EQ(p.log[i].kind, CMSGR_ITEM_MESSAGE);
    CHECK_EQ(p.log[0].msg->header.seq, UINT64_MAX - 1);
    CHECK_EQ(pair_info(&p, 0).acked_seq, UINT64_MAX);
    CHECK_EQ(pair_info(&p, 0).unacked_messages, 0);
    CHECK_EQ(pair_info(&p, 0).queued_bytes, 0);
    CHECK_EQ(pair_info(&p, 1).in_seq, UINT64_MAX);
    pair_close(&p);
}

/* A peer that skips to the last number has said what it had to say: whatever it numbers from then on is old. */
static void test_nothing_follows_the_last_number(cmsgr_env *env)
{
    const uint64_t before[] = {UINT64_MAX - 1, 0, UINT64_MAX - 1, UINT64_MAX};
    cmsgr_worker_stats stats;

    pair_open(&p, env, NULL);
    pair_start(&p, 0);
    for (int i = 0; i < 4; i++) {
        pair_clear_log(&p);
        p.session[0]->out_seq = before[i];
        pair_send(&p, 0, 127, 1, "a", 1);
        pair_settle(&p);
        CHECK_EQ(pair_count(&p, CMSGR_ITEM_MESSAGE), i == 0);
        CHECK_EQ(pair_count(&p, CMSGR_ITEM_SEQUENCE), 1);
        CHECK_EQ(pair_find(&p, CMSGR_ITEM_SEQUENCE)->got, before[i] + 1);
        CHECK_EQ(pair_find(&p, CMSGR_ITEM_SEQUENCE)->expected, i == 0);
        CHECK_EQ(pair_info(&p, 1).in_seq, UINT64_MAX);
    }
    cmsgr_worker_get_stats(p.worker, &stats);
    CHECK_EQ(stats.sequence_gaps, 1);
    CHECK_EQ(stats.duplicates_dropped, 3);
    pair_close(&p);
}

/* The largest acknowledgement, by a frame and by a header, of a message that was never sent. */
static void test_largest_acknowledgement(cmsgr_env *env)
{
    for (int by_header = 0; by_header < 2; by_header++) {
        pair_open(&p, env, NULL);
        pair_start(&p, 1);
        pair_send(&p, 0, 127, 1, "a", 1);
        pair_settle(&p);
        pair_clear_log(&p);
        p.session[1]->in_seq = UINT64_MAX;
        if (by_header)
            pair_send(&p, 1, 127, 2, "b", 1);
        else
            cmsgr_session_send_keepalive(p.session[1], 1);
        pair_settle(&p);
        CHECK_EQ(pair_count(&p, CMSGR_ITEM_MESSAGE), 0);
        CHECK_EQ(pair_find(&p, CMSGR_ITEM_FAULT)->error, CMSGR_E_ACK_BEYOND_SENT);
        CHECK_EQ(pair_find(&p, CMSGR_ITEM_FAULT)->got, UINT64_MAX);
        CHECK_EQ(pair_find(&p, CMSGR_ITEM_FAULT)->expected, 1);
        CHECK_EQ(pair_info(&p, 0).acked_seq, 1);
        pair_close(&p);
    }
}

/* ---- Nonces ---- */

/* Which ciphers have few operations left, how many, and on how many connections. */
static struct few {
    int side, seals;
    uint64_t operations;
    int connections;
} few;

static void leave_few(torture_link *l, int side)
{
    cmsgr_stream *stream = l->side[side].stream;
    gcm *cipher = (gcm *)(few.seals ? stream->seal_cipher : stream->open_cipher);

    if (side != few.side || !few.connections)
        return;
    few.connections--;
    cipher->initial_counter = gcm_counter(cipher) + few.operations;
}

static void begin_talk(torture_link *l, cmsgr_env *env, int revision)
{
    *l = (torture_link){.revision = revision, .secure = 1, .on_keys = leave_few};
    link_open(l, env);
}

static int end_talk(torture_link *l)
{
    if (l->faults)
        CHECK_EQ(l->side[few.side].error, CMSGR_E_NONCE_USED_UP);
    link_close(l);
    return l->faults;
}

/* Both ways at once, several in one batch; a keepalive. */
static int talk(cmsgr_env *env, int revision)
{
    torture_link l;

    begin_talk(&l, env, revision);
    link_send(&l, 0, 7, 1);
    link_send(&l, 1, 5, 1);
    link_settle(&l);
    link_send(&l, 1, 3, 1);
    cmsgr_session_send_keepalive(l.side[few.side].session, 1);
    link_settle(&l);
    return end_talk(&l);
}

static int long_talk(cmsgr_env *env, int revision)
{
    torture_link l;

    begin_talk(&l, env, revision);
    for (int i = 0; i < 20; i++) {
        link_send(&l, 0, 3, 1);
        link_send(&l, 1, 3, 1);
        link_settle(&l);
    }
    return end_talk(&l);
}

/* E9: keys that are used up, wherever in the traffic, cost the stream: every message arrives once, with the next one's keys.
 * The reader keeps count as well. */
static void test_keys_used_up(cmsgr_env *env, int revision)
{
    for (int side = 0; side < 2; side++)
        for (int seals = 0; seals < 2; seals++) {
            uint64_t operations = 0;

            do {
                CHECK(++operations < 100);
                few = (struct few){side, seals, operations, 1};
            } while (talk(env, revision));
            CHECK(operations > 10); /* a talk takes more */
            few = (struct few){side, seals, revision ? 16 : 8, INT32_MAX};
            CHECK(long_talk(env, revision) >= 3);
        }
}

int main(void)
{
    check_memory memory;
    const cmsgr_allocator allocator = check_allocator(&memory);
    cmsgr_env *env;

    check_deadline(60);
    CHECK_EQ(cmsgr_env_new(&env, &allocator, NULL), 0);
    test_last_sequence_numbers(env);
    test_nothing_follows_the_last_number(env);
    test_largest_acknowledgement(env);
    for (int revision = 0; revision < 2; revision++)
        test_keys_used_up(env, revision);
    cmsgr_env_free(env);
    CHECK_EQ(atomic_load(&memory.live), 0);
    return 0;
}
