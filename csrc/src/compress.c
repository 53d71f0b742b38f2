/* Which algorithms there are, by their numbers on the wire. */
#include "compress.h"

#include <errno.h>

static const cmsgr__codec *const codecs[] = {
#ifdef CMSGR_HAVE_SNAPPY
    [CMSGR_COMPRESSION_SNAPPY] = &cmsgr__codec_snappy,
#endif
#ifdef CMSGR_HAVE_ZLIB
    [CMSGR_COMPRESSION_ZLIB] = &cmsgr__codec_zlib,
#endif
#ifdef CMSGR_HAVE_ZSTD
    [CMSGR_COMPRESSION_ZSTD] = &cmsgr__codec_zstd,
#endif
#ifdef CMSGR_HAVE_LZ4
    [CMSGR_COMPRESSION_LZ4] = &cmsgr__codec_lz4,
#endif
    [CMSGR_COMPRESSION_NUMBERS] = NULL,
};

const cmsgr__codec *cmsgr__codec_of(int algorithm)
{
    return algorithm >= 0 && algorithm < CMSGR_COMPRESSION_NUMBERS ? codecs[algorithm] : NULL;
}

const char *cmsgr_compression_name(int algorithm)
{
    const cmsgr__codec *codec = cmsgr__codec_of(algorithm);

    return codec ? codec->name : NULL;
}

size_t cmsgr_compress_bound(int algorithm, size_t len)
{
    const cmsgr__codec *codec = cmsgr__codec_of(algorithm);

    return codec && len <= CMSGR__COMPRESS_MAX ? codec->bound(len) : 0;
}

ssize_t cmsgr_compress(const cmsgr_env *env, int algorithm, const void *in, size_t len, uint8_t *out, size_t cap)
{
    const cmsgr__codec *codec = cmsgr__codec_of(algorithm);

    if (!codec || len > CMSGR__COMPRESS_MAX)
        return -EINVAL;
    return cap < codec->bound(len) ? -ENOSPC : codec->compress(env, in, len, out, cap);
}

int64_t cmsgr_decompressed_len(const cmsgr_env *env, int algorithm, const void *in, size_t len, size_t limit)
{
    const cmsgr__codec *codec = cmsgr__codec_of(algorithm);

    return codec && len <= UINT32_MAX ? codec->plain_len(env, in, len, limit) : -EINVAL;
}

int cmsgr_decompress(const cmsgr_env *env, int algorithm, const void *in, size_t len, uint8_t *out, size_t plain_len)
{
    const cmsgr__codec *codec = cmsgr__codec_of(algorithm);

    return codec && len <= UINT32_MAX ? codec->decompress(env, in, len, out, plain_len) : -EINVAL;
}
