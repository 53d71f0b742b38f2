/*
 * What every source of the library shares: the environment, memory, byte order. Names here begin with cmsgr__.
 */
#ifndef CMSGR_INTERNAL_H
#define CMSGR_INTERNAL_H

#include <stdint.h>
#include <string.h>

#include "cmsgr/cmsgr.h"

/* A way to compute crc32c. */
typedef struct cmsgr__crc32c {
    const char *name;
    uint32_t (*fn)(uint32_t crc, const void *data, size_t len_bytes);
} cmsgr__crc32c;

enum { CMSGR__CRC32C_MAX = 3 };

struct cmsgr_env {
    cmsgr_allocator allocator;
    cmsgr_driver driver;
    cmsgr__crc32c crc32c; /* chosen by what this CPU has */
};

/* Those this CPU has, from the slowest, which is always there, to the fastest; returns their number. */
int cmsgr__crc32c_available(cmsgr__crc32c out[CMSGR__CRC32C_MAX]);
/* Of these the ones of x86. */
int cmsgr__crc32c_x86(cmsgr__crc32c out[]);

static inline void *cmsgr__alloc(const cmsgr_env *env, size_t len_bytes)
{
    return env->allocator.realloc(env->allocator.ctx, NULL, len_bytes);
}

/* Like cmsgr__alloc, zeroed. */
static inline void *cmsgr__zalloc(const cmsgr_env *env, size_t len_bytes)
{
    void *block = cmsgr__alloc(env, len_bytes);

    if (block)
        memset(block, 0, len_bytes);
    return block;
}

static inline void *cmsgr__realloc(const cmsgr_env *env, void *block, size_t len_bytes)
{
    return env->allocator.realloc(env->allocator.ctx, block, len_bytes);
}

/* NULL is fine. */
static inline void cmsgr__free(const cmsgr_env *env, void *block)
{
    if (block)
        env->allocator.free(env->allocator.ctx, block);
}

static inline int64_t cmsgr__now(const cmsgr_env *env)
{
    return env->driver.now_ns(env->driver.ctx);
}

/* Counters belong to one thread and may be read by any: each of them as it was a moment ago. Their structures hold nothing else,
 * all of 64 bits. */
#define cmsgr__count(counter, amount) __atomic_store_n(&(counter), (counter) + (amount), __ATOMIC_RELAXED)
static inline void cmsgr__read_counters(void *out, const void *counters, size_t len_bytes)
{
    for (size_t i = 0; i < len_bytes / sizeof(uint64_t); i++)
        ((uint64_t *)out)[i] = __atomic_load_n((const uint64_t *)counters + i, __ATOMIC_RELAXED);
}

/* The wire is little endian; these compile to plain loads and stores where the machine is too. */
static inline uint16_t cmsgr__get16(const uint8_t *p) { return (uint16_t)(p[0] | p[1] << 8); }
static inline uint32_t cmsgr__get32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}
static inline uint64_t cmsgr__get64(const uint8_t *p) { return cmsgr__get32(p) | (uint64_t)cmsgr__get32(p + 4) << 32; }
static inline void cmsgr__put16(uint8_t *p, uint16_t v) { p[0] = (uint8_t)v; p[1] = (uint8_t)(v >> 8); }
static inline void cmsgr__put32(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
    p[2] = (uint8_t)(v >> 16);
    p[3] = (uint8_t)(v >> 24);
}
static inline void cmsgr__put64(uint8_t *p, uint64_t v)
{
    cmsgr__put32(p, (uint32_t)v);
    cmsgr__put32(p + 4, (uint32_t)(v >> 32));
}

#endif
