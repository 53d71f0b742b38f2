/*
 * The tests' harness: checks, seeds, and an allocator that fails when told to.
 *
 * A test program is a main() that calls its tests; the first check that does not hold prints what and where and ends
 * the program with 1. Nothing here sleeps: a test that waits does so on the thing itself, and a watchdog ends the
 * program if it never comes.
 */
#ifndef CMSGR_CHECK_H
#define CMSGR_CHECK_H

#include <inttypes.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmsgr/cmsgr.h"

#define CHECK(condition)                                                                       \
    do {                                                                                       \
        if (!(condition)) {                                                                    \
            fprintf(stderr, "%s:%d: %s: not so: %s\n", __FILE__, __LINE__, __func__, #condition); \
            exit(1);                                                                           \
        }                                                                                      \
    } while (0)

/* Integers that must be equal; tells both. */
#define CHECK_EQ(got, expected)                                                                \
    do {                                                                                       \
        const int64_t got_ = (int64_t)(got), expected_ = (int64_t)(expected);                  \
        if (got_ != expected_) {                                                               \
            fprintf(stderr, "%s:%d: %s: %s is %" PRId64 ", expected %s = %" PRId64 "\n", __FILE__, __LINE__, \
                    __func__, #got, got_, #expected, expected_);                               \
            exit(1);                                                                           \
        }                                                                                      \
    } while (0)

#define CHECK_STR(got, expected)                                                               \
    do {                                                                                       \
        const char *got_ = (got), *expected_ = (expected);                                     \
        if (strcmp(got_, expected_) != 0) {                                                    \
            fprintf(stderr, "%s:%d: %s: %s is \"%s\", expected \"%s\"\n", __FILE__, __LINE__, __func__, #got, \
                    got_, expected_);                                                          \
            exit(1);                                                                           \
        }                                                                                      \
    } while (0)

/* The program ends, by SIGALRM, if it is not done after so many seconds, or those of CMSGR_TEST_DEADLINE. */
static inline void check_deadline(unsigned seconds)
{
    const char *given = getenv("CMSGR_TEST_DEADLINE");

    alarm(given ? (unsigned)strtoul(given, NULL, 0) : seconds);
}

/* ---- Chance: the seed is printed, and taken from CMSGR_TEST_SEED to repeat a run ------------------------- */

static inline uint64_t check_seed(void)
{
    const char *given = getenv("CMSGR_TEST_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 0) : 0;

    if (!given)
        cmsgr_driver_linux()->random(NULL, &seed, sizeof(seed));
    fprintf(stderr, "CMSGR_TEST_SEED=%" PRIu64 "\n", seed);
    return seed;
}

/* splitmix64 */
static inline uint64_t check_random(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15);

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

/* ---- Memory: counts what is out, and fails the n-th allocation ------------------------------------------- */

typedef struct check_memory {
    atomic_long live;       /* blocks */
    atomic_long until_fail; /* allocations that still succeed; < 0: all do */
    atomic_long failed;
} check_memory;

static inline void *check__realloc(void *ctx, void *block, size_t len_bytes)
{
    check_memory *memory = ctx;
    void *got;

    if (atomic_load(&memory->until_fail) >= 0 && atomic_fetch_sub(&memory->until_fail, 1) <= 0) {
        atomic_store(&memory->until_fail, 0); /* and so do all that follow */
        atomic_fetch_add(&memory->failed, 1);
        return NULL;
    }
    got = realloc(block, len_bytes);
    if (got && !block)
        atomic_fetch_add(&memory->live, 1);
    return got;
}

static inline void check__free(void *ctx, void *block)
{
    check_memory *memory = ctx;

    if (block)
        atomic_fetch_sub(&memory->live, 1);
    free(block);
}

static inline cmsgr_allocator check_allocator(check_memory *memory)
{
    atomic_init(&memory->live, 0);
    atomic_init(&memory->until_fail, -1);
    atomic_init(&memory->failed, 0);
    return (cmsgr_allocator){memory, check__realloc, check__free};
}

/* Calls scenario(ctx, env) with the first allocation failing, then the second, ... until none fails any more; the
 * scenario must survive each time and leave nothing behind. Making env itself always succeeds. */
static inline void check_each_failing_allocation(void (*scenario)(void *ctx, cmsgr_env *env), void *ctx,
                                                 const cmsgr_driver *driver)
{
    for (long n = 0;; n++) {
        check_memory memory;
        const cmsgr_allocator allocator = check_allocator(&memory);
        cmsgr_env *env;

        CHECK_EQ(cmsgr_env_new(&env, &allocator, driver), 0);
        atomic_store(&memory.until_fail, n);
        scenario(ctx, env);
        cmsgr_env_free(env);
        CHECK_EQ(atomic_load(&memory.live), 0);
        if (!atomic_load(&memory.failed)) {
            CHECK(n > 0); /* else the scenario allocates nothing and tests nothing */
            return;
        }
        CHECK(n < 100000);
    }
}

#endif
