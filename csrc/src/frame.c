/*
 * Writing frames in crc mode. No state, no allocation, any thread.
 *
 *   2.1   preamble, segment 0, [crc 0], segments 1..3, [status, crc 1..3]   no trailer for a single segment,
 *                                                                          no inline crc for an empty segment 0
 *   2.0   preamble, segments 0..3, status, crc 0..3                         always a trailer
 */
#include "frame.h"

#include <errno.h>

static const cmsgr__geometry geometries[2] = {
    {.inline_crc_len = 0,
     .single_trailer_len = 17,
     .multi_trailer_len = 17,
     .first_in_trailer = 0,
     .status_mask = 0x01,
     .status_complete = 0x00,
     .status_aborted = 0x01},
    {.inline_crc_len = 4,
     .single_trailer_len = 0,
     .multi_trailer_len = 13,
     .first_in_trailer = 1,
     .status_mask = 0x0F,
     .status_complete = 0x0E,
     .status_aborted = 0x01},
};

const cmsgr__geometry *cmsgr__geometry_of(int revision)
{
    return &geometries[revision > 0];
}

size_t cmsgr_frame_wire_len(int revision, const size_t *seg_len, unsigned count)
{
    const cmsgr__geometry *geometry = cmsgr__geometry_of(revision);
    size_t total = CMSGR_PREAMBLE_LEN;

    if (count == 0)
        return 0;
    while (count > 1 && seg_len[count - 1] == 0)
        count--;
    for (unsigned i = 0; i < count; i++)
        total += seg_len[i];
    return total + cmsgr__inline_crc_len(geometry, seg_len[0]) + cmsgr__trailer_len(geometry, count);
}

/* The crc of an empty segment is the seed, and its memory may be NULL. */
static uint32_t segment_crc(const cmsgr_env *env, const cmsgr_span *segment)
{
    return segment->len ? env->crc32c.fn(CMSGR__SEGMENT_SEED, segment->data, segment->len) : CMSGR__SEGMENT_SEED;
}

void cmsgr__frame_preamble(const cmsgr_env *env, int tag, const cmsgr_span *segments, const uint16_t *align, unsigned count,
                           int flags, uint8_t *out)
{
    static const uint16_t default_align[CMSGR_MAX_SEGMENTS] = {8, 8, 8, 4096};

    if (!align)
        align = default_align;
    memset(out, 0, CMSGR_PREAMBLE_LEN);
    out[0] = (uint8_t)tag;
    out[1] = (uint8_t)count;
    for (unsigned i = 0; i < count; i++) {
        cmsgr__put32(out + 2 + 6 * i, (uint32_t)segments[i].len);
        cmsgr__put16(out + 6 + 6 * i, align[i]);
    }
    out[26] = flags & CMSGR_FRAME_COMPRESSED ? CMSGR__FLAG_COMPRESSED : 0;
    cmsgr__put32(out + 28, env->crc32c.fn(0, out, 28));
}

static size_t frame_head(const cmsgr_env *env, int revision, int tag, const cmsgr_span *segments, const uint16_t *align,
                         unsigned count, int flags, uint8_t *out)
{
    uint8_t *at = out + CMSGR_PREAMBLE_LEN;

    cmsgr__frame_preamble(env, tag, segments, align, cmsgr__frame_segments(segments, count), flags, out);
    if (segments[0].len == 0)
        return CMSGR_PREAMBLE_LEN;
    memcpy(at, segments[0].data, segments[0].len);
    at += segments[0].len;
    if (cmsgr__geometry_of(revision)->inline_crc_len) {
        cmsgr__put32(at, segment_crc(env, &segments[0]));
        at += 4;
    }
    return (size_t)(at - out);
}

size_t cmsgr__frame_head(const cmsgr_env *env, int revision, int tag, const cmsgr_span *segments,
                         const uint16_t *align, unsigned count, uint8_t *out)
{
    return frame_head(env, revision, tag, segments, align, count, 0, out);
}

size_t cmsgr__frame_tail(const cmsgr_env *env, int revision, const cmsgr_span *segments, unsigned count, int aborted,
                         uint8_t *out)
{
    const cmsgr__geometry *geometry = cmsgr__geometry_of(revision);
    uint8_t *slot = out + 1;
    size_t len;

    count = cmsgr__frame_segments(segments, count);
    len = cmsgr__trailer_len(geometry, count);
    if (len == 0)
        return 0;
    *out = aborted ? geometry->status_aborted : geometry->status_complete;
    for (unsigned i = geometry->first_in_trailer; i < CMSGR_MAX_SEGMENTS; i++, slot += 4)
        cmsgr__put32(slot, i < count ? segment_crc(env, &segments[i]) : 0);
    return len;
}

ssize_t cmsgr_frame_assemble(const cmsgr_env *env, int revision, int tag, const cmsgr_span *segments,
                             const uint16_t *align, unsigned count, int flags, uint8_t *out, size_t cap)
{
    size_t seg_len[CMSGR_MAX_SEGMENTS];
    uint8_t *at = out;

    if (count == 0 || count > CMSGR_MAX_SEGMENTS || flags & ~CMSGR__FRAME_FLAGS)
        return -EINVAL;
    for (unsigned i = 0; i < count; i++) {
        seg_len[i] = segments[i].len;
        if (seg_len[i] > UINT32_MAX)
            return -EINVAL;
    }
    count = cmsgr__frame_segments(segments, count);
    /* Without a trailer there is nowhere to say it. */
    if (flags & CMSGR_FRAME_ABORTED && cmsgr__trailer_len(cmsgr__geometry_of(revision), count) == 0)
        return -EINVAL;
    if (cmsgr_frame_wire_len(revision, seg_len, count) > cap)
        return -ENOSPC;

    at += frame_head(env, revision, tag, segments, align, count, flags, at);
    for (unsigned i = 1; i < count; i++) {
        if (seg_len[i] == 0)
            continue;
        memcpy(at, segments[i].data, seg_len[i]);
        at += seg_len[i];
    }
    at += cmsgr__frame_tail(env, revision, segments, count, flags & CMSGR_FRAME_ABORTED, at);
    return at - out;
}
