/*
 * CRC-32C (Castagnoli, reflected polynomial 0x82F63B78) as msgr2 uses it: raw, the register goes in and comes out as
 * it is. No state; any thread.
 *
 * "table" eats eight bytes per step from eight tables and serves every CPU. "armv8" uses the CPU's instruction. What x86
 * has is in crc32c_x86.c.
 */
#include <string.h>

#include "internal.h"

#if defined(__aarch64__) && defined(__linux__)
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

/* ---- armv8 ------------------------------------------------------------------------------------------- */

#if defined(__aarch64__) && defined(__linux__)

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

#endif

/* ---- the choice --------------------------------------------------------------------------------------- */

int cmsgr__crc32c_available(cmsgr__crc32c out[CMSGR__CRC32C_MAX])
{
    int count = 0;

    out[count++] = (cmsgr__crc32c){"table", cmsgr_crc32c_table};
#if defined(__x86_64__)
    count += cmsgr__crc32c_x86(out + count);
#elif defined(__aarch64__) && defined(__linux__)
    if (getauxval(AT_HWCAP) & HWCAP_CRC32)
        out[count++] = (cmsgr__crc32c){"armv8", crc32c_armv8};
#endif
    return count;
}

uint32_t cmsgr_crc32c(const cmsgr_env *env, uint32_t crc, const void *data, size_t len_bytes)
{
    return env->crc32c.fn(crc, data, len_bytes);
}

const char *cmsgr_crc32c_name(const cmsgr_env *env)
{
    return env->crc32c.name;
}
