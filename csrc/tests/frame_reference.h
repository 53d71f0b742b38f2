/*
 * A second, deliberately slow writer of frames, straight from the wire format's tables, to compare the library
 * with. It shares no code with it, not even the crc.
 */
#ifndef FRAME_REFERENCE_H
#define FRAME_REFERENCE_H

#include <stdint.h>
#include <string.h>

typedef struct reference_frame {
    uint32_t seg_len[4];
    unsigned num_segments;                                         /* on the wire */
    size_t preamble_len, first_len, others_len, trailer_len, len; /* on the wire */
    uint8_t body[1024];                                            /* the segments, one after the other */
    size_t body_len;
    uint8_t wire[1100];
} reference_frame;

static inline uint32_t reference_crc(uint32_t crc, const uint8_t *data, size_t len)
{
    while (len--) {
        crc ^= *data++;
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 1 ? crc >> 1 ^ 0x82F63B78 : crc >> 1;
    }
    return crc;
}

static inline uint8_t *reference_put(uint8_t *out, uint64_t value, int len)
{
    while (len--) {
        *out++ = (uint8_t)value;
        value >>= 8;
    }
    return out;
}

static inline void reference_sign_preamble(uint8_t preamble[32])
{
    reference_put(preamble + 28, reference_crc(0, preamble, 28), 4);
}

/* Bytes that differ from place to place and from segment to segment. */
static inline void reference_build(reference_frame *frame, int revision, int tag, const uint32_t len[4], uint8_t status)
{
    uint8_t *at = frame->wire, *segment = frame->body;
    uint32_t crc[4] = {0};

    memset(frame, 0, sizeof *frame);
    frame->num_segments = len[3] ? 4 : len[2] ? 3 : len[1] ? 2 : 1;
    at = reference_put(at, (uint64_t)tag, 1);
    at = reference_put(at, frame->num_segments, 1);
    for (unsigned i = 0; i < 4; i++) {
        frame->seg_len[i] = len[i];
        at = reference_put(at, len[i], 4);
        at = reference_put(at, i >= frame->num_segments ? 0 : i == 3 ? 4096 : 8, 2);
    }
    at = frame->wire + 32;
    reference_sign_preamble(frame->wire);

    for (unsigned i = 0; i < frame->num_segments; i++) {
        for (uint32_t j = 0; j < len[i]; j++)
            segment[j] = (uint8_t)(31 * j + 61 * i + 7 * (unsigned)tag + 1);
        crc[i] = reference_crc(0xFFFFFFFF, segment, len[i]);
        memcpy(at, segment, len[i]);
        at += len[i];
        segment += len[i];
        if (revision == 1 && i == 0 && len[0])
            at = reference_put(at, crc[0], 4);
    }
    frame->body_len = (size_t)(segment - frame->body);

    frame->preamble_len = 32;
    frame->first_len = len[0] + (revision == 1 && len[0] ? 4 : 0);
    frame->others_len = (size_t)len[1] + len[2] + len[3];
    frame->trailer_len = revision == 0 ? 17 : frame->num_segments > 1 ? 13 : 0;
    if (frame->trailer_len) {
        at = reference_put(at, status, 1);
        for (int i = revision; i < 4; i++)
            at = reference_put(at, crc[i], 4);
    }
    frame->len = (size_t)(at - frame->wire);
}

/* One of the combinations of the frame table (contract E), with the tag it uses. */
enum { E1_TAG = 123, E1_COMBINATIONS = 32 };

static inline void reference_build_e1(reference_frame *frame, int revision, int combination)
{
    static const uint32_t header[4] = {0, 1, 48, 49};
    const uint32_t len[4] = {header[combination & 3], combination & 4 ? 101 : 0, combination & 8 ? 202 : 0,
                             combination & 16 ? 303 : 0};

    reference_build(frame, revision, E1_TAG, len, revision ? 0x0E : 0x00);
}

#endif
