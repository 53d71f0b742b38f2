/*
 * Snappy: the segment is raw snappy, which begins with the length it becomes.
 *
 * Its library is C++ and takes its working memory by itself: 32 KiB for each call. It cannot say that there is none.
 */
#include "compress.h"

#ifdef CMSGR_HAVE_SNAPPY
#include <errno.h>
#include <snappy-c.h>

/* A copy of 64 bytes takes two bytes of input at the least: whoever claims more is not believed. */
enum { MOST_PER_BYTE = 64 };

static size_t bound(size_t len)
{
    return snappy_max_compressed_length(len);
}

static ssize_t compress(const cmsgr_env *env, const uint8_t *in, size_t len, uint8_t *out, size_t cap)
{
    (void)env;
    return snappy_compress((const char *)in, len, (char *)out, &cap) == SNAPPY_OK ? (ssize_t)cap : -EINVAL;
}

static int64_t plain_len(const cmsgr_env *env, const uint8_t *in, size_t len, size_t limit)
{
    size_t claimed;

    (void)env;
    (void)limit;
    if (snappy_uncompressed_length((const char *)in, len, &claimed) != SNAPPY_OK || claimed / MOST_PER_BYTE > len)
        return CMSGR_E_DECOMPRESS;
    return (int64_t)claimed;
}

static int decompress(const cmsgr_env *env, const uint8_t *in, size_t len, uint8_t *out, size_t plain_len)
{
    size_t got = plain_len;

    (void)env;
    return snappy_uncompress((const char *)in, len, (char *)out, &got) == SNAPPY_OK && got == plain_len ? 0 : CMSGR_E_DECOMPRESS;
}

const cmsgr__codec cmsgr__codec_snappy = {"snappy", bound, compress, plain_len, decompress};
#endif
