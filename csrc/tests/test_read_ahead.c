/* Bytes that one read brought behind the frame at which a stream stands still belong to what comes next; and how many one brings. */
#include "pair.h"
#include "stream.h"
#include "worker.h"

static pair p;

static void send_raw_message(uint64_t seq)
{
    cmsgr_header header = {.seq = seq, .type = 2, .priority = 127};
    uint8_t encoded[41], wire[256];
    cmsgr_span segments[2] = {{encoded, 41}, {"read ahead", 10}};
    ssize_t len;

    cmsgr_header_encode(&header, encoded);
    len = cmsgr_frame_assemble(p.env, 1, CMSGR_TAG_MESSAGE, segments, NULL, 2, 0, wire, sizeof wire);
    CHECK(len > 0);
    CHECK_EQ(cmsgr_stream_send_bytes(p.stream[0], wire, (size_t)len), 0);
}

/* Messages right behind the handshake's last frame, all in one read: the session gets them once it has the socket. */
static void test_behind_the_handshake(cmsgr_env *env)
{
    pair_open(&p, env, NULL);
    CHECK_EQ(cmsgr_stream_send_bytes(p.stream[0], pair_banner, sizeof pair_banner), 0);
    CHECK_EQ(cmsgr_stream_send_frame(p.stream[0], CMSGR_TAG_CLIENT_IDENT, "ident", 5), 0);
    send_raw_message(1);
    send_raw_message(2);
    pair_settle(&p);
    cmsgr_stream_continue(p.stream[1]);
    pair_settle(&p);
    CHECK_EQ(p.logged, 2);
    CHECK_EQ(p.log[1].tag, CMSGR_TAG_CLIENT_IDENT);
    CHECK_EQ(cmsgr_stream_start(p.stream[1], p.session[1], 1), 0);
    cmsgr_stream_continue(p.stream[1]);
    pair_settle(&p);
    CHECK_EQ(pair_count(&p, CMSGR_ITEM_MESSAGE), 2);
    CHECK_EQ(pair_info(&p, 1).in_seq, 2);
    pair_close(&p);
}

/* A stream that is closed takes what it read ahead with it: its successor begins with its own first byte. */
static void test_not_the_next_sockets(cmsgr_env *env)
{
    cmsgr_stream_config config = {0};

    pair_open(&p, env, NULL);
    CHECK_EQ(cmsgr_stream_send_bytes(p.stream[0], pair_banner, sizeof pair_banner), 0);
    CHECK_EQ(cmsgr_stream_send_frame(p.stream[0], CMSGR_TAG_CLIENT_IDENT, "ident", 5), 0);
    send_raw_message(1);
    pair_settle(&p);
    for (int i = 0; i < 2; i++)
        cmsgr_stream_close(p.stream[i]);
    cmsgr_limits_default(&config.limits);
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, p.fd), 0);
    for (int i = 0; i < 2; i++)
        CHECK_EQ(cmsgr_stream_new(&p.stream[i], p.worker, p.fd[i], 0, &config, &p), 0);
    pair_clear_log(&p);
    pair_start(&p, 1);
    pair_settle(&p);
    CHECK_EQ(p.logged, 0);
    CHECK_EQ(pair_info(&p, 1).in_seq, 0);
    pair_close(&p);
}

static void send_many(int count, const void *data, size_t len)
{
    for (int i = 0; i < count; i++)
        pair_send(&p, 0, 127, (uint64_t)i, data, len);
    pair_settle(&p);
    CHECK_EQ(pair_count(&p, CMSGR_ITEM_MESSAGE), count);
    pair_clear_log(&p);
}

/* How far a read goes depends on what the reads before have brought: so many bytes, but not very many messages. */
static void test_small_messages_are_read_by_fewer_bytes(cmsgr_env *env)
{
    static uint8_t data[15000];

    pair_open(&p, env, NULL);
    pair_start(&p, 0);
    CHECK_EQ(p.stream[1]->read_len, CMSGR__RECV_LEN);
    send_many(CMSGR__READ_MESSAGES / 2, "x", 1);
    CHECK_EQ(p.stream[1]->read_len, CMSGR__RECV_LEN);
    send_many(2 * CMSGR__READ_MESSAGES, "x", 1);
    CHECK_EQ(p.stream[1]->read_len, CMSGR__RECV_LEN / 2);
    for (int i = 0; i < 10; i++)
        send_many(2 * CMSGR__READ_MESSAGES, "x", 1);
    CHECK_EQ(p.stream[1]->read_len, CMSGR__RECV_MIN); /* 180 messages of these */
    for (int i = 0; i < 10; i++)
        send_many(20, data, sizeof data);
    CHECK_EQ(p.stream[1]->read_len, CMSGR__RECV_LEN);
    pair_close(&p);
}

int main(void)
{
    check_memory memory;
    const cmsgr_allocator allocator = check_allocator(&memory);
    cmsgr_env *env;

    check_deadline(60);
    CHECK_EQ(cmsgr_env_new(&env, &allocator, NULL), 0);
    test_behind_the_handshake(env);
    test_not_the_next_sockets(env);
    test_small_messages_are_read_by_fewer_bytes(env);
    cmsgr_env_free(env);
    CHECK_EQ(atomic_load(&memory.live), 0);
    return 0;
}
