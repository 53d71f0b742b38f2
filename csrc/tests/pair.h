/* Two streams of one worker, joined by a socket pair: the data plane end to end on one thread. */
#ifndef CMSGR_PAIR_H
#define CMSGR_PAIR_H

#include <errno.h>
#include <sys/socket.h>

#include "check.h"

enum {
    PAIR_LOG = 4096,
    PAIR_QUIET = 200 /* turns without progress: injected congestion may hold a stream back for some */
};

typedef struct pair_item {
    int kind, tag, sent, error, side;
    uint64_t got, expected;
    const cmsgr_msg *msg; /* the log owns the reference */
    size_t payload_len, wire_len;
} pair_item;

typedef struct pair {
    cmsgr_env *env;
    cmsgr_worker *worker;
    cmsgr_stream *stream[2];
    cmsgr_session *session[2];
    int fd[2];
    pair_item log[PAIR_LOG];
    int logged;
    int garbage; /* entries that came back */
} pair;

static const uint8_t pair_banner[26] = "ceph v2\n\x10\x00\x01";

static inline void pair_collect_garbage(pair *p)
{
    cmsgr_entry *next, *entry = cmsgr_worker_take_garbage(p->worker);

    for (; entry; entry = next) {
        next = entry->next;
        p->garbage++;
        cmsgr_entry_free(p->env, entry);
    }
}

/* One user phase: notes every item, answers none. */
static inline void pair_collect(pair *p)
{
    cmsgr_item *item;

    pair_collect_garbage(p);
    cmsgr_center_dispatch(cmsgr_worker_center(p->worker));
    while ((item = cmsgr_worker_take_item(p->worker))) {
        pair_item *note = &p->log[p->logged++];

        CHECK(p->logged < PAIR_LOG);
        *note = (pair_item){.kind = item->kind, .tag = item->tag, .sent = item->sent, .error = item->error,
                            .got = item->got, .expected = item->expected, .msg = item->msg,
                            .payload_len = item->payload.len, .wire_len = item->wire.len};
        note->side = item->stream ? item->stream == p->stream[1] : item->session == p->session[1];
    }
}

/* Turns until nothing happens any more: no user work, and not a byte moved. */
static inline void pair_settle(pair *p)
{
    uint64_t moved = 0;
    int quiet = 0;

    while (quiet < PAIR_QUIET) {
        int result = cmsgr_worker_turn(p->worker, 0);
        cmsgr_worker_stats stats;

        CHECK(result >= 0);
        cmsgr_worker_get_stats(p->worker, &stats);
        quiet = result || stats.recv_bytes + stats.send_bytes != moved ? 0 : quiet + 1;
        moved = stats.recv_bytes + stats.send_bytes;
        if (result)
            pair_collect(p);
    }
}

static inline void pair_clear_log(pair *p)
{
    for (int i = 0; i < p->logged; i++)
        if (p->log[i].msg)
            cmsgr_msg_unref(p->log[i].msg);
    p->logged = 0;
}

static inline int pair_count(const pair *p, int kind)
{
    int count = 0;

    for (int i = 0; i < p->logged; i++)
        count += p->log[i].kind == kind;
    return count;
}

static inline const pair_item *pair_find(const pair *p, int kind)
{
    for (int i = 0; i < p->logged; i++)
        if (p->log[i].kind == kind)
            return &p->log[i];
    return NULL;
}

static inline void pair_open(pair *p, cmsgr_env *env, const cmsgr_stream_config *config)
{
    cmsgr_stream_config none = {0};

    memset(p, 0, sizeof *p);
    p->env = env;
    if (!config) {
        cmsgr_limits_default(&none.limits);
        config = &none;
    }
    CHECK_EQ(cmsgr_worker_new(&p->worker, env), 0);
    cmsgr_center_set_owner(cmsgr_worker_center(p->worker), 1);
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, p->fd), 0);
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(cmsgr_session_new(&p->session[i], p->worker, 0, p), 0);
        CHECK_EQ(cmsgr_stream_new(&p->stream[i], p->worker, p->fd[i], 0, config, p), 0);
    }
}

/* Banners over, both streams joined to their sessions. */
static inline void pair_start_sides(pair *p, int lossless0, int lossless1)
{
    const int lossless[2] = {lossless0, lossless1};

    for (int i = 0; i < 2; i++)
        CHECK_EQ(cmsgr_stream_send_bytes(p->stream[i], pair_banner, sizeof pair_banner), 0);
    pair_settle(p);
    CHECK_EQ(pair_count(p, CMSGR_ITEM_FRAME), 2);
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(cmsgr_stream_start(p->stream[i], p->session[i], lossless[i]), 0);
        cmsgr_stream_continue(p->stream[i]);
    }
    pair_clear_log(p);
}

static inline void pair_start(pair *p, int lossless) { pair_start_sides(p, lossless, lossless); }

static inline void pair_close(pair *p)
{
    pair_clear_log(p);
    for (int i = 0; i < 2; i++) {
        if (p->stream[i])
            cmsgr_stream_close(p->stream[i]);
        cmsgr_session_close(p->session[i]);
        cmsgr_session_unref(p->session[i]);
    }
    pair_collect_garbage(p);
    cmsgr_worker_free(p->worker);
}

static inline cmsgr_entry *pair_entry(pair *p, uint16_t priority, uint64_t tid, const void *data, size_t len)
{
    cmsgr_entry *entry = cmsgr_entry_new(p->env);

    if (!entry)
        return NULL;
    entry->header = (cmsgr_header){.tid = tid, .type = 2, .priority = priority, .version = 1, .compat_version = 1, .flags = 3};
    entry->segment[2] = (cmsgr_span){data, len};
    entry->features = CMSGR_FEATURES_ANY;
    return entry;
}

static inline void pair_send(pair *p, int side, uint16_t priority, uint64_t tid, const void *data, size_t len)
{
    cmsgr_entry *entry = pair_entry(p, priority, tid, data, len);

    CHECK(entry);
    CHECK_EQ(cmsgr_session_send(p->session[side], entry, 1), 0);
}

static inline cmsgr_session_info pair_info(pair *p, int side)
{
    cmsgr_session_info info;

    cmsgr_session_get_info(p->session[side], &info);
    return info;
}

#endif
