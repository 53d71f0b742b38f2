/*
 * Compression seam: what a stream needs of an algorithm ("Compression" of the wire document). The formats are the segments' own: each
 * compressed segment is told here from its first byte to its last. One source per algorithm, each over that algorithm's own
 * library; a library that was absent when this was built leaves a hole in the table (compress.c), and is never offered.
 *
 * No state: any thread. Nothing here trusts the input, and no output goes beyond `cap`.
 */
#ifndef CMSGR_COMPRESS_H
#define CMSGR_COMPRESS_H

#include "internal.h"

typedef struct cmsgr__codec {
    const char *name;
    /* The most that `len` bytes become. */
    size_t (*bound)(size_t len);
    /* `cap` is at least the bound. The length, or a negative result. */
    ssize_t (*compress)(const cmsgr_env *env, const uint8_t *in, size_t len, uint8_t *out, size_t cap);
    /* What a segment will become, without memory for it: a length above `limit` may come out as any number above it.
     * CMSGR_E_DECOMPRESS if it can become nothing. */
    int64_t (*plain_len)(const cmsgr_env *env, const uint8_t *in, size_t len, size_t limit);
    /* `plain_len` bytes as that told, exactly: 0, else CMSGR_E_DECOMPRESS or -ENOMEM. */
    int (*decompress)(const cmsgr_env *env, const uint8_t *in, size_t len, uint8_t *out, size_t plain_len);
} cmsgr__codec;

/* No library takes much more at once. Frames with more than this in their segments are sent as they are. */
#define CMSGR__COMPRESS_MAX ((size_t)1 << 30)

/* NULL for none, for numbers that mean nothing, and for what is not compiled in. */
const cmsgr__codec *cmsgr__codec_of(int algorithm);

extern const cmsgr__codec cmsgr__codec_snappy, cmsgr__codec_zlib, cmsgr__codec_zstd, cmsgr__codec_lz4;

#endif
