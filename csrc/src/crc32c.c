/*
 * CRC-32C (Castagnoli, reflected polynomial 0x82F63B78) as msgr2 uses it: raw, the register goes in and comes out as
 * it is. No state; any thread.
 *
 * Three implementations. "table" eats eight bytes per step from eight tables and serves every CPU. "sse42" and
 * "armv8" use the CPU's instruction. On x86 that instruction takes one 8-byte word per cycle but answers only three
 * cycles later, so one chain of them runs at a third of the speed: sse42 runs three chains over three neighbouring
 * stretches and joins them by a carry-less multiplication. A stretch may have any whole number of words up to
 * MAX_WORDS, since most inputs are the 28 to 300 bytes of preambles and headers, not bulk.
 */
#include <string.h>

#include "internal.h"

#if defined(__x86_64__)
#include <nmmintrin.h>
#include <wmmintrin.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <arm_acle.h>
#include <sys/auxv.h>
#endif

/* ---- table ------------------------------------------------------------------------------------------- */

/*
 * tables[k][i] is the crc of byte i followed by k zero bytes. A crc is linear: an entry is the sum (xor) of the
 * entries of its bits, so a table is spelled out by its eight powers of two and the compiler fills in the rest.
 */
#define ENTRY(i, b0, b1, b2, b3, b4, b5, b6, b7)                                                          \
    (((i) & 1 ? b0 : 0) ^ ((i) & 2 ? b1 : 0) ^ ((i) & 4 ? b2 : 0) ^ ((i) & 8 ? b3 : 0) ^                  \
     ((i) & 16 ? b4 : 0) ^ ((i) & 32 ? b5 : 0) ^ ((i) & 64 ? b6 : 0) ^ ((i) & 128 ? b7 : 0))
#define ENTRY4(i, ...) \
    ENTRY(i, __VA_ARGS__), ENTRY((i) + 1, __VA_ARGS__), ENTRY((i) + 2, __VA_ARGS__), ENTRY((i) + 3, __VA_ARGS__)
#define ENTRY16(i, ...) \
    ENTRY4(i, __VA_ARGS__), ENTRY4((i) + 4, __VA_ARGS__), ENTRY4((i) + 8, __VA_ARGS__), ENTRY4((i) + 12, __VA_ARGS__)
#define ENTRY64(i, ...)                                                                                   \
    ENTRY16(i, __VA_ARGS__), ENTRY16((i) + 16, __VA_ARGS__), ENTRY16((i) + 32, __VA_ARGS__),              \
        ENTRY16((i) + 48, __VA_ARGS__)
#define TABLE(...)                                                                                        \
    {                                                                                                     \
        ENTRY64(0, __VA_ARGS__), ENTRY64(64, __VA_ARGS__), ENTRY64(128, __VA_ARGS__), ENTRY64(192, __VA_ARGS__) \
    }

static const uint32_t tables[8][256] = {
    TABLE(0xf26b8303, 0xe13b70f7, 0xc79a971f, 0x8ad958cf, 0x105ec76f, 0x20bd8ede, 0x417b1dbc, 0x82f63b78),
    TABLE(0x13a29877, 0x274530ee, 0x4e8a61dc, 0x9d14c3b8, 0x3fc5f181, 0x7f8be302, 0xff17c604, 0xfbc3faf9),
    TABLE(0xa541927e, 0x4f6f520d, 0x9edea41a, 0x38513ec5, 0x70a27d8a, 0xe144fb14, 0xc76580d9, 0x8b277743),
    TABLE(0xdd45aab8, 0xbf672381, 0x7b2231f3, 0xf64463e6, 0xe964b13d, 0xd725148b, 0xaba65fe7, 0x52a0c93f),
    TABLE(0x38116fac, 0x7022df58, 0xe045beb0, 0xc5670b91, 0x8f2261d3, 0x1ba8b557, 0x37516aae, 0x6ea2d55c),
    TABLE(0xef306b19, 0xdb8ca0c3, 0xb2f53777, 0x6006181f, 0xc00c303e, 0x85f4168d, 0x0e045beb, 0x1c08b7d6),
    TABLE(0x68032cc8, 0xd0065990, 0xa5e0c5d1, 0x4e2dfd53, 0x9c5bfaa6, 0x3d5b83bd, 0x7ab7077a, 0xf56e0ef4),
    TABLE(0x493c7d27, 0x9278fa4e, 0x211d826d, 0x423b04da, 0x847609b4, 0x0d006599, 0x1a00cb32, 0x34019664),
};

static inline uint32_t table_byte(uint32_t crc, uint8_t byte)
{
    return crc >> 8 ^ tables[0][(crc ^ byte) & 0xff];
}

uint32_t cmsgr_crc32c_table(uint32_t crc, const void *data, size_t len_bytes)
{
    const uint8_t *p = data;

    for (; len_bytes >= 8; p += 8, len_bytes -= 8) {
        uint32_t low = crc ^ cmsgr__get32(p), high = cmsgr__get32(p + 4);

        crc = tables[7][low & 0xff] ^ tables[6][low >> 8 & 0xff] ^ tables[5][low >> 16 & 0xff] ^
              tables[4][low >> 24] ^ tables[3][high & 0xff] ^ tables[2][high >> 8 & 0xff] ^
              tables[1][high >> 16 & 0xff] ^ tables[0][high >> 24];
    }
    for (; len_bytes; p++, len_bytes--)
        crc = table_byte(crc, *p);
    return crc;
}

/* ---- sse42 ------------------------------------------------------------------------------------------- */

#if defined(__x86_64__)

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

cmsgr__crc32c_fn cmsgr__crc32c_choose(const char **name)
{
    if (__builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul")) {
        *name = "sse42";
        return crc32c_sse42;
    }
    *name = "table";
    return cmsgr_crc32c_table;
}

/* ---- armv8 ------------------------------------------------------------------------------------------- */

#elif defined(__aarch64__) && defined(__linux__)

#ifndef HWCAP_CRC32
#define HWCAP_CRC32 (1 << 7)
#endif

/* One chain: ARM cores answer after one or two cycles, so there is little for more chains to win. */
__attribute__((target("+crc"))) static uint32_t crc32c_armv8(uint32_t crc, const void *data, size_t len_bytes)
{
    const uint8_t *p = data;

    for (; len_bytes >= 8; p += 8, len_bytes -= 8)
        crc = __crc32cd(crc, cmsgr__get64(p));
    for (; len_bytes; p++, len_bytes--)
        crc = __crc32cb(crc, *p);
    return crc;
}

cmsgr__crc32c_fn cmsgr__crc32c_choose(const char **name)
{
    if (getauxval(AT_HWCAP) & HWCAP_CRC32) {
        *name = "armv8";
        return crc32c_armv8;
    }
    *name = "table";
    return cmsgr_crc32c_table;
}

#else

cmsgr__crc32c_fn cmsgr__crc32c_choose(const char **name)
{
    *name = "table";
    return cmsgr_crc32c_table;
}

#endif

uint32_t cmsgr_crc32c(const cmsgr_env *env, uint32_t crc, const void *data, size_t len_bytes)
{
    return env->crc32c(crc, data, len_bytes);
}

const char *cmsgr_crc32c_name(const cmsgr_env *env)
{
    return env->crc32c_name;
}
