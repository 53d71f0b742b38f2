/* A worker's inside, for its streams and sessions. */
#ifndef CMSGR_WORKER_H
#define CMSGR_WORKER_H

#include <stdatomic.h>

#include "center.h"
#include "list.h"
#include "outq.h"
#include "pool.h"

enum {
    /* One recv brings at most this: 62 messages of 4 KiB. More would fall out of the L2 cache between copy and use. */
    CMSGR__RECV_LEN = 256 * 1024,
    /* And about so many messages, down to so many bytes. Each of them becomes some 2 KiB of blocks, objects and answers. */
    CMSGR__READ_MESSAGES = 256,
    CMSGR__RECV_MIN = 16 * 1024,
    /* The kernel's copy into a buffer that malloc left 16 bytes off a page was measured at a third of the speed. */
    CMSGR__RECV_ALIGN = 4096,
    /* What one stream may assemble in one turn: others on the same worker wait no longer than this takes. */
    CMSGR__FLUSH_BUDGET = 1024 * 1024,
    /* A batch from here on is answered in two halves where we and the peer would else take turns: see cmsgr_worker_flush_every. A
     * smaller one is over before the peer could begin. */
    CMSGR__PARTED_BATCH = 8,
    /* No answer waits for more than so many others. */
    CMSGR__FLUSH_AT_MOST = 128,
    /* Garbage of this size or number does not wait for the next occasion. */
    CMSGR__GARBAGE_BYTES = 1024 * 1024,
    CMSGR__GARBAGE_COUNT = 1024
};
/* An idle worker hands its garbage up after this long at most. */
#define CMSGR__GARBAGE_WAIT_NS INT64_C(50000000)

struct cmsgr_worker {
    cmsgr_env *env;
    cmsgr_center *center;
    cmsgr__pool *pool;
    atomic_int refs;      /* the maker's and every session's */
    cmsgr__link dirty;    /* streams with something to send */
    cmsgr__link hot;      /* streams with bytes to parse or to read without an event */
    cmsgr__link graves;   /* closed streams: freed when no callback of this round can name them */
    cmsgr_item *items, **items_end;
    size_t num_items;
    cmsgr_session *taken; /* of the item taken last: a reference */
    cmsgr__fifo garbage;
    int64_t garbage_bytes;
    _Atomic(cmsgr_entry *) late_garbage; /* of sessions that ended on other threads */
    cmsgr_worker_stats stats;
    uint8_t *recv_buffer; /* lent for one read; lies in recv_memory */
    uint8_t *recv_memory;
};

void cmsgr__worker_ref(cmsgr_worker *worker);
void cmsgr__worker_unref(cmsgr_worker *worker);
/* Appends; the item is the caller's memory and must stay until it is taken. */
void cmsgr__worker_add_item(cmsgr_worker *worker, cmsgr_item *item);
/* Takes an item back out, e.g. because its stream ends. Walks the list: only for rare events. */
void cmsgr__worker_remove_item(cmsgr_worker *worker, cmsgr_item *item);
void cmsgr__worker_add_garbage(cmsgr_worker *worker, cmsgr_entry *entry, int64_t len_bytes);
/* Any thread; the list is linked by next. */
void cmsgr__worker_add_late_garbage(cmsgr_worker *worker, cmsgr_entry *entries);

#endif
