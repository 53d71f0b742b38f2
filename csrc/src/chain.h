/*
 * Chain: the bytes of one stream that are assembled but not yet taken by the kernel.
 *
 * A sequence of pieces. A piece lies either in a chunk of the chain's own (preambles, headers, trailers, small segments) or
 * in the memory of a queued message (large segments: never copied). Appending cannot fail half way: prepare first, then
 * the appends that fit what was prepared always succeed.
 */
#ifndef CMSGR_CHAIN_H
#define CMSGR_CHAIN_H

#include "frame.h"
#include "pool.h"

enum {
    CMSGR__CHUNK_LEN = 20 * 1024 - 64, /* with its own head it fills the pool's largest size */
    /* Segments up to this are copied beside the header: cheaper than an iovec of their own, here and in the kernel. */
    CMSGR__COPY_MAX = 1024,
    /* Pieces per sendmsg: a whole batch of messages of 4 KiB, two each. Where the rest of one had to wait for a second call, which the
     * kernel is told by MSG_MORE, a fifth of the rate was lost. */
    CMSGR__IOV_MAX = 384
};

typedef struct cmsgr__chunk {
    uint32_t cap, used;
    uint32_t pieces; /* pieces that lie in it: 0 = may be recycled */
    uint8_t *data;
} cmsgr__chunk;

typedef struct cmsgr__piece {
    const uint8_t *data;
    size_t len;
    cmsgr__chunk *chunk; /* own memory, or NULL */
    cmsgr_entry *entry;  /* borrowed memory, or NULL */
} cmsgr__piece;

typedef struct cmsgr__chain {
    const cmsgr_env *env;
    cmsgr__pool *pool;
    cmsgr__piece *pieces; /* a ring; cap is a power of two */
    uint32_t cap, first, count;
    cmsgr__chunk *chunk; /* where the next own bytes go */
    size_t bytes;
} cmsgr__chain;

/* Called when the last piece of an entry has left the chain. */
typedef void (*cmsgr__entry_fn)(void *arg, cmsgr_entry *entry);

void cmsgr__chain_init(cmsgr__chain *chain, const cmsgr_env *env, cmsgr__pool *pool);
/* Drops everything unsent and frees the chain's memory. */
void cmsgr__chain_clear(cmsgr__chain *chain, cmsgr__entry_fn done, void *arg);
/* After a prepare of which nothing came: an empty chain holds no chunk. */
void cmsgr__chain_relax(cmsgr__chain *chain);
/* Room for `pieces` more pieces and `len` contiguous own bytes: 0 or -ENOMEM. */
int cmsgr__chain_prepare(cmsgr__chain *chain, unsigned pieces, size_t len);
/* Where the next own bytes go; after writing them, commit. */
uint8_t *cmsgr__chain_room(cmsgr__chain *chain);
void cmsgr__chain_commit(cmsgr__chain *chain, size_t len);
void cmsgr__chain_copy(cmsgr__chain *chain, const void *data, size_t len);
/* Own memory as a sink of any length: the next chunk is made when one is full. */
typedef struct cmsgr__chain_sink {
    cmsgr__sink sink;
    cmsgr__chain *chain;
} cmsgr__chain_sink;
cmsgr__chain_sink cmsgr__chain_sink_of(cmsgr__chain *chain);
/* Points into the entry's segment; counts entry->pieces. */
void cmsgr__chain_borrow(cmsgr__chain *chain, const void *data, size_t len, cmsgr_entry *entry);
/* The first pieces as iovecs; returns how many, and their sum in *len. */
int cmsgr__chain_iov(const cmsgr__chain *chain, struct iovec *iov, int max, size_t *len);
/* The kernel took `len` bytes. */
void cmsgr__chain_consume(cmsgr__chain *chain, size_t len, cmsgr__entry_fn done, void *arg);

#endif
