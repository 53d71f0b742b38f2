/*
 * Pool: recycled memory blocks of a few sizes, and the last large ones.
 *
 * The owner takes; any thread gives back. A block given back goes onto `returned`, a stack that others only push to
 * and from which the owner only takes all at once, so it needs no lock and has no ABA problem. The owner sorts what
 * it takes into its free lists, one per size. Hence no atomic operation at taking and two at giving back.
 *
 * Every block that exists, out or cached, holds a reference to the pool, the owner another: blocks may outlive the
 * owner. When the owner leaves, `returned` is closed, and from then on blocks that come back are freed at once.
 *
 * Bounded: what is cached in the free lists, and again what lies in `returned`, is at most MAX_CACHED_BYTES (give or
 * take one block per thread); more is freed. Under the address sanitizer nothing is cached, so that use after free
 * is seen.
 */
#include "pool.h"

#include <errno.h>
#include <stdatomic.h>

#if defined(__SANITIZE_ADDRESS__)
#define CACHING 0
#else
#define CACHING 1
#endif

enum { NUM_CLASSES = 4, LARGE = NUM_CLASSES, PLAIN, MAX_CACHED_BYTES = 2 << 20 };

/* Bodies of whole objects. malloc gives such memory back to the system at once, and pages that must be had anew for each message
 * cost a sixth of the rate at 4 MiB. One is at work at a time, and one may be on its way back: so many are kept, the last ones. */
enum { LARGE_MIN = 1 << 20, LARGE_MAX = (4 << 20) + (128 << 10), KEPT_LARGE = 2 };

/* A small message, its page-sized neighbours, and 16 KiB of payload with what surrounds it. */
static const size_t class_len[NUM_CLASSES] = {512, 2048, 6144, 20480};

/* In front of the caller's memory. 16 bytes, so that what follows is aligned as malloc aligns. */
typedef union block {
    struct {
        cmsgr__pool *pool;
        size_t len_bytes;
    } of;
    char align[16];
} block;

_Static_assert(sizeof(block) == 16, "the caller's memory must be aligned to 16");

/* While a block is not out, the caller's memory holds the link to the next one. */
static block **next_of(block *b)
{
    return (block **)(void *)(b + 1);
}

struct cmsgr__pool {
    const cmsgr_env *env;
    block *free[NUM_CLASSES];
    size_t cached_bytes;
    block *large[KEPT_LARGE]; /* the newest first; NULL where there is none */
    char other_threads_write_below[64]; /* apart from the owner's cache line */
    _Atomic(block *) returned;
    atomic_size_t returned_bytes; /* of the classes */
    atomic_size_t returned_large; /* their number */
    atomic_size_t refs;
};

/* What `returned` points to once the owner has left: an address that no block has. */
static block *closed(cmsgr__pool *pool)
{
    return (block *)(void *)pool;
}

static void drop_ref(cmsgr__pool *pool)
{
    if (atomic_fetch_sub_explicit(&pool->refs, 1, memory_order_acq_rel) == 1)
        cmsgr__free(pool->env, pool);
}

static void destroy(block *b)
{
    cmsgr__pool *pool = b->of.pool;

    cmsgr__free(pool->env, b);
    drop_ref(pool);
}

static block *create(cmsgr__pool *pool, size_t len_bytes)
{
    block *b = len_bytes <= SIZE_MAX - sizeof(*b) ? cmsgr__alloc(pool->env, sizeof(*b) + len_bytes) : NULL;

    if (!b)
        return NULL;
    b->of.pool = pool;
    b->of.len_bytes = len_bytes;
    atomic_fetch_add_explicit(&pool->refs, 1, memory_order_relaxed);
    return b;
}

static size_t class_for(size_t len_bytes)
{
    size_t size_class = 0;

    if (!CACHING)
        return PLAIN;
    if (len_bytes > class_len[NUM_CLASSES - 1])
        return len_bytes >= LARGE_MIN && len_bytes <= LARGE_MAX ? LARGE : PLAIN;
    while (class_len[size_class] < len_bytes)
        size_class++;
    return size_class;
}

int cmsgr__pool_new(cmsgr__pool **out, const cmsgr_env *env)
{
    cmsgr__pool *pool = cmsgr__zalloc(env, sizeof(*pool));

    *out = pool;
    if (!pool)
        return -ENOMEM;
    pool->env = env;
    atomic_init(&pool->refs, 1);
    return 0;
}

static void keep_large(cmsgr__pool *pool, block *b)
{
    for (int i = 0; b && i < KEPT_LARGE; i++) {
        block *older = pool->large[i];

        pool->large[i] = b;
        b = older;
    }
    if (b)
        destroy(b);
}

/* Owner: what came back goes into the free lists, as far as there is room. */
static void collect(cmsgr__pool *pool)
{
    block *b = atomic_exchange_explicit(&pool->returned, NULL, memory_order_acquire);
    size_t collected = 0, large = 0;

    while (b) {
        block *next = *next_of(b);
        size_t len = b->of.len_bytes, size_class = class_for(len);

        if (size_class == LARGE) {
            keep_large(pool, b);
            large++;
        } else {
            collected += len;
            if (pool->cached_bytes + len <= MAX_CACHED_BYTES) {
                *next_of(b) = pool->free[size_class];
                pool->free[size_class] = b;
                pool->cached_bytes += len;
            } else {
                destroy(b);
            }
        }
        b = next;
    }
    atomic_fetch_sub_explicit(&pool->returned_bytes, collected, memory_order_relaxed);
    atomic_fetch_sub_explicit(&pool->returned_large, large, memory_order_relaxed);
}

/* One that is kept and fits, or NULL. What is much too large is left for whom it fits. */
static block *take_large(cmsgr__pool *pool, size_t len_bytes)
{
    for (int i = 0; i < KEPT_LARGE; i++) {
        block *b = pool->large[i];

        if (b && b->of.len_bytes >= len_bytes && b->of.len_bytes - len_bytes <= len_bytes / 4) {
            pool->large[i] = NULL;
            return b;
        }
    }
    return NULL;
}

static block *take(cmsgr__pool *pool, size_t size_class, size_t len_bytes)
{
    block *b;

    if (size_class == LARGE)
        return take_large(pool, len_bytes);
    b = pool->free[size_class];
    if (b) {
        pool->free[size_class] = *next_of(b);
        pool->cached_bytes -= class_len[size_class];
    }
    return b;
}

void *cmsgr__pool_get(cmsgr__pool *pool, size_t len_bytes)
{
    size_t size_class = class_for(len_bytes);
    block *b = NULL;

    if (size_class != PLAIN) {
        b = take(pool, size_class, len_bytes);
        if (!b && atomic_load_explicit(&pool->returned, memory_order_relaxed)) {
            collect(pool);
            b = take(pool, size_class, len_bytes);
        }
    }
    if (!b)
        b = create(pool, size_class < NUM_CLASSES ? class_len[size_class] : len_bytes);
    return b ? b + 1 : NULL;
}

void *cmsgr__pool_resize(void *memory, size_t len_bytes)
{
    block *b = (block *)memory - 1;

    b = len_bytes <= SIZE_MAX - sizeof(*b) ? cmsgr__realloc(b->of.pool->env, b, sizeof(*b) + len_bytes) : NULL;
    if (!b)
        return NULL;
    b->of.len_bytes = len_bytes;
    return b + 1;
}

/* 0 if the owner has left. */
static int push_returned(cmsgr__pool *pool, block *b)
{
    block *head = atomic_load_explicit(&pool->returned, memory_order_relaxed);

    do {
        if (head == closed(pool))
            return 0;
        *next_of(b) = head;
    } while (!atomic_compare_exchange_weak_explicit(&pool->returned, &head, b, memory_order_release,
                                                    memory_order_relaxed));
    return 1;
}

void cmsgr__pool_put(void *memory)
{
    block *b;
    cmsgr__pool *pool;
    size_t size_class, amount, max;
    atomic_size_t *returned;

    if (!memory)
        return;
    b = (block *)memory - 1;
    pool = b->of.pool;
    size_class = class_for(b->of.len_bytes);
    if (size_class == PLAIN) {
        destroy(b);
        return;
    }
    returned = size_class == LARGE ? &pool->returned_large : &pool->returned_bytes;
    amount = size_class == LARGE ? 1 : b->of.len_bytes;
    max = size_class == LARGE ? KEPT_LARGE : MAX_CACHED_BYTES;
    /* Counted before it is pushed, so that the owner never takes away more than was counted. */
    if (atomic_fetch_add_explicit(returned, amount, memory_order_relaxed) < max && push_returned(pool, b))
        return;
    atomic_fetch_sub_explicit(returned, amount, memory_order_relaxed);
    destroy(b);
}

static void destroy_all(block *b)
{
    while (b) {
        block *next = *next_of(b);

        destroy(b);
        b = next;
    }
}

void cmsgr__pool_release(cmsgr__pool *pool)
{
    if (!pool)
        return;
    for (int i = 0; i < NUM_CLASSES; i++)
        destroy_all(pool->free[i]);
    for (int i = 0; i < KEPT_LARGE; i++)
        if (pool->large[i])
            destroy(pool->large[i]);
    destroy_all(atomic_exchange_explicit(&pool->returned, closed(pool), memory_order_acquire));
    drop_ref(pool);
}
