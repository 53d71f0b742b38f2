/* A received message's inside: where its memory is and what it owes to the throttles. */
#ifndef CMSGR_MSG_H
#define CMSGR_MSG_H

#include <stdatomic.h>

#include "pool.h"

enum {
    /* Bodies up to this are received into the message's own pooled block; larger ones get memory of their own. */
    CMSGR__SMALL_BODY = 16 * 1024,
    /* A body's memory starts at this size and grows with what has really arrived: a claimed length is only a claim. A little more
     * than 4 MiB, so that a whole object of Ceph's, with what surrounds it, is received into its place at once: growing on the
     * way, into pages that must first be had, costs a tenth of the receiver's time. */
    CMSGR__BODY_STEP = 4 * 1024 * 1024 + 64 * 1024,
    CMSGR__BODY_GROWTH = 4,
    /* A small body begins 7 bytes into aligned memory, so that the front behind a 41-byte header is aligned to 8. */
    CMSGR__SMALL_SKEW = 7,
    /* A large one begins where it makes the data segment, into which the kernel copies, aligned to a cache line. */
    CMSGR__DATA_ALIGN = 64
};

typedef struct cmsgr__msg {
    cmsgr_msg pub; /* first: what the user sees */
    cmsgr_item item;
    atomic_int refs;
    atomic_int undispatched; /* 1 while the dispatch throttles' amounts are out */
    cmsgr_throttle *policy_messages, *policy_bytes, *dispatch_bytes, *dispatch_messages; /* references, or NULL */
    int64_t cost; /* front + middle + data */
    uint8_t *body;
    size_t body_cap;
    uint8_t *large; /* the body's own block, or NULL; the body begins `skew` bytes into it */
    size_t skew;
} cmsgr__msg;

/* One reference, no claims, room for min(body_len, CMSGR__BODY_STEP) bytes of body, in which the data segment will begin at
 * `data_at`. NULL when out of memory. */
cmsgr__msg *cmsgr__msg_new(cmsgr__pool *pool, size_t body_len, size_t data_at);
/* Owner of the pool. Makes room for more of the body, which may move: 0 or -ENOMEM. */
int cmsgr__msg_grow(cmsgr__msg *msg, cmsgr__pool *pool, size_t body_len);

#endif
