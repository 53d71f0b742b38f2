/*
 * crc32c on x86, by what the CPU has.
 *
 * "sse42" uses the crc instruction. It takes one 8-byte word per cycle but answers only three cycles later, so one chain of them
 * runs at a third of the speed: three chains run over three neighbouring stretches and are joined by a carry-less multiplication. A
 * stretch may have any whole number of words up to MAX_WORDS, since most inputs are the 28 to 300 bytes of preambles and headers.
 *
 * "avx512" does bulk, from FOLD_MIN on, by carry-less multiplication alone: sixteen 16-byte lanes, each of which is moved past the
 * 256 bytes that follow and added to what lies there. It is some three times as fast; what is left at the end, and all that is
 * short, is sse42's.
 */
#include "internal.h"

#if defined(__x86_64__)
#include <immintrin.h>

/* ---- sse42 ------------------------------------------------------------------------------------------- */

enum {
    MAX_WORDS = 128,     /* of one stretch: 3 KiB per join, which then costs some 3% */
    INTERLEAVE_MIN = 96, /* below, joining costs more than the two idle chains */
};

/*
 * shift[j - 1] is x^(64 j - 33) mod P, bit-reflected. The crc of a stretch that j words follow is multiplied by it,
 * giving 64 bits; fed to the crc instruction, which multiplies by x^32 (and reflection has added x), they come out
 * as the crc moved past j zero words.
 */
static const uint32_t shift[2 * MAX_WORDS] = {
    0x00000001, 0x493c7d27, 0xf20c0dfe, 0xba4fc28e, 0x3da6d0cb, 0xddc0152b, 0x1c291d04, 0x9e4addf8,
    0x740eef02, 0x39d3b296, 0x083a6eec, 0x0715ce53, 0xc49f4f67, 0x47db8317, 0x2ad91c30, 0x0d3b6092,
    0x6992cea2, 0xc96cfdc0, 0x7e908048, 0x878a92a7, 0x1b3d8f29, 0xdaece73e, 0xf1d0f55e, 0xab7aff2a,
    0xa87ab8a8, 0x2162d385, 0x8462d800, 0x83348832, 0x71d111a8, 0x299847d5, 0xffd852c6, 0xb9e02b86,
    0xdcb17aa4, 0x18b33a4e, 0xf37c5aee, 0xb6dd949b, 0x6051d5a2, 0x78d9ccb7, 0x18b0d4ff, 0xbac2fd7b,
    0x21f3d99c, 0xa60ce07b, 0x8f158014, 0xce7f39f4, 0xa00457f7, 0x61d82e56, 0x8d6d2c43, 0xd270f1a2,
    0x00ac29cf, 0xc619809d, 0xe9adf796, 0x2b3cac5d, 0x96638b34, 0x65863b64, 0xe0e9f351, 0x1b03397f,
    0x9af01f2d, 0xebb883bd, 0x2cff42cf, 0xb3e32c28, 0x88f25a3a, 0x064f7f26, 0x4e36f0b0, 0xdd7e3b0c,
    0xbd6f81f8, 0xf285651c, 0x91c9bd4b, 0x10746f3c, 0x885f087b, 0xc7a68855, 0x4c144932, 0x271d9844,
    0x52148f02, 0x8e766a0c, 0xa3c6f37a, 0x93a5f730, 0xd7c0557f, 0x6cb08e5c, 0x63ded06a, 0x6b749fb2,
    0x4d56973c, 0x1393e203, 0x9669c9df, 0xcec3662e, 0xe417f38a, 0x96c515bb, 0x4b9e0f71, 0xe6fc4e6a,
    0xd104b8fc, 0x8227bb8a, 0x5b397730, 0xb0cd4768, 0xe78eb416, 0x39c7ff35, 0x61ff0e01, 0xd7a4825c,
    0x8d96551c, 0x0ab3844b, 0x0bf80dd2, 0x0167d312, 0x8821abed, 0xf6076544, 0x6a45d2b2, 0x26f6a60a,
    0xd8d26619, 0xa741c1bf, 0xde87806c, 0x98d8d9cb, 0x14338754, 0x49c3cc9c, 0x5bd2011f, 0x68bce87a,
    0xdd07448e, 0x57a3d037, 0xdde8f5b9, 0x6956fc3b, 0xa3e3e02c, 0x42d98888, 0xd73c7bea, 0x3771e98f,
    0x80ff0093, 0xb42ae3d9, 0x8fe4c34d, 0x2178513a, 0xdf99fc11, 0xe0ac139e, 0x6c23e841, 0x170076fa,
    0xfe314258, 0x444dd413, 0x0d8373a0, 0x6f345e45, 0x19e3635e, 0x41d17b64, 0x29f268b4, 0xff0dba97,
    0x1dc0632a, 0xa2b73df1, 0x1614f396, 0xf872e54c, 0x9e2993d3, 0x1e41e9fc, 0x6bebd73c, 0x86d8e4d2,
    0x63ae91e6, 0x651bd98b, 0xf8c9da7a, 0x5bb8f1bc, 0x945a19c1, 0xa90fd27a, 0xee8213b7, 0xb3af077a,
    0x93781dc7, 0x4984d782, 0xccc4a1b9, 0xca6ef3ac, 0xa2c2d971, 0x234e0b26, 0x1cad4452, 0xdd66cbbb,
    0x74922601, 0x4597456a, 0xc55f7eab, 0xe9e28eb4, 0xa1962329, 0x7b3ff57a, 0x2d370749, 0xc9c8b782,
    0x397d84a1, 0x3f70cc6f, 0x79113270, 0x93e106a4, 0xbc817803, 0x62ec6c6d, 0x88eb3c07, 0xd813b325,
    0x6e4cb630, 0x0df04680, 0x71971d5c, 0x2342001e, 0xf33b8bc6, 0x0a2a8d7e, 0x9fb3bbc0, 0x6d9a4957,
    0x6ef22b23, 0xe8b6368b, 0xce2df768, 0xd2c3ed1a, 0xe53a4fc7, 0x995a5724, 0xbe60a91a, 0x9ef68d35,
    0x1dfa0a15, 0x0c139b31, 0x8ec52396, 0xf2271e60, 0x0e766b11, 0x0b0bf8ca, 0x475846a4, 0x2664fd8b,
    0xb2a3dfa6, 0xed64812d, 0xdc1a160c, 0x02ee03b2, 0x79afdf1c, 0x8604ae0f, 0x07ac6e46, 0x363bd6b3,
    0x15f85253, 0x135c83fd, 0x1bec24dd, 0x5fabe670, 0x4c36cd5b, 0x35ec3279, 0xe0a22e29, 0x00bcf5f6,
    0x7c2b6ed9, 0x8ae00689, 0x06ff88fd, 0x17f27698, 0xf7317cf0, 0x58ca5f00, 0x61b6e40b, 0xaa7c7ad5,
    0xde8a97f8, 0xb5cfca28, 0x88f61445, 0xded288f8, 0xd4520e9e, 0x59f229bc, 0x0c592bd5, 0x6d390dec,
    0x38edfaf3, 0x37170390, 0x72cbfcdb, 0x6353c1cc, 0x348331a5, 0xc4584f5c, 0xc3977c19, 0xf48642e9,
    0xdafaea7c, 0x531377e2, 0x73db4c04, 0xdd35bc8d, 0x72675ce8, 0xb25b29f2, 0x3ec2ff83, 0x9a5ede41,
    0xe8c7a017, 0xa563905d, 0xcf4bfaef, 0x45cddf4e, 0x6bde1ac7, 0xacfa3103, 0xae1175c2, 0xa51b6135,
};

#define SSE42 __attribute__((target("sse4.2,pclmul")))

static inline uint64_t word_at(const uint8_t *p)
{
    uint64_t word;

    memcpy(&word, p, 8);
    return word;
}

SSE42 static inline uint64_t multiply(uint64_t crc, uint32_t factor)
{
    __m128i product = _mm_clmulepi64_si128(_mm_cvtsi64_si128((int64_t)crc), _mm_cvtsi32_si128((int32_t)factor), 0);

    return (uint64_t)_mm_cvtsi128_si64(product);
}

/* The crc of 3 * words 8-byte words. The join rides on the last word of the last stretch. */
SSE42 static inline uint64_t three_chains(uint64_t crc, const uint8_t *p, size_t words)
{
    const uint8_t *second = p + 8 * words, *third = second + 8 * words;
    const uint8_t *last = third - 8;
    uint64_t a = crc, b = 0, c = 0;

    for (; second < last; p += 8, second += 8, third += 8) {
        a = _mm_crc32_u64(a, word_at(p));
        b = _mm_crc32_u64(b, word_at(second));
        c = _mm_crc32_u64(c, word_at(third));
    }
    a = _mm_crc32_u64(a, word_at(p));
    b = _mm_crc32_u64(b, word_at(second));
    return _mm_crc32_u64(c, word_at(third) ^ multiply(a, shift[2 * words - 1]) ^ multiply(b, shift[words - 1]));
}

SSE42 static uint32_t crc32c_sse42(uint32_t start, const void *data, size_t len_bytes)
{
    const uint8_t *p = data;
    uint64_t crc = start;

    while (len_bytes >= INTERLEAVE_MIN) {
        size_t words = len_bytes / 24 < MAX_WORDS ? len_bytes / 24 : MAX_WORDS;

        crc = three_chains(crc, p, words);
        p += 24 * words;
        len_bytes -= 24 * words;
    }
    for (; len_bytes >= 8; p += 8, len_bytes -= 8)
        crc = _mm_crc32_u64(crc, word_at(p));
    if (len_bytes & 4) {
        crc = _mm_crc32_u32((uint32_t)crc, cmsgr__get32(p));
        p += 4;
    }
    if (len_bytes & 2) {
        crc = _mm_crc32_u16((uint32_t)crc, cmsgr__get16(p));
        p += 2;
    }
    if (len_bytes & 1)
        crc = _mm_crc32_u8((uint32_t)crc, *p);
    return (uint32_t)crc;
}

/* ---- avx512 ------------------------------------------------------------------------------------------ */

#define AVX512 __attribute__((target("avx512f,vpclmulqdq,sse4.2,pclmul")))

enum { FOLD_MIN = 512 }; /* below, the lanes cost more to join than they win */

/* The lanes times their factors, plus what lies where they arrive. */
AVX512 static inline __m512i fold(__m512i lanes, __m512i factors, __m512i there)
{
    __m512i first = _mm512_clmulepi64_epi128(lanes, factors, 0x00), second = _mm512_clmulepi64_epi128(lanes, factors, 0x11);

    return _mm512_ternarylogic_epi64(first, second, there, 0x96 /* a ^ b ^ c */);
}

/* What moves lanes past `words` 8-byte words: their first half has one word more to go than their second. */
AVX512 static inline __m512i factors_past(int words)
{
    return _mm512_broadcast_i32x4(_mm_set_epi64x(shift[words - 1], shift[words]));
}

/* Four lanes become the last one, in whose place the result lies: two words whose crc is that of all. */
AVX512 static inline uint32_t join_lanes(__m512i lanes)
{
    const __m512i factors = _mm512_set_epi64(0, 0, shift[1], shift[2], shift[3], shift[4], shift[5], shift[6]);
    __m512i moved = fold(lanes, factors, _mm512_maskz_mov_epi64(0xc0, lanes));
    __m256i half = _mm256_xor_si256(_mm512_castsi512_si256(moved), _mm512_extracti64x4_epi64(moved, 1));
    __m128i last = _mm_xor_si128(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));

    return (uint32_t)_mm_crc32_u64(_mm_crc32_u64(0, (uint64_t)_mm_cvtsi128_si64(last)), (uint64_t)_mm_extract_epi64(last, 1));
}

AVX512 static uint32_t crc32c_avx512(uint32_t crc, const void *data, size_t len_bytes)
{
    const uint8_t *p = data, *end = p + len_bytes;
    __m512i a, b, c, d, factors;

    if (len_bytes < FOLD_MIN)
        return crc32c_sse42(crc, data, len_bytes);
    a = _mm512_xor_si512(_mm512_loadu_si512(p), _mm512_zextsi128_si512(_mm_cvtsi32_si128((int)crc)));
    b = _mm512_loadu_si512(p + 64);
    c = _mm512_loadu_si512(p + 128);
    d = _mm512_loadu_si512(p + 192);
    factors = factors_past(256 / 8);
    for (p += 256; end - p >= 256; p += 256) {
        a = fold(a, factors, _mm512_loadu_si512(p));
        b = fold(b, factors, _mm512_loadu_si512(p + 64));
        c = fold(c, factors, _mm512_loadu_si512(p + 128));
        d = fold(d, factors, _mm512_loadu_si512(p + 192));
    }
    factors = factors_past(64 / 8);
    d = fold(fold(fold(a, factors, b), factors, c), factors, d);
    for (; end - p >= 64; p += 64)
        d = fold(d, factors, _mm512_loadu_si512(p));
    return crc32c_sse42(join_lanes(d), p, (size_t)(end - p));
}

int cmsgr__crc32c_x86(cmsgr__crc32c out[])
{
    int count = 0;

    if (!__builtin_cpu_supports("sse4.2") || !__builtin_cpu_supports("pclmul"))
        return count;
    out[count++] = (cmsgr__crc32c){"sse42", crc32c_sse42};
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("vpclmulqdq"))
        out[count++] = (cmsgr__crc32c){"avx512", crc32c_avx512};
    return count;
}

#else
typedef int cmsgr__not_empty; /* as ISO C wants a source to be */
#endif
