/*
 * Reading frames. Contract E1 (round trip), E2 (reuse), E4 (every flipped bit), E5 (every truncation), E6 (every cut),
 * E7 (hostile preambles), E8 (aborted). Every input and body is a heap block of exactly its size, so that the address
 * sanitizer sees a read or write past its end.
 */
#include <errno.h>
#include <stdlib.h>

#include "check.h"
#include "frame.h"
#include "frame_reference.h"

static cmsgr_env *env;

/* ---- A receiver ------------------------------------------------------------------------------------------ */

enum delivery { STEP, IN_PLACE, GROWING };

/* A parser and the body that it fills: at once, read in place, or grown little by little. */
typedef struct receiver {
    cmsgr_parser parser;
    enum delivery delivery;
    uint8_t *body;
    size_t cap;
    int announced; /* preambles */
} receiver;

static void receiver_init(receiver *r, int revision, enum delivery delivery)
{
    *r = (receiver){.delivery = delivery};
    cmsgr__parser_init(&r->parser, env, revision, NULL);
}

static void receiver_end(receiver *r)
{
    free(r->body);
    r->body = NULL;
}

/* A block of its own, so that pointers into the old one are caught. */
static void receiver_grow(receiver *r, size_t cap)
{
    uint8_t *body = malloc(cap);

    if (r->cap)
        memcpy(body, r->body, r->cap < cap ? r->cap : cap);
    free(r->body);
    r->body = body;
    r->cap = cap;
    cmsgr_parser_set_body(&r->parser, body, cap);
}

/* One piece of input, until the parser wants more, has a frame or fails. *used tells how much it took. */
static int receive(receiver *r, const uint8_t *wire, size_t len, size_t *used)
{
    uint8_t *copy = malloc(len + !len), *dest;
    const uint8_t *data = copy;
    size_t body_len;
    int result;

    if (len)
        memcpy(copy, wire, len);
    do {
        size_t want = cmsgr_parser_want(&r->parser, &dest), one = len < 1 ? len : 1;

        if (r->delivery != IN_PLACE) {
            result = cmsgr_parser_step(&r->parser, &data, &len);
        } else if (want && len) {
            if (want > len)
                want = len;
            memcpy(dest, data, want);
            cmsgr_parser_filled(&r->parser, want);
            data += want;
            len -= want;
            result = CMSGR_PARSE_MORE;
        } else {
            len -= one;
            result = cmsgr_parser_step(&r->parser, &data, &one);
            len += one;
        }
        body_len = cmsgr_parser_body_len(&r->parser);
        if (result == CMSGR_PARSE_PREAMBLE) {
            r->announced++;
            if (body_len)
                receiver_grow(r, r->delivery == GROWING ? 1 : body_len);
        } else if (result == CMSGR_PARSE_ROOM) {
            CHECK_EQ(r->delivery, GROWING);
            receiver_grow(r, r->cap + 19 < body_len ? r->cap + 19 : body_len);
        }
    } while (result == CMSGR_PARSE_PREAMBLE || result == CMSGR_PARSE_ROOM || (result == CMSGR_PARSE_MORE && len));
    *used = (size_t)(data - copy);
    free(copy);
    return result;
}

/* After FRAME or ABORTED: is it this one, and lies the body where it should? */
static int is_frame(const receiver *r, const reference_frame *frame, int tag)
{
    const cmsgr_preamble *preamble = cmsgr_parser_preamble(&r->parser);
    static const uint16_t align[4] = {8, 8, 8, 4096};

    if (preamble->tag != tag || preamble->num_segments != frame->num_segments || preamble->flags != 0)
        return 0;
    for (unsigned i = 0; i < 4; i++)
        if (preamble->seg_len[i] != frame->seg_len[i] ||
            preamble->seg_align[i] != (i < frame->num_segments ? align[i] : 0))
            return 0;
    if (cmsgr_parser_body_len(&r->parser) != frame->body_len)
        return 0;
    return frame->body_len == 0 || (r->cap == frame->body_len && memcmp(r->body, frame->body, frame->body_len) == 0);
}

static uint8_t complete(int revision)
{
    return revision ? 0x0E : 0x00;
}

/* ---- Whole, reused, truncated, cut ------------------------------------------------------------------------- */

/* E1: the same frame whatever the way of delivery, no byte left and no byte of the next frame taken. */
static void test_E1_parse(void)
{
    for (int revision = 0; revision <= 1; revision++)
        for (int combination = 0; combination < E1_COMBINATIONS; combination++)
            for (enum delivery delivery = STEP; delivery <= GROWING; delivery++) {
                reference_frame frame;
                receiver r;
                size_t used;

                reference_build_e1(&frame, revision, combination);
                receiver_init(&r, revision, delivery);
                CHECK_EQ(receive(&r, frame.wire, frame.len, &used), CMSGR_PARSE_FRAME);
                CHECK_EQ(used, frame.len);
                CHECK(is_frame(&r, &frame, E1_TAG));
                receiver_end(&r);

                memset(frame.wire + frame.len, 0xFF, 40);
                receiver_init(&r, revision, delivery);
                CHECK_EQ(receive(&r, frame.wire, frame.len + 40, &used), CMSGR_PARSE_FRAME);
                CHECK_EQ(used, frame.len);
                CHECK(is_frame(&r, &frame, E1_TAG));
                receiver_end(&r);
            }
}

/* E1: what the library writes, it reads. */
static void test_E1_own_frames(void)
{
    static const uint16_t align[4] = {8, 8, 8, 4096};

    for (int revision = 0; revision <= 1; revision++)
        for (int combination = 0; combination < E1_COMBINATIONS; combination++) {
            reference_frame frame;
            cmsgr_span spans[4];
            const uint8_t *at = frame.body;
            uint8_t wire[1100];
            ssize_t len;
            receiver r;
            size_t used;

            reference_build_e1(&frame, revision, combination);
            for (int i = 0; i < 4; at += frame.seg_len[i], i++)
                spans[i] = (cmsgr_span){at, frame.seg_len[i]};
            len = cmsgr_frame_assemble(env, revision, E1_TAG, spans, align, 4, 0, wire, sizeof wire);
            receiver_init(&r, revision, STEP);
            CHECK_EQ(receive(&r, wire, (size_t)len, &used), CMSGR_PARSE_FRAME);
            CHECK_EQ(used, (size_t)len);
            CHECK(is_frame(&r, &frame, E1_TAG));
            receiver_end(&r);
        }
}

/* E2: three different frames in a row through one parser, in one piece of input. */
static void test_E2_reuse(void)
{
    static const uint32_t len[3][4] = {{49, 101, 202, 303}, {0, 0, 0, 0}, {8, 0, 0, 5}};

    for (int revision = 0; revision <= 1; revision++)
        for (enum delivery delivery = STEP; delivery <= GROWING; delivery++) {
            reference_frame frame[3];
            uint8_t wire[3300];
            size_t total = 0, at = 0, used;
            receiver r;

            for (int i = 0; i < 3; i++) {
                reference_build(&frame[i], revision, 100 + i, len[i], complete(revision));
                memcpy(wire + total, frame[i].wire, frame[i].len);
                total += frame[i].len;
            }
            receiver_init(&r, revision, delivery);
            for (int i = 0; i < 3; i++) {
                CHECK_EQ(receive(&r, wire + at, total - at, &used), CMSGR_PARSE_FRAME);
                CHECK_EQ(used, frame[i].len);
                CHECK(is_frame(&r, &frame[i], 100 + i));
                at += used;
            }
            CHECK_EQ(receive(&r, NULL, 0, &used), CMSGR_PARSE_MORE);
            receiver_end(&r);
        }
}

/* E5, E6: every prefix asks for more and is consumed whole; the rest then completes the frame. */
static void test_E5_E6_every_cut(void)
{
    for (int revision = 0; revision <= 1; revision++)
        for (int combination = 0; combination < E1_COMBINATIONS; combination++)
            for (enum delivery delivery = STEP; delivery <= GROWING; delivery++) {
                reference_frame frame;

                reference_build_e1(&frame, revision, combination);
                for (size_t cut = 0; cut < frame.len; cut++) {
                    receiver r;
                    size_t used;

                    receiver_init(&r, revision, delivery);
                    CHECK_EQ(receive(&r, frame.wire, cut, &used), CMSGR_PARSE_MORE);
                    CHECK_EQ(used, cut);
                    CHECK_EQ(r.announced, cut >= 32);
                    CHECK_EQ(receive(&r, frame.wire + cut, frame.len - cut, &used), CMSGR_PARSE_FRAME);
                    CHECK_EQ(used, frame.len - cut);
                    CHECK_EQ(r.announced, 1);
                    CHECK(is_frame(&r, &frame, E1_TAG));
                    receiver_end(&r);
                }
            }
}

/* E6: one byte at a time; the last one, and no earlier, completes the frame. */
static void test_E6_byte_by_byte(void)
{
    for (int revision = 0; revision <= 1; revision++)
        for (int combination = 0; combination < E1_COMBINATIONS; combination++)
            for (enum delivery delivery = STEP; delivery <= GROWING; delivery++) {
                reference_frame frame;
                receiver r;
                size_t used;

                reference_build_e1(&frame, revision, combination);
                receiver_init(&r, revision, delivery);
                for (size_t i = 0; i < frame.len; i++) {
                    int want = i + 1 < frame.len ? CMSGR_PARSE_MORE : CMSGR_PARSE_FRAME;

                    CHECK_EQ(receive(&r, frame.wire + i, 1, &used), want);
                    CHECK_EQ(used, 1);
                }
                CHECK(is_frame(&r, &frame, E1_TAG));
                receiver_end(&r);
            }
}

/* ---- The body ------------------------------------------------------------------------------------------------ */

/* WAIT has nothing to lend memory for: two steps, the second without input in 2.1. */
static void test_empty_body(void)
{
    static const uint32_t len[4] = {0};

    for (int revision = 0; revision <= 1; revision++)
        for (int set = 0; set <= 1; set++) {
            reference_frame frame;
            cmsgr_parser parser;
            const uint8_t *data = frame.wire;
            size_t left;

            reference_build(&frame, revision, CMSGR_TAG_WAIT, len, complete(revision));
            left = frame.len;
            cmsgr__parser_init(&parser, env, revision, NULL);
            CHECK_EQ(cmsgr_parser_step(&parser, &data, &left), CMSGR_PARSE_PREAMBLE);
            CHECK_EQ(left, revision ? 0 : 17);
            CHECK_EQ(cmsgr_parser_body_len(&parser), 0);
            if (set)
                cmsgr_parser_set_body(&parser, NULL, 0);
            CHECK_EQ(cmsgr_parser_step(&parser, &data, &left), CMSGR_PARSE_FRAME);
            CHECK_EQ(left, 0);
            CHECK_EQ(cmsgr_parser_step(&parser, &data, &left), CMSGR_PARSE_MORE);
        }
}

/* Without a body nothing but the preamble is consumed, and the last frame's body is not written to again. */
static void test_no_body_lent(void)
{
    static const uint32_t len[4] = {8};
    reference_frame frame;
    receiver r;
    const uint8_t *data = frame.wire;
    size_t left, used;
    uint8_t *dest;

    reference_build(&frame, 1, CMSGR_TAG_ACK, len, 0);
    receiver_init(&r, 1, STEP);
    CHECK_EQ(receive(&r, frame.wire, frame.len, &used), CMSGR_PARSE_FRAME);
    left = frame.len;
    CHECK_EQ(cmsgr_parser_step(&r.parser, &data, &left), CMSGR_PARSE_PREAMBLE);
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(cmsgr_parser_want(&r.parser, &dest), 0);
        CHECK(dest == NULL);
        CHECK_EQ(cmsgr_parser_step(&r.parser, &data, &left), CMSGR_PARSE_ROOM);
        CHECK_EQ(left, 12);
    }
    receiver_end(&r);
}

/* A body of the header's length is full after the header, but ROOM comes only once the header's crc holds. */
static void test_room_after_header(void)
{
    static const uint32_t len[4] = {41, 101};

    for (int damage = 0; damage <= 1; damage++) {
        reference_frame frame;
        cmsgr_parser parser;
        uint8_t header[41], body[142];
        const uint8_t *data = frame.wire;
        size_t left;

        reference_build(&frame, 1, CMSGR_TAG_MESSAGE, len, 0x0E);
        frame.wire[32] = (uint8_t)(frame.wire[32] ^ damage);
        left = 32 + 41;
        cmsgr__parser_init(&parser, env, 1, NULL);
        CHECK_EQ(cmsgr_parser_step(&parser, &data, &left), CMSGR_PARSE_PREAMBLE);
        cmsgr_parser_set_body(&parser, header, sizeof header);
        CHECK_EQ(cmsgr_parser_step(&parser, &data, &left), CMSGR_PARSE_MORE);
        left = frame.len - 32 - 41;
        CHECK_EQ(cmsgr_parser_step(&parser, &data, &left), damage ? CMSGR_E_SEGMENT_CRC : CMSGR_PARSE_ROOM);
        if (damage)
            continue;
        memcpy(body, header, sizeof header);
        cmsgr_parser_set_body(&parser, body, sizeof body);
        CHECK_EQ(cmsgr_parser_step(&parser, &data, &left), CMSGR_PARSE_FRAME);
        CHECK_EQ(left, 0);
        CHECK(memcmp(body, frame.body, sizeof body) == 0);
    }
}

/* want is the rest of the current segment, or of the room; 0 outside segments. */
static void test_want(void)
{
    static const uint32_t len[4] = {41, 101};
    reference_frame frame;
    cmsgr_parser parser;
    uint8_t body[142], *dest;
    const uint8_t *data = frame.wire;
    size_t left = 32 + 1;

    reference_build(&frame, 1, CMSGR_TAG_MESSAGE, len, 0x0E);
    cmsgr__parser_init(&parser, env, 1, NULL);
    CHECK_EQ(cmsgr_parser_want(&parser, &dest), 0);
    CHECK_EQ(cmsgr_parser_step(&parser, &data, &left), CMSGR_PARSE_PREAMBLE);
    cmsgr_parser_set_body(&parser, body, 10);
    CHECK(cmsgr_parser_want(&parser, &dest) == 10 && dest == body);
    CHECK_EQ(cmsgr_parser_step(&parser, &data, &left), CMSGR_PARSE_MORE);
    CHECK(cmsgr_parser_want(&parser, &dest) == 9 && dest == body + 1);
    cmsgr_parser_filled(&parser, 0);
    CHECK_EQ(cmsgr_parser_want(&parser, &dest), 9);
    cmsgr_parser_set_body(&parser, body, sizeof body);
    CHECK(cmsgr_parser_want(&parser, &dest) == 40 && dest == body + 1);
    memcpy(dest, data, 40);
    cmsgr_parser_filled(&parser, 40);
    data += 40;
    CHECK_EQ(cmsgr_parser_want(&parser, &dest), 0); /* the inline crc is next */
    left = 4;
    CHECK_EQ(cmsgr_parser_step(&parser, &data, &left), CMSGR_PARSE_MORE);
    CHECK(cmsgr_parser_want(&parser, &dest) == 101 && dest == body + 41);
}

/* ---- Damage -------------------------------------------------------------------------------------------------- */

/* What flipping one bit of a good frame may lead to: an error in nearly all cases. */
static int expected_after_flip(const reference_frame *frame, int revision, size_t offset, int bit)
{
    size_t trailer = frame->len - frame->trailer_len, slot;

    if (offset < 32)
        return CMSGR_E_PREAMBLE_CRC;
    if (offset < trailer)
        return CMSGR_E_SEGMENT_CRC;
    if (offset == trailer && revision == 1)
        return bit >= 4 ? CMSGR_PARSE_FRAME : CMSGR_E_LATE_STATUS; /* the high nibble is reserved */
    if (offset == trailer)
        return bit >= 1 ? CMSGR_PARSE_FRAME : CMSGR_PARSE_ABORTED; /* late_flags: only bit 0 means something */
    slot = (offset - trailer - 1) / 4 + (revision == 1);
    return slot < frame->num_segments ? CMSGR_E_SEGMENT_CRC : CMSGR_PARSE_FRAME; /* absent segments' slots */
}

/* E4: every single bit. A flip is refused, or the frame is the identical one; only 2.0's abort bit loses it. */
static void test_E4_every_bit_flip(void)
{
    static const uint32_t lens[][4] = {{0},         {1},          {49},           {41, 101},          {0, 101},
                                       {41, 0, 20}, {41, 0, 0, 9}, {41, 20, 10, 30}, {0, 0, 0, 11}};

    for (int revision = 0; revision <= 1; revision++)
        for (size_t l = 0; l < sizeof lens / sizeof *lens; l++) {
            reference_frame frame;

            reference_build(&frame, revision, CMSGR_TAG_MESSAGE, lens[l], complete(revision));
            for (size_t offset = 0; offset < frame.len; offset++)
                for (int bit = 0; bit < 8; bit++)
                    for (enum delivery delivery = STEP; delivery <= GROWING; delivery++) {
                        uint8_t wire[1100];
                        receiver r;
                        size_t used;
                        int result;

                        memcpy(wire, frame.wire, frame.len);
                        wire[offset] = (uint8_t)(wire[offset] ^ 1 << bit);
                        receiver_init(&r, revision, delivery);
                        result = receive(&r, wire, frame.len, &used);
                        CHECK_EQ(result, expected_after_flip(&frame, revision, offset, bit));
                        if (result >= 0) {
                            CHECK_EQ(used, frame.len);
                            CHECK(is_frame(&r, &frame, CMSGR_TAG_MESSAGE));
                        } else {
                            CHECK(cmsgr_parser_got(&r.parser) != cmsgr_parser_expected(&r.parser));
                        }
                        receiver_end(&r);
                    }
        }
}

/* After a failure the parser takes nothing more, whatever comes. */
static void test_stays_failed(void)
{
    static const uint32_t len[4] = {8};
    reference_frame frame;
    receiver r;
    size_t used;

    reference_build(&frame, 1, CMSGR_TAG_ACK, len, 0);
    frame.wire[40] ^= 1;
    receiver_init(&r, 1, STEP);
    CHECK_EQ(receive(&r, frame.wire, frame.len, &used), CMSGR_E_SEGMENT_CRC);
    CHECK_EQ(cmsgr_parser_got(&r.parser), reference_crc(0xFFFFFFFF, frame.body, 8));
    CHECK_EQ(cmsgr_parser_expected(&r.parser), cmsgr__get32(frame.wire + 40));
    frame.wire[40] ^= 1;
    CHECK_EQ(receive(&r, frame.wire, frame.len, &used), CMSGR_E_SEGMENT_CRC);
    CHECK_EQ(used, 0);
    receiver_end(&r);
}

/* The numbers compared, for the trailer's two checks. */
static void test_trailer_numbers(void)
{
    static const uint32_t len[4] = {41, 101};

    for (int revision = 0; revision <= 1; revision++) {
        reference_frame frame;
        uint8_t *trailer;
        receiver r;
        size_t used;

        reference_build(&frame, revision, CMSGR_TAG_MESSAGE, len, complete(revision));
        trailer = frame.wire + frame.len - frame.trailer_len;
        reference_put(trailer + (revision ? 1 : 5), 0xDEADBEEF, 4);
        receiver_init(&r, revision, STEP);
        CHECK_EQ(receive(&r, frame.wire, frame.len, &used), CMSGR_E_SEGMENT_CRC);
        CHECK_EQ(cmsgr_parser_got(&r.parser), reference_crc(0xFFFFFFFF, frame.body + 41, 101));
        CHECK_EQ(cmsgr_parser_expected(&r.parser), 0xDEADBEEF);
        receiver_end(&r);

        reference_build(&frame, revision, CMSGR_TAG_MESSAGE, len, 0xAF);
        receiver_init(&r, revision, STEP);
        CHECK_EQ(receive(&r, frame.wire, frame.len, &used), revision ? CMSGR_E_LATE_STATUS : CMSGR_PARSE_ABORTED);
        if (revision) {
            CHECK_EQ(cmsgr_parser_got(&r.parser), 0xAF);
            CHECK_EQ(cmsgr_parser_expected(&r.parser), 0x0E);
        }
        receiver_end(&r);
    }
}

/* ---- Hostile preambles --------------------------------------------------------------------------------------- */

static void put_preamble(uint8_t out[32], int tag, int count, const uint32_t len[4], const uint16_t align[4], int flags,
                         int reserved)
{
    uint8_t *at = reference_put(out, (uint64_t)tag, 1);

    at = reference_put(at, (uint64_t)count, 1);
    for (int i = 0; i < 4; i++) {
        at = reference_put(at, len[i], 4);
        at = reference_put(at, align ? align[i] : 0, 2);
    }
    at = reference_put(at, (uint64_t)flags, 1);
    reference_put(at, (uint64_t)reserved, 1);
    reference_sign_preamble(out);
}

static const cmsgr_limits small_limits = {.control = 10, .header = 50, .front = 60, .middle = 70, .data = 80};

/* E7: each refusal comes out of the preamble alone, before there is anything to lend memory for. */
static void test_E7_hostile_preambles(void)
{
    static const struct {
        int tag, count;
        uint32_t len[4];
        int flags, result;
        uint64_t got, expected;
    } cases[] = {
        {17, 0, {0}, 0, CMSGR_E_SEGMENT_COUNT, 0, 1},
        {17, 5, {1, 1, 1, 1}, 0, CMSGR_E_SEGMENT_COUNT, 5, 4},
        {17, 255, {1, 1, 1, 1}, 0, CMSGR_E_SEGMENT_COUNT, 255, 4},
        {17, 2, {41, 0}, 0, CMSGR_E_EMPTY_LAST_SEGMENT, 0, 1},
        {17, 4, {41, 1, 1, 0}, 0, CMSGR_E_EMPTY_LAST_SEGMENT, 0, 1},
        {17, 2, {41, 1}, 1, CMSGR_E_COMPRESSED, 1, 0},
        {17, 2, {41, 1}, 3, CMSGR_E_COMPRESSED, 3, 2},
        {17, 4, {50, 60, 70, 80}, 0, CMSGR_PARSE_PREAMBLE, 0, 0},
        {17, 4, {51, 60, 70, 80}, 0, CMSGR_E_SEGMENT_TOO_LONG, 51, 50},
        {17, 4, {50, 61, 70, 80}, 0, CMSGR_E_SEGMENT_TOO_LONG, 61, 60},
        {17, 4, {50, 60, 71, 80}, 0, CMSGR_E_SEGMENT_TOO_LONG, 71, 70},
        {17, 4, {50, 60, 70, 81}, 0, CMSGR_E_SEGMENT_TOO_LONG, 81, 80},
        {17, 4, {50, 60, 70, UINT32_MAX}, 0, CMSGR_E_SEGMENT_TOO_LONG, UINT32_MAX, 80},
        {1, 1, {10}, 0, CMSGR_PARSE_PREAMBLE, 0, 0},
        {1, 1, {11}, 0, CMSGR_E_SEGMENT_TOO_LONG, 11, 10},
        {123, 4, {10, 10, 10, 10}, 0, CMSGR_PARSE_PREAMBLE, 0, 0},
        {123, 4, {10, 10, 10, 11}, 0, CMSGR_E_SEGMENT_TOO_LONG, 11, 10},
    };

    for (int revision = 0; revision <= 1; revision++)
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            cmsgr_parser parser;
            uint8_t wire[32];
            const uint8_t *data = wire;
            size_t left = sizeof wire;

            put_preamble(wire, cases[i].tag, cases[i].count, cases[i].len, NULL, cases[i].flags, 0);
            cmsgr__parser_init(&parser, env, revision, &small_limits);
            CHECK_EQ(cmsgr_parser_step(&parser, &data, &left), cases[i].result);
            CHECK_EQ(left, 0);
            CHECK_EQ(cmsgr_parser_got(&parser), cases[i].got);
            CHECK_EQ(cmsgr_parser_expected(&parser), cases[i].expected);
        }
}

/* E7: the crc of a preamble, told as computed and as received. */
static void test_E7_preamble_crc(void)
{
    cmsgr_parser parser;
    uint8_t wire[32];
    const uint8_t *data = wire;
    size_t left = sizeof wire;

    put_preamble(wire, 17, 1, (uint32_t[4]){41}, NULL, 0, 0);
    reference_put(wire + 28, 0xDEADBEEF, 4);
    cmsgr__parser_init(&parser, env, 1, NULL);
    CHECK_EQ(cmsgr_parser_step(&parser, &data, &left), CMSGR_E_PREAMBLE_CRC);
    CHECK_EQ(cmsgr_parser_got(&parser), reference_crc(0, wire, 28));
    CHECK_EQ(cmsgr_parser_expected(&parser), 0xDEADBEEF);
}

/* E7: four segments as long as the wire can say, with limits that let them: the sum does not wrap. */
static void test_E7_sum(void)
{
    static const cmsgr_limits no_limits = {UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX};
    cmsgr_parser parser;
    uint8_t wire[32];
    const uint8_t *data = wire;
    size_t left = sizeof wire;

    put_preamble(wire, 17, 4, (uint32_t[4]){UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX}, NULL, 0, 0);
    cmsgr__parser_init(&parser, env, 1, &no_limits);
#if SIZE_MAX > UINT32_MAX
    CHECK_EQ(cmsgr_parser_step(&parser, &data, &left), CMSGR_PARSE_PREAMBLE);
    CHECK_EQ(cmsgr_parser_body_len(&parser), 4 * (size_t)UINT32_MAX);
#else
    CHECK_EQ(cmsgr_parser_step(&parser, &data, &left), CMSGR_E_SEGMENT_TOO_LONG);
#endif
}

/* E7: alignment, the reserved byte, unused flags and the descriptors of absent segments may be anything. */
static void test_E7_tolerated(void)
{
    static const uint16_t align[4] = {0, 1, 0xFFFF, 3};
    cmsgr_parser parser;
    uint8_t wire[32];
    const uint8_t *data = wire;
    size_t left = sizeof wire;
    const cmsgr_preamble *preamble;

    put_preamble(wire, 17, 2, (uint32_t[4]){41, 1, UINT32_MAX, UINT32_MAX}, align, 0xFE, 0xFF);
    cmsgr__parser_init(&parser, env, 1, NULL);
    CHECK_EQ(cmsgr_parser_step(&parser, &data, &left), CMSGR_PARSE_PREAMBLE);
    CHECK_EQ(cmsgr_parser_body_len(&parser), 42);
    preamble = cmsgr_parser_preamble(&parser);
    CHECK(preamble->seg_len[2] == 0 && preamble->seg_len[3] == 0);
    CHECK(preamble->seg_align[1] == 1 && preamble->seg_align[2] == 0);
}

/* ---- Aborted ------------------------------------------------------------------------------------------------- */

/* E8: an aborted frame is read to its end and reported; the next one follows in step. */
static void test_E8_aborted(void)
{
    static const uint32_t lens[][4] = {{41, 101, 0, 303}, {0, 101}, {41}, {0}}, next_len[4] = {8};

    for (int revision = 0; revision <= 1; revision++)
        for (int l = 0; l < (revision ? 2 : 4); l++) /* a single segment can be aborted in 2.0 only */
            for (enum delivery delivery = STEP; delivery <= GROWING; delivery++) {
                reference_frame frame, next;
                uint8_t wire[2200];
                receiver r;
                size_t used;

                reference_build(&frame, revision, CMSGR_TAG_MESSAGE, lens[l], 0x01);
                reference_build(&next, revision, CMSGR_TAG_ACK, next_len, complete(revision));
                memcpy(wire, frame.wire, frame.len);
                memcpy(wire + frame.len, next.wire, next.len);
                receiver_init(&r, revision, delivery);
                CHECK_EQ(receive(&r, wire, frame.len + next.len, &used), CMSGR_PARSE_ABORTED);
                CHECK_EQ(used, frame.len);
                CHECK(is_frame(&r, &frame, CMSGR_TAG_MESSAGE));
                CHECK_EQ(receive(&r, wire + used, next.len, &used), CMSGR_PARSE_FRAME);
                CHECK(is_frame(&r, &next, CMSGR_TAG_ACK));
                receiver_end(&r);
            }
}

/* E8: aborting does not excuse damage. */
static void test_E8_aborted_and_damaged(void)
{
    static const uint32_t len[4] = {41, 101};

    for (int revision = 0; revision <= 1; revision++) {
        reference_frame frame;
        receiver r;
        size_t used;

        reference_build(&frame, revision, CMSGR_TAG_MESSAGE, len, 0x01);
        frame.wire[frame.len - frame.trailer_len - 1] ^= 1;
        receiver_init(&r, revision, STEP);
        CHECK_EQ(receive(&r, frame.wire, frame.len, &used), CMSGR_E_SEGMENT_CRC);
        receiver_end(&r);
    }
}

/* ---- Making and ending --------------------------------------------------------------------------------------- */

/* The banner decides the revision after the parser was made. A frame that began is read to its end as it began. */
static void test_set_revision(void)
{
    reference_frame old, new;
    receiver r;
    size_t used;

    reference_build_e1(&old, 0, 31);
    reference_build_e1(&new, 1, 31);
    receiver_init(&r, 0, STEP);
    cmsgr__parser_set_revision(&r.parser, 1);
    CHECK_EQ(receive(&r, new.wire, 40, &used), CMSGR_PARSE_MORE);
    cmsgr__parser_set_revision(&r.parser, 0);
    CHECK_EQ(receive(&r, new.wire + 40, new.len - 40, &used), CMSGR_PARSE_FRAME);
    CHECK_EQ(receive(&r, old.wire, old.len, &used), CMSGR_PARSE_FRAME);
    CHECK(is_frame(&r, &old, E1_TAG));
    receiver_end(&r);
}

static void make_parser(void *ctx, cmsgr_env *own)
{
    cmsgr_parser *parser = NULL;
    int result = cmsgr_parser_new(&parser, own, 1, &small_limits);

    (void)ctx;
    CHECK_EQ(result, parser ? 0 : -ENOMEM);
    cmsgr_parser_free(parser);
}

static void test_default_limits(void)
{
    cmsgr_limits limits;

    cmsgr_limits_default(&limits);
    CHECK(limits.control == 1048576 && limits.header == 4096);
    CHECK(limits.front == 67108864 && limits.middle == 67108864 && limits.data == 268435456);
}

int main(void)
{
    check_deadline(60);
    CHECK_EQ(cmsgr_env_new(&env, NULL, NULL), 0);
    test_E1_parse();
    test_E1_own_frames();
    test_E2_reuse();
    test_E5_E6_every_cut();
    test_E6_byte_by_byte();
    test_empty_body();
    test_no_body_lent();
    test_room_after_header();
    test_want();
    test_E4_every_bit_flip();
    test_stays_failed();
    test_trailer_numbers();
    test_E7_hostile_preambles();
    test_E7_preamble_crc();
    test_E7_sum();
    test_E7_tolerated();
    test_E8_aborted();
    test_E8_aborted_and_damaged();
    test_set_revision();
    check_each_failing_allocation(make_parser, NULL, NULL);
    test_default_limits();
    cmsgr_env_free(env);
    return 0;
}
