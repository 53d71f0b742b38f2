/* Pool: recycled memory blocks. Taken by one thread, given back by any. */
#ifndef CMSGR_POOL_H
#define CMSGR_POOL_H

#include "internal.h"

typedef struct cmsgr__pool cmsgr__pool;

int cmsgr__pool_new(cmsgr__pool **out, const cmsgr_env *env);
/* The owner leaves. Blocks that are still out keep the pool's memory alive until they are put back. */
void cmsgr__pool_release(cmsgr__pool *pool);
/* Owner. At least len_bytes, aligned to 16; of a length that is not recycled: plain allocation. NULL when out of memory. */
void *cmsgr__pool_get(cmsgr__pool *pool, size_t len_bytes);
/* Owner. Another length, at least that of the largest small size; the block may move. NULL when out of memory: it stays as it was. */
void *cmsgr__pool_resize(void *block, size_t len_bytes);
/* Any thread. */
void cmsgr__pool_put(void *block);

#endif
