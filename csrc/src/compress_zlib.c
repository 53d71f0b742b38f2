/*
 * Zlib: the segment is one byte that says nothing, then raw deflate with a window of 15 bits.
 *
 * Deflate does not tell what it becomes. It is inflated twice, first into a block that is thrown away: time is what an honest peer
 * pays with its own bytes, memory is what a bomb would take.
 */
#include "compress.h"

#ifdef CMSGR_HAVE_ZLIB
#include <errno.h>
#include <zlib.h>

enum {
    PREFIX_LEN = 1,
    RAW_WINDOW = -15, /* negative: neither header nor checksum around it */
    LEVEL = 5,
    MEMORY_LEVEL = 8,
    DISCARD_LEN = 8 * 1024
};

static voidpf zlib_alloc(voidpf env, uInt count, uInt size)
{
    return cmsgr__alloc(env, (size_t)count * size);
}

static void zlib_free(voidpf env, voidpf block)
{
    cmsgr__free(env, block);
}

static z_stream stream_of(const cmsgr_env *env, const uint8_t *in, size_t len)
{
    return (z_stream){.zalloc = zlib_alloc,
                      .zfree = zlib_free,
                      .opaque = (voidpf)(uintptr_t)env,
                      .next_in = (Bytef *)(uintptr_t)in,
                      .avail_in = (uInt)len};
}

static size_t bound(size_t len)
{
    return PREFIX_LEN + compressBound((uLong)len);
}

static ssize_t compress_segment(const cmsgr_env *env, const uint8_t *in, size_t len, uint8_t *out, size_t cap)
{
    z_stream z = stream_of(env, in, len);
    int result;

    if (deflateInit2(&z, LEVEL, Z_DEFLATED, RAW_WINDOW, MEMORY_LEVEL, Z_DEFAULT_STRATEGY) != Z_OK)
        return -ENOMEM;
    out[0] = 0;
    z.next_out = out + PREFIX_LEN;
    z.avail_out = (uInt)(cap - PREFIX_LEN);
    result = deflate(&z, Z_FINISH);
    deflateEnd(&z);
    return result == Z_STREAM_END ? (ssize_t)(PREFIX_LEN + z.total_out) : -EINVAL;
}

static int begin_inflate(z_stream *z, const cmsgr_env *env, const uint8_t *in, size_t len)
{
    if (len < PREFIX_LEN)
        return CMSGR_E_DECOMPRESS;
    *z = stream_of(env, in + PREFIX_LEN, len - PREFIX_LEN);
    return inflateInit2(z, RAW_WINDOW) == Z_OK ? 0 : -ENOMEM;
}

/* What the last call of inflate means, if it was to be the last. */
static int end_inflate(z_stream *z, int result)
{
    int is_whole = result == Z_STREAM_END && z->avail_in == 0;

    inflateEnd(z);
    return is_whole ? 0 : result == Z_MEM_ERROR ? -ENOMEM : CMSGR_E_DECOMPRESS;
}

static int64_t plain_len(const cmsgr_env *env, const uint8_t *in, size_t len, size_t limit)
{
    uint8_t discarded[DISCARD_LEN];
    int64_t total = 0;
    z_stream z;
    int result = begin_inflate(&z, env, in, len);

    if (result < 0)
        return result;
    do {
        z.next_out = discarded;
        z.avail_out = sizeof discarded;
        result = inflate(&z, Z_NO_FLUSH);
        total += (int64_t)(sizeof discarded - z.avail_out);
    } while (result == Z_OK && total <= (int64_t)limit);
    if (total > (int64_t)limit) {
        inflateEnd(&z);
        return total;
    }
    result = end_inflate(&z, result);
    return result < 0 ? result : total;
}

static int decompress(const cmsgr_env *env, const uint8_t *in, size_t len, uint8_t *out, size_t plain_len)
{
    uint8_t nothing[1]; /* zlib refuses to write nothing to nowhere */
    z_stream z;
    int result = begin_inflate(&z, env, in, len);

    if (result < 0)
        return result;
    z.next_out = plain_len ? out : nothing;
    z.avail_out = (uInt)plain_len;
    result = end_inflate(&z, inflate(&z, Z_FINISH));
    return result == 0 && z.total_out != plain_len ? CMSGR_E_DECOMPRESS : result;
}

const cmsgr__codec cmsgr__codec_zlib = {"zlib", bound, compress_segment, plain_len, decompress};
#endif
