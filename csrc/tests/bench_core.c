/* Figures of the core's small parts: `make bench`. Not a test; each figure is the best of several runs. */
#include <pthread.h>

#include "center.h"
#include "check.h"
#include "pool.h"

enum { RUNS = 7 };

static cmsgr_env *env;
static cmsgr_center *center;
static volatile uint32_t sink;

/* Nanoseconds per call of the quickest run. */
static double best_of(void (*run)(int calls, void *ctx), int calls, void *ctx)
{
    int64_t best_ns = INT64_MAX;

    for (int i = 0; i < RUNS; i++) {
        int64_t start_ns = cmsgr_env_now_ns(env), took_ns;

        run(calls, ctx);
        took_ns = cmsgr_env_now_ns(env) - start_ns;
        if (took_ns < best_ns)
            best_ns = took_ns;
    }
    return (double)best_ns / calls;
}

typedef struct input {
    uint8_t data[1 << 20];
    size_t len;
} input;

static void run_crc(int calls, void *ctx)
{
    const input *in = ctx;
    uint32_t crc = UINT32_MAX;

    for (int i = 0; i < calls; i++)
        crc = cmsgr_crc32c(env, crc, in->data, in->len);
    sink = crc;
}

static void run_crc_table(int calls, void *ctx)
{
    const input *in = ctx;
    uint32_t crc = UINT32_MAX;

    for (int i = 0; i < calls; i++)
        crc = cmsgr_crc32c_table(crc, in->data, in->len);
    sink = crc;
}

static void bench_crc(void)
{
    static const size_t lens[] = {28, 41, 64, 96, 128, 300, 1024, 4096, 65536, 1 << 20};
    static input in;

    for (size_t i = 0; i < sizeof(in.data); i++)
        in.data[i] = (uint8_t)(i * 7);
    for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
        int calls = (int)(20000000 / (lens[i] + 60)) + 1;
        double chosen, table;

        in.len = lens[i];
        chosen = best_of(run_crc, calls, &in);
        table = best_of(run_crc_table, calls / 8 + 1, &in);
        printf("crc32c %7zu bytes  %-6s %9.1f ns %6.2f GB/s   table %9.1f ns %6.2f GB/s\n", in.len,
               cmsgr_crc32c_name(env), chosen, (double)in.len / chosen, table, (double)in.len / table);
    }
}

static void nothing(void *arg) { (void)arg; }
static void no_kick(cmsgr__kick *kick) { (void)kick; }

static void run_posts(int calls, void *ctx)
{
    char *args = ctx;

    for (int i = 0; i < calls; i++) {
        cmsgr_center_post(center, nothing, args + (i & 1));
        if (i % CMSGR_POST_BATCH == CMSGR_POST_BATCH - 1)
            cmsgr_center_dispatch(center);
    }
}

static void run_kicks(int calls, void *ctx)
{
    cmsgr__kick *kick = ctx;

    for (int i = 0; i < calls; i++) {
        cmsgr__center_kick(center, kick);
        cmsgr__center_unkick(center, kick);
    }
}

static void run_timers(int calls, void *ctx)
{
    int64_t id[64];

    (void)ctx;
    for (int i = 0; i < calls; i += 64) {
        for (int k = 0; k < 64; k++)
            id[k] = cmsgr_center_add_timer(center, 1000000000 + (k * 37 % 64), nothing, NULL, NULL);
        for (int k = 0; k < 64; k++)
            cmsgr_center_del_timer(center, id[k]);
    }
}

static void run_turns(int calls, void *ctx)
{
    (void)ctx;
    for (int i = 0; i < calls; i++)
        if (cmsgr_center_wait(center, 0))
            cmsgr_center_dispatch(center);
}

static void run_pool(int calls, void *ctx)
{
    void *block[16];

    for (int i = 0; i < calls; i += 16) {
        for (int k = 0; k < 16; k++)
            block[k] = cmsgr__pool_get(ctx, 300);
        for (int k = 0; k < 16; k++)
            cmsgr__pool_put(block[k]);
    }
}

int main(void)
{
    static char args[2];
    cmsgr__kick kick = {.fn = no_kick};
    cmsgr__pool *pool;

    CHECK_EQ(cmsgr_env_new(&env, NULL, NULL), 0);
    CHECK_EQ(cmsgr_center_new(&center, env, 0), 0);
    CHECK_EQ(cmsgr__pool_new(&pool, env), 0);
    bench_crc();
    printf("post and run          %7.1f ns\n", best_of(run_posts, 200000, args));
    printf("kick and unkick       %7.1f ns\n", best_of(run_kicks, 200000, &kick));
    printf("timer add and delete  %7.1f ns, 64 pending\n", best_of(run_timers, 64000, NULL));
    printf("turn without work     %7.1f ns\n", best_of(run_turns, 50000, NULL));
    printf("pool get and put      %7.1f ns\n", best_of(run_pool, 160000, pool));
    cmsgr__pool_release(pool);
    cmsgr_center_free(center);
    cmsgr_env_free(env);
    return 0;
}
