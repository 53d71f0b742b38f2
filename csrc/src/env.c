/*
 * The environment: what every other object is made from. Immutable after cmsgr_env_new, hence usable from any thread
 * without a lock. Its own memory comes from the allocator it carries.
 */
#include <errno.h>
#include <stdlib.h>

#include "internal.h"

static void *malloc_realloc(void *ctx, void *block, size_t len_bytes)
{
    (void)ctx;
    return realloc(block, len_bytes);
}

static void malloc_free(void *ctx, void *block)
{
    (void)ctx;
    free(block);
}

int cmsgr_env_new(cmsgr_env **out, const cmsgr_allocator *allocator, const cmsgr_driver *driver)
{
    const cmsgr_allocator standard = {NULL, malloc_realloc, malloc_free};
    cmsgr__crc32c ways[CMSGR__CRC32C_MAX];
    cmsgr_env *env;

    *out = NULL;
    if (!allocator)
        allocator = &standard;
    env = allocator->realloc(allocator->ctx, NULL, sizeof(*env));
    if (!env)
        return -ENOMEM;
    env->allocator = *allocator;
    env->driver = driver ? *driver : *cmsgr_driver_linux();
    env->crc32c = ways[cmsgr__crc32c_available(ways) - 1];
    *out = env;
    return 0;
}

void cmsgr_env_free(cmsgr_env *env)
{
    cmsgr_allocator allocator;

    if (!env)
        return;
    allocator = env->allocator; /* the struct lies in the block that goes */
    allocator.free(allocator.ctx, env);
}

const cmsgr_driver *cmsgr_env_driver(const cmsgr_env *env)
{
    return &env->driver;
}

int64_t cmsgr_env_now_ns(const cmsgr_env *env)
{
    return cmsgr__now(env);
}
