/* Writing frames and message headers. Contract E1 (frame sizes and bytes), E8 (aborted), the sending seam. */
#include <errno.h>
#include <stdlib.h>

#include "check.h"
#include "frame.h"
#include "frame_reference.h"

static cmsgr_env *env;

static void spans_of(const reference_frame *frame, cmsgr_span spans[4])
{
    const uint8_t *at = frame->body;

    for (int i = 0; i < 4; i++) {
        spans[i] = (cmsgr_span){frame->seg_len[i] ? at : NULL, frame->seg_len[i]};
        at += frame->seg_len[i];
    }
}

/* E1: the library writes what the tables say, into memory that is not a byte larger. */
static void test_E1_assemble(void)
{
    for (int revision = 0; revision <= 1; revision++)
        for (int combination = 0; combination < E1_COMBINATIONS; combination++) {
            reference_frame want;
            cmsgr_span spans[4];
            size_t len[4];
            uint8_t *out;

            reference_build_e1(&want, revision, combination);
            CHECK_EQ(want.len, want.preamble_len + want.first_len + want.others_len + want.trailer_len);
            spans_of(&want, spans);
            for (int i = 0; i < 4; i++)
                len[i] = spans[i].len;
            CHECK_EQ(cmsgr_frame_wire_len(revision, len, 4), want.len);
            CHECK_EQ(cmsgr_frame_wire_len(revision, len, want.num_segments), want.len);

            out = malloc(want.len);
            CHECK_EQ(cmsgr_frame_assemble(env, revision, E1_TAG, spans, NULL, 4, 0, out, want.len - 1), -ENOSPC);
            CHECK_EQ(cmsgr_frame_assemble(env, revision, E1_TAG, spans, NULL, 4, 0, out, want.len), want.len);
            CHECK(memcmp(out, want.wire, want.len) == 0);
            free(out);
        }
}

/* E1: each part by itself is as long as the table says, and head and tail stay below their maxima. */
static void test_E1_parts(void)
{
    for (int revision = 0; revision <= 1; revision++)
        for (int combination = 0; combination < E1_COMBINATIONS; combination++) {
            reference_frame want;
            cmsgr_span spans[4];
            uint8_t head[CMSGR__FRAME_HEAD_MAX + 49], tail[CMSGR__FRAME_TAIL_MAX];

            reference_build_e1(&want, revision, combination);
            spans_of(&want, spans);
            CHECK_EQ(cmsgr__frame_segments(spans, 4), want.num_segments);
            CHECK_EQ(cmsgr__frame_head(env, revision, E1_TAG, spans, NULL, 4, head),
                     want.preamble_len + want.first_len);
            CHECK(memcmp(head, want.wire, want.preamble_len + want.first_len) == 0);
            CHECK_EQ(cmsgr__frame_tail(env, revision, spans, 4, 0, tail), want.trailer_len);
            CHECK(memcmp(tail, want.wire + want.len - want.trailer_len, want.trailer_len) == 0);
        }
}

/* E1: the three sums that the contract spells out for crc mode, and the bare WAIT. */
static void test_E1_spelled_out(void)
{
    CHECK_EQ(cmsgr_frame_wire_len(1, (size_t[]){0, 0, 0, 303}, 4), 32 + 303 + 13);
    CHECK_EQ(cmsgr_frame_wire_len(0, (size_t[]){48, 101, 202, 303}, 4), 32 + 48 + 101 + 202 + 303 + 17);
    CHECK_EQ(cmsgr_frame_wire_len(1, (size_t[]){49, 0, 0, 0}, 4), 32 + 49 + 4);
    CHECK_EQ(cmsgr_frame_wire_len(1, (size_t[]){0}, 1), 32);
    CHECK_EQ(cmsgr_frame_wire_len(0, (size_t[]){0}, 1), 32 + 17);
    CHECK_EQ(cmsgr_frame_wire_len(1, NULL, 0), 0);
}

/* Bytes sent by Ceph 16.2.15 (SESSION_RECONNECT_OK, WAIT) and by a 2.0 monitor (KEEPALIVE2_ACK). */
static void test_golden(void)
{
    static const struct {
        int revision, tag;
        const char *payload;
        size_t payload_len;
        const char *wire;
        size_t wire_len;
    } golden[] = {
        {1, CMSGR_TAG_WAIT, NULL, 0,
         "\x10\x01\0\0\0\0\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\xc8\xe3\xaa\xb0", 32},
        {1, CMSGR_TAG_SESSION_RECONNECT_OK, "\x02\0\0\0\0\0\0\0", 8,
         "\x0f\x01\x08\0\0\0\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x61\x82\x7c\xbf"
         "\x02\0\0\0\0\0\0\0\x3b\xb7\xaf\xe1", 44},
        {0, CMSGR_TAG_KEEPALIVE2_ACK, "\xd2\x02\x96\x49\0\x65\xcd\x1d", 8,
         "\x13\x01\x08\0\0\0\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\xec\x5e\xe0\x3b"
         "\xd2\x02\x96\x49\0\x65\xcd\x1d\0\x7d\x64\xa4\x92\0\0\0\0\0\0\0\0\0\0\0\0", 57},
    };

    for (size_t i = 0; i < sizeof golden / sizeof *golden; i++) {
        cmsgr_span span = {golden[i].payload, golden[i].payload_len};
        uint8_t out[64];

        CHECK(cmsgr_frame_assemble(env, golden[i].revision, golden[i].tag, &span, NULL, 1, 0, out, sizeof out) ==
              (ssize_t)golden[i].wire_len);
        CHECK(memcmp(out, golden[i].wire, golden[i].wire_len) == 0);
    }
}

static void test_given_alignment(void)
{
    cmsgr_span spans[3] = {{"h", 1}, {"f", 1}, {NULL, 0}};
    uint8_t out[64];

    CHECK(cmsgr_frame_assemble(env, 1, 17, spans, (uint16_t[]){1, 0x1234, 7}, 3, 0, out, sizeof out) > 0);
    CHECK_EQ(cmsgr__get16(out + 6), 1);
    CHECK_EQ(cmsgr__get16(out + 12), 0x1234);
    CHECK_EQ(cmsgr__get16(out + 18), 0); /* the dropped segment's descriptor is zero */
}

/* E8: what an aborted frame's trailer says; 2.1 cannot abort a single-segment frame. */
static void test_E8_assemble_aborted(void)
{
    static const uint32_t len[4] = {41, 101, 0, 303}, single[4] = {41, 0, 0, 0};

    for (int revision = 0; revision <= 1; revision++) {
        reference_frame want;
        cmsgr_span spans[4];
        uint8_t out[1100];

        reference_build(&want, revision, 17, len, 0x01);
        spans_of(&want, spans);
        CHECK_EQ(cmsgr_frame_assemble(env, revision, 17, spans, NULL, 4, 1, out, sizeof out), want.len);
        CHECK(memcmp(out, want.wire, want.len) == 0);

        reference_build(&want, revision, 17, single, 0x01);
        spans_of(&want, spans);
        if (revision == 1) {
            CHECK_EQ(cmsgr_frame_assemble(env, revision, 17, spans, NULL, 4, 1, out, sizeof out), -EINVAL);
        } else {
            CHECK_EQ(cmsgr_frame_assemble(env, revision, 17, spans, NULL, 4, 1, out, sizeof out), want.len);
            CHECK(memcmp(out, want.wire, want.len) == 0);
        }
    }
}

static void test_refuses_bad_arguments(void)
{
    cmsgr_span spans[5] = {{"", 0}};
    uint8_t out[64];

    CHECK_EQ(cmsgr_frame_assemble(env, 1, 17, spans, NULL, 0, 0, out, sizeof out), -EINVAL);
    CHECK_EQ(cmsgr_frame_assemble(env, 1, 17, spans, NULL, 5, 0, out, sizeof out), -EINVAL);
#if SIZE_MAX > UINT32_MAX
    spans[0].len = (size_t)UINT32_MAX + 1;
    CHECK_EQ(cmsgr_frame_assemble(env, 1, 17, spans, NULL, 1, 0, out, SIZE_MAX), -EINVAL);
#endif
}

/* A header whose every byte differs, at the offsets of the message table. */
static void test_header(void)
{
    static const cmsgr_header header = {
        .seq = 0x0807060504030201,
        .tid = 0x100F0E0D0C0B0A09,
        .type = 0x1211,
        .priority = 0x1413,
        .version = 0x1615,
        .data_off = 0x1C1B,
        .ack_seq = 0x24232221201F1E1D,
        .flags = 0x25,
        .compat_version = 0x2726,
    };
    uint8_t want[CMSGR_HEADER_LEN], out[CMSGR_HEADER_LEN];
    cmsgr_header back;

    for (int i = 0; i < CMSGR_HEADER_LEN; i++)
        want[i] = (uint8_t)(i + 1);
    memset(want + 22, 0, 4); /* pre-padding length */
    memset(want + 39, 0, 2); /* reserved */
    memset(out, 0xAA, sizeof out);
    cmsgr_header_encode(&header, out);
    CHECK(memcmp(out, want, sizeof want) == 0);

    memset(want + 22, 0xFF, 4); /* not looked at */
    memset(want + 39, 0xFF, 2);
    memset(&back, 0xAA, sizeof back);
    cmsgr_header_decode(&back, want);
    CHECK(back.seq == header.seq && back.tid == header.tid && back.ack_seq == header.ack_seq);
    CHECK(back.type == header.type && back.priority == header.priority && back.version == header.version);
    CHECK(back.compat_version == header.compat_version && back.data_off == header.data_off);
    CHECK_EQ(back.flags, header.flags);
}

int main(void)
{
    check_deadline(60);
    CHECK_EQ(cmsgr_env_new(&env, NULL, NULL), 0);
    test_E1_assemble();
    test_E1_parts();
    test_E1_spelled_out();
    test_golden();
    test_given_alignment();
    test_E8_assemble_aborted();
    test_refuses_bad_arguments();
    test_header();
    cmsgr_env_free(env);
    return 0;
}
