/* Timers: the heap against a model, ids of ended timers, failing allocations. */
#include "check.h"
#include "timers.h"

enum { MAX_TIMERS = 400 };

typedef struct record {
    int64_t id, due_ns;
    int order, pending, ran, dropped;
} record;

static void mark_ran(void *arg) { ((record *)arg)->ran++; }
static void mark_dropped(void *arg) { ((record *)arg)->dropped++; }

/* The one that must come next: the earliest, of those the one added first. */
static record *model_next(record *records, int count)
{
    record *next = NULL;

    for (int i = 0; i < count; i++)
        if (records[i].pending && (!next || records[i].due_ns < next->due_ns))
            next = &records[i];
    return next;
}

static void take_and_compare(cmsgr__timers *timers, record *records, int count, int64_t now_ns)
{
    record *next = model_next(records, count);
    cmsgr__timer timer;
    int due = next && next->due_ns <= now_ns;

    CHECK_EQ(cmsgr__timers_next_ns(timers), next ? next->due_ns : INT64_MAX);
    CHECK_EQ(cmsgr__timers_take_due(timers, now_ns, UINT64_MAX, &timer), due);
    if (!due)
        return;
    CHECK(timer.arg == next);
    next->pending = 0;
    timer.fn(timer.arg);
    CHECK_EQ(cmsgr__timers_del(timers, next->id), 0);
}

/* C6: time order, once, never early, whatever was added and deleted between. */
static void test_against_model(const cmsgr_env *env, uint64_t *chance)
{
    static record records[MAX_TIMERS];
    cmsgr__timers timers = {0};
    int64_t now_ns = 0;
    int count = 0;

    memset(records, 0, sizeof(records));
    while (count < MAX_TIMERS) {
        uint64_t what = check_random(chance) % 8;

        if (what < 4) {
            record *r = &records[count++];

            r->due_ns = now_ns + (int64_t)(check_random(chance) % 50);
            r->pending = 1;
            r->id = cmsgr__timers_add(&timers, env, r->due_ns, mark_ran, mark_dropped, r);
            CHECK(r->id > 0);
        } else if (what < 6 && count) {
            record *r = &records[check_random(chance) % (uint64_t)count];

            CHECK_EQ(cmsgr__timers_del(&timers, r->id), r->pending);
            CHECK_EQ(r->dropped + r->ran, 1);
            r->pending = 0;
        } else {
            now_ns += (int64_t)(check_random(chance) % 10);
            take_and_compare(&timers, records, count, now_ns);
        }
    }
    for (int i = 0; i < MAX_TIMERS / 2; i++)
        take_and_compare(&timers, records, count, INT64_MAX - 1);
    cmsgr__timers_clear(&timers, env);
    for (int i = 0; i < count; i++)
        CHECK_EQ(records[i].ran + records[i].dropped, 1);
}

/* An id of an ended timer stays void when its place is taken again, and so does one never given. */
static void test_stale_ids(const cmsgr_env *env)
{
    cmsgr__timers timers = {0};
    record a = {0}, b = {0};
    int64_t first = cmsgr__timers_add(&timers, env, 5, mark_ran, mark_dropped, &a), second;

    CHECK_EQ(cmsgr__timers_del(&timers, first), 1);
    CHECK_EQ(cmsgr__timers_del(&timers, first + ((int64_t)1 << 32)), 0); /* the generation its place has now */
    second = cmsgr__timers_add(&timers, env, 5, mark_ran, NULL, &b);
    CHECK_EQ((uint32_t)second, (uint32_t)first); /* the same place: else this tests nothing */
    CHECK_EQ(cmsgr__timers_del(&timers, first), 0);
    CHECK_EQ(cmsgr__timers_del(&timers, 0), 0);
    CHECK_EQ(cmsgr__timers_del(&timers, -1), 0);
    CHECK_EQ(cmsgr__timers_del(&timers, INT64_MAX), 0);
    CHECK_EQ(cmsgr__timers_del(&timers, second), 1); /* without a drop function */
    CHECK_EQ(a.dropped, 1);
    cmsgr__timers_clear(&timers, env);
}

static void test_seq_limit(const cmsgr_env *env)
{
    cmsgr__timers timers = {0};
    cmsgr__timer out;
    record a = {0};

    cmsgr__timers_add(&timers, env, 5, mark_ran, NULL, &a);
    CHECK_EQ(cmsgr__timers_take_due(&timers, 5, 0, &out), 0);
    CHECK_EQ(cmsgr__timers_take_due(&timers, 4, 1, &out), 0);
    CHECK_EQ(cmsgr__timers_take_due(&timers, 5, 1, &out), 1);
    cmsgr__timers_clear(&timers, env);
}

static void scenario(void *ctx, cmsgr_env *env)
{
    cmsgr__timers timers = {0};
    record records[70] = {0};
    int added = 0;

    (void)ctx;
    for (int i = 0; i < 70; i++) {
        record *r = &records[added];

        r->id = cmsgr__timers_add(&timers, env, 100 - i, mark_ran, mark_dropped, r);
        if (r->id > 0)
            added++;
        else
            CHECK_EQ(r->id, -12 /* ENOMEM */);
    }
    for (int i = 0; i < added; i += 2)
        CHECK_EQ(cmsgr__timers_del(&timers, records[i].id), 1);
    cmsgr__timers_clear(&timers, env);
    for (int i = 0; i < added; i++)
        CHECK_EQ(records[i].dropped, 1);
}

int main(void)
{
    uint64_t chance = check_seed();
    cmsgr_env *env;

    CHECK_EQ(cmsgr_env_new(&env, NULL, NULL), 0);
    for (int i = 0; i < 30; i++)
        test_against_model(env, &chance);
    test_stale_ids(env);
    test_seq_limit(env);
    check_each_failing_allocation(scenario, NULL, NULL);
    cmsgr_env_free(env);
    return 0;
}
