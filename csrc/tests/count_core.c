/* Fixed work of the C core, to have its instructions counted: count_core CASE TIMES. Not a test. */
#include <errno.h>

#include "outq.h"
#include "pair.h"
#include "sealed.h"

enum { DATA_BYTES = 4096, WINDOW = 32 };

/* A message as the perf pair sends it: header, front, no middle, data. */
static const size_t segment_bytes[4] = {CMSGR_HEADER_LEN, 220, 0, DATA_BYTES};

static cmsgr_env *env;

static void spans(cmsgr_span segments[4])
{
    for (int i = 0; i < 4; i++)
        segments[i] = (cmsgr_span){segment_bytes[i] ? payload + i : NULL, segment_bytes[i]};
}

static size_t assemble_into_wire(void)
{
    cmsgr_span segments[4];
    ssize_t len;

    spans(segments);
    len = cmsgr_frame_assemble(env, 1, CMSGR_TAG_MESSAGE, segments, NULL, 4, 0, wire, sizeof wire);
    CHECK(len > DATA_BYTES);
    return (size_t)len;
}

static void run_assemble(long times)
{
    while (times--)
        assemble_into_wire();
}

static void run_parse(long times)
{
    size_t len = assemble_into_wire();
    cmsgr_parser *reader = parser(env, 1, NULL);

    while (times--)
        CHECK_EQ(feed(reader, wire, len, len), CMSGR_PARSE_FRAME);
    cmsgr_parser_free(reader);
}

static void run_seal_and_open(long times)
{
    cmsgr_cipher *seal = cipher(env, 1, 1, nonce), *open = cipher(env, 1, 0, nonce);
    cmsgr_parser *reader = parser(env, 1, open);
    cmsgr_span segments[4];

    spans(segments);
    while (times--) {
        ssize_t len = cmsgr_frame_seal(env, 1, seal, CMSGR_TAG_MESSAGE, segments, NULL, 4, 0, wire, sizeof wire);

        CHECK(len > DATA_BYTES);
        CHECK_EQ(feed(reader, wire, (size_t)len, (size_t)len), CMSGR_PARSE_FRAME);
    }
    cmsgr_parser_free(reader);
    cmsgr_cipher_free(seal);
    cmsgr_cipher_free(open);
}

/* Through the queue, a window at a time, over four priorities. */
static void run_out_q(long times)
{
    cmsgr__outq outq = {0};
    cmsgr_entry *entry[WINDOW];

    for (int i = 0; i < WINDOW; i++) {
        CHECK((entry[i] = cmsgr_entry_new(env)));
        entry[i]->header.priority = (uint16_t)(127 + i % 4);
    }
    for (; times > 0; times -= WINDOW) {
        for (int i = 0; i < WINDOW; i++)
            CHECK_EQ(cmsgr__outq_push(&outq, env, entry[i]), 0);
        for (int i = 0; i < WINDOW; i++)
            CHECK(cmsgr__outq_pop(&outq));
    }
    for (int i = 0; i < WINDOW; i++)
        cmsgr_entry_free(env, entry[i]);
    cmsgr__outq_clear(&outq, env);
}

/* From one stream to the other, a window at a time: entry, queue, frame, socket, parser, message. */
static void run_stream(long times, int is_secure)
{
    static const uint8_t secret[64];
    static pair p;

    pair_open(&p, env, NULL);
    for (int i = 0; i < 2; i++)
        CHECK_EQ(cmsgr_stream_send_bytes(p.stream[i], pair_banner, sizeof pair_banner), 0);
    pair_settle(&p);
    for (int i = 0; i < 2; i++) {
        cmsgr_stream_set_revision(p.stream[i], 1);
        if (is_secure)
            CHECK_EQ(cmsgr_stream_set_keys(p.stream[i], secret, sizeof secret, i), 0);
        CHECK_EQ(cmsgr_stream_start(p.stream[i], p.session[i], 1), 0);
        cmsgr_stream_continue(p.stream[i]);
    }
    pair_clear_log(&p);
    for (; times > 0; times -= WINDOW) {
        for (int i = 0; i < WINDOW; i++)
            pair_send(&p, 0, 127, (uint64_t)i, payload, DATA_BYTES);
        while (pair_count(&p, CMSGR_ITEM_MESSAGE) < WINDOW) {
            CHECK(cmsgr_worker_turn(p.worker, 0) >= 0);
            pair_collect(&p);
        }
        CHECK_EQ(p.logged, WINDOW);
        pair_clear_log(&p);
    }
    pair_close(&p);
}

static void run_stream_crc(long times) { run_stream(times, 0); }
static void run_stream_secure(long times) { run_stream(times, 1); }

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(long times);
    } cases[] = {
        {"assemble", run_assemble},     {"parse", run_parse},           {"seal-and-open", run_seal_and_open},
        {"out_q", run_out_q},           {"stream-crc", run_stream_crc}, {"stream-secure", run_stream_secure},
    };

    check_deadline(120);
    fill_payload();
    CHECK_EQ(argc, 3);
    CHECK_EQ(cmsgr_env_new(&env, NULL, NULL), 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (!strcmp(argv[1], cases[i].name)) {
            cases[i].run(atol(argv[2]));
            cmsgr_env_free(env);
            return 0;
        }
    fprintf(stderr, "no case %s\n", argv[1]);
    return 2;
}
