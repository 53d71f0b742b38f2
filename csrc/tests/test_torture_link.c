/* Torture of the data plane: whatever call fails, the lossless sessions lose nothing and nothing is left behind. */
#include "torture_calls.h"
#include "torture_link.h"

static int kind; /* of the links that are made */

enum { PLAIN, SECURE_2_0, SECURE_2_1_ZLIB, SNAPPY_2_0, THROTTLED, KINDS };
static const char *const kind_names[KINDS] = {"plain", "secure 2.0", "secure 2.1, zlib", "crc 2.0, snappy", "throttled"};

static cmsgr_throttle *throttle[4]; /* in the order of the config */

static int compression_if_built(int algorithm)
{
    return cmsgr_compression_name(algorithm) ? algorithm : CMSGR_COMPRESSION_NONE;
}

static void make_throttles(torture_link *l)
{
    const int64_t max[4] = {2, 30000, 8000, 1};

    for (int i = 0; i < 4; i++)
        LINK_INSIST(cmsgr_throttle_new(&throttle[i], l->env, max[i]) == 0);
    l->config.policy_messages = throttle[0];
    l->config.policy_bytes = throttle[1];
    l->config.dispatch_bytes = throttle[2];
    l->config.dispatch_messages = throttle[3];
}

static void end_throttles(void)
{
    for (int i = 0; i < 4; i++) {
        cmsgr_throttle_stats stats;

        cmsgr_throttle_get_stats(throttle[i], &stats);
        CHECK_EQ(stats.current, 0);
        cmsgr_throttle_unref(throttle[i]);
    }
}

static void open_kind(torture_link *l, cmsgr_env *env)
{
    *l = (torture_link){.revision = kind == PLAIN || kind == SECURE_2_1_ZLIB || kind == THROTTLED,
                .secure = kind == SECURE_2_0 || kind == SECURE_2_1_ZLIB};
    link_open(l, env);
    if (kind == SECURE_2_1_ZLIB)
        l->compression = compression_if_built(CMSGR_COMPRESSION_ZLIB);
    if (kind == SNAPPY_2_0)
        l->compression = compression_if_built(CMSGR_COMPRESSION_SNAPPY);
    if (kind == THROTTLED)
        make_throttles(l);
}

static void close_kind(torture_link *l)
{
    link_close(l);
    if (kind == THROTTLED)
        end_throttles();
}

/* Queued before there is a socket, and both ways at once; a keepalive; then a cut with messages under way, and on. */
static void talk(cmsgr_env *env)
{
    torture_link l;

    open_kind(&l, env);
    link_send(&l, 0, 6, 1);
    link_settle(&l);
    link_send(&l, 1, 7, 0);
    link_send(&l, 0, 5, 0);
    cmsgr_session_send_keepalive(l.side[0].session, 1);
    link_settle(&l);
    link_send(&l, 0, 3, 1);
    link_turn(&l, 0, 0); /* written, not acknowledged */
    link_hang_up(&l.side[0]);
    link_send(&l, 1, 2, 1);
    link_settle(&l);
    close_kind(&l);
}

/* The session goes to another worker, with messages queued and unacknowledged, and a kick under way. */
static void move(cmsgr_env *env)
{
    cmsgr_worker *old, *other = NULL;
    torture_link l;

    open_kind(&l, env);
    LINK_INSIST(cmsgr_worker_new(&other, env) == 0);
    link_send(&l, 0, 4, 1);
    link_settle(&l);
    link_send(&l, 0, 4, 0);
    link_turn(&l, 0, 0);
    link_send(&l, 0, 2, 0);
    link_turn(&l, 1, 0);
    if (l.side[0].stream)
        CHECK_EQ(cmsgr_session_move(l.side[0].session, other), CMSGR_E_NOT_READY);
    link_hang_up(&l.side[0]);
    link_release(&l.side[0]);
    CHECK_EQ(cmsgr_session_move(l.side[0].session, other), 0);
    old = l.side[0].worker;
    l.side[0].worker = other;
    link_settle(&l);
    close_kind(&l);
    link_collect_garbage(&l, old);
    cmsgr_worker_free(old);
}

int main(void)
{
    uint64_t seed = check_seed();

    check_deadline(3600);
    for (kind = 0; kind < KINDS; kind++)
        torture_all(kind_names[kind], talk, &seed);
    kind = PLAIN;
    torture_all("move", move, &seed);
    return 0;
}
