/* Pool on one thread: sizes, recycling, resizing, bounds, outliving, failing allocations. */
#include <errno.h>

#include "check.h"
#include "pool.h"

#if defined(__SANITIZE_ADDRESS__)
enum { CACHES = 0 }; /* under this sanitizer the pool recycles nothing */
#else
enum { CACHES = 1 };
#endif

static check_memory memory;
static cmsgr_env *env;
static cmsgr__pool *pool;

static void begin(void)
{
    const cmsgr_allocator allocator = check_allocator(&memory);

    CHECK_EQ(cmsgr_env_new(&env, &allocator, NULL), 0);
    CHECK_EQ(cmsgr__pool_new(&pool, env), 0);
}

static void end(void)
{
    cmsgr_env_free(env);
    CHECK_EQ(atomic_load(&memory.live), 0);
}

/* Blocks besides the env and the pool. */
static long blocks(void) { return atomic_load(&memory.live) - 2; }

static void test_sizes(void)
{
    static const size_t lens[] = {0, 1, 511, 512, 513, 2048, 2049, 6144, 6145, 16384, 20480, 20481, 1 << 20, 5 << 20};
    enum { COUNT = sizeof(lens) / sizeof(lens[0]) };
    void *block[COUNT];

    begin();
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < COUNT; i++) {
            block[i] = cmsgr__pool_get(pool, lens[i]);
            CHECK(block[i] != NULL);
            CHECK_EQ((uintptr_t)block[i] % 16, 0);
            memset(block[i], i + 1, lens[i]);
        }
        for (int i = 0; i < COUNT; i++)
            for (size_t at = 0; at < lens[i]; at += 100)
                CHECK_EQ(((uint8_t *)block[i])[at], i + 1); /* nobody else's memory */
        for (int i = 0; i < COUNT; i++)
            cmsgr__pool_put(block[i]);
    }
    cmsgr__pool_put(NULL);
    CHECK(cmsgr__pool_get(pool, SIZE_MAX) == NULL);
    CHECK(cmsgr__pool_get(pool, SIZE_MAX - 15) == NULL);
    cmsgr__pool_release(pool);
    end();
}

static void test_recycles(void)
{
    void *first, *second;

    begin();
    first = cmsgr__pool_get(pool, 500);
    cmsgr__pool_put(first);
    CHECK_EQ(blocks(), CACHES);
    second = cmsgr__pool_get(pool, 100);
    if (CACHES)
        CHECK(second == first);
    CHECK_EQ(blocks(), 1);
    cmsgr__pool_put(second);
    second = cmsgr__pool_get(pool, 513); /* another size */
    CHECK_EQ(blocks(), CACHES + 1);
    cmsgr__pool_put(second);
    second = cmsgr__pool_get(pool, 30000); /* too large to be kept */
    cmsgr__pool_put(second);
    CHECK_EQ(blocks(), CACHES * 2);
    cmsgr__pool_release(pool);
    end();
}

/* Of large ones the last two are kept, and two that have come back; each serves whom it fits. */
static void test_keeps_the_last_large_ones(void)
{
    enum { MIB = 1 << 20, COUNT = 5 };
    void *block[COUNT], *again;

    begin();
    block[0] = cmsgr__pool_get(pool, 4 * MIB);
    cmsgr__pool_put(block[0]);
    CHECK_EQ(blocks(), CACHES);
    block[1] = cmsgr__pool_get(pool, 3 * MIB); /* would waste a third of its own length */
    CHECK_EQ(blocks(), CACHES + 1);
    again = cmsgr__pool_get(pool, 4 * MIB - 1000);
    CHECK_EQ(blocks(), 2);
    if (CACHES)
        CHECK(again == block[0]);
    cmsgr__pool_put(block[1]);
    cmsgr__pool_put(again);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < COUNT; i++)
            block[i] = cmsgr__pool_get(pool, 2 * MIB);
        for (int i = 0; i < COUNT; i++)
            cmsgr__pool_put(block[i]);
        CHECK(blocks() <= CACHES * 4);
    }
    again = cmsgr__pool_get(pool, 5 * MIB); /* too large to be kept */
    cmsgr__pool_put(again);
    CHECK(blocks() <= CACHES * 4);
    cmsgr__pool_release(pool);
    end();
}

static void test_resizes(void)
{
    uint8_t *block;

    begin();
    block = cmsgr__pool_get(pool, 30000);
    memset(block, 7, 30000);
    block = cmsgr__pool_resize(block, 2 << 20);
    for (int i = 0; i < 30000; i++)
        CHECK_EQ(block[i], 7);
    memset(block, 8, 2 << 20);
    CHECK(cmsgr__pool_resize(block, SIZE_MAX) == NULL); /* still what it was */
    cmsgr__pool_put(block);
    CHECK_EQ(blocks(), CACHES); /* kept by its new length */
    cmsgr__pool_release(pool);
    end();
}

/* However many come back, what is kept is bounded: 2 MiB lie returned, and 2 MiB sorted in. */
static void test_bounded(void)
{
    enum { COUNT = 1000, LEN = 20480, KEPT = (2 << 20) / LEN + 1 };
    static void *block[COUNT];

    begin();
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < COUNT; i++)
            block[i] = cmsgr__pool_get(pool, LEN);
        CHECK_EQ(blocks(), COUNT);
        for (int i = 0; i < COUNT; i++)
            cmsgr__pool_put(block[i]);
        CHECK(blocks() <= KEPT);
        CHECK(blocks() >= CACHES * (KEPT - 1));
    }
    /* Sizes share the bound: as many large ones as are kept get sorted in, so of the others there is room for one. */
    for (int i = 0; i < COUNT; i++)
        block[i] = cmsgr__pool_get(pool, 6000);
    for (int i = 0; i < COUNT; i++)
        cmsgr__pool_put(block[i]);
    block[0] = cmsgr__pool_get(pool, 6000);
    CHECK(blocks() <= KEPT + 2);
    cmsgr__pool_put(block[0]);
    cmsgr__pool_release(pool);
    end();
}

static void test_blocks_outlive_the_owner(void)
{
    uint8_t *small, *large;

    begin();
    small = cmsgr__pool_get(pool, 100);
    large = cmsgr__pool_get(pool, 100000);
    cmsgr__pool_put(cmsgr__pool_get(pool, 5000)); /* one that is cached meanwhile */
    cmsgr__pool_release(pool);
    memset(small, 1, 100);
    memset(large, 1, 100000);
    CHECK_EQ(blocks(), 2);
    cmsgr__pool_put(large);
    CHECK_EQ(blocks(), 1);
    cmsgr__pool_put(small); /* and the pool with it */
    end();
    cmsgr__pool_release(NULL);
}

static void failing_allocations(void *ctx, cmsgr_env *failing_env)
{
    cmsgr__pool *p;
    void *block[20];

    (void)ctx;
    if (cmsgr__pool_new(&p, failing_env) == -ENOMEM)
        return;
    for (int i = 0; i < 20; i++)
        block[i] = cmsgr__pool_get(p, (size_t)i * 2000);
    for (int i = 0; i < 20; i++)
        cmsgr__pool_put(block[i]);
    cmsgr__pool_put(cmsgr__pool_get(p, 2000));
    block[0] = cmsgr__pool_get(p, 30000);
    block[1] = block[0] ? cmsgr__pool_resize(block[0], 2 << 20) : NULL;
    cmsgr__pool_put(block[1] ? block[1] : block[0]);
    cmsgr__pool_put(cmsgr__pool_get(p, 2 << 20));
    cmsgr__pool_release(p);
}

int main(void)
{
    test_sizes();
    test_recycles();
    test_keeps_the_last_large_ones();
    test_resizes();
    test_bounded();
    test_blocks_outlive_the_owner();
    check_each_failing_allocation(failing_allocations, NULL, NULL);
    return 0;
}
