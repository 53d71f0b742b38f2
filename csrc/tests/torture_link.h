/*
 * Two lossless sessions that are carried on over whatever breaks: the least control plane there can be.
 *
 * Side 0 dials by TCP, side 1 accepts; each has a worker of its own, on one thread. Banner, HELLO (then keys and compression), IDENT
 * (which tells the sequence number reached), started. A fault, or a call that failed, closes the stream; side 0 dials again.
 * What is checked all the time: a stream faults once and says nothing after it; of each side's messages the other gets every
 * one, once, in order, unaltered.
 */
#ifndef CMSGR_TORTURE_LINK_H
#define CMSGR_TORTURE_LINK_H

#include <errno.h>
#include <netinet/in.h>

#include "check.h"

enum { LINK_MAX_HELD = 64, LINK_LARGEST = 70000, LINK_PATIENCE = 100 };

typedef struct link_side {
    cmsgr_worker *worker;
    cmsgr_session *session;
    cmsgr_stream *stream;
    int faulted;        /* its stream said its last word */
    int error;          /* what the last one said */
    uint64_t sent;      /* messages its session took: tids 1 to sent */
    uint64_t delivered; /* the peer's messages that came */
    const cmsgr_msg *held[LINK_MAX_HELD]; /* delivered in this step, not given back yet */
    int num_held;
} link_side;

typedef struct torture_link {
    cmsgr_env *env;
    int revision, secure, compression;
    cmsgr_stream_config config;
    struct sockaddr_in addr;
    int listener;
    link_side side[2];
    int faults;
    void (*on_keys)(struct torture_link *, int side); /* if not NULL: called when the stream of this side has got its keys */
} torture_link;

static const uint8_t link_banner[26] = "ceph v2\n\x10\x00\x01";
static const uint8_t link_secret[40] = "forty bytes that both sides agreed upon.";
static uint8_t link_payload[LINK_LARGEST + 256];

/* Each message has a length and bytes of its own. Compressible, but not to nothing. */
static inline size_t link_len(uint64_t tid)
{
    static const size_t lengths[] = {0, 100, 1025, 5000, 20000, LINK_LARGEST};

    return lengths[tid % (sizeof lengths / sizeof *lengths)];
}

static inline const uint8_t *link_bytes(uint64_t tid)
{
    if (!link_payload[1])
        for (size_t i = 0; i < sizeof link_payload; i++)
            link_payload[i] = (uint8_t)(i % 251 + i / 1000);
    return link_payload + tid % 256;
}

static inline const cmsgr_driver *link_driver(const torture_link *l) { return cmsgr_env_driver(l->env); }

/* ---- Making, ending; whatever fails is tried again ---- */

static inline int link_try_worker(torture_link *l, int side)
{
    link_side *s = &l->side[side];

    if (!s->worker && cmsgr_worker_new(&s->worker, l->env) < 0)
        return 0;
    cmsgr_center_set_owner(cmsgr_worker_center(s->worker), 1);
    return s->session || cmsgr_session_new(&s->session, s->worker, 0, s) == 0;
}

static inline int link_try_listener(torture_link *l)
{
    const cmsgr_driver *driver = link_driver(l);
    struct sockaddr_storage bound;
    socklen_t len;

    l->addr = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    l->listener = driver->socket(driver->ctx, AF_INET);
    if (l->listener < 0)
        return 0;
    if (driver->bind(driver->ctx, l->listener, (struct sockaddr *)&l->addr, sizeof l->addr) == 0 &&
        driver->listen(driver->ctx, l->listener, 16) == 0 && driver->local_addr(driver->ctx, l->listener, &bound, &len) == 0) {
        memcpy(&l->addr, &bound, sizeof l->addr);
        return 1;
    }
    driver->close(driver->ctx, l->listener);
    return 0;
}

#define LINK_INSIST(attempt)                            \
    do {                                                \
        int tries_ = 0;                                 \
        while (!(attempt))                              \
            CHECK(++tries_ < LINK_PATIENCE);            \
    } while (0)

static inline void link_open(torture_link *l, cmsgr_env *env)
{
    l->env = env;
    cmsgr_limits_default(&l->config.limits);
    for (int i = 0; i < 2; i++)
        LINK_INSIST(link_try_worker(l, i));
    LINK_INSIST(link_try_listener(l));
}

static inline void link_collect_garbage(torture_link *l, cmsgr_worker *worker)
{
    cmsgr_entry *next, *entry = cmsgr_worker_take_garbage(worker);

    for (; entry; entry = next) {
        next = entry->next;
        cmsgr_entry_free(l->env, entry);
    }
}

/* The stream is over: what it wrote and nobody acknowledged is to be written again. */
static inline void link_hang_up(link_side *s)
{
    if (!s->stream)
        return;
    cmsgr_stream_close(s->stream);
    cmsgr_session_requeue(s->session);
    s->stream = NULL;
}

static inline void link_release(link_side *s)
{
    for (int i = 0; i < s->num_held; i++)
        cmsgr_msg_unref(s->held[i]);
    s->num_held = 0;
}

static inline void link_close(torture_link *l)
{
    for (int i = 0; i < 2; i++) {
        link_hang_up(&l->side[i]);
        link_release(&l->side[i]);
        cmsgr_session_close(l->side[i].session);
        cmsgr_session_unref(l->side[i].session);
    }
    link_driver(l)->close(link_driver(l)->ctx, l->listener);
    for (int i = 0; i < 2; i++) {
        link_collect_garbage(l, l->side[i].worker);
        cmsgr_worker_free(l->side[i].worker);
    }
}

/* ---- Sockets ---- */

static inline int link_greet(torture_link *l, int side)
{
    cmsgr_stream *stream = l->side[side].stream;
    int result;

    cmsgr_stream_set_revision(stream, l->revision);
    result = cmsgr_stream_send_bytes(stream, link_banner, sizeof link_banner);
    return result < 0 ? result : cmsgr_stream_send_frame(stream, CMSGR_TAG_HELLO, "hello", 5);
}

static inline void link_take_socket(torture_link *l, int side, int fd, int connecting)
{
    const cmsgr_driver *driver = link_driver(l);
    link_side *s = &l->side[side];

    if (driver->set_option(driver->ctx, fd, CMSGR_SO_NODELAY, 1) < 0 ||
        cmsgr_stream_new(&s->stream, s->worker, fd, connecting, &l->config, s) < 0) {
        s->stream = NULL;
        driver->close(driver->ctx, fd);
        return;
    }
    s->faulted = 0;
    if (!connecting && link_greet(l, side) < 0)
        link_hang_up(s);
}

static inline void link_dial(torture_link *l)
{
    const cmsgr_driver *driver = link_driver(l);
    int fd = driver->socket(driver->ctx, AF_INET);

    if (fd < 0)
        return;
    if (driver->connect(driver->ctx, fd, (struct sockaddr *)&l->addr, sizeof l->addr) < 0)
        driver->close(driver->ctx, fd);
    else
        link_take_socket(l, 0, fd, 1);
}

static inline void link_accept(torture_link *l)
{
    struct sockaddr_storage peer;
    socklen_t len;
    int fd = link_driver(l)->accept(link_driver(l)->ctx, l->listener, &peer, &len);

    if (fd >= 0)
        link_take_socket(l, 1, fd, 0);
}

/* ---- What comes ---- */

/* HELLO was the last frame in clear, and the last uncompressed one. */
static inline int link_on_hello(torture_link *l, int side)
{
    link_side *s = &l->side[side];
    cmsgr_session_info info;
    int result = 0;

    if (l->secure)
        result = cmsgr_stream_set_keys(s->stream, link_secret, sizeof link_secret, side == 0);
    if (result == 0 && l->on_keys)
        l->on_keys(l, side);
    if (result == 0)
        result = cmsgr_stream_set_compression(s->stream, l->compression, 1000);
    cmsgr_session_get_info(s->session, &info);
    return result < 0 ? result : cmsgr_stream_send_frame(s->stream, CMSGR_TAG_CLIENT_IDENT, &info.in_seq, sizeof info.in_seq);
}

static inline int link_on_ident(link_side *s, const cmsgr_item *item)
{
    uint64_t had;

    CHECK_EQ(item->payload.len, sizeof had);
    memcpy(&had, item->payload.data, sizeof had);
    CHECK(had <= s->sent);
    cmsgr_session_drop_acked(s->session, had);
    return cmsgr_stream_start(s->stream, s->session, 1);
}

static inline void link_on_frame(torture_link *l, int side, const cmsgr_item *item)
{
    link_side *s = &l->side[side];
    int result = 0;

    if (item->tag == CMSGR_TAG_HELLO)
        result = link_on_hello(l, side);
    else if (item->tag == CMSGR_TAG_CLIENT_IDENT)
        result = link_on_ident(s, item);
    else
        CHECK_EQ(item->tag, CMSGR_TAG_BANNER);
    if (result < 0)
        link_hang_up(s);
    else
        cmsgr_stream_continue(s->stream);
}

static inline void link_on_message(torture_link *l, int side, const cmsgr_msg *msg)
{
    link_side *s = &l->side[side];
    uint64_t tid = ++s->delivered;

    CHECK(s->delivered <= l->side[!side].sent);
    CHECK_EQ(msg->header.seq, tid);
    CHECK_EQ(msg->header.tid, tid);
    CHECK_EQ(msg->segment[2].len, link_len(tid));
    CHECK(memcmp(msg->segment[2].data, link_bytes(tid), msg->segment[2].len) == 0);
    cmsgr_msg_dispatched(msg);
    CHECK(s->num_held < LINK_MAX_HELD);
    s->held[s->num_held++] = msg;
}

static inline void link_on_item(torture_link *l, int side, const cmsgr_item *item)
{
    link_side *s = &l->side[side];

    if (item->kind == CMSGR_ITEM_MESSAGE) {
        CHECK(item->session == s->session);
        link_on_message(l, side, item->msg);
        return;
    }
    CHECK(item->stream && item->stream == s->stream); /* a closed one is silent */
    CHECK(!s->faulted);
    switch (item->kind) {
    case CMSGR_ITEM_CONNECTED:
        if (link_greet(l, side) < 0)
            link_hang_up(s);
        else
            cmsgr_stream_continue(s->stream);
        break;
    case CMSGR_ITEM_FRAME:
        link_on_frame(l, side, item);
        break;
    default:
        CHECK_EQ(item->kind, CMSGR_ITEM_FAULT);
        s->faulted = 1;
        s->error = item->error;
        l->faults++;
    }
}

/* A turn of one side. A stream that faulted stays for the whole turn, so that a second fault would be seen. */
static inline void link_turn(torture_link *l, int side, int64_t max_wait_ns)
{
    link_side *s = &l->side[side];
    cmsgr_item *item;

    link_release(s);
    CHECK(cmsgr_worker_turn(s->worker, max_wait_ns) >= 0);
    cmsgr_center_dispatch(cmsgr_worker_center(s->worker));
    while ((item = cmsgr_worker_take_item(s->worker)))
        link_on_item(l, side, item);
    link_collect_garbage(l, s->worker);
    if (s->stream && s->faulted) {
        CHECK(cmsgr_stream_try_send(s->stream) < 0);
        CHECK(!cmsgr_worker_take_item(s->worker));
        link_hang_up(s);
    }
}

/* ---- For scenarios ---- */

/* `count` messages; one that could not be queued is offered again. */
static inline void link_send(torture_link *l, int side, int count, int on_owner)
{
    link_side *s = &l->side[side];

    for (int i = 0, tries = 0; i < count; tries++) {
        cmsgr_entry *entry = cmsgr_entry_new(l->env);
        uint64_t tid = s->sent + 1;

        CHECK(tries < LINK_PATIENCE * count);
        if (!entry)
            continue;
        entry->header = (cmsgr_header){.tid = tid, .type = 2, .priority = 127, .version = 1, .compat_version = 1};
        entry->segment[2] = (cmsgr_span){link_bytes(tid), link_len(tid)};
        entry->features = CMSGR_FEATURES_ANY;
        s->sent++; /* it may be on its way before send returns */
        if (cmsgr_session_send(s->session, entry, on_owner) == 0) {
            i++;
        } else {
            s->sent--;
            cmsgr_entry_free(l->env, entry);
        }
    }
}

static inline int link_is_done(const torture_link *l)
{
    for (int i = 0; i < 2; i++) {
        cmsgr_session_info info;

        cmsgr_session_get_info(l->side[i].session, &info);
        if (l->side[!i].delivered < l->side[i].sent || info.unacked_messages || info.queued_bytes || info.keepalive_wanted)
            return 0;
    }
    return 1;
}

/* Until everything sent has arrived and is known to have. */
static inline void link_settle(torture_link *l)
{
    const int64_t deadline_ns = cmsgr_env_now_ns(l->env) + INT64_C(30000000000);

    do {
        if (!l->side[0].stream)
            link_dial(l);
        if (!l->side[1].stream)
            link_accept(l);
        link_turn(l, 0, 0);
        link_turn(l, 1, 50000);
        CHECK(cmsgr_env_now_ns(l->env) < deadline_ns); /* else it stands still for ever */
    } while (!link_is_done(l));
}

#endif
