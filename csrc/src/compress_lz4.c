/*
 * LZ4: the segment is a u32 n, n pairs of u32 (what a block becomes, what it takes), then n blocks that continue one dictionary.
 *
 * We write one block. What is read may have as many as its sender's memory had pieces.
 */
#include "compress.h"

#ifdef CMSGR_HAVE_LZ4
#include <errno.h>
#include <lz4.h>

enum {
    COUNT_LEN = 4,
    PAIR_LEN = 8,
    MOST_PER_BYTE = 255 /* each further byte of a match's length stands for no more */
};

static size_t bound(size_t len)
{
    return COUNT_LEN + PAIR_LEN + (size_t)LZ4_compressBound((int)len);
}

static ssize_t compress(const cmsgr_env *env, const uint8_t *in, size_t len, uint8_t *out, size_t cap)
{
    uint8_t *block = out + COUNT_LEN + PAIR_LEN;
    LZ4_stream_t *state = cmsgr__alloc(env, sizeof *state); /* 16 KiB: not for a stack */
    int got;

    if (!state)
        return -ENOMEM;
    got = LZ4_compress_fast_extState(state, (const char *)in, (char *)block, (int)len, (int)(cap - COUNT_LEN - PAIR_LEN), 1);
    cmsgr__free(env, state);
    if (got <= 0)
        return -EINVAL;
    cmsgr__put32(out, 1);
    cmsgr__put32(out + COUNT_LEN, (uint32_t)len);
    cmsgr__put32(out + COUNT_LEN + 4, (uint32_t)got);
    return COUNT_LEN + PAIR_LEN + got;
}

/* Believed only if the pairs are all there, and the blocks behind them as long as they say. */
static int64_t plain_len(const cmsgr_env *env, const uint8_t *in, size_t len, size_t limit)
{
    uint64_t plain = 0, packed = 0;
    size_t count;

    (void)env;
    (void)limit;
    if (len < COUNT_LEN || (count = cmsgr__get32(in)) > (len - COUNT_LEN) / PAIR_LEN)
        return CMSGR_E_DECOMPRESS;
    for (const uint8_t *pair = in + COUNT_LEN; pair < in + COUNT_LEN + count * PAIR_LEN; pair += PAIR_LEN) {
        if (cmsgr__get32(pair) > LZ4_MAX_INPUT_SIZE || cmsgr__get32(pair + 4) > INT32_MAX)
            return CMSGR_E_DECOMPRESS;
        plain += cmsgr__get32(pair);
        packed += cmsgr__get32(pair + 4);
    }
    if (packed != len - COUNT_LEN - count * PAIR_LEN || plain / MOST_PER_BYTE > packed)
        return CMSGR_E_DECOMPRESS;
    return (int64_t)plain;
}

static int decompress(const cmsgr_env *env, const uint8_t *in, size_t len, uint8_t *out, size_t plain_len)
{
    size_t count = cmsgr__get32(in);
    const uint8_t *pair = in + COUNT_LEN, *block = pair + count * PAIR_LEN, *end = out + plain_len;
    LZ4_streamDecode_t state;

    (void)env;
    (void)len;
    LZ4_setStreamDecode(&state, NULL, 0);
    for (size_t i = 0; i < count; i++, pair += PAIR_LEN) {
        int plain = (int)cmsgr__get32(pair), packed = (int)cmsgr__get32(pair + 4);

        if (plain > end - out ||
            LZ4_decompress_safe_continue(&state, (const char *)block, (char *)out, packed, plain) != plain)
            return CMSGR_E_DECOMPRESS;
        block += packed;
        out += plain;
    }
    return out == end ? 0 : CMSGR_E_DECOMPRESS;
}

const cmsgr__codec cmsgr__codec_lz4 = {"lz4", bound, compress, plain_len, decompress};
#endif
