/* crc32c: the table against the definition, and whatever else this CPU has against the table. */
#include "check.h"
#include "internal.h"

enum { MAX_LEN = 4200, ALIGNMENTS = 16 };

/* The definition, bit by bit. */
static uint32_t by_definition(uint32_t crc, const uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
    }
    return crc;
}

static void test_check_value(cmsgr__crc32c way)
{
    CHECK_EQ(way.fn(UINT32_MAX, "123456789", 9), 0x1CF96D7C);
    CHECK_EQ(way.fn(0x1234, NULL, 0), 0x1234);
}

static void test_table_is_the_definition(uint64_t *chance)
{
    uint8_t data[256 + ALIGNMENTS];

    /* A crc is linear: each single byte at each distance from the end covers every table's every entry. */
    for (int byte = 0; byte < 256; byte++)
        for (size_t len = 1; len <= 24; len++) {
            memset(data, 0, len);
            data[0] = (uint8_t)byte;
            CHECK_EQ(cmsgr_crc32c_table(0, data, len), by_definition(0, data, len));
        }
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)check_random(chance);
    for (size_t align = 0; align < ALIGNMENTS; align++)
        for (size_t len = 0; len <= 256; len++)
            CHECK_EQ(cmsgr_crc32c_table(UINT32_MAX, data + align, len), by_definition(UINT32_MAX, data + align, len));
}

/* Each length and alignment in memory that ends where the input ends, so that a sanitizer sees a read beyond it. */
static void test_it_is_the_table(cmsgr__crc32c way, uint64_t *chance)
{
    for (size_t len = 0; len <= MAX_LEN; len++)
        for (size_t align = len % 3; align < ALIGNMENTS; align += 5) {
            uint8_t *data = malloc(align + len + 1);
            uint8_t *start = data + align + 1;
            uint32_t crc = (uint32_t)check_random(chance);

            for (size_t i = 0; i < len; i++)
                start[i] = (uint8_t)(check_random(chance) >> 32);
            CHECK_EQ(way.fn(crc, start, len), cmsgr_crc32c_table(crc, start, len));
            free(data);
        }
}

static void test_every_alignment(cmsgr__crc32c way, uint64_t *chance)
{
    static const size_t lens[] = {1, 7, 28, 41, 95, 96, 97, 119, 120, 300, 511, 512, 513, 575, 576, 767, 768, 769, 3071, 3072, 3073, 3167, 3168, MAX_LEN};
    uint8_t data[MAX_LEN + 64];

    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)check_random(chance);
    for (size_t align = 0; align < 64; align++)
        for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++)
            CHECK_EQ(way.fn(0, data + align, lens[i]), cmsgr_crc32c_table(0, data + align, lens[i]));
}

static void test_parts_give_the_whole(cmsgr__crc32c way, uint64_t *chance)
{
    static uint8_t data[100000];
    uint32_t whole, parts = UINT32_MAX;

    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)check_random(chance);
    whole = cmsgr_crc32c_table(UINT32_MAX, data, sizeof(data));
    CHECK_EQ(way.fn(UINT32_MAX, data, sizeof(data)), whole);
    for (size_t at = 0; at < sizeof(data);) {
        size_t len = check_random(chance) % 7000;

        if (len > sizeof(data) - at)
            len = sizeof(data) - at;
        parts = way.fn(parts, data + at, len);
        at += len;
    }
    CHECK_EQ(parts, whole);
}

int main(void)
{
    uint64_t chance = check_seed();
    cmsgr__crc32c ways[CMSGR__CRC32C_MAX];
    int count = cmsgr__crc32c_available(ways);
    cmsgr_env *env;

    CHECK_EQ(cmsgr_env_new(&env, NULL, NULL), 0);
    CHECK_EQ(strcmp(ways[0].name, "table"), 0);
    CHECK_EQ(strcmp(cmsgr_crc32c_name(env), ways[count - 1].name), 0);
    CHECK_EQ(cmsgr_crc32c(env, UINT32_MAX, "123456789", 9), 0x1CF96D7C);
    cmsgr_env_free(env);
    test_table_is_the_definition(&chance);
    for (int i = 0; i < count; i++) {
        test_check_value(ways[i]);
        test_it_is_the_table(ways[i], &chance);
        test_every_alignment(ways[i], &chance);
        test_parts_give_the_whole(ways[i], &chance);
    }
    return 0;
}
