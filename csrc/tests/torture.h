/*
 * Torture: a scenario is run again and again, and each time one more of its allocations or system calls fails, in each way
 * that call can fail, until a run comes to its end before that. A storm fails many by chance.
 *
 * A scenario survives, carries on after the failure and checks that nothing is missing; that no memory and no descriptor is left
 * behind is checked here. What system calls there are and how they fail is in torture_calls.h.
 *
 * CMSGR_TORTURE=full tries every one; else some are left out where a scenario has many, beginning at a place by chance, and
 * with CMSGR_TORTURE=few most. CMSGR_TORTURE=storms is for going on and on with fresh seeds.
 */
#ifndef CMSGR_TORTURE_H
#define CMSGR_TORTURE_H

#include <fcntl.h>

#include "check.h"

enum { TORTURE_MAX_FD = 256 };

/* How many calls of a scenario fail at most, and how many storms it goes through. */
typedef struct torture_effort {
    int64_t calls;
    int storms;
} torture_effort;

typedef void (*torture_scenario)(cmsgr_env *env);

typedef struct torture {
    int off;             /* the test's own calls */
    int64_t calls;       /* that may fail, so far in this run */
    int64_t fail_at;     /* the one that does; < 0 none */
    int way, num_ways;   /* in which of its ways */
    const char *failed;  /* what did, NULL if none was reached */
    uint32_t storm_one_in; /* > 0: each fails with this chance, whatever fail_at says */
    uint64_t chance;
    int allocations;     /* 1: only allocations are counted, 0: only system calls, -1: both */
    long live;           /* blocks */
} torture;

static torture torture_now = {.fail_at = -1};

/* The way in which this call fails, or NULL: it does not. `ways` ends with 0. */
static inline const int *torture_strikes(const char *call, int is_allocation, const int *ways)
{
    torture *t = &torture_now;
    int num_ways = 0;

    if (t->off || (t->allocations >= 0 && t->allocations != is_allocation))
        return NULL;
    while (ways[num_ways])
        num_ways++;
    if (t->storm_one_in) {
        t->calls++;
        return check_random(&t->chance) % t->storm_one_in ? NULL : &ways[check_random(&t->chance) % (uint64_t)num_ways];
    }
    if (t->calls++ != t->fail_at)
        return NULL;
    t->failed = call;
    t->num_ways = num_ways;
    return &ways[t->way % num_ways];
}

static inline void *torture_realloc(void *ctx, void *block, size_t len_bytes)
{
    static const int ways[] = {ENOMEM, 0};
    torture *t = ctx;
    void *got = torture_strikes("realloc", 1, ways) ? NULL : realloc(block, len_bytes);

    t->live += got && !block;
    return got;
}

static inline void torture_free(void *ctx, void *block)
{
    ((torture *)ctx)->live -= block != NULL;
    free(block);
}

static inline int torture_open_files(void)
{
    int count = 0;

    for (int fd = 0; fd < TORTURE_MAX_FD; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

static inline void torture_once(torture_scenario scenario)
{
    const cmsgr_allocator allocator = {&torture_now, torture_realloc, torture_free};
    int files = torture_open_files();
    cmsgr_env *env;

    torture_now.off = 1;
    CHECK_EQ(cmsgr_env_new(&env, &allocator, NULL), 0);
    torture_now.calls = 0;
    torture_now.failed = NULL;
    torture_now.off = 0;
    scenario(env);
    torture_now.off = 1;
    cmsgr_env_free(env);
    CHECK_EQ(torture_now.live, 0);
    CHECK_EQ(torture_open_files(), files);
}

static inline torture_effort torture_asked(void)
{
    const char *asked = getenv("CMSGR_TORTURE");

    if (asked && strcmp(asked, "full") == 0)
        return (torture_effort){INT64_MAX, 1000};
    if (asked && strcmp(asked, "storms") == 0)
        return (torture_effort){25, 500};
    return asked && strcmp(asked, "few") == 0 ? (torture_effort){4, 1} : (torture_effort){25, 10};
}

/* The scenario's allocations (1) or system calls (0), one after the other, in each way. Tells on stderr what fails next, so that a
 * failed check is preceded by what led to it. */
static inline void torture_each(const char *name, torture_scenario scenario, int allocations, uint64_t *seed)
{
    torture *t = &torture_now;
    int64_t stride = 1, runs = 0;

    t->allocations = allocations;
    t->storm_one_in = 0;
    t->fail_at = -1;
    torture_once(scenario);
    CHECK(t->calls > 0); /* else the scenario tests nothing */
    if (t->calls > torture_asked().calls)
        stride = t->calls / torture_asked().calls;
    fprintf(stderr, "%s: %" PRId64 " %s, every %" PRId64 ".\n", name, t->calls, allocations ? "allocations" : "system calls", stride);
    t->fail_at = stride > 1 ? (int64_t)(check_random(seed) % (uint64_t)stride) : 0;
    do {
        t->way = 0;
        do {
            fprintf(stderr, "  %" PRId64 ".%d", t->fail_at, t->way);
            torture_once(scenario);
            fprintf(stderr, " %s\n", t->failed ? t->failed : "reached the end");
            runs++;
        } while (t->failed && ++t->way < t->num_ways);
        t->fail_at += stride;
    } while (t->failed);
    printf("%s: %" PRId64 " runs with one of %s failing\n", name, runs, allocations ? "the allocations" : "the system calls");
}

/* Many failures in one run, of both kinds. */
static inline void torture_storms(const char *name, torture_scenario scenario, uint32_t one_in, uint64_t *seed)
{
    torture *t = &torture_now;
    int storms = torture_asked().storms;

    t->allocations = -1;
    t->storm_one_in = one_in;
    for (int i = 0; i < storms; i++) {
        t->chance = check_random(seed);
        fprintf(stderr, "%s: storm %d\n", name, i);
        torture_once(scenario);
    }
    t->storm_one_in = 0;
    printf("%s: %d storms, one call in %" PRIu32 " failing\n", name, storms, one_in);
}

static inline void torture_all(const char *name, torture_scenario scenario, uint64_t *seed)
{
    torture_each(name, scenario, 1, seed);
    torture_each(name, scenario, 0, seed);
    torture_storms(name, scenario, 50, seed);
    torture_storms(name, scenario, 300, seed);
}

#endif
