/* A replay that breaks off goes on where it was, however often. */
#include "pair.h"
#include "session.h"

enum { MESSAGES = 60, CUTS = 12, SMALL_BUFFER = 4096 };

static uint8_t payload[20000];
static pair p;

/* Both ends get another socket. The receiver of one that is to be `cut` stands still at the first message, and the socket takes
 * little. */
static void reconnect(int cut)
{
    const int small = SMALL_BUFFER;
    cmsgr_stream_config config = {0};

    cmsgr_limits_default(&config.limits);
    for (int i = 0; i < 2; i++) {
        cmsgr_stream_close(p.stream[i]);
        cmsgr_session_requeue(p.session[i]);
    }
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, p.fd), 0);
    if (cut)
        CHECK_EQ(setsockopt(p.fd[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof small), 0);
    for (int i = 0; i < 2; i++)
        CHECK_EQ(cmsgr_stream_new(&p.stream[i], p.worker, p.fd[i], 0, &config, &p), 0);
    pair_start(&p, 1);
    if (cut)
        cmsgr_stream_set_mask(p.stream[1], 1u << CMSGR_TAG_MESSAGE, 0);
}

/* More than a batch is to be written again, and each time only one is: the next cut finds some sent and some still to be. */
static void test_cut_short(cmsgr_env *env)
{
    const int large = 4 << 20;

    pair_open(&p, env, NULL);
    CHECK_EQ(setsockopt(p.fd[0], SOL_SOCKET, SO_SNDBUF, &large, sizeof large), 0);
    pair_start(&p, 1);
    pair_settle(&p);
    cmsgr_stream_set_mask(p.stream[1], 1u << CMSGR_TAG_MESSAGE, 0);
    for (uint64_t i = 0; i < MESSAGES; i++)
        pair_send(&p, 0, 127, i, payload, sizeof payload);
    for (int cut = 0; cut < CUTS; cut++) {
        CHECK(cmsgr_stream_try_send(p.stream[0]) > 0);
        if (cut) { /* the first one found nothing to be written again */
            CHECK(p.session[0]->sent.first && p.session[0]->replay.first);
            pair_send(&p, 0, 255, MESSAGES + (uint64_t)cut - 1, payload, 10); /* must not overtake */
        }
        reconnect(1);
    }
    reconnect(0);
    pair_settle(&p);
    CHECK_EQ(pair_count(&p, CMSGR_ITEM_MESSAGE), MESSAGES + CUTS - 1);
    for (int i = 0; i < p.logged; i++) {
        CHECK_EQ(p.log[i].kind, CMSGR_ITEM_MESSAGE);
        CHECK_EQ(p.log[i].msg->header.seq, i + 1);
    }
    CHECK_EQ(pair_info(&p, 0).unacked_messages, 0);
    pair_close(&p);
}

int main(void)
{
    check_memory memory;
    const cmsgr_allocator allocator = check_allocator(&memory);
    cmsgr_env *env;

    check_deadline(60);
    CHECK_EQ(cmsgr_env_new(&env, &allocator, NULL), 0);
    test_cut_short(env);
    cmsgr_env_free(env);
    CHECK_EQ(atomic_load(&memory.live), 0);
    return 0;
}
