/*
 * Nonces in secure mode (E9). The cipher's source is included, so that the test sees nonces, and puts counters where 2^32 operations
 * would have brought them.
 */
#include <errno.h>

#include "aes_gcm.c"
#include "frame.h"
#include "sealed.h"

enum { MAX_OPERATIONS = 2000 };

/* A cipher that notes the nonce of each operation. */
typedef struct spy {
    cmsgr_cipher vtable;
    gcm *inner;
    uint8_t seen[MAX_OPERATIONS][12];
    unsigned count;
} spy;

static int spy_begin(cmsgr_cipher *vtable)
{
    spy *s = (spy *)vtable;
    int result = gcm_begin(&s->inner->vtable);

    CHECK(s->count < MAX_OPERATIONS);
    if (result == 0)
        memcpy(s->seen[s->count++], s->inner->nonce, 12);
    return result;
}

static int spy_update(cmsgr_cipher *vtable, const uint8_t *in, uint8_t *out, size_t len)
{
    return gcm_update(&((spy *)vtable)->inner->vtable, in, out, len);
}

static int spy_finish(cmsgr_cipher *vtable, uint8_t *tag)
{
    return gcm_finish(&((spy *)vtable)->inner->vtable, tag);
}

static void spy_open(spy *s, cmsgr_env *env, int revision, int seal, const uint8_t *with_nonce)
{
    *s = (spy){.vtable = {spy_begin, spy_update, spy_finish, NULL}, .inner = (gcm *)cipher(env, revision, seal, with_nonce)};
}

/* with_nonce, `steps` operations later. */
static void nonce_at(int revision, const uint8_t *with_nonce, int64_t steps, uint8_t *out)
{
    memmove(out, with_nonce, 12);
    if (revision)
        cmsgr__put64(out + 4, cmsgr__get64(out + 4) + (uint64_t)steps);
    else
        cmsgr__put32(out, cmsgr__get32(out) + (uint32_t)steps);
}

/* One step per operation, as many operations as the format says, over the top of the counter too; the receiver keeps step. */
static void test_nonces_step(cmsgr_env *env, int revision)
{
    static spy seal, open;
    uint8_t high[12], expected[12];
    cmsgr_parser *reader;
    unsigned operations = 0;

    memset(high, 0xA5, sizeof high);
    memset(revision ? high + 4 : high, 0xFF, revision ? 8 : 4);
    nonce_at(revision, high, -100, high);
    spy_open(&seal, env, revision, 1, high);
    spy_open(&open, env, revision, 0, high);
    reader = parser(env, revision, &open.vtable);
    for (unsigned i = 0; i < 300; i++) {
        const cmsgr_span segments[4] = {
            {payload, i % 5 * 24}, {payload, i % 2 * 30}, {payload, i % 3 * 20}, {payload, i % 7 ? 0 : 500}};
        ssize_t len = cmsgr_frame_seal(env, revision, &seal.vtable, 17, segments, NULL, 4, 0, wire, sizeof wire);

        operations += revision ? 1 + (segments[0].len > 48) + (segments[1].len || segments[2].len || segments[3].len) : 1;
        CHECK_EQ(seal.count, operations);
        CHECK_EQ(feed(reader, wire, (size_t)len, sizeof wire), CMSGR_PARSE_FRAME);
        CHECK_EQ(open.count, operations);
    }
    for (unsigned i = 0; i < operations; i++) {
        nonce_at(revision, high, i, expected);
        CHECK(memcmp(seal.seen[i], expected, 12) == 0);
        CHECK(memcmp(open.seen[i], expected, 12) == 0);
    }
    cmsgr_parser_free(reader);
    cmsgr_cipher_free(&seal.inner->vtable);
    cmsgr_cipher_free(&open.inner->vtable);
}

/* A cipher whose next operation but `left` would use its first nonce again. */
static cmsgr_cipher *nearly_used_up(cmsgr_env *env, int revision, int seal, const uint8_t *initial, int left)
{
    gcm *made = (gcm *)cipher(env, revision, seal, initial);

    made->started = 1;
    nonce_at(revision, initial, -1 - left, made->nonce);
    return &made->vtable;
}

/* The operation that would use the initial nonce again is refused, however often it is tried, and wherever in a frame it lies. */
static void test_nonces_used_up(cmsgr_env *env, int revision, const uint8_t *initial)
{
    const cmsgr_span segments[4] = {{payload, 100}, {payload, 20}};
    unsigned operations = revision ? 3 : 1;

    for (unsigned left = 0; left <= operations; left++) {
        cmsgr_cipher *seal = nearly_used_up(env, revision, 1, initial, (int)left);
        cmsgr_cipher *open = nearly_used_up(env, revision, 0, initial, (int)left);
        cmsgr_cipher *endless;
        cmsgr_parser *reader = parser(env, revision, open);
        uint8_t before[12];
        ssize_t len;

        nonce_at(revision, initial, -(int)left, before);
        endless = cipher(env, revision, 1, before); /* does what the refused one would have done */
        len = cmsgr_frame_seal(env, revision, endless, 17, segments, NULL, 2, 0, wire, sizeof wire);
        CHECK(len > 0);
        CHECK_EQ(feed(reader, wire, (size_t)len, sizeof wire),
                 left == operations ? CMSGR_PARSE_FRAME : CMSGR_E_NONCE_USED_UP);
        CHECK_EQ(cmsgr_frame_seal(env, revision, seal, 17, segments, NULL, 2, 0, wire, sizeof wire),
                 left == operations ? len : CMSGR_E_NONCE_USED_UP);
        for (int again = 0; again < 3; again++)
            CHECK_EQ(cmsgr_frame_seal(env, revision, seal, 17, segments, NULL, 1, 0, wire, sizeof wire), CMSGR_E_NONCE_USED_UP);
        cmsgr_parser_free(reader);
        cmsgr_cipher_free(seal);
        cmsgr_cipher_free(open);
        cmsgr_cipher_free(endless);
    }
}

/* A sink of small pieces, which is out of memory after `left` of them. */
typedef struct small_sink {
    cmsgr__sink sink;
    size_t at, left;
} small_sink;

static uint8_t *small_room(cmsgr__sink *sink, size_t *len)
{
    small_sink *small = (small_sink *)sink;

    *len = 5;
    return small->left ? wire + small->at : NULL;
}

static void small_commit(cmsgr__sink *sink, size_t len)
{
    small_sink *small = (small_sink *)sink;

    small->at += len;
    small->left--;
}

/* Memory in pieces of any size gives the same frame. Without memory sealing ends, and its nonces are gone for good. */
static void test_sinks(cmsgr_env *env, int revision)
{
    const cmsgr_span segments[4] = {{payload, 60}, {payload, 20}, {NULL, 0}, {payload, 33}};
    static uint8_t whole[1000];
    cmsgr_cipher *seal = cipher(env, revision, 1, nonce);
    ssize_t len = cmsgr_frame_seal(env, revision, seal, 17, segments, NULL, 4, 0, whole, sizeof whole);
    int result = -ENOMEM;

    cmsgr_cipher_free(seal);
    for (size_t rooms = 0; result < 0; rooms++) {
        static spy after;
        small_sink small = {{small_room, small_commit}, 0, rooms};

        CHECK(rooms < 1000);
        spy_open(&after, env, revision, 1, nonce);
        result = cmsgr__frame_seal(env, revision, &after.vtable, 17, segments, NULL, 4, 0, &small.sink);
        CHECK(small.at <= (size_t)len && memcmp(wire, whole, small.at) == 0);
        if (result == 0)
            CHECK_EQ(small.at, len);
        else
            CHECK_EQ(result, -ENOMEM);
        CHECK(cmsgr_frame_seal(env, revision, &after.vtable, 17, segments, NULL, 1, 0, wire, sizeof wire) > 0);
        for (unsigned i = 0; i < after.count; i++)
            for (unsigned k = 0; k < i; k++)
                CHECK(memcmp(after.seen[i], after.seen[k], 12) != 0);
        cmsgr_cipher_free(&after.inner->vtable);
    }
}

int main(void)
{
    static const uint8_t zero[12];
    check_memory memory;
    const cmsgr_allocator allocator = check_allocator(&memory);
    cmsgr_env *env;

    check_deadline(60);
    fill_payload();
    CHECK_EQ(cmsgr_env_new(&env, &allocator, NULL), 0);
    for (int revision = 0; revision < 2; revision++) {
        test_nonces_step(env, revision);
        test_nonces_used_up(env, revision, nonce);
        test_nonces_used_up(env, revision, zero);
        test_sinks(env, revision);
    }
    cmsgr_env_free(env);
    CHECK_EQ(atomic_load(&memory.live), 0);
    return 0;
}
