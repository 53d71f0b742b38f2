/* Secure mode: frames sealed and opened, and the data plane over it. */
#include <openssl/err.h>

#include "frame_reference.h"
#include "pair.h"
#include "sealed.h"

static pair p;

/* E1, E2, E6: every combination of segments, three frames in a row (the nonces advance), whole and in pieces. */
static void test_round_trip(cmsgr_env *env, int revision)
{
    static const size_t header[] = {0, 1, 48, 49}, front[] = {0, 101}, middle[] = {0, 202}, data[] = {0, 303};
    cmsgr_cipher *seal = cipher(env, revision, 1, nonce), *open = cipher(env, revision, 0, nonce);
    cmsgr_parser *reader = parser(env, revision, open);
    static const size_t pieces[] = {1, 7, 100, sizeof wire};

    for (unsigned n = 0; n < 32 * 4 * 3; n++) {
        const size_t len[4] = {header[n & 3], front[n >> 2 & 1], middle[n >> 3 & 1], data[n >> 4 & 1]};
        const cmsgr_span segments[4] = {{payload, len[0]}, {payload + 7, len[1]}, {payload + 9, len[2]}, {payload + 11, len[3]}};
        ssize_t wire_len = cmsgr_frame_seal(env, revision, seal, 123, segments, NULL, 4, 0, wire, sizeof wire);

        CHECK_EQ(wire_len, cmsgr_frame_sealed_len(revision, len, 4));
        CHECK_EQ(feed(reader, wire, (size_t)wire_len, pieces[n >> 5 & 3]), CMSGR_PARSE_FRAME);
        CHECK_EQ(cmsgr_parser_preamble(reader)->tag, 123);
        for (unsigned i = 0; i < cmsgr_parser_preamble(reader)->num_segments; i++) {
            CHECK_EQ(cmsgr_parser_preamble(reader)->seg_len[i], len[i]);
            CHECK(memcmp(body + cmsgr_parser_segment_at(reader, i), segments[i].data, len[i]) == 0);
        }
    }
    cmsgr_parser_free(reader);
    cmsgr_cipher_free(seal);
    cmsgr_cipher_free(open);
}

/* E1's lengths on the wire. */
static void test_lengths(void)
{
    CHECK_EQ(cmsgr_frame_sealed_len(1, (size_t[]){49, 0, 0, 0}, 4), 128);
    CHECK_EQ(cmsgr_frame_sealed_len(1, (size_t[]){48, 0, 0, 0}, 4), 96);
    CHECK_EQ(cmsgr_frame_sealed_len(1, (size_t[]){0, 0, 0, 303}, 4), 96 + 304 + 32);
    CHECK_EQ(cmsgr_frame_sealed_len(0, (size_t[]){48, 101, 202, 303}, 4), 32 + 48 + 112 + 208 + 304 + 32);
    CHECK_EQ(cmsgr_frame_sealed_len(0, (size_t[]){0, 0, 0, 0}, 4), 64);
}

/* E4, E5: any bit wrong is refused, any truncation asks for more. */
static void test_damage(cmsgr_env *env, int revision)
{
    const cmsgr_span segments[4] = {{payload, 60}, {payload, 20}, {NULL, 0}, {payload, 33}};
    cmsgr_cipher *seal = cipher(env, revision, 1, nonce);
    ssize_t len = cmsgr_frame_seal(env, revision, seal, 17, segments, NULL, 4, 0, wire, sizeof wire);

    cmsgr_cipher_free(seal);
    for (ssize_t bit = 0; bit < 8 * len; bit++) {
        cmsgr_cipher *open = cipher(env, revision, 0, nonce);
        cmsgr_parser *reader = parser(env, revision, open);
        int result;

        wire[bit / 8] ^= (uint8_t)(1 << bit % 8);
        result = feed(reader, wire, (size_t)len, sizeof wire);
        /* 2.0 learns the length from bytes that are not authenticated yet: a longer frame may be asked for first. */
        CHECK(result < 0 || (!revision && result == CMSGR_PARSE_MORE));
        wire[bit / 8] ^= (uint8_t)(1 << bit % 8);
        cmsgr_parser_free(reader);
        cmsgr_cipher_free(open);
    }
    for (ssize_t cut = 1; cut < len; cut++) {
        cmsgr_cipher *open = cipher(env, revision, 0, nonce);
        cmsgr_parser *reader = parser(env, revision, open);

        CHECK_EQ(feed(reader, wire, (size_t)cut, sizeof wire), CMSGR_PARSE_MORE);
        CHECK_EQ(feed(reader, wire + cut, (size_t)(len - cut), sizeof wire), CMSGR_PARSE_FRAME);
        cmsgr_parser_free(reader);
        cmsgr_cipher_free(open);
    }
}

/* E8: an aborted frame is told, and the stream stays in step. E9: a frame replayed or out of turn is refused. */
static void test_order(cmsgr_env *env, int revision)
{
    const cmsgr_span segments[2] = {{payload, 41}, {payload, 100}};
    cmsgr_cipher *seal = cipher(env, revision, 1, nonce), *open = cipher(env, revision, 0, nonce);
    cmsgr_parser *reader = parser(env, revision, open);
    size_t cap = sizeof wire / 4;
    ssize_t len = 0;

    for (unsigned i = 0; i < 4; i++)
        len = cmsgr_frame_seal(env, revision, seal, 17, segments, NULL, 2, i == 1, wire + i * cap, cap);
    CHECK(len > 0);
    CHECK_EQ(feed(reader, wire, (size_t)len, 50), CMSGR_PARSE_FRAME);
    CHECK_EQ(feed(reader, wire + cap, (size_t)len, 50), CMSGR_PARSE_ABORTED);
    CHECK_EQ(feed(reader, wire + 2 * cap, (size_t)len, 50), CMSGR_PARSE_FRAME);
    CHECK(feed(reader, wire + 2 * cap, (size_t)len, sizeof wire) < 0);
    cmsgr_parser_free(reader);
    cmsgr_cipher_free(seal);
    cmsgr_cipher_free(open);
}

/* ---- A peer that has the key and says what it should not (E7, E8) ---- */

/* What of a frame comes first, made of any preamble. Returns its length on the wire. */
static size_t seal_head(cmsgr_env *env, int revision, const uint8_t preamble[32])
{
    uint8_t plain[80] = {0};
    size_t len = revision ? 80 : 32;
    cmsgr_cipher *seal = cipher(env, revision, 1, nonce);

    memcpy(plain, preamble, 32);
    CHECK_EQ(seal->begin(seal), 0);
    CHECK_EQ(seal->update(seal, plain, wire, len), 0);
    CHECK_EQ(seal->finish(seal, wire + len), 0);
    cmsgr_cipher_free(seal);
    return revision ? len + 16 : len;
}

static int open_preamble(cmsgr_env *env, int revision, const uint8_t preamble[32])
{
    size_t left = seal_head(env, revision, preamble);
    const uint8_t *at = wire;
    cmsgr_cipher *open = cipher(env, revision, 0, nonce);
    cmsgr_parser *reader = parser(env, revision, open);
    int result = cmsgr_parser_step(reader, &at, &left);

    CHECK_EQ(left, 0);
    cmsgr_parser_free(reader);
    cmsgr_cipher_free(open);
    return result;
}

static void test_hostile_preambles(cmsgr_env *env, int revision)
{
    static const struct {
        int tag, count, at, value, result; /* `value` is put at `at`, as 32 bits */
    } cases[] = {
        {17, 1, 0, 17 | 1 << 8, CMSGR_PARSE_PREAMBLE},
        {17, 0, 2, 0, CMSGR_E_SEGMENT_COUNT},
        {17, 5, 2, 0, CMSGR_E_SEGMENT_COUNT},
        {17, 255, 2, 41, CMSGR_E_SEGMENT_COUNT},
        {17, 2, 8, 0, CMSGR_E_EMPTY_LAST_SEGMENT},
        {17, 4, 20, 0, CMSGR_E_EMPTY_LAST_SEGMENT},
        {17, 1, 2, 4096, CMSGR_PARSE_PREAMBLE},
        {17, 1, 2, 4097, CMSGR_E_SEGMENT_TOO_LONG},
        {17, 2, 8, 64 << 20, CMSGR_PARSE_PREAMBLE},
        {17, 2, 8, (64 << 20) + 1, CMSGR_E_SEGMENT_TOO_LONG},
        {17, 3, 14, (64 << 20) + 1, CMSGR_E_SEGMENT_TOO_LONG},
        {17, 4, 20, 256 << 20, CMSGR_PARSE_PREAMBLE},
        {17, 4, 20, (256 << 20) + 1, CMSGR_E_SEGMENT_TOO_LONG},
        {17, 4, 20, -1, CMSGR_E_SEGMENT_TOO_LONG},
        {17, 4, 20, -15, CMSGR_E_SEGMENT_TOO_LONG}, /* padded, 0 in 32 bits */
        {20, 1, 2, 1 << 20, CMSGR_PARSE_PREAMBLE},
        {20, 1, 2, (1 << 20) + 1, CMSGR_E_SEGMENT_TOO_LONG},
        {17, 1, 24, 1 << 16, CMSGR_E_COMPRESSED},      /* flags are byte 26 */
        {17, 1, 24, 0xFE << 16, CMSGR_PARSE_PREAMBLE},
        {17, 1, 24, (int)0xFF000000, CMSGR_PARSE_PREAMBLE}, /* the reserved byte */
        {17, 1, 4, (int)0xFFFF0000, CMSGR_PARSE_PREAMBLE},  /* alignment */
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint8_t preamble[32] = {(uint8_t)cases[i].tag, (uint8_t)cases[i].count};

        for (int k = 0; k < cases[i].count && k < 4; k++)
            reference_put(preamble + 2 + 6 * k, 41, 4);
        reference_put(preamble + cases[i].at, (uint32_t)cases[i].value, 4);
        reference_sign_preamble(preamble);
        CHECK_EQ(open_preamble(env, revision, preamble), cases[i].result);
        preamble[28] ^= 1; /* a crc is checked, whatever the tag says */
        CHECK_EQ(open_preamble(env, revision, preamble), CMSGR_E_PREAMBLE_CRC);
    }
}

/* Every status byte, under a good tag. */
static void test_status(cmsgr_env *env, int revision)
{
    for (unsigned status = 0; status < 256; status++) {
        uint8_t preamble[32] = {17, 2}, last[96] = {0};
        cmsgr_cipher *seal = cipher(env, revision, 1, nonce), *open = cipher(env, revision, 0, nonce);
        cmsgr_parser *reader = parser(env, revision, open);
        uint8_t *at = wire;
        int expected = revision ? (status & 15) == 14 ? CMSGR_PARSE_FRAME : (status & 15) == 1 ? CMSGR_PARSE_ABORTED
                                                                                          : CMSGR_E_LATE_STATUS
                       : status & 1 ? CMSGR_PARSE_ABORTED
                                    : CMSGR_PARSE_FRAME;

        reference_put(preamble + 2, 41, 4);
        reference_put(preamble + 8, 10, 4);
        reference_sign_preamble(preamble);
        CHECK_EQ(seal->begin(seal), 0);
        CHECK_EQ(seal->update(seal, preamble, at, 32), 0);
        CHECK_EQ(seal->update(seal, last, at + 32, 48), 0); /* the header */
        at += 80;
        if (revision) {
            CHECK_EQ(seal->finish(seal, at), 0);
            CHECK_EQ(seal->begin(seal), 0);
            at += 16;
        }
        last[16] = (uint8_t)status;
        CHECK_EQ(seal->update(seal, last, at, 32), 0);
        CHECK_EQ(seal->finish(seal, at + 32), 0);
        CHECK_EQ(feed(reader, wire, (size_t)(at - wire) + 48, sizeof wire), expected);
        cmsgr_parser_free(reader);
        cmsgr_cipher_free(seal);
        cmsgr_cipher_free(open);
    }
}

/* ---- Memory ---- */

/* As a stream does it: a body that grows from nearly nothing, part of it filled in place. */
static void test_growing_body(cmsgr_env *env, int revision, uint64_t *chance)
{
    const cmsgr_span segments[4] = {{payload, 41 + check_random(chance) % 40},
                                    {payload + 1, check_random(chance) % 70},
                                    {payload + 2, check_random(chance) % 70},
                                    {payload + 3, check_random(chance) % 3000}};
    cmsgr_cipher *seal = cipher(env, revision, 1, nonce), *open = cipher(env, revision, 0, nonce);
    cmsgr_parser *reader = parser(env, revision, open);
    ssize_t len = cmsgr_frame_seal(env, revision, seal, 17, segments, NULL, 4, 0, wire, sizeof wire);
    const uint8_t *next = wire, *end = wire + len;
    uint8_t *grown = NULL, *dest;
    size_t cap = 0;
    int result;

    do {
        size_t piece = 1 + check_random(chance) % 200, want = cmsgr_parser_want(reader, &dest);

        if (piece > (size_t)(end - next))
            piece = (size_t)(end - next);
        if (want && check_random(chance) % 2) {
            if (want > piece)
                want = piece;
            memcpy(dest, next, want);
            cmsgr_parser_filled(reader, want);
            next += want;
            piece -= want;
        }
        result = cmsgr_parser_step(reader, &next, &piece);
        if (result == CMSGR_PARSE_PREAMBLE || result == CMSGR_PARSE_ROOM) {
            CHECK(cap < cmsgr_parser_body_len(reader));
            cap += check_random(chance) % 64;
            if (cap > cmsgr_parser_body_len(reader))
                cap = cmsgr_parser_body_len(reader);
            grown = realloc(grown, cap + !cap);
            cmsgr_parser_set_body(reader, grown, cap);
        }
        CHECK(result >= 0);
    } while (result != CMSGR_PARSE_FRAME);
    CHECK(next == end);
    for (unsigned i = 0; i < 4; i++)
        CHECK(memcmp(grown + cmsgr_parser_segment_at(reader, i), segments[i].data, segments[i].len) == 0);
    free(grown);
    cmsgr_parser_free(reader);
    cmsgr_cipher_free(seal);
    cmsgr_cipher_free(open);
}

/* A parser that failed stays so, even if it is given keys. */
static void test_failed_parser(cmsgr_env *env)
{
    const cmsgr_span segment = {payload, 10};
    cmsgr_cipher *seal = cipher(env, 1, 1, nonce), *open = cipher(env, 1, 0, nonce), *fresh = cipher(env, 1, 0, nonce);
    cmsgr_parser *reader = parser(env, 1, open);

    memset(wire, 0, 96);
    CHECK_EQ(feed(reader, wire, 96, 96), CMSGR_E_AUTH_TAG);
    CHECK_EQ(cmsgr_frame_seal(env, 1, seal, 1, &segment, NULL, 1, 0, wire, sizeof wire), 96);
    cmsgr_parser_set_cipher(reader, fresh);
    CHECK_EQ(feed(reader, wire, 96, 96), CMSGR_E_AUTH_TAG);
    cmsgr_parser_free(reader);
    cmsgr_cipher_free(seal);
    cmsgr_cipher_free(open);
    cmsgr_cipher_free(fresh);
}

/* What cephx tries is told by the result; the thread's error queue belongs to others, Python's ssl among them. */
static void test_error_queue(void)
{
    uint8_t out[64];

    ERR_clear_error();
    CHECK_EQ(cmsgr_aes_128_cbc(0, key, key, payload, 32, out), CMSGR_E_CIPHER);
    CHECK_EQ(cmsgr_aes_128_cbc(0, key, key, payload, 31, out), CMSGR_E_CIPHER);
    CHECK_EQ(ERR_peek_error(), 0);
    CHECK_EQ(cmsgr_aes_128_cbc(1, key, key, payload, 31, wire), 32);
    CHECK_EQ(cmsgr_aes_128_cbc(0, key, key, wire, 32, out), 31);
    CHECK(memcmp(out, payload, 31) == 0);
    CHECK_EQ(ERR_peek_error(), 0);
}

/* ---- The data plane ---- */

static void check_message(const pair_item *item, uint64_t seq, size_t len)
{
    CHECK_EQ(item->kind, CMSGR_ITEM_MESSAGE);
    CHECK_EQ(item->msg->header.seq, seq);
    CHECK_EQ(item->msg->segment[2].len, len);
    CHECK(memcmp(item->msg->segment[2].data, payload, len) == 0);
}

static uint8_t secret[64];

static void secure_start(int revision, int lossless)
{
    for (int i = 0; i < 64; i++)
        secret[i] = (uint8_t)(i * 7);
    for (int i = 0; i < 2; i++)
        CHECK_EQ(cmsgr_stream_send_bytes(p.stream[i], pair_banner, sizeof pair_banner), 0);
    pair_settle(&p);
    for (int i = 0; i < 2; i++) {
        cmsgr_stream_set_revision(p.stream[i], revision);
        CHECK_EQ(cmsgr_stream_set_keys(p.stream[i], secret, 39, i), -EINVAL);
        CHECK_EQ(cmsgr_stream_set_keys(p.stream[i], secret, sizeof secret, i), 0);
        CHECK_EQ(cmsgr_stream_start(p.stream[i], p.session[i], lossless), 0);
        cmsgr_stream_continue(p.stream[i]);
    }
    pair_clear_log(&p);
}

static void test_stream(cmsgr_env *env, int revision, int lossless)
{
    const size_t lengths[] = {0, 1, 1025, 4096, 16384, 20000, 300000, 5 << 20};
    const int count = sizeof lengths / sizeof *lengths;

    pair_open(&p, env, NULL);
    secure_start(revision, lossless);
    for (int i = 0; i < count; i++) {
        pair_send(&p, 0, 127, 0, payload, lengths[i]);
        pair_send(&p, 1, 127, 0, payload, lengths[i]);
    }
    CHECK_EQ(cmsgr_session_send_keepalive(p.session[0], 1), 0);
    pair_settle(&p);
    CHECK_EQ(p.logged, 2 * count);
    for (int side = 0; side < 2; side++)
        for (int i = 0, n = 0; i < p.logged; i++)
            if (p.log[i].side == side) {
                check_message(&p.log[i], (uint64_t)n + 1, lengths[n]);
                n++;
            }
    CHECK(pair_info(&p, 0).last_keepalive_ack_ns > 0);
    CHECK_EQ(pair_info(&p, 0).queued_bytes, 0);
    pair_close(&p);
}

/* The connection secret is cut as the format says: key, nonce towards the client, nonce towards the server. */
static void test_directions(cmsgr_env *env, int revision)
{
    const cmsgr_span segment = {payload, 70};
    uint8_t sent[1000];

    pair_open(&p, env, NULL);
    secure_start(revision, 0);
    for (int is_client = 0; is_client < 2; is_client++) {
        cmsgr_cipher *seal;
        ssize_t len;

        CHECK_EQ(cmsgr_cipher_new(&seal, env, revision, 1, secret, secret + (is_client ? 28 : 16)), 0);
        len = cmsgr_frame_seal(env, revision, seal, CMSGR_TAG_HELLO, &segment, NULL, 1, 0, wire, sizeof wire);
        CHECK_EQ(cmsgr_stream_send_frame(p.stream[is_client], CMSGR_TAG_HELLO, payload, 70), 0);
        CHECK_EQ(cmsgr_stream_try_send(p.stream[is_client]), 0);
        CHECK_EQ(recv(p.fd[!is_client], sent, sizeof sent, 0), len);
        CHECK(memcmp(sent, wire, (size_t)len) == 0);
        cmsgr_cipher_free(seal);
    }
    pair_close(&p);
}

/* The switch to secure mode falls between two frames that came in one read. */
static void test_switch(cmsgr_env *env, int revision)
{
    const cmsgr_span segment = {payload, 70};
    cmsgr_cipher *seal;
    size_t len = sizeof pair_banner;

    CHECK_EQ(cmsgr_cipher_new(&seal, env, revision, 1, secret, secret + 16), 0);
    memcpy(wire, pair_banner, len);
    len += (size_t)cmsgr_frame_assemble(env, revision, 1, &segment, NULL, 1, 0, wire + len, 1000);
    for (int tag = 2; tag < 4; tag++)
        len += (size_t)cmsgr_frame_seal(env, revision, seal, tag, &segment, NULL, 1, 0, wire + len, 1000);
    cmsgr_cipher_free(seal);

    pair_open(&p, env, NULL);
    CHECK_EQ(send(p.fd[0], wire, len, 0), len);
    for (int tag = 0; tag < 4; tag++) {
        pair_settle(&p);
        CHECK_EQ(p.logged, 1);
        CHECK_EQ(p.log[0].kind, CMSGR_ITEM_FRAME);
        CHECK_EQ(p.log[0].tag, tag);
        if (tag == 0)
            cmsgr_stream_set_revision(p.stream[1], revision);
        if (tag == 1)
            CHECK_EQ(cmsgr_stream_set_keys(p.stream[1], secret, sizeof secret, 1), 0);
        pair_clear_log(&p);
        cmsgr_stream_continue(p.stream[1]);
    }
    pair_close(&p);
}

/* Memory ends at each place in turn: what arrives is whole and in order, and nothing is left behind. */
static void test_out_of_memory(cmsgr_env *env, check_memory *memory)
{
    const size_t lengths[] = {100, 40000, 100000};
    long before = atomic_load(&memory->live);
    int complete = 0;

    for (long n = 0; !complete; n++) {
        CHECK(n < 1000);
        pair_open(&p, env, NULL);
        secure_start(1, 0);
        atomic_store(&memory->until_fail, n);
        for (int i = 0; i < 3; i++) {
            cmsgr_entry *entry = pair_entry(&p, 127, 0, payload, lengths[i]);

            if (!entry || cmsgr_session_send(p.session[0], entry, 1) < 0) {
                cmsgr_entry_free(env, entry);
                break;
            }
        }
        pair_settle(&p);
        atomic_store(&memory->until_fail, -1);
        complete = pair_count(&p, CMSGR_ITEM_MESSAGE) == 3;
        for (int i = 0, seen = 0; i < p.logged; i++) {
            if (p.log[i].kind == CMSGR_ITEM_MESSAGE)
                check_message(&p.log[i], (uint64_t)seen + 1, lengths[seen]), seen++;
            else
                CHECK_EQ(p.log[i].error, -ENOMEM);
        }
        pair_close(&p);
        CHECK_EQ(atomic_load(&memory->live), before);
    }
    CHECK(atomic_load(&memory->failed) > 0);
}

/* A byte altered on the way: one fault, and nothing of the message is seen. */
static void test_tampered(cmsgr_env *env)
{
    uint8_t sealed[4096];
    ssize_t len;

    pair_open(&p, env, NULL);
    secure_start(1, 0);
    pair_send(&p, 0, 127, 0, payload, 100);
    CHECK_EQ(cmsgr_stream_try_send(p.stream[0]), 0);
    len = recv(p.fd[1], sealed, sizeof sealed, 0); /* the man in the middle */
    CHECK(len > 100);
    sealed[len - 40] ^= 1;
    CHECK_EQ(send(p.fd[0], sealed, (size_t)len, 0), len);
    pair_settle(&p);
    CHECK_EQ(p.logged, 1);
    CHECK_EQ(p.log[0].error, CMSGR_E_AUTH_TAG);
    pair_close(&p);
}

int main(void)
{
    check_memory memory;
    const cmsgr_allocator allocator = check_allocator(&memory);
    uint64_t chance = check_seed();
    cmsgr_env *env;

    check_deadline(120);
    fill_payload();
    CHECK_EQ(cmsgr_env_new(&env, &allocator, NULL), 0);
    test_lengths();
    for (int revision = 0; revision < 2; revision++) {
        test_round_trip(env, revision);
        test_damage(env, revision);
        test_order(env, revision);
        test_hostile_preambles(env, revision);
        test_status(env, revision);
        for (int i = 0; i < 300; i++)
            test_growing_body(env, revision, &chance);
        test_stream(env, revision, 0);
        test_stream(env, revision, 1);
        test_directions(env, revision);
        test_switch(env, revision);
    }
    test_failed_parser(env);
    test_error_queue();
    test_tampered(env);
    test_out_of_memory(env, &memory);
    cmsgr_env_free(env);
    CHECK_EQ(atomic_load(&memory.live), 0);
    return 0;
}
