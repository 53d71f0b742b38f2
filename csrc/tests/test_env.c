/* The environment: what it is made from, and that its allocator is the only one. */
#include <errno.h>

#include "check.h"
#include "fake_driver.h"

static void test_standard(void)
{
    cmsgr_env *env;

    CHECK_EQ(cmsgr_env_new(&env, NULL, NULL), 0);
    CHECK_STR(cmsgr_env_driver(env)->name, "linux");
    CHECK(cmsgr_env_driver(env) != cmsgr_driver_linux()); /* a copy */
    CHECK(cmsgr_env_now_ns(env) > 0);
    cmsgr_env_free(env);
    cmsgr_env_free(NULL);
}

static void test_given(void)
{
    fake_driver *fake = fake_new();
    check_memory memory;
    cmsgr_allocator allocator = check_allocator(&memory);
    cmsgr_env *env;

    CHECK_EQ(cmsgr_env_new(&env, &allocator, &fake->driver), 0);
    memset(&allocator, 0, sizeof(allocator)); /* copied */
    CHECK_EQ(atomic_load(&memory.live), 1);
    CHECK_STR(cmsgr_env_driver(env)->name, "fake");
    fake->now_ns = 12345;
    CHECK_EQ(cmsgr_env_now_ns(env), 12345);
    cmsgr_env_free(env);
    CHECK_EQ(atomic_load(&memory.live), 0);
    free(fake);
}

static void test_no_memory(void)
{
    check_memory memory;
    const cmsgr_allocator allocator = check_allocator(&memory);
    cmsgr_env *env = (cmsgr_env *)&memory;

    atomic_store(&memory.until_fail, 0);
    CHECK_EQ(cmsgr_env_new(&env, &allocator, NULL), -ENOMEM);
    CHECK(env == NULL);
}

int main(void)
{
    test_standard();
    test_given();
    test_no_memory();
    return 0;
}
