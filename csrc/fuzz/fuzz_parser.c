/*
 * Fuzz target: the frame parser. Input: one byte of options, then wire bytes.
 *
 *   bit 0      revision
 *   bit 1      real crcs; without it every computed crc is 0, so that damage reaches what lies behind the checks
 *   bits 2..   sizes of pieces and bodies
 *
 * What must hold beside memory safety: cut into pieces, with a growing body, the bytes give the same results as whole.
 *
 * With -DCMSGR_LIBFUZZER the fuzzer's own main is used; else this file has one, which replays the files given, or
 * without any runs frames of its own with random damage.
 */
#include <stdio.h>
#include <stdlib.h>

#include "frame.h"

enum { MAX_RESULTS = 64 };

static const cmsgr_limits limits = {.control = 300, .header = 100, .front = 200, .middle = 200, .data = 1000};

typedef struct trace {
    int count;
    int result[MAX_RESULTS];
    uint64_t got[MAX_RESULTS];
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

static uint8_t *resize(cmsgr_parser *parser, uint8_t *body, size_t cap)
{
    body = realloc(body, cap + !cap);
    if (!body)
        abort();
    cmsgr_parser_set_body(parser, body, cap);
    return body;
}

/* Runs the bytes through a parser, `piece` at a time, the body growing by `growth`. */
static void run(trace *out, const cmsgr_env *env, int revision, const uint8_t *wire, size_t len, size_t piece,
                size_t growth)
{
    cmsgr_parser parser;
    uint8_t *body = NULL;
    size_t cap = 0;

    cmsgr__parser_init(&parser, env, revision, &limits);
    out->count = 0;
    while (out->count < MAX_RESULTS) {
        size_t n = len < piece ? len : piece, left = n;
        const uint8_t *at = wire;
        int result = cmsgr_parser_step(&parser, &at, &left);

        if (left > n || at != wire + (n - left))
            abort();
        wire = at;
        len -= n - left;
        if (result == CMSGR_PARSE_MORE) {
            if (left)
                abort();
            if (len == 0)
                break;
            continue;
        }
        if (result == CMSGR_PARSE_ROOM) {
            if (cap >= cmsgr_parser_body_len(&parser))
                abort();
            cap = cmsgr_parser_body_len(&parser) - cap < growth ? cmsgr_parser_body_len(&parser) : cap + growth;
            body = resize(&parser, body, cap);
            continue;
        }
        if (result == CMSGR_PARSE_PREAMBLE) {
            if (cmsgr_parser_body_len(&parser) > 1500)
                abort();
            cap = 0;
        }
        out->result[out->count] = result;
        out->got[out->count] = cmsgr_parser_got(&parser);
        out->body_sum[out->count] = 0;
        if (result == CMSGR_PARSE_FRAME || result == CMSGR_PARSE_ABORTED)
            out->body_sum[out->count] = cmsgr_crc32c_table(0, body, cmsgr_parser_body_len(&parser));
        out->count++;
        if (result < 0)
            break;
    }
    free(body);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cmsgr_env env = {0};
    trace whole, cut;

    if (size == 0)
        return 0;
    env.crc32c = data[0] & 2 ? table_crc : no_crc;
    run(&whole, &env, data[0] & 1, data + 1, size - 1, SIZE_MAX, SIZE_MAX);
    run(&cut, &env, data[0] & 1, data + 1, size - 1, 1u + (data[0] >> 2), 1u + (data[0] >> 5));
    if (whole.count != cut.count || memcmp(whole.result, cut.result, sizeof *whole.result * (size_t)whole.count) ||
        memcmp(whole.got, cut.got, sizeof *whole.got * (size_t)whole.count) ||
        memcmp(whole.body_sum, cut.body_sum, sizeof *whole.body_sum * (size_t)whole.count))
        abort();
    return 0;
}

#ifndef CMSGR_LIBFUZZER

static uint32_t random_below(uint64_t *state, uint32_t bound)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((*state >> 33) % bound);
}

/* Two to four frames with a few bytes changed, now and then truncated. */
static size_t make_input(uint64_t *state, uint8_t *out, size_t cap)
{
    static const uint8_t fill[300];
    cmsgr_env env = {0};
    size_t len = 1;

    out[0] = (uint8_t)random_below(state, 256);
    env.crc32c = out[0] & 2 ? table_crc : no_crc;
    for (uint32_t frames = 2 + random_below(state, 3); frames; frames--) {
        cmsgr_span spans[4];
        ssize_t n;

        for (int i = 0; i < 4; i++)
            spans[i] = (cmsgr_span){fill, random_below(state, 2) ? random_below(state, i ? 210 : 110) : 0};
        n = cmsgr_frame_assemble(&env, out[0] & 1, random_below(state, 3) ? CMSGR_TAG_MESSAGE : 1, spans, NULL,
                                 1 + random_below(state, 4), random_below(state, 8) == 0, out + len, cap - len);
        if (n > 0)
            len += (size_t)n;
    }
    for (uint32_t changes = random_below(state, 4); changes; changes--)
        out[random_below(state, random_below(state, 4) && len > 40 ? 40 : (uint32_t)len)] ^=
            (uint8_t)(1u << random_below(state, 8));
    return random_below(state, 4) ? len : random_below(state, (uint32_t)len + 1);
}

static int replay(const char *path)
{
    static uint8_t buffer[1 << 20];
    FILE *file = fopen(path, "rb");
    size_t len;
    uint8_t *exact;

    if (!file) {
        perror(path);
        return 1;
    }
    len = fread(buffer, 1, sizeof buffer, file);
    fclose(file);
    exact = malloc(len + !len);
    if (!exact)
        return 1;
    memcpy(exact, buffer, len);
    LLVMFuzzerTestOneInput(exact, len);
    free(exact);
    return 0;
}

int main(int argc, char **argv)
{
    uint64_t state = 20240229;
    int failed = 0;

    if (argc == 1)
        printf("seed %llu\n", (unsigned long long)state);
    for (int i = 1; i < argc; i++)
        failed |= replay(argv[i]);
    for (int i = 0; argc == 1 && i < 100000; i++) {
        uint8_t input[4096];
        size_t len = make_input(&state, input, sizeof input);
        uint8_t *exact = malloc(len + !len);

        if (!exact)
            return 1;
        memcpy(exact, input, len);
        LLVMFuzzerTestOneInput(exact, len);
        free(exact);
    }
    return failed;
}

#endif
