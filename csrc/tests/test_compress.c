/* Compression: segments, frames and the data plane over them (E11). What was not there at the build is said, not failed. */
#include "pair.h"
#include "sealed.h"

static pair p;
static uint8_t packed[6 << 20], plain[6 << 20];

static void fill_random(uint8_t *out, size_t len, uint64_t *state)
{
    for (size_t i = 0; i < len; i++)
        out[i] = (uint8_t)check_random(state);
}

static void fill_text(uint8_t *out, size_t len)
{
    for (size_t i = 0; i < len; i++)
        out[i] = (uint8_t)("all work and no play "[i % 21]);
}

/* A segment into `packed`; returns its length. */
static size_t pack(cmsgr_env *env, int algorithm, const void *data, size_t len)
{
    ssize_t got = cmsgr_compress(env, algorithm, data, len, packed, sizeof packed);

    CHECK(got > 0);
    CHECK(got <= (ssize_t)cmsgr_compress_bound(algorithm, len));
    return (size_t)got;
}

/* E11: every length and kind of content comes back, and what it will become is known before. */
static void test_segments(cmsgr_env *env, int algorithm, uint64_t *state)
{
    static const size_t lengths[] = {0, 1, 12, 13, 100, 1000, 65535, 65536, 300000, 5 << 20};

    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        for (int kind = 0; kind < 2; kind++) {
            size_t len = lengths[i], packed_len;

            if (kind)
                fill_random(payload, len, state);
            else
                fill_text(payload, len);
            packed_len = pack(env, algorithm, payload, len);
            CHECK_EQ(cmsgr_decompressed_len(env, algorithm, packed, packed_len, len), len);
            CHECK_EQ(cmsgr_decompress(env, algorithm, packed, packed_len, plain, len), 0);
            CHECK(memcmp(plain, payload, len) == 0);
            CHECK(kind || len < 1000 || packed_len < len / 4);
            if (len > 1)
                CHECK(cmsgr_decompressed_len(env, algorithm, packed, packed_len, len - 1) > (int64_t)len - 1);
        }
    }
    CHECK_EQ(cmsgr_compress(env, algorithm, payload, 100, packed, cmsgr_compress_bound(algorithm, 100) - 1), -ENOSPC);
    CHECK_EQ(cmsgr_compress_bound(algorithm, (size_t)1 << 40), 0);
}

/* E11: damage anywhere is refused, or bytes within the limit; memory checkers watch. */
static void test_damage(cmsgr_env *env, int algorithm, uint64_t *state)
{
    enum { LEN = 3000, LIMIT = 5000 };
    uint8_t *exact = malloc(LIMIT), *copy = malloc(2 * LEN);
    size_t packed_len;

    CHECK(exact && copy);
    fill_text(payload, LEN);
    fill_random(payload, 300, state);
    packed_len = pack(env, algorithm, payload, LEN);
    CHECK(packed_len < 2 * LEN);
    for (int n = 0; n < 20000; n++) {
        size_t len = n % 3 ? packed_len : check_random(state) % packed_len;
        uint8_t *end = copy + 2 * LEN - len; /* ends where the block ends: a read beyond is seen */
        int64_t got;

        memcpy(end, packed, len);
        for (unsigned k = 0; len && k <= check_random(state) % 4; k++)
            end[check_random(state) % len] = (uint8_t)check_random(state);
        got = cmsgr_decompressed_len(env, algorithm, end, len, LIMIT);
        CHECK(got >= 0 || got == CMSGR_E_DECOMPRESS);
        if (got >= 0 && got <= LIMIT) {
            int result = cmsgr_decompress(env, algorithm, end, len, exact + LIMIT - got, (size_t)got);

            CHECK(result == 0 || result == CMSGR_E_DECOMPRESS);
        }
    }
    free(exact);
    free(copy);
}

/* ---- The data plane ---- */

static const uint8_t secret[64] = "a secret of forty bytes, or of sixty-four, agreed on by both";

static void open_pair(cmsgr_env *env, int algorithm, int revision, int secure, const cmsgr_stream_config *config, int lossless)
{
    pair_open(&p, env, config);
    for (int i = 0; i < 2; i++)
        CHECK_EQ(cmsgr_stream_send_bytes(p.stream[i], pair_banner, sizeof pair_banner), 0);
    pair_settle(&p);
    CHECK_EQ(pair_count(&p, CMSGR_ITEM_FRAME), 2);
    for (int i = 0; i < 2; i++) {
        cmsgr_stream_set_revision(p.stream[i], revision);
        if (secure)
            CHECK_EQ(cmsgr_stream_set_keys(p.stream[i], secret, sizeof secret, i == 0), 0);
        CHECK_EQ(cmsgr_stream_set_compression(p.stream[i], algorithm, 1024), 0);
        CHECK_EQ(cmsgr_stream_start(p.stream[i], p.session[i], lossless), 0);
        cmsgr_stream_continue(p.stream[i]);
    }
    pair_clear_log(&p);
}

static uint64_t sent_bytes(void)
{
    cmsgr_worker_stats stats;

    cmsgr_worker_get_stats(p.worker, &stats);
    return stats.send_bytes;
}

/* One message of this data; returns how many bytes it took on the wire. */
static uint64_t exchange(const uint8_t *data, size_t len, uint64_t tid)
{
    uint64_t before = sent_bytes();
    const cmsgr_msg *msg;

    pair_send(&p, 0, 127, tid, data, len);
    pair_settle(&p);
    CHECK_EQ(p.logged, 1);
    CHECK_EQ(p.log[0].kind, CMSGR_ITEM_MESSAGE);
    msg = p.log[0].msg;
    CHECK_EQ(msg->header.tid, tid);
    CHECK_EQ(msg->header.seq, tid);
    CHECK_EQ(msg->segment[0].len, 0);
    CHECK_EQ(msg->segment[2].len, len);
    CHECK(memcmp(msg->segment[2].data, data, len) == 0);
    pair_clear_log(&p);
    return sent_bytes() - before;
}

/* E11: below and above the minimum, with throttles, in every mode. */
static void test_messages(cmsgr_env *env, int algorithm, int revision, int secure, uint64_t *state)
{
    cmsgr_stream_config config = {0};
    cmsgr_throttle *throttle;
    cmsgr_throttle_stats stats;

    cmsgr_limits_default(&config.limits);
    CHECK_EQ(cmsgr_throttle_new(&throttle, env, 100 << 20), 0);
    config.policy_bytes = config.dispatch_bytes = throttle;
    open_pair(env, algorithm, revision, secure, &config, 0);
    fill_text(payload, 5 << 20);
    CHECK(exchange(payload, 900, 1) > 900); /* with its header below the minimum */
    CHECK(exchange(payload, 1024 - 41, 2) < 500); /* at it */
    CHECK(exchange(payload, 5000, 3) < 1000);
    CHECK(exchange(payload, 5 << 20, 4) < 500 << 10);
    CHECK(exchange(payload, 30000, 5) < 4000); /* more than a pooled body when decompressed */
    fill_random(payload, 5 << 20, state);
    CHECK(exchange(payload, 5000, 6) > 5000); /* gains nothing: sent as it is */
    CHECK(exchange(payload, 5 << 20, 7) > 5 << 20);
    cmsgr_throttle_get_stats(throttle, &stats);
    CHECK_EQ(stats.current, 0);
    CHECK_EQ(stats.get_sum + stats.take_sum, stats.put_sum);
    pair_close(&p);
    cmsgr_throttle_unref(throttle);
}

/* A control frame behind the agreement is compressed like any other. */
static void test_control(cmsgr_env *env, int algorithm)
{
    open_pair(env, algorithm, 1, 0, NULL, 0);
    fill_text(payload, 100000);
    CHECK_EQ(cmsgr_stream_send_frame(p.stream[0], CMSGR_TAG_CLIENT_IDENT, payload, 100000), 0);
    CHECK(cmsgr_stream_unsent_bytes(p.stream[0]) < 10000);
    pair_settle(&p);
    CHECK_EQ(p.logged, 1);
    CHECK_EQ(p.log[0].kind, CMSGR_ITEM_FRAME);
    CHECK_EQ(p.log[0].payload_len, 100000);
    pair_close(&p);
}

/* What must not get through: each ends the stream, and gives back what it claimed. */
static void refuse(cmsgr_env *env, int algorithm, const cmsgr_span *segments, unsigned count, int tag, int error)
{
    cmsgr_stream_config config = {0};
    cmsgr_throttle *throttle;
    cmsgr_throttle_stats stats;
    ssize_t len;

    cmsgr_limits_default(&config.limits);
    config.limits.data = 100000;
    CHECK_EQ(cmsgr_throttle_new(&throttle, env, 100 << 20), 0);
    config.policy_bytes = config.dispatch_messages = throttle;
    open_pair(env, algorithm, 1, 0, &config, 1);
    len = cmsgr_frame_assemble(env, 1, tag, segments, NULL, count, CMSGR_FRAME_COMPRESSED, wire, sizeof wire);
    CHECK(len > 0);
    CHECK_EQ(cmsgr_stream_send_bytes(p.stream[0], wire, (size_t)len), 0);
    pair_settle(&p);
    CHECK_EQ(p.logged, 1);
    CHECK_EQ(p.log[0].kind, CMSGR_ITEM_FAULT);
    CHECK_EQ(p.log[0].error, error);
    pair_close(&p);
    cmsgr_throttle_get_stats(throttle, &stats);
    CHECK_EQ(stats.current, 0);
    cmsgr_throttle_unref(throttle);
}

static void test_refusals(cmsgr_env *env, int algorithm)
{
    static const uint8_t said[] = "\x05\0\0\0 no compressor said this";
    static uint8_t header_packed[1000], short_packed[1000], data_packed[100000];
    uint8_t header[41] = {0};
    size_t header_len, short_len, data_len;

    header_len = pack(env, algorithm, header, sizeof header);
    memcpy(header_packed, packed, header_len);
    short_len = pack(env, algorithm, header, 40);
    memcpy(short_packed, packed, short_len);
    memset(payload, 0, 1 << 20);
    data_len = pack(env, algorithm, payload, 100001);
    memcpy(data_packed, packed, data_len);

    const cmsgr_span bomb[] = {{header_packed, header_len}, {NULL, 0}, {NULL, 0}, {data_packed, data_len}};
    const cmsgr_span garbage[] = {{header_packed, header_len}, {said, sizeof said}};
    const cmsgr_span cut[] = {{header_packed, header_len - 1}, {header_packed, header_len}};
    const cmsgr_span short_header[] = {{short_packed, short_len}, {header_packed, header_len}};

    refuse(env, algorithm, bomb, 4, CMSGR_TAG_MESSAGE, CMSGR_E_SEGMENT_TOO_LONG);
    refuse(env, algorithm, garbage, 2, CMSGR_TAG_MESSAGE, CMSGR_E_DECOMPRESS);
    refuse(env, algorithm, cut, 2, CMSGR_TAG_MESSAGE, CMSGR_E_DECOMPRESS);
    refuse(env, algorithm, short_header, 2, CMSGR_TAG_MESSAGE, CMSGR_E_HEADER_LENGTH);
    refuse(env, algorithm, cut, 1, CMSGR_TAG_SERVER_IDENT, CMSGR_E_DECOMPRESS);
}

/* E11, E8: aborted: dropped unread, however it is filled; numbers go on. */
static void test_aborted(cmsgr_env *env, int algorithm)
{
    cmsgr_worker_stats stats;
    const cmsgr_span zeros[] = {{plain, 30}, {plain, 500}};
    ssize_t len;

    memset(plain, 0, 500);
    open_pair(env, algorithm, 1, 0, NULL, 0);
    len = cmsgr_frame_assemble(env, 1, CMSGR_TAG_MESSAGE, zeros, NULL, 2, CMSGR_FRAME_COMPRESSED | CMSGR_FRAME_ABORTED, wire,
                               sizeof wire);
    CHECK(len > 0);
    CHECK_EQ(cmsgr_stream_send_bytes(p.stream[0], wire, (size_t)len), 0);
    fill_text(payload, 5000);
    exchange(payload, 5000, 1);
    cmsgr_worker_get_stats(p.worker, &stats);
    CHECK_EQ(stats.frames_aborted, 1);
    pair_close(&p);
}

/* Out of memory anywhere: a fault or an uncompressed frame, never a leak or a wrong message. */
static void compressed_scenario(void *ctx, cmsgr_env *env)
{
    static const uint8_t text[30000] = "nothing but zeros behind this";
    int algorithm = *(int *)ctx;
    uint8_t *out = cmsgr_compress_bound(algorithm, sizeof text) <= sizeof packed ? packed : NULL;
    ssize_t len = cmsgr_compress(env, algorithm, text, sizeof text, out, sizeof packed);
    int64_t got;

    if (len < 0) {
        CHECK_EQ(len, -ENOMEM);
        return;
    }
    got = cmsgr_decompressed_len(env, algorithm, packed, (size_t)len, sizeof text);
    CHECK(got == sizeof text || got == -ENOMEM);
    if (got >= 0) {
        int result = cmsgr_decompress(env, algorithm, packed, (size_t)len, plain, sizeof text);

        CHECK(result == -ENOMEM || (result == 0 && memcmp(plain, text, sizeof text) == 0));
    }
}

static void test_absent(cmsgr_env *env)
{
    static const int numbers[] = {-1, CMSGR_COMPRESSION_NONE, CMSGR_COMPRESSION_NUMBERS, 99};

    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        CHECK(!cmsgr_compression_name(numbers[i]));
        CHECK_EQ(cmsgr_compress_bound(numbers[i], 1), 0);
        CHECK_EQ(cmsgr_compress(env, numbers[i], "x", 1, packed, sizeof packed), -EINVAL);
        CHECK_EQ(cmsgr_decompressed_len(env, numbers[i], "x", 1, 1), -EINVAL);
        CHECK_EQ(cmsgr_decompress(env, numbers[i], "x", 1, packed, 1), -EINVAL);
    }
    pair_open(&p, env, NULL);
    CHECK_EQ(cmsgr_stream_set_compression(p.stream[0], 99, 0), -EINVAL);
    CHECK_EQ(cmsgr_stream_set_compression(p.stream[0], CMSGR_COMPRESSION_NONE, 0), 0);
    pair_close(&p);
}

int main(void)
{
    uint64_t state = check_seed();
    cmsgr_env *env;

    check_deadline(300);
    CHECK_EQ(cmsgr_env_new(&env, NULL, NULL), 0);
    test_absent(env);
    for (int algorithm = 1; algorithm < CMSGR_COMPRESSION_NUMBERS; algorithm++) {
        if (!cmsgr_compression_name(algorithm)) {
            fprintf(stderr, "algorithm %d is not compiled in\n", algorithm);
            continue;
        }
        test_segments(env, algorithm, &state);
        test_damage(env, algorithm, &state);
        for (int n = 0; n < 4; n++)
            test_messages(env, algorithm, n & 1, n >> 1, &state);
        test_control(env, algorithm);
        test_refusals(env, algorithm);
        test_aborted(env, algorithm);
        if (algorithm == CMSGR_COMPRESSION_ZLIB || algorithm == CMSGR_COMPRESSION_LZ4) /* the others' memory is not ours */
            check_each_failing_allocation(compressed_scenario, &algorithm, NULL);
    }
    cmsgr_env_free(env);
    return 0;
}
