/*
 * Writing frames in secure mode. The only state is the cipher's nonce.
 *
 *   2.1   [preamble, first 48 bytes of segment 0] [rest of segment 0] [segments 1..3, status block]
 *   2.0   [preamble, segments 0..3, status block]
 *
 * Each bracket is one operation with a tag behind it; in 2.1 the second is missing for a segment 0 of at most 48 bytes, the third
 * for a single segment. Segments are zero-padded to 16 bytes. There are no crcs but the preamble's own.
 */
#include <errno.h>

#include "frame.h"

enum { HEAD_LEN = CMSGR_PREAMBLE_LEN + CMSGR__SEALED_INLINE };

static const uint8_t zeros[CMSGR__PAD];

typedef struct sealing {
    cmsgr_cipher *cipher;
    cmsgr__sink *sink;
    int error; /* the first one; nothing more is written after it */
} sealing;

static void begin(sealing *s)
{
    if (!s->error)
        s->error = s->cipher->begin(s->cipher);
}

/* Through the cipher, or as it is if `plain`. */
static void put(sealing *s, const uint8_t *data, size_t len, int plain)
{
    while (len && !s->error) {
        size_t n;
        uint8_t *room = s->sink->room(s->sink, &n);

        if (!room) {
            s->error = -ENOMEM;
            return;
        }
        if (n > len)
            n = len;
        if (plain)
            memcpy(room, data, n);
        else
            s->error = s->cipher->update(s->cipher, data, room, n);
        if (s->error)
            return; /* what is in the room may be anything */
        s->sink->commit(s->sink, n);
        data += n;
        len -= n;
    }
}

static void put_padded(sealing *s, const uint8_t *data, size_t len)
{
    put(s, data, len, 0);
    put(s, zeros, cmsgr__padded(len) - len, 0);
}

static void finish(sealing *s)
{
    uint8_t tag[CMSGR__TAG_LEN];

    if (!s->error)
        s->error = s->cipher->finish(s->cipher, tag);
    put(s, tag, sizeof tag, 1);
}

static void put_status(sealing *s, int revision, int aborted)
{
    const cmsgr__geometry *geometry = cmsgr__geometry_of(revision);
    const uint8_t block[CMSGR__SEALED_TRAILER] = {aborted ? geometry->status_aborted : geometry->status_complete};

    put(s, block, sizeof block, 0);
}

/* 2.1, the first two operations. `head` holds the preamble, zeros behind it. It is completed and put at once, for a call of the
 * cipher costs more than these 80 bytes do. */
static void put_first_segment(sealing *s, uint8_t head[HEAD_LEN], const cmsgr_span *segment)
{
    size_t inline_len = segment->len < CMSGR__SEALED_INLINE ? segment->len : CMSGR__SEALED_INLINE;

    if (inline_len)
        memcpy(head + CMSGR_PREAMBLE_LEN, segment->data, inline_len);
    put(s, head, HEAD_LEN, 0);
    finish(s);
    if (segment->len <= CMSGR__SEALED_INLINE)
        return;
    begin(s);
    put_padded(s, (const uint8_t *)segment->data + CMSGR__SEALED_INLINE, segment->len - CMSGR__SEALED_INLINE);
    finish(s);
}

int cmsgr__frame_seal(const cmsgr_env *env, int revision, cmsgr_cipher *cipher, int tag, const cmsgr_span *segments,
                      const uint16_t *align, unsigned count, int flags, cmsgr__sink *sink)
{
    sealing s = {cipher, sink, 0};
    uint8_t head[HEAD_LEN] = {0};

    count = cmsgr__frame_segments(segments, count);
    cmsgr__frame_preamble(env, tag, segments, align, count, flags, head);
    begin(&s);
    if (revision) {
        put_first_segment(&s, head, &segments[0]);
        if (count == 1)
            return s.error;
        begin(&s);
    } else {
        put(&s, head, CMSGR_PREAMBLE_LEN, 0);
    }
    for (unsigned i = revision ? 1 : 0; i < count; i++)
        put_padded(&s, segments[i].data, segments[i].len);
    put_status(&s, revision, flags & CMSGR_FRAME_ABORTED);
    finish(&s);
    return s.error;
}

/* ---- Into flat memory ---- */

typedef struct flat_sink {
    cmsgr__sink sink;
    uint8_t *at, *end;
} flat_sink;

static uint8_t *flat_room(cmsgr__sink *sink, size_t *len)
{
    flat_sink *flat = (flat_sink *)sink;

    *len = (size_t)(flat->end - flat->at);
    return *len ? flat->at : NULL;
}

static void flat_commit(cmsgr__sink *sink, size_t len)
{
    ((flat_sink *)sink)->at += len;
}

size_t cmsgr_frame_sealed_len(int revision, const size_t *seg_len, unsigned count)
{
    size_t total = CMSGR_PREAMBLE_LEN + CMSGR__TAG_LEN, padded = 0;

    if (count == 0)
        return 0;
    while (count > 1 && seg_len[count - 1] == 0)
        count--;
    for (unsigned i = revision ? 1 : 0; i < count; i++)
        padded += cmsgr__padded(seg_len[i]);
    if (!revision)
        return total + padded + CMSGR__SEALED_TRAILER;
    total += CMSGR__SEALED_INLINE;
    if (seg_len[0] > CMSGR__SEALED_INLINE)
        total += cmsgr__padded(seg_len[0] - CMSGR__SEALED_INLINE) + CMSGR__TAG_LEN;
    return total + (count > 1 ? padded + CMSGR__SEALED_TRAILER + CMSGR__TAG_LEN : 0);
}

ssize_t cmsgr_frame_seal(const cmsgr_env *env, int revision, cmsgr_cipher *cipher, int tag, const cmsgr_span *segments,
                         const uint16_t *align, unsigned count, int flags, uint8_t *out, size_t cap)
{
    flat_sink flat = {{flat_room, flat_commit}, out, out + cap};
    size_t seg_len[CMSGR_MAX_SEGMENTS];
    int result;

    if (count == 0 || count > CMSGR_MAX_SEGMENTS || flags & ~CMSGR__FRAME_FLAGS)
        return -EINVAL;
    for (unsigned i = 0; i < count; i++)
        if ((seg_len[i] = segments[i].len) > UINT32_MAX)
            return -EINVAL;
    if (flags & CMSGR_FRAME_ABORTED && revision && cmsgr__frame_segments(segments, count) == 1)
        return -EINVAL;
    if (cmsgr_frame_sealed_len(revision, seg_len, count) > cap)
        return -ENOSPC;
    result = cmsgr__frame_seal(env, revision, cipher, tag, segments, align, count, flags, &flat.sink);
    return result < 0 ? result : flat.at - out;
}
