/*
 * Frames, as the stream sees them: the sending side in two parts, so that segments 1 to 3 can be sent from where
 * they lie, and the parser's layout, so that a stream can embed it.
 *
 * Everything that differs between the revisions is a row of the geometry table (frame.c).
 */
#ifndef CMSGR_FRAME_H
#define CMSGR_FRAME_H

#include "aead.h"
#include "compress.h"
#include "internal.h"

/* What goes around the segments. */
typedef struct cmsgr__geometry {
    uint8_t inline_crc_len;     /* after segment 0, unless it is empty */
    uint8_t single_trailer_len; /* one segment */
    uint8_t multi_trailer_len;  /* several */
    uint8_t first_in_trailer;   /* the trailer's crcs are those of the segments from this one on */
    uint8_t status_mask;        /* the bits of the trailer's status that count */
    uint8_t status_complete;
    uint8_t status_aborted;
} cmsgr__geometry;

const cmsgr__geometry *cmsgr__geometry_of(int revision);

static inline size_t cmsgr__trailer_len(const cmsgr__geometry *geometry, unsigned num_segments)
{
    return num_segments > 1 ? geometry->multi_trailer_len : geometry->single_trailer_len;
}

static inline size_t cmsgr__inline_crc_len(const cmsgr__geometry *geometry, size_t first_len)
{
    return first_len ? geometry->inline_crc_len : 0;
}

/* Secure mode pads every segment and ends a frame with a block that holds the status alone ("Secure mode"). The first operation of
 * a msgr2.1 frame always covers the preamble and this much of segment 0. */
enum { CMSGR__SEALED_INLINE = 48, CMSGR__SEALED_TRAILER = 16 };

/* Where a segment's crc starts; a preamble's starts at 0. */
#define CMSGR__SEGMENT_SEED UINT32_C(0xFFFFFFFF)

enum {
    CMSGR__FLAG_COMPRESSED = 1, /* in the preamble's flags */
    CMSGR__FRAME_FLAGS = CMSGR_FRAME_ABORTED | CMSGR_FRAME_COMPRESSED,
    CMSGR__FRAME_HEAD_MAX = CMSGR_PREAMBLE_LEN + 4, /* beside segment 0 itself */
    CMSGR__FRAME_TAIL_MAX = 17
};

/* How many of `count` segments go on the wire: trailing empty ones do not, but one always does. */
static inline unsigned cmsgr__frame_segments(const cmsgr_span *segments, unsigned count)
{
    while (count > 1 && segments[count - 1].len == 0)
        count--;
    return count;
}

/*
 * The wire is: head, segments 1 to count-1 as they are, tail. Both take 1 to 4 segments of less than 2^32 bytes, drop
 * trailing empty ones themselves and return the bytes written; the tail may be empty.
 *
 * Head: preamble, segment 0, its inline crc; at most CMSGR__FRAME_HEAD_MAX + segments[0].len bytes. Of the other
 * segments only the lengths are looked at. `align` as in cmsgr_frame_assemble.
 */
size_t cmsgr__frame_head(const cmsgr_env *env, int revision, int tag, const cmsgr_span *segments,
                         const uint16_t *align, unsigned count, uint8_t *out);
/* Tail: the trailer, at most CMSGR__FRAME_TAIL_MAX bytes. Reads the segments it covers for their crcs. */
size_t cmsgr__frame_tail(const cmsgr_env *env, int revision, const cmsgr_span *segments, unsigned count, int aborted,
                         uint8_t *out);

/* The preamble alone; `count` without trailing empty segments. `flags` are those of cmsgr_frame_assemble. */
void cmsgr__frame_preamble(const cmsgr_env *env, int tag, const cmsgr_span *segments, const uint16_t *align, unsigned count,
                           int flags, uint8_t *out);

/* Where sealed bytes go: memory that may come in pieces. */
typedef struct cmsgr__sink {
    /* At least one byte of room, *len of it: NULL when out of memory. */
    uint8_t *(*room)(struct cmsgr__sink *sink, size_t *len);
    void (*commit)(struct cmsgr__sink *sink, size_t len);
} cmsgr__sink;

/* One whole frame in secure mode: 0 or an error, after which what the sink holds is of no use. */
int cmsgr__frame_seal(const cmsgr_env *env, int revision, cmsgr_cipher *cipher, int tag, const cmsgr_span *segments,
                      const uint16_t *align, unsigned count, int flags, cmsgr__sink *sink);

struct cmsgr_parser {
    const cmsgr_env *env;
    const cmsgr__geometry *geometry; /* of the present frame */
    int revision;                    /* from the next frame on */
    cmsgr_cipher *cipher;            /* NULL in crc mode; not owned */
    const cmsgr__codec *codec;       /* NULL: compressed frames are refused */
    uint8_t *body;         /* lent by the caller */
    size_t body_cap;
    size_t body_len;       /* of the frame announced last */
    size_t body_filled;
    size_t run_left;       /* bytes of the current segment (crc) or operation (secure) that did not come yet */
    uint32_t seg_crc[4];   /* of what came so far */
    uint8_t stage;
    uint8_t unpacked;      /* seg_len are those of the decompressed segments, which lie without padding */
    uint8_t segment;       /* the current one; in secure mode the operation's first */
    uint8_t pending_len;
    uint8_t pending[CMSGR_PREAMBLE_LEN + CMSGR__SEALED_INLINE + CMSGR__TAG_LEN]; /* a fixed-size part that came in pieces */
    uint8_t inline_part[CMSGR__SEALED_INLINE]; /* secure 2.1: the first bytes of segment 0, which came with the preamble */
    int error;             /* what a failed parser goes on returning */
    uint64_t got, expected;
    cmsgr_preamble preamble;
    uint32_t plain_len[4]; /* of a compressed frame, once cmsgr_parser_plain_len has told */
    cmsgr_limits limits;
};

/* Nothing to release. `limits` may be NULL: the default ones. */
void cmsgr__parser_init(cmsgr_parser *parser, const cmsgr_env *env, int revision, const cmsgr_limits *limits);
/* From the next preamble on. */
void cmsgr__parser_set_revision(cmsgr_parser *parser, int revision);

#endif
