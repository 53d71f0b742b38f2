/* Bytes that one read brought behind the frame at which a stream stands still belong to what comes next. */
#include "pair.h"

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

int main(void)
{
    check_memory memory;
    const cmsgr_allocator allocator = check_allocator(&memory);
    cmsgr_env *env;

    check_deadline(60);
    CHECK_EQ(cmsgr_env_new(&env, &allocator, NULL), 0);
    test_behind_the_handshake(env);
    test_not_the_next_sockets(env);
    cmsgr_env_free(env);
    CHECK_EQ(atomic_load(&memory.live), 0);
    return 0;
}
