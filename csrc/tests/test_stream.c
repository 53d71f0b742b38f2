/* The data plane: streams, sessions and the worker's turn, over a socket pair. */
#include "pair.h"
#include "stream.h"

static uint8_t payload[8 << 20];

static pair p;

static void fill_payload(void)
{
    for (size_t i = 0; i < sizeof payload; i++)
        payload[i] = (uint8_t)(i * 131 + (i >> 8) * 7);
}

/* Banner and control frames surface one at a time, each with its bytes as they came; the stream stands still between. */
static void test_control_frames(cmsgr_env *env)
{
    pair_open(&p, env, NULL);
    CHECK_EQ(cmsgr_stream_send_bytes(p.stream[0], pair_banner, sizeof pair_banner), 0);
    CHECK_EQ(cmsgr_stream_send_frame(p.stream[0], CMSGR_TAG_HELLO, payload, 36), 0);
    CHECK_EQ(cmsgr_stream_send_frame(p.stream[0], CMSGR_TAG_WAIT, NULL, 0), 0);
    CHECK_EQ(cmsgr_stream_send_frame(p.stream[0], CMSGR_TAG_AUTH_REQUEST, payload, 200000), 0);
    const struct { int tag; size_t payload_len, wire_len; } expected[] = {
        {CMSGR_TAG_BANNER, 16, 26}, {CMSGR_TAG_HELLO, 36, 72}, {CMSGR_TAG_WAIT, 0, 32}, {CMSGR_TAG_AUTH_REQUEST, 200000, 200036}};
    for (int i = 0; i < 4; i++) {
        pair_settle(&p);
        CHECK_EQ(p.logged, 1);
        CHECK_EQ(p.log[0].kind, CMSGR_ITEM_FRAME);
        CHECK_EQ(p.log[0].tag, expected[i].tag);
        CHECK_EQ(p.log[0].payload_len, expected[i].payload_len);
        CHECK_EQ(p.log[0].wire_len, expected[i].wire_len);
        pair_clear_log(&p);
        cmsgr_stream_continue(p.stream[1]);
    }
    pair_settle(&p);
    CHECK_EQ(p.logged, 0);
    pair_close(&p);
}

/* A peer of another kind is refused at its first wrong byte; what came is told. */
static void test_foreign_banner(cmsgr_env *env)
{
    pair_open(&p, env, NULL);
    CHECK_EQ(cmsgr_stream_send_bytes(p.stream[0], "GET / HTTP/1.1\r\n", 16), 0);
    pair_settle(&p);
    CHECK_EQ(p.logged, 1);
    CHECK_EQ(p.log[0].kind, CMSGR_ITEM_FAULT);
    CHECK_EQ(p.log[0].error, CMSGR_E_BANNER);
    CHECK_EQ(p.log[0].payload_len, 10);
    pair_close(&p);

    pair_open(&p, env, NULL);
    CHECK_EQ(cmsgr_stream_send_bytes(p.stream[0], "ceph v2\n\x0f\x00", 10), 0);
    pair_settle(&p);
    CHECK_EQ(p.log[0].error, CMSGR_E_BANNER_LENGTH);
    CHECK_EQ(p.log[0].got, 15);
    CHECK_EQ(p.log[0].expected, 16);
    pair_close(&p);
}

/* A MESSAGE before READY surfaces at its preamble: nothing of it is read. */
static void test_message_before_ready(cmsgr_env *env)
{
    cmsgr_span segments[4] = {{payload, 41}, {NULL, 0}, {NULL, 0}, {payload, 100000}};
    static uint8_t wire[200000];
    ssize_t len = cmsgr_frame_assemble(env, 1, CMSGR_TAG_MESSAGE, segments, NULL, 4, 0, wire, sizeof wire);

    pair_open(&p, env, NULL);
    CHECK_EQ(cmsgr_stream_send_bytes(p.stream[0], pair_banner, sizeof pair_banner), 0);
    CHECK_EQ(cmsgr_stream_send_bytes(p.stream[0], wire, (size_t)len), 0);
    pair_settle(&p);
    cmsgr_stream_continue(p.stream[1]);
    pair_clear_log(&p);
    pair_settle(&p);
    CHECK_EQ(p.logged, 1);
    CHECK_EQ(p.log[0].tag, CMSGR_TAG_MESSAGE);
    CHECK_EQ(p.log[0].payload_len, 0);
    cmsgr_stream_start(p.stream[1], p.session[1], 0);
    cmsgr_stream_continue(p.stream[1]); /* no answer to such a frame; found by fuzz_stream, which crashed here */
    pair_settle(&p);
    CHECK_EQ(p.logged, 2);
    CHECK_EQ(p.log[1].error, CMSGR_E_NOT_READY);
    pair_close(&p);
}

static void check_message(const pair_item *item, uint64_t seq, uint64_t tid, size_t len)
{
    CHECK_EQ(item->kind, CMSGR_ITEM_MESSAGE);
    CHECK_EQ(item->msg->header.seq, seq);
    CHECK_EQ(item->msg->header.tid, tid);
    CHECK_EQ(item->msg->segment[2].len, len);
    CHECK(memcmp(item->msg->segment[2].data, payload, len) == 0);
}

/* Every way a body travels: copied, borrowed, pooled, read in place, grown; numbers rise from 1. */
static void test_messages(cmsgr_env *env, int lossless)
{
    const size_t lengths[] = {0, 1, 1024, 1025, 4096, 16343, 16344, 20000, 262144, 262145, 524288, 1 << 20, (1 << 20) + 1, 8 << 20};
    const int count = sizeof lengths / sizeof *lengths;

    pair_open(&p, env, NULL);
    pair_start(&p, lossless);
    for (int i = 0; i < count; i++)
        pair_send(&p, 0, 127, 1000 + (uint64_t)i, payload, lengths[i]);
    pair_settle(&p);
    CHECK_EQ(p.logged, count);
    for (int i = 0; i < count; i++)
        check_message(&p.log[i], (uint64_t)i + 1, 1000 + (uint64_t)i, lengths[i]);
    pair_collect_garbage(&p);
    CHECK_EQ(p.garbage, count); /* lossless: because each was acknowledged */
    CHECK_EQ(pair_info(&p, 0).out_seq, count);
    CHECK_EQ(pair_info(&p, 0).acked_seq, lossless ? count : 0);
    CHECK_EQ(pair_info(&p, 0).queued_bytes, 0);
    CHECK_EQ(pair_info(&p, 0).unacked_messages, 0);
    CHECK_EQ(pair_info(&p, 1).in_seq, count);
    pair_close(&p);
}

/* Every segment is large, and cut where the socket is full. */
static void test_large_segments(cmsgr_env *env, int revision)
{
    const size_t len[3] = {(3 << 19) + 5, 262144, 262145};

    pair_open(&p, env, NULL);
    for (int i = 0; i < 2; i++)
        cmsgr_stream_set_revision(p.stream[i], revision);
    pair_start(&p, 0);
    for (uint64_t tid = 0; tid < 4; tid++) {
        cmsgr_entry *entry = pair_entry(&p, 127, tid, payload + 2, len[2]);

        entry->segment[0] = (cmsgr_span){payload, len[0]};
        entry->segment[1] = (cmsgr_span){payload + 1, len[1]};
        CHECK_EQ(cmsgr_session_send(p.session[0], entry, 1), 0);
    }
    pair_settle(&p);
    CHECK_EQ(p.logged, 4);
    for (int n = 0; n < 4; n++) {
        CHECK_EQ(p.log[n].kind, CMSGR_ITEM_MESSAGE);
        for (int i = 0; i < 3; i++) {
            CHECK_EQ(p.log[n].msg->segment[i].len, len[i]);
            CHECK(memcmp(p.log[n].msg->segment[i].data, payload + i, len[i]) == 0);
        }
    }
    pair_close(&p);
}

/* What waits for its next message must cost little: ten thousand of them may. */
static void test_idle_holds_no_chunk(cmsgr_env *env)
{
    pair_open(&p, env, NULL);
    pair_start(&p, 1);
    pair_send(&p, 0, 127, 1, "x", 1);
    pair_settle(&p);
    for (int i = 0; i < 2; i++)
        CHECK(!p.stream[i]->chain.chunk);
    pair_close(&p);
}

/* Higher priorities first, first in first out inside one; numbers follow the order on the wire. */
static void test_priorities(cmsgr_env *env)
{
    const uint16_t given[] = {127, 63, 255, 127, 196, 63};
    const uint64_t expected[] = {2, 4, 0, 3, 1, 5};
    uint16_t priority[8];
    uint64_t count[8];

    pair_open(&p, env, NULL);
    pair_start(&p, 0);
    for (uint64_t i = 0; i < 6; i++)
        pair_send(&p, 0, given[i], i, NULL, 0);
    CHECK_EQ(cmsgr_session_priorities(p.session[0], priority, count, 8), 4);
    CHECK_EQ(priority[0], 255);
    CHECK_EQ(priority[3], 63);
    CHECK_EQ(count[2], 2);
    pair_settle(&p);
    for (uint64_t i = 0; i < 6; i++) {
        CHECK_EQ(p.log[i].msg->header.tid, expected[i]);
        CHECK_EQ(p.log[i].msg->header.seq, i + 1);
    }
    pair_close(&p);
}

/* EVENT_WRITABLE: never in an uncongested run; there after a short write; gone at zero unsent bytes. */
static void test_writable(cmsgr_env *env)
{
    cmsgr_center_stats stats;
    cmsgr_center *center;

    pair_open(&p, env, NULL);
    center = cmsgr_worker_center(p.worker);
    pair_start(&p, 0);
    for (int i = 0; i < 100; i++) {
        pair_send(&p, 0, 127, 0, payload, 4096);
        pair_settle(&p);
    }
    cmsgr_center_get_stats(center, &stats);
    CHECK_EQ(stats.writable_added, 0);
    CHECK_EQ(cmsgr_center_file_mask(center, p.fd[0]), CMSGR_READABLE);

    pair_send(&p, 0, 127, 0, payload, sizeof payload);
    CHECK(cmsgr_stream_try_send(p.stream[0]) > 0);
    CHECK(cmsgr_stream_unsent_bytes(p.stream[0]) > 0);
    CHECK_EQ(cmsgr_center_file_mask(center, p.fd[0]), CMSGR_READABLE | CMSGR_WRITABLE);
    pair_settle(&p);
    CHECK_EQ(cmsgr_stream_unsent_bytes(p.stream[0]), 0);
    CHECK_EQ(cmsgr_center_file_mask(center, p.fd[0]), CMSGR_READABLE);
    cmsgr_center_get_stats(center, &stats);
    CHECK(stats.writable_added > 0);
    CHECK_EQ(stats.writable_added, stats.writable_removed);
    CHECK_EQ(pair_count(&p, CMSGR_ITEM_MESSAGE), 101);
    pair_close(&p);
}

/* Reading stops before a segment is parsed until the throttle grants; others on the way back wake it, nobody polls. */
static void test_throttle(cmsgr_env *env)
{
    cmsgr_stream_config config = {0};
    cmsgr_throttle_stats stats;
    cmsgr_throttle *bytes, *messages, *dispatch;

    cmsgr_limits_default(&config.limits);
    CHECK_EQ(cmsgr_throttle_new(&messages, env, 3), 0);
    CHECK_EQ(cmsgr_throttle_new(&bytes, env, 10000), 0);
    CHECK_EQ(cmsgr_throttle_new(&dispatch, env, 8192), 0);
    config.policy_messages = messages;
    config.policy_bytes = bytes;
    config.dispatch_bytes = dispatch;
    pair_open(&p, env, &config);
    pair_start(&p, 0);
    for (uint64_t i = 0; i < 10; i++)
        pair_send(&p, 0, 127, i, payload, 4096);
    pair_settle(&p);
    CHECK_EQ(p.logged, 2); /* the third would exceed 10 000 bytes */
    for (int next = 0; next < 10; next++) {
        CHECK(p.logged > next);
        CHECK_EQ(p.log[next].msg->header.tid, next);
        cmsgr_msg_dispatched(p.log[next].msg);
        cmsgr_throttle_get_stats(dispatch, &stats);
        CHECK(stats.current <= 8192);
        cmsgr_msg_unref(p.log[next].msg);
        p.log[next].msg = NULL;
        pair_settle(&p);
    }
    CHECK_EQ(p.logged, 10);
    pair_send(&p, 0, 127, 10, payload, 50000); /* larger than the limit: passes an empty throttle */
    pair_send(&p, 0, 127, 11, payload, 1);
    pair_settle(&p);
    CHECK_EQ(p.logged, 11);
    pair_close(&p); /* with a waiter in line: it leaves, and what it held goes back */
    cmsgr_throttle_get_stats(messages, &stats);
    CHECK_EQ(stats.current, 0);
    cmsgr_throttle_get_stats(bytes, &stats);
    CHECK_EQ(stats.current, 0);
    cmsgr_throttle_get_stats(dispatch, &stats);
    CHECK_EQ(stats.current, 0);
    cmsgr_throttle_unref(messages);
    cmsgr_throttle_unref(bytes);
    cmsgr_throttle_unref(dispatch);
}

static void test_keepalive(cmsgr_env *env)
{
    pair_open(&p, env, NULL);
    CHECK_EQ(cmsgr_session_send_keepalive(p.session[0], 1), 0); /* waits for READY */
    pair_start(&p, 0);
    pair_settle(&p);
    CHECK_EQ(p.logged, 0); /* costs the user phase nothing */
    CHECK(pair_info(&p, 1).last_keepalive_ns > 0);
    CHECK(pair_info(&p, 0).last_keepalive_ack_ns > 0);
    CHECK_EQ(pair_info(&p, 0).keepalive_wanted, 0);
    pair_close(&p);
}

/* Each direction has an answer of its own, and each tag is let through once for one answer. */
static void test_mask_of_both_directions(cmsgr_env *env)
{
    uint32_t message = 1u << CMSGR_TAG_MESSAGE, keepalive = 1u << CMSGR_TAG_KEEPALIVE2;

    pair_open(&p, env, NULL);
    pair_start(&p, 0);
    cmsgr_stream_set_mask(p.stream[0], message, message | keepalive);
    pair_send(&p, 0, 127, 7, payload, 10);
    pair_settle(&p);
    pair_send(&p, 1, 127, 8, payload, 10);
    cmsgr_session_send_keepalive(p.session[0], 1);
    pair_settle(&p);
    CHECK_EQ(p.logged, 2);
    CHECK_EQ(p.log[0].sent, 1);
    CHECK_EQ(p.log[1].sent, 0);
    cmsgr_stream_continue(p.stream[0]); /* for the received one: the other still waits */
    pair_settle(&p);
    CHECK_EQ(p.logged, 3);
    check_message(&p.log[2], 1, 8, 10);
    CHECK_EQ(pair_info(&p, 0).out_seq, 0);
    cmsgr_stream_continue_sent(p.stream[0]); /* the keepalive goes first, and is asked for */
    pair_settle(&p);
    CHECK_EQ(p.logged, 4);
    CHECK_EQ(p.log[3].tag, CMSGR_TAG_KEEPALIVE2);
    cmsgr_stream_continue_sent(p.stream[0]);
    pair_settle(&p);
    CHECK_EQ(p.logged, 5);
    check_message(&p.log[4], 1, 7, 10);
    pair_close(&p);
}

/* The (tag, direction) mask: a frame that matches suspends its stream before it is counted. */
static void test_mask(cmsgr_env *env)
{
    pair_open(&p, env, NULL);
    pair_start(&p, 0);
    cmsgr_stream_set_mask(p.stream[0], 0, 1u << CMSGR_TAG_MESSAGE);
    cmsgr_stream_set_mask(p.stream[1], 1u << CMSGR_TAG_MESSAGE, 0);
    pair_send(&p, 0, 127, 7, payload, 10);
    pair_settle(&p);
    CHECK_EQ(p.logged, 1);
    CHECK_EQ(p.log[0].kind, CMSGR_ITEM_INTERCEPTED);
    CHECK_EQ(p.log[0].sent, 1);
    CHECK_EQ(pair_info(&p, 0).out_seq, 0);
    cmsgr_stream_continue_sent(p.stream[0]);
    pair_settle(&p);
    CHECK_EQ(p.logged, 2);
    CHECK_EQ(p.log[1].kind, CMSGR_ITEM_INTERCEPTED);
    CHECK_EQ(p.log[1].sent, 0);
    CHECK_EQ(p.log[1].tag, CMSGR_TAG_MESSAGE);
    CHECK_EQ(pair_info(&p, 0).out_seq, 1);
    CHECK_EQ(pair_info(&p, 1).in_seq, 0);
    cmsgr_stream_continue(p.stream[1]);
    pair_settle(&p);
    CHECK_EQ(p.logged, 3);
    check_message(&p.log[2], 1, 7, 10);
    pair_send(&p, 0, 127, 8, payload, 10);
    pair_settle(&p);
    cmsgr_stream_fail(p.stream[0]);
    pair_settle(&p);
    CHECK_EQ(p.log[p.logged - 1].error, CMSGR_E_INJECTED);
    pair_close(&p);
}

static void reopen(pair *q, int lossless)
{
    cmsgr_stream_config config = {0};

    cmsgr_limits_default(&config.limits);
    for (int i = 0; i < 2; i++) {
        cmsgr_stream_close(q->stream[i]);
        cmsgr_session_requeue(q->session[i]);
    }
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, q->fd), 0);
    for (int i = 0; i < 2; i++)
        CHECK_EQ(cmsgr_stream_new(&q->stream[i], q->worker, q->fd[i], 0, &config, q), 0);
    pair_clear_log(q);
    pair_start(q, lossless);
}

/* A lossless session loses its socket with messages in every stage: what the peer lacks is replayed, with its old
 * numbers, before anything newer of higher priority. */
static void test_replay(cmsgr_env *env)
{
    uint64_t had;

    pair_open(&p, env, NULL);
    pair_start(&p, 1);
    for (uint64_t i = 0; i < 3; i++)
        pair_send(&p, 0, 127, i, payload, 100);
    pair_settle(&p);
    pair_clear_log(&p);
    cmsgr_stream_set_mask(p.stream[1], 1u << CMSGR_TAG_MESSAGE, 0); /* arrive, but are not counted */
    for (uint64_t i = 3; i < 6; i++)
        pair_send(&p, 0, 127, i, payload, 5000);
    pair_settle(&p);
    CHECK_EQ(pair_info(&p, 0).out_seq, 6);
    CHECK_EQ(pair_info(&p, 0).unacked_messages, 3);
    pair_send(&p, 0, 255, 6, payload, 100);
    had = pair_info(&p, 1).in_seq;
    CHECK_EQ(had, 3);
    reopen(&p, 1);
    cmsgr_session_drop_acked(p.session[0], had);
    pair_settle(&p);
    CHECK_EQ(pair_count(&p, CMSGR_ITEM_MESSAGE), 4);
    for (uint64_t i = 0; i < 4; i++)
        check_message(&p.log[i], 4 + i, 3 + i, i < 3 ? 5000 : 100);
    CHECK_EQ(pair_info(&p, 0).unacked_messages, 0);
    pair_close(&p);
}

/* Raw frames, for what our own sender never does. */
static void send_raw(pair *q, uint64_t seq, uint64_t ack_seq, int aborted)
{
    cmsgr_header header = {.seq = seq, .ack_seq = ack_seq, .type = 2, .priority = 127};
    uint8_t encoded[41], wire[256];
    cmsgr_span segments[2] = {{encoded, 41}, {payload, 10}};
    ssize_t len;

    cmsgr_header_encode(&header, encoded);
    len = cmsgr_frame_assemble(q->env, 1, CMSGR_TAG_MESSAGE, segments, NULL, 2, aborted, wire, sizeof wire);
    CHECK(len > 0);
    CHECK_EQ(cmsgr_stream_send_bytes(q->stream[0], wire, (size_t)len), 0);
    pair_settle(q);
}

/* Duplicates are dropped and reading goes on; gaps are accepted; both are counted and told. Aborted frames cost no number. */
static void test_sequence(cmsgr_env *env)
{
    cmsgr_worker_stats stats;

    pair_open(&p, env, NULL);
    pair_start_sides(&p, 0, 1); /* the sender's session numbered nothing: it must not look at acknowledgements */
    send_raw(&p, 1, 0, 0);
    send_raw(&p, 1, 0, 0);
    send_raw(&p, 2, 0, 1);
    send_raw(&p, 2, 0, 0);
    send_raw(&p, 7, 0, 0);
    send_raw(&p, 0, 0, 0);
    CHECK_EQ(p.logged, 6);
    for (int i = 0; i < 3; i++) {
        const int at[] = {1, 3, 5}, got[] = {1, 7, 0}, expected[] = {2, 3, 8};

        CHECK_EQ(p.log[at[i]].kind, CMSGR_ITEM_SEQUENCE);
        CHECK_EQ(p.log[at[i]].got, got[i]);
        CHECK_EQ(p.log[at[i]].expected, expected[i]);
    }
    CHECK_EQ(pair_info(&p, 1).in_seq, 7);
    cmsgr_worker_get_stats(p.worker, &stats);
    CHECK_EQ(stats.duplicates_dropped, 2);
    CHECK_EQ(stats.sequence_gaps, 1);
    CHECK_EQ(stats.frames_aborted, 1);
    CHECK_EQ(stats.acks_sent > 0, 1);
    send_raw(&p, 8, 99, 0); /* acknowledges what was never sent */
    CHECK_EQ(p.log[6].error, CMSGR_E_ACK_BEYOND_SENT);
    CHECK_EQ(p.log[6].got, 99);
    CHECK_EQ(p.log[6].expected, 0);
    pair_close(&p);
}

/* Queue limits, and being told that there is room again. */
static void test_queue_limit(cmsgr_env *env)
{
    cmsgr_session *session;
    cmsgr_entry *entry;

    pair_open(&p, env, NULL);
    CHECK_EQ(cmsgr_session_new(&session, p.worker, 1000, NULL), 0);
    entry = pair_entry(&p, 127, 0, payload, 5000);
    CHECK_EQ(cmsgr_session_send(session, entry, 1), 0); /* an empty queue admits any one message */
    entry = pair_entry(&p, 127, 0, payload, 1);
    CHECK_EQ(cmsgr_session_send(session, entry, 1), CMSGR_E_QUEUE_FULL);
    cmsgr_session_notify_drained(session, 0, 1);
    pair_settle(&p);
    CHECK_EQ(p.logged, 0);
    cmsgr_session_reset(session, 1);
    pair_settle(&p);
    CHECK_EQ(pair_count(&p, CMSGR_ITEM_DRAINED), 1);
    CHECK_EQ(cmsgr_session_send(session, entry, 1), 0);
    cmsgr_session_close(session);
    entry = pair_entry(&p, 127, 0, payload, 1);
    CHECK_EQ(cmsgr_session_send(session, entry, 1), CMSGR_E_CLOSED);
    cmsgr_entry_free(env, entry);
    cmsgr_session_unref(session);
    pair_close(&p);
}

/* A session without a stream tells of the first message, once, if it was asked to. */
static void test_notify_send(cmsgr_env *env)
{
    pair_open(&p, env, NULL);
    cmsgr_session_notify_send(p.session[0], 1);
    pair_send(&p, 0, 127, 0, NULL, 0);
    pair_send(&p, 0, 127, 0, NULL, 0);
    pair_settle(&p);
    CHECK_EQ(pair_count(&p, CMSGR_ITEM_SEND_QUEUED), 1);
    cmsgr_session_notify_send(p.session[0], 1); /* something is there already */
    pair_settle(&p);
    CHECK_EQ(pair_count(&p, CMSGR_ITEM_SEND_QUEUED), 2);
    pair_close(&p);
}

/* Messages encoded for other features come back in queue order and keep their place. */
static void test_stale(cmsgr_env *env)
{
    cmsgr_entry *entries;
    int n = 0;

    pair_open(&p, env, NULL);
    pair_send(&p, 0, 63, 0, NULL, 0);
    for (uint64_t i = 1; i < 4; i++) {
        cmsgr_entry *entry = pair_entry(&p, 127, i, NULL, 0);

        entry->features = 0;
        entry->unencoded = i == 2;
        CHECK_EQ(cmsgr_session_send(p.session[0], entry, 1), 0);
    }
    entries = cmsgr_session_take_stale(p.session[0], 77);
    CHECK_EQ(cmsgr_session_features(p.session[0]), 77);
    for (cmsgr_entry *entry = entries; entry; entry = entry->next) {
        CHECK_EQ(entry->unencoded, entry->header.tid != 0);
        entry->features = 77;
        entry->unencoded = 0;
        entry->segment[2] = (cmsgr_span){payload, 50};
        n++;
    }
    CHECK_EQ(n, 4);
    pair_send(&p, 0, 127, 4, NULL, 0);
    cmsgr_session_put_stale(p.session[0], entries);
    CHECK(!cmsgr_session_take_stale(p.session[0], 77));
    pair_start(&p, 0);
    pair_settle(&p);
    const uint64_t expected[] = {1, 2, 3, 4, 0};
    for (int i = 0; i < 5; i++)
        CHECK_EQ(p.log[i].msg->header.tid, expected[i]);
    CHECK_EQ(pair_info(&p, 0).queued_bytes, 0);
    pair_close(&p);
}

/* A wakeup that comes together with an event of the I/O phase ends the turn all the same. */
static void on_io(void *arg, int fd, int mask)
{
    char byte;

    (void)mask;
    CHECK_EQ(read(fd, &byte, 1), 1);
    cmsgr_center_wakeup(arg);
}

static void test_wakeup_beside_io(cmsgr_env *env)
{
    cmsgr_center *center;
    int64_t began_ns;
    int fd[2];

    pair_open(&p, env, NULL);
    center = cmsgr_worker_center(p.worker);
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
    CHECK_EQ(cmsgr_center_add_file(center, fd[0], CMSGR_READABLE, CMSGR_PHASE_IO, on_io, center), 0);
    CHECK_EQ(write(fd[1], "x", 1), 1);
    began_ns = cmsgr_env_now_ns(env);
    CHECK_EQ(cmsgr_worker_turn(p.worker, INT64_C(30000000000)), 0);
    CHECK(cmsgr_env_now_ns(env) - began_ns < INT64_C(20000000000));
    CHECK_EQ(cmsgr_center_del_file(center, fd[0], CMSGR_READABLE), 0);
    close(fd[0]);
    close(fd[1]);
    pair_close(&p);
}

/* What was due to be told when the session moved is told by the new owner. */
static void test_move_with_drained_due(cmsgr_env *env)
{
    cmsgr_worker *other;
    cmsgr_item *item;

    pair_open(&p, env, NULL);
    CHECK_EQ(cmsgr_worker_new(&other, env), 0);
    pair_send(&p, 0, 127, 0, payload, 10);
    cmsgr_session_notify_drained(p.session[0], 0, 1);
    cmsgr_session_reset(p.session[0], 1); /* lists it on the old worker */
    CHECK_EQ(cmsgr_session_move(p.session[0], other), 0);
    CHECK(!cmsgr_worker_take_item(p.worker));
    CHECK_EQ(cmsgr_worker_turn(other, 0), 1);
    item = cmsgr_worker_take_item(other);
    CHECK(item && item->kind == CMSGR_ITEM_DRAINED);
    CHECK(!cmsgr_worker_take_item(other));
    CHECK_EQ(cmsgr_session_move(p.session[0], p.worker), 0);
    pair_close(&p);
    cmsgr_worker_free(other);
}

/* A session moves to another worker with messages queued and a kick under way; nothing is left behind. */
static void test_move(cmsgr_env *env)
{
    cmsgr_worker *other;
    cmsgr_item *item;
    int found = 0;

    pair_open(&p, env, NULL);
    CHECK_EQ(cmsgr_worker_new(&other, env), 0);
    cmsgr_session_notify_send(p.session[0], 1);
    pair_send(&p, 0, 127, 5, payload, 10);
    CHECK_EQ(cmsgr_session_send(p.session[0], pair_entry(&p, 127, 6, payload, 10), 0), 0);
    cmsgr_session_notify_drained(p.session[0], 1 << 20, 0); /* a kick for the old worker */
    CHECK_EQ(cmsgr_session_move(p.session[0], other), 0);
    CHECK(!cmsgr_worker_take_item(p.worker));
    cmsgr_session_notify_send(p.session[0], 1);
    CHECK_EQ(cmsgr_worker_turn(other, 0), 1);
    while ((item = cmsgr_worker_take_item(other)))
        found |= 1 << item->kind;
    CHECK_EQ(found, 1 << CMSGR_ITEM_SEND_QUEUED | 1 << CMSGR_ITEM_DRAINED);
    CHECK_EQ(pair_info(&p, 0).queued_messages, 2);
    CHECK_EQ(cmsgr_session_move(p.session[0], p.worker), 0);
    pair_start(&p, 0);
    CHECK_EQ(cmsgr_session_move(p.session[0], other), CMSGR_E_NOT_READY);
    pair_settle(&p);
    CHECK_EQ(pair_count(&p, CMSGR_ITEM_MESSAGE), 2);
    pair_close(&p);
    cmsgr_worker_free(other);
}

/* A socket may break between two steps of a handshake: who takes the second one has not heard of it, and will. */
static void test_steps_on_a_broken_stream(cmsgr_env *env)
{
    pair_open(&p, env, NULL);
    pair_send(&p, 0, 127, 1, payload, 100);
    cmsgr_stream_fail(p.stream[0]);
    CHECK_EQ(cmsgr_stream_send_bytes(p.stream[0], pair_banner, sizeof pair_banner), 0);
    CHECK_EQ(cmsgr_stream_send_frame(p.stream[0], CMSGR_TAG_WAIT, NULL, 0), 0);
    CHECK_EQ(cmsgr_stream_start(p.stream[0], p.session[0], 1), 0);
    CHECK_EQ(cmsgr_stream_start(p.stream[0], p.session[0], 1), CMSGR_E_NOT_READY);
    CHECK_EQ(cmsgr_stream_unsent_bytes(p.stream[0]), 0);
    pair_settle(&p);
    CHECK_EQ(p.logged, 1);
    CHECK_EQ(p.log[0].kind, CMSGR_ITEM_FAULT);
    CHECK_EQ(p.log[0].error, CMSGR_E_INJECTED);
    CHECK_EQ(pair_info(&p, 0).queued_messages, 1);
    pair_close(&p);
}

/* Injected congestion delays and loses nothing; an injected failure is a fault like any other. */
static void test_injection(cmsgr_env *env)
{
    cmsgr_stream_config config = {.inject_network_congestion = 5};

    cmsgr_limits_default(&config.limits);
    pair_open(&p, env, &config);
    pair_start(&p, 1);
    for (uint64_t i = 0; i < 200; i++) {
        pair_send(&p, 0, 127, i, payload, 3000);
        if (i % 10 == 0)
            pair_settle(&p);
    }
    pair_settle(&p);
    CHECK_EQ(pair_count(&p, CMSGR_ITEM_MESSAGE), 200);
    CHECK_EQ(pair_info(&p, 0).unacked_messages, 0);
    pair_close(&p);

    config = (cmsgr_stream_config){.inject_socket_failures = 30};
    cmsgr_limits_default(&config.limits);
    pair_open(&p, env, &config);
    for (int i = 0; i < 2; i++)
        CHECK_EQ(cmsgr_stream_send_bytes(p.stream[i], pair_banner, sizeof pair_banner), 0);
    for (uint64_t i = 0; i < 2000 && !pair_count(&p, CMSGR_ITEM_FAULT); i++) {
        CHECK(p.logged < PAIR_LOG - 8);
        for (int side = 0; side < 2; side++)
            cmsgr_stream_send_frame(p.stream[side], CMSGR_TAG_WAIT, NULL, 0);
        pair_settle(&p);
        for (int side = 0; side < 2; side++)
            cmsgr_stream_continue(p.stream[side]);
        if (!pair_count(&p, CMSGR_ITEM_FAULT))
            pair_clear_log(&p);
    }
    CHECK(pair_count(&p, CMSGR_ITEM_FAULT) > 0);
    pair_close(&p);
}

/* The peer goes away: what it sent before still arrives, then one fault. */
static void test_end_of_stream(cmsgr_env *env)
{
    pair_open(&p, env, NULL);
    pair_start(&p, 0);
    pair_send(&p, 0, 127, 1, payload, 100);
    CHECK_EQ(cmsgr_stream_try_send(p.stream[0]), 0);
    cmsgr_stream_close(p.stream[0]);
    p.stream[0] = NULL;
    pair_settle(&p);
    CHECK_EQ(p.logged, 2);
    check_message(&p.log[0], 1, 1, 100);
    CHECK_EQ(p.log[1].kind, CMSGR_ITEM_FAULT);
    CHECK_EQ(p.log[1].error, CMSGR_E_END_OF_STREAM);
    pair_close(&p);
}

/* Every allocation fails in turn: at worst a fault of one stream, never a leak. */
static void allocation_scenario(void *ctx, cmsgr_env *env)
{
    cmsgr_stream_config config = {0};
    int fd[2];

    (void)ctx;
    memset(&p, 0, sizeof p);
    p.env = env;
    cmsgr_limits_default(&config.limits);
    if (cmsgr_worker_new(&p.worker, env) < 0)
        return;
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd), 0);
    for (int i = 0; i < 2; i++) {
        if (cmsgr_session_new(&p.session[i], p.worker, 0, &p) < 0)
            p.session[i] = NULL;
        if (cmsgr_stream_new(&p.stream[i], p.worker, fd[i], 0, &config, &p) < 0) {
            p.stream[i] = NULL;
            close(fd[i]);
        }
    }
    for (int i = 0; i < 2; i++)
        if (p.stream[i])
            cmsgr_stream_send_bytes(p.stream[i], pair_banner, sizeof pair_banner);
    pair_settle(&p);
    for (int i = 0; i < 2; i++)
        if (p.stream[i] && p.session[i]) {
            cmsgr_stream_start(p.stream[i], p.session[i], 1);
            cmsgr_stream_continue(p.stream[i]);
        }
    for (int i = 0; i < 4; i++) {
        cmsgr_entry *entry = pair_entry(&p, (uint16_t)(100 + i), 0, payload, i == 3 ? 5u << 20 : 2000);

        if (!entry)
            continue;
        if (!p.session[0] || cmsgr_session_send(p.session[0], entry, 1) < 0)
            cmsgr_entry_free(env, entry);
    }
    pair_settle(&p);
    pair_clear_log(&p);
    for (int i = 0; i < 2; i++) {
        if (p.stream[i])
            cmsgr_stream_close(p.stream[i]);
        if (p.session[i]) {
            cmsgr_session_close(p.session[i]);
            cmsgr_session_unref(p.session[i]);
        }
    }
    pair_collect_garbage(&p);
    cmsgr_worker_free(p.worker);
}

int main(void)
{
    check_memory memory;
    const cmsgr_allocator allocator = check_allocator(&memory);
    cmsgr_env *env;

    check_deadline(120);
    fill_payload();
    CHECK_EQ(cmsgr_env_new(&env, &allocator, NULL), 0);
    test_control_frames(env);
    test_foreign_banner(env);
    test_message_before_ready(env);
    test_messages(env, 0);
    test_messages(env, 1);
    test_large_segments(env, 0);
    test_large_segments(env, 1);
    test_idle_holds_no_chunk(env);
    test_priorities(env);
    test_writable(env);
    test_throttle(env);
    test_keepalive(env);
    test_mask(env);
    test_mask_of_both_directions(env);
    test_replay(env);
    test_sequence(env);
    test_queue_limit(env);
    test_notify_send(env);
    test_stale(env);
    test_wakeup_beside_io(env);
    test_move(env);
    test_move_with_drained_due(env);
    test_steps_on_a_broken_stream(env);
    test_injection(env);
    test_end_of_stream(env);
    cmsgr_env_free(env);
    CHECK_EQ(atomic_load(&memory.live), 0);
    check_each_failing_allocation(allocation_scenario, NULL, NULL);
    return 0;
}
