/* The world: clock, chance, memory, digest; and the table that makes it a driver. */
#include "world.h"

#include <errno.h>
#include <stdlib.h>

enum { FIRST_PORT = 32768 };

static const int64_t START_NS = 1000000000;
static const int64_t START_WALL_NS = 1700000000000000000;
static const sim_link QUIET_LINK = {.latency_ns = 50000, .jitter_ns = 0, .window_bytes = 1 << 18};

void *sim__grow(void *block, size_t size)
{
    block = realloc(block, size);
    if (!block)
        abort();
    return block;
}

/* ---- chance: xoshiro256**, seeded by splitmix64 ---- */

static uint64_t rotate(uint64_t x, int by)
{
    return x << by | x >> (64 - by);
}

uint64_t sim_random(sim_world *w)
{
    uint64_t *s = w->chance, result = rotate(s[1] * 5, 7) * 9, t = s[1] << 17;

    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate(s[3], 45);
    return result;
}

uint64_t sim__below(sim_world *w, uint64_t limit)
{
    return limit ? sim_random(w) % limit : 0;
}

static void seed_chance(sim_world *w, uint64_t seed)
{
    for (int i = 0; i < 4; i++) {
        uint64_t z = seed += 0x9e3779b97f4a7c15;

        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
        z = (z ^ z >> 27) * 0x94d049bb133111eb;
        w->chance[i] = z ^ z >> 31;
    }
}

static int fill_random(void *ctx, void *buf, size_t len)
{
    uint8_t *out = buf;

    while (len) {
        uint64_t word = sim_random(ctx);
        size_t part = len < sizeof word ? len : sizeof word;

        memcpy(out, &word, part);
        out += part;
        len -= part;
    }
    return 0;
}

/* ---- the digest ---- */

void sim__digest(sim_world *w, uint64_t value)
{
    w->digest = rotate(w->digest ^ value, 27) * 0x9fb21c651e98df25 + 0x2545f4914f6cdd1d;
}

void sim_note(sim_world *w, const void *data, size_t len)
{
    const uint8_t *at = data;
    uint64_t word;

    sim__digest(w, len);
    for (; len >= sizeof word; at += sizeof word, len -= sizeof word) {
        memcpy(&word, at, sizeof word);
        sim__digest(w, word);
    }
    word = 0;
    memcpy(&word, at, len);
    sim__digest(w, word);
}

uint64_t sim_digest(const sim_world *w)
{
    return w->digest;
}

/* ---- memory ---- */

static void *reallocate(void *ctx, void *block, size_t len)
{
    sim_world *w = ctx;
    void *result;

    if (w->fail_count && --w->fail_after <= 0) {
        w->fail_count--;
        w->failed++;
        return NULL;
    }
    result = sim__grow(block, len ? len : 1);
    w->live_blocks += !block;
    return result;
}

static void release(void *ctx, void *block)
{
    ((sim_world *)ctx)->live_blocks -= block != NULL;
    free(block);
}

void sim_fail_allocations(sim_world *w, int64_t after, int64_t count)
{
    w->fail_after = after;
    w->fail_count = after > 0 ? count : 0;
}

int64_t sim_failed_allocations(const sim_world *w)
{
    return w->failed;
}

int64_t sim_live_blocks(const sim_world *w)
{
    return w->live_blocks;
}

/* ---- time ---- */

static int64_t now_ns(void *ctx)
{
    return ((sim_world *)ctx)->now_ns;
}

static int64_t wall_ns(void *ctx)
{
    return ((sim_world *)ctx)->now_ns + ((sim_world *)ctx)->wall_offset_ns;
}

static void yield(void *ctx)
{
    ((sim_world *)ctx)->now_ns += 1000;
}

int64_t sim_now_ns(const sim_world *w)
{
    return w->now_ns;
}

void sim_advance(sim_world *w, int64_t now)
{
    if (now > w->now_ns)
        w->now_ns = now;
}

void sim_set_wall_ns(sim_world *w, int64_t wall)
{
    w->wall_offset_ns = wall - w->now_ns;
}

/* ---- life ---- */

static void forget_everything(sim_world *w)
{
    for (int i = 0; i < w->num_streams; i++) {
        free(w->streams[i].pipe[0].data);
        free(w->streams[i].pipe[1].data);
    }
    for (int i = 0; i < w->num_files; i++)
        free(w->files[i].backlog);
    free(w->streams);
    free(w->files);
    free(w->tap.data[0]);
    free(w->tap.data[1]);
    free(w->heap);
    free(w->pollers);
}

int sim_world_reset(sim_world *w, uint64_t seed)
{
    sim_world fresh = {.allocator = w->allocator, .driver = w->driver};

    if (w->stats.open_sockets || w->stats.open_pollers)
        return -EBUSY;
    forget_everything(w);
    *w = fresh;
    w->now_ns = START_NS;
    w->wall_offset_ns = START_WALL_NS - START_NS;
    w->next_port = FIRST_PORT;
    w->tap.stream = NO_STREAM;
    for (int a = 0; a <= SIM_MAX_HOSTS; a++)
        for (int b = a; b <= SIM_MAX_HOSTS; b++)
            w->pairs[a][b].link = QUIET_LINK;
    seed_chance(w, seed);
    return 0;
}

int sim_world_new(sim_world **out)
{
    sim_world *w = calloc(1, sizeof *w);

    *out = w;
    if (!w)
        return -ENOMEM;
    w->allocator = (cmsgr_allocator){w, reallocate, release};
    w->driver = (cmsgr_driver){
        .ctx = w,
        .name = "simulated",
        .now_ns = now_ns,
        .wall_ns = wall_ns,
        .random = fill_random,
        .yield = yield,
        .poller_open = sim__poller_open,
        .poller_close = sim__poller_close,
        .poller_set = sim__poller_set,
        .poller_wait = sim__poller_wait,
        .poller_wakeup = sim__poller_wakeup,
    };
    sim__bind_driver(&w->driver);
    return sim_world_reset(w, 0);
}

void sim_world_free(sim_world *w)
{
    if (w)
        forget_everything(w);
    free(w);
}

const cmsgr_allocator *sim_allocator(const sim_world *w)
{
    return &w->allocator;
}

const cmsgr_driver *sim_driver(const sim_world *w)
{
    return &w->driver;
}

void sim_get_stats(const sim_world *w, sim_stats *stats)
{
    *stats = w->stats;
}
