/* Pool between threads: taken by the owner, given back by others, before and after the owner left. */
#include <pthread.h>
#include <sched.h>

#include "check.h"
#include "pool.h"

enum { THREADS = 3, BLOCKS = 20000, SLOTS = 64 };

static _Atomic(uint8_t *) slots[THREADS][SLOTS]; /* from the owner to each thread */

static const size_t lens[] = {64, 512, 700, 3000, 10000, 30000};

/* The block's content must be what the owner wrote: else it was handed out twice. */
static void check_and_put(uint8_t *block)
{
    uint32_t len;

    memcpy(&len, block, 4);
    CHECK_EQ(block[4], block[len - 1]);
    block[4]++; /* a second holder would see it, the sanitizer too */
    cmsgr__pool_put(block);
}

static void *run_putter(void *arg)
{
    _Atomic(uint8_t *) *mine = arg;

    for (int done = 0; done < BLOCKS; done++) {
        uint8_t *block;

        while (!(block = atomic_exchange_explicit(&mine[done % SLOTS], NULL, memory_order_acquire)))
            sched_yield();
        check_and_put(block);
    }
    return NULL;
}

static void hand_over(cmsgr__pool *pool, int thread, int number)
{
    uint32_t len = (uint32_t)lens[number % (int)(sizeof(lens) / sizeof(lens[0]))];
    uint8_t *block = cmsgr__pool_get(pool, len);

    CHECK(block != NULL);
    memcpy(block, &len, 4);
    block[4] = block[len - 1] = (uint8_t)number;
    while (atomic_load_explicit(&slots[thread][number % SLOTS], memory_order_relaxed))
        sched_yield();
    atomic_store_explicit(&slots[thread][number % SLOTS], block, memory_order_release);
}

int main(void)
{
    check_memory memory;
    const cmsgr_allocator allocator = check_allocator(&memory);
    pthread_t thread[THREADS];
    cmsgr__pool *pool;
    cmsgr_env *env;

    check_deadline(120);
    CHECK_EQ(cmsgr_env_new(&env, &allocator, NULL), 0);
    CHECK_EQ(cmsgr__pool_new(&pool, env), 0);
    for (int i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_create(&thread[i], NULL, run_putter, slots[i]), 0);
    for (int number = 0; number < BLOCKS; number++)
        for (int i = 0; i < THREADS; i++)
            hand_over(pool, i, number);
    cmsgr__pool_release(pool); /* while the last ones are still out */
    for (int i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
    cmsgr_env_free(env);
    CHECK_EQ(atomic_load(&memory.live), 0);
    return 0;
}
