/*
 * Fuzz target: decompression of one segment. Input: one byte, the algorithm; two bytes, the limit; then the compressed bytes.
 *
 * What must hold beside memory safety: what is decompressed has the length that was told, and all memory comes back.
 */
#include "compress.h"
#include "fuzz.h"

enum { OPTIONS = 3 };

static long live;

static void *counting_realloc(void *ctx, void *block, size_t len)
{
    void *got = realloc(block, len);

    (void)ctx;
    live += got && !block;
    return got;
}

static void counting_free(void *ctx, void *block)
{
    (void)ctx;
    live -= block != NULL;
    free(block);
}

static const cmsgr_env env = {.allocator = {NULL, counting_realloc, counting_free}};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t limit, len = size - OPTIONS;
    int64_t plain_len;
    uint8_t *out;
    int algorithm;

    if (size < OPTIONS)
        return 0;
    algorithm = data[0] % CMSGR_COMPRESSION_NUMBERS;
    limit = cmsgr__get16(data + 1);
    plain_len = cmsgr_decompressed_len(&env, algorithm, data + OPTIONS, len, limit);
    if (plain_len >= 0 && plain_len <= (int64_t)limit) {
        out = malloc((size_t)plain_len + !plain_len);
        FUZZ_CHECK(out);
        cmsgr_decompress(&env, algorithm, data + OPTIONS, len, out, (size_t)plain_len);
        free(out);
    }
    FUZZ_CHECK(live == 0);
    return 0;
}

#ifndef CMSGR_LIBFUZZER

static size_t fuzz_make_input(uint64_t *state, uint8_t *out, size_t cap)
{
    uint8_t plain[2000];
    size_t len = fuzz_random(state, sizeof plain);
    ssize_t packed;

    for (size_t i = 0; i < len; i++)
        plain[i] = (uint8_t)fuzz_random(state, 1 + fuzz_random(state, 4));
    out[0] = (uint8_t)fuzz_random(state, CMSGR_COMPRESSION_NUMBERS);
    cmsgr__put16(out + 1, (uint16_t)(len + fuzz_random(state, 100)));
    packed = cmsgr_compress(&env, out[0], plain, len, out + OPTIONS, cap - OPTIONS);
    if (packed < 0)
        return OPTIONS;
    fuzz_damage(state, out, OPTIONS, OPTIONS + (size_t)packed);
    return OPTIONS + (size_t)packed;
}

#endif
