/*
 * Fuzz target: the frame parser. Input: two bytes of options, then wire bytes.
 *
 *   [0] bit 0       revision
 *   [0] bit 1       real crcs; without it every computed crc is 0, so that damage reaches what lies behind the checks
 *   [0] bits 2, 3   crc mode; secure with fixed keys; secure with a cipher that believes everything
 *   [0] bits 4..6   compression, by its number on the wire
 *   [1]             sizes of pieces and bodies; bit 7: segments are read straight into their place
 *
 * What must hold beside memory safety: no body above the limits is asked for; cut into pieces, with a growing body, the bytes
 * give the same results as whole; a failed parser goes on failing alike.
 */
#include "frame.h"
#include "fuzz.h"
#include "fuzz_cipher.h"

enum { OPTIONS = 2, MAX_RESULTS = 64, MAX_BODY = 8000 };
enum { CRC, SECURE, BELIEVING };

static const cmsgr_limits limits = {.control = 300, .header = 100, .front = 200, .middle = 200, .data = 1000};

typedef struct trace {
    int count;
    int result[MAX_RESULTS];
    uint64_t got[MAX_RESULTS], expected[MAX_RESULTS];
    uint32_t body_sum[MAX_RESULTS];
} trace;

static uint32_t no_crc(uint32_t crc, const void *data, size_t len)
{
    (void)crc;
    (void)data;
    (void)len;
    return 0;
}

static uint32_t table_crc(uint32_t crc, const void *data, size_t len)
{
    return cmsgr_crc32c_table(crc, data, len);
}

static int cipher_of(uint8_t options)
{
    return (options >> 2 & 3) % 3;
}

static void *libc_realloc(void *ctx, void *block, size_t len)
{
    (void)ctx;
    return realloc(block, len);
}

static void libc_free(void *ctx, void *block)
{
    (void)ctx;
    free(block);
}

static cmsgr_env make_env(uint8_t options)
{
    return (cmsgr_env){.allocator = {NULL, libc_realloc, libc_free}, .crc32c.fn = options & 2 ? table_crc : no_crc};
}

static uint8_t *resize(cmsgr_parser *parser, uint8_t *body, size_t cap)
{
    body = realloc(body, cap + !cap);
    FUZZ_CHECK(body);
    cmsgr_parser_set_body(parser, body, cap);
    return body;
}

/* What a compressed frame becomes; the parser's result if it is refused. */
static int unpack(cmsgr_parser *parser, int result, uint32_t *sum)
{
    ssize_t len;
    uint8_t *out;

    if (result != CMSGR_PARSE_FRAME || !cmsgr_parser_is_compressed(parser))
        return result;
    len = cmsgr_parser_plain_len(parser);
    if (len < 0)
        return (int)len;
    FUZZ_CHECK(len <= MAX_BODY && cmsgr_parser_plain_at(parser, 4) == (size_t)len);
    out = malloc((size_t)len + !len);
    FUZZ_CHECK(out);
    result = cmsgr_parser_decompress(parser, out);
    if (result == 0) {
        *sum = cmsgr_crc32c_table(0, out, (size_t)len);
        result = CMSGR_PARSE_FRAME;
    }
    free(out);
    return result;
}

/* As a socket does it that is read into place. Returns how much was used. */
static size_t fill_directly(cmsgr_parser *parser, const uint8_t *data, size_t len)
{
    uint8_t *dest;
    size_t want = cmsgr_parser_want(parser, &dest);

    FUZZ_CHECK(!want == !dest);
    if (want > len)
        want = len;
    if (want) {
        memcpy(dest, data, want);
        cmsgr_parser_filled(parser, want);
    }
    return want;
}

/* Runs the bytes through a parser, `piece` at a time, the body growing by `growth`. */
static void run(trace *out, uint8_t options, const uint8_t *wire, size_t len, size_t piece, size_t growth, int directly)
{
    cmsgr_env env = make_env(options);
    cmsgr_cipher believing = fuzz_cipher, *cipher = NULL;
    cmsgr_parser *parser;
    uint8_t *body = NULL;
    size_t cap = 0;

    FUZZ_CHECK(cmsgr_parser_new(&parser, &env, 0, &limits) == 0);
    cmsgr__parser_set_revision(parser, options & 1);
    if (cipher_of(options) == SECURE)
        FUZZ_CHECK(cmsgr_cipher_new(&cipher, &env, options & 1, 0, fuzz_key, fuzz_nonce) == 0);
    if (cipher_of(options) != CRC)
        cmsgr_parser_set_cipher(parser, cipher ? cipher : &believing);
    cmsgr_parser_set_compression(parser, options >> 4 & 7); /* a number without an algorithm leaves it off */
    out->count = 0;
    while (out->count < MAX_RESULTS) {
        size_t placed = directly ? fill_directly(parser, wire, len < piece ? len : piece) : 0;
        size_t n, left;
        const uint8_t *at;
        int result;

        wire += placed;
        len -= placed;
        left = n = len < piece ? len : piece;
        at = wire;
        result = cmsgr_parser_step(parser, &at, &left);

        FUZZ_CHECK(left <= n && at == wire + (n - left));
        wire = at;
        len -= n - left;
        if (result == CMSGR_PARSE_MORE) {
            FUZZ_CHECK(!left);
            if (len == 0)
                break;
            continue;
        }
        if (result == CMSGR_PARSE_ROOM) {
            FUZZ_CHECK(cap < cmsgr_parser_body_len(parser));
            cap = cmsgr_parser_body_len(parser) - cap < growth ? cmsgr_parser_body_len(parser) : cap + growth;
            body = resize(parser, body, cap);
            continue;
        }
        if (result == CMSGR_PARSE_PREAMBLE) {
            FUZZ_CHECK(cmsgr_parser_body_len(parser) <= MAX_BODY);
            cap = 0;
        }
        out->got[out->count] = cmsgr_parser_got(parser);
        out->expected[out->count] = cmsgr_parser_expected(parser);
        out->body_sum[out->count] = 0;
        if (result == CMSGR_PARSE_FRAME || result == CMSGR_PARSE_ABORTED)
            out->body_sum[out->count] = cmsgr_crc32c_table(0, body, cmsgr_parser_body_len(parser));
        result = unpack(parser, result, &out->body_sum[out->count]);
        out->result[out->count++] = result;
        if (result < 0) {
            left = 0;
            FUZZ_CHECK(cmsgr_parser_step(parser, &at, &left) == result);
            break;
        }
    }
    free(body);
    cmsgr_parser_free(parser);
    cmsgr_cipher_free(cipher);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    trace whole, cut;

    if (size < OPTIONS)
        return 0;
    run(&whole, data[0], data + OPTIONS, size - OPTIONS, SIZE_MAX, SIZE_MAX, 0);
    run(&cut, data[0], data + OPTIONS, size - OPTIONS, 1u + (data[1] & 63), 1u + (data[1] >> 4) * 40u, data[1] >> 7);
    FUZZ_CHECK(whole.count == cut.count);
    FUZZ_CHECK(memcmp(whole.result, cut.result, sizeof *whole.result * (size_t)whole.count) == 0);
    FUZZ_CHECK(memcmp(whole.got, cut.got, sizeof *whole.got * (size_t)whole.count) == 0);
    FUZZ_CHECK(memcmp(whole.expected, cut.expected, sizeof *whole.expected * (size_t)whole.count) == 0);
    FUZZ_CHECK(memcmp(whole.body_sum, cut.body_sum, sizeof *whole.body_sum * (size_t)whole.count) == 0);
    return 0;
}

#ifndef CMSGR_LIBFUZZER

/* The same segments, compressed if they can be. */
static void pack(const cmsgr_env *env, int algorithm, cmsgr_span spans[4], uint8_t memory[4][1024])
{
    for (int i = 0; i < 4; i++) {
        ssize_t len = spans[i].len ? cmsgr_compress(env, algorithm, spans[i].data, spans[i].len, memory[i], 1024) : 0;

        if (len >= 0)
            spans[i] = (cmsgr_span){memory[i], (size_t)len};
    }
}

/* Two to four frames with a few bits changed, now and then truncated. */
static size_t fuzz_make_input(uint64_t *state, uint8_t *out, size_t cap)
{
    static const uint8_t fill[300];
    cmsgr_cipher believing = fuzz_cipher, *cipher = NULL;
    uint8_t memory[4][1024];
    size_t len = OPTIONS;
    cmsgr_env env;

    out[0] = (uint8_t)fuzz_random(state, 256);
    out[1] = (uint8_t)fuzz_random(state, 256);
    env = make_env(out[0]);
    if (cipher_of(out[0]) == SECURE)
        FUZZ_CHECK(cmsgr_cipher_new(&cipher, &env, out[0] & 1, 1, fuzz_key, fuzz_nonce) == 0);
    for (uint32_t frames = 2 + fuzz_random(state, 3); frames; frames--) {
        int tag = fuzz_random(state, 3) ? CMSGR_TAG_MESSAGE : 1, algorithm = out[0] >> 4 & 7;
        int flags = fuzz_random(state, 8) ? 0 : CMSGR_FRAME_ABORTED;
        unsigned count = 1 + fuzz_random(state, 4);
        cmsgr_span spans[4];
        ssize_t n;

        for (int i = 0; i < 4; i++)
            spans[i] = (cmsgr_span){fill, fuzz_random(state, 2) ? fuzz_random(state, i ? 210 : 110) : 0};
        if (cmsgr_compression_name(algorithm) && fuzz_random(state, 4)) {
            pack(&env, algorithm, spans, memory);
            flags |= CMSGR_FRAME_COMPRESSED;
        }
        if (cipher_of(out[0]) == CRC)
            n = cmsgr_frame_assemble(&env, out[0] & 1, tag, spans, NULL, count, flags, out + len, cap - len);
        else
            n = cmsgr_frame_seal(&env, out[0] & 1, cipher ? cipher : &believing, tag, spans, NULL, count, flags, out + len, cap - len);
        if (n > 0)
            len += (size_t)n;
    }
    cmsgr_cipher_free(cipher);
    fuzz_damage(state, out, OPTIONS, len);
    return fuzz_random(state, 4) ? len : fuzz_random(state, (uint32_t)len + 1);
}

#endif
