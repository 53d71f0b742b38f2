/*
 * Zstd: the segment is a u32, the length it becomes, then a zstd stream.
 *
 * Its library takes its working memory by itself, and says if there is none.
 */
#include "compress.h"

#ifdef CMSGR_HAVE_ZSTD
#include <errno.h>
#include <zstd.h>
#include <zstd_errors.h>

enum { PREFIX_LEN = 4, LEVEL = 1 };

static size_t bound(size_t len)
{
    return PREFIX_LEN + ZSTD_compressBound(len);
}

static ssize_t compress(const cmsgr_env *env, const uint8_t *in, size_t len, uint8_t *out, size_t cap)
{
    size_t result = ZSTD_compress(out + PREFIX_LEN, cap - PREFIX_LEN, in, len, LEVEL);

    (void)env;
    if (ZSTD_isError(result))
        return ZSTD_getErrorCode(result) == ZSTD_error_memory_allocation ? -ENOMEM : -EINVAL;
    cmsgr__put32(out, (uint32_t)len);
    return (ssize_t)(PREFIX_LEN + result);
}

static int64_t plain_len(const cmsgr_env *env, const uint8_t *in, size_t len, size_t limit)
{
    (void)env;
    (void)limit;
    return len < PREFIX_LEN ? CMSGR_E_DECOMPRESS : (int64_t)cmsgr__get32(in);
}

static int decompress(const cmsgr_env *env, const uint8_t *in, size_t len, uint8_t *out, size_t plain_len)
{
    size_t result = ZSTD_decompress(out, plain_len, in + PREFIX_LEN, len - PREFIX_LEN);

    (void)env;
    if (ZSTD_isError(result) && ZSTD_getErrorCode(result) == ZSTD_error_memory_allocation)
        return -ENOMEM;
    return result == plain_len ? 0 : CMSGR_E_DECOMPRESS; /* an error is a number above any length */
}

const cmsgr__codec cmsgr__codec_zstd = {"zstd", bound, compress, plain_len, decompress};
#endif
