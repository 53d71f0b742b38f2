/*
 * Reading frames in crc mode: one direction's bytes in, announcements and frames out.
 *
 *   PREAMBLE -> SEGMENT 0 -> [INLINE_CRC] -> SEGMENT 1..3 -> TRAILER -> PREAMBLE ...      any -> FAILED
 *
 * Invariants
 *   - Nothing is believed before its crc or its limit was checked: a preamble is announced only when it was found good,
 *     and ROOM after an inline crc means that segment 0 holds.
 *   - The caller's memory is written below body_cap only.
 *   - The result does not depend on how the bytes were cut.
 *
 * An aborted frame's crcs are checked like any other's: its sender makes them match, so a mismatch is damage.
 *
 * One thread at a time. Allocates nothing but itself.
 */
#include "frame.h"

#include <assert.h>
#include <errno.h>

enum stage { PREAMBLE, SEGMENT, INLINE_CRC, TRAILER, FAILED };

void cmsgr_limits_default(cmsgr_limits *limits)
{
    *limits = (cmsgr_limits){
        .control = 1u << 20, .header = 4u << 10, .front = 64u << 20, .middle = 64u << 20, .data = 256u << 20};
}

void cmsgr__parser_init(cmsgr_parser *parser, const cmsgr_env *env, int revision, const cmsgr_limits *limits)
{
    *parser = (cmsgr_parser){.env = env, .revision = revision, .stage = PREAMBLE};
    if (limits)
        parser->limits = *limits;
    else
        cmsgr_limits_default(&parser->limits);
}

void cmsgr__parser_set_revision(cmsgr_parser *parser, int revision)
{
    parser->revision = revision;
}

int cmsgr_parser_new(cmsgr_parser **out, const cmsgr_env *env, int revision, const cmsgr_limits *limits)
{
    cmsgr_parser *parser = cmsgr__alloc(env, sizeof *parser);

    if (!parser)
        return -ENOMEM;
    cmsgr__parser_init(parser, env, revision, limits);
    *out = parser;
    return 0;
}

void cmsgr_parser_free(cmsgr_parser *parser)
{
    if (parser)
        cmsgr__free(parser->env, parser);
}

static int fail(cmsgr_parser *parser, int error, uint64_t got, uint64_t expected)
{
    parser->stage = FAILED;
    parser->error = error;
    parser->got = got;
    parser->expected = expected;
    return error;
}

/* The next `want` bytes in one piece, or NULL (and all input kept) while they are not there. In the usual case they
 * are read where they lie. */
static const uint8_t *take(cmsgr_parser *parser, const uint8_t **data, size_t *len, size_t want)
{
    const uint8_t *piece = *data;
    size_t missing = want - parser->pending_len;
    size_t n = *len < missing ? *len : missing;

    if (n == 0)
        return NULL;
    *data += n;
    *len -= n;
    if (n == want)
        return piece;
    memcpy(parser->pending + parser->pending_len, piece, n);
    parser->pending_len = (uint8_t)(parser->pending_len + n);
    if (parser->pending_len < want)
        return NULL;
    parser->pending_len = 0;
    return parser->pending;
}

static void enter_segment(cmsgr_parser *parser, unsigned segment)
{
    parser->stage = SEGMENT;
    parser->segment = (uint8_t)segment;
    parser->seg_left = parser->preamble.seg_len[segment];
    parser->seg_crc[segment] = CMSGR__SEGMENT_SEED;
}

static void leave_segment(cmsgr_parser *parser)
{
    unsigned next = parser->segment + 1u;

    if (next < parser->preamble.num_segments)
        enter_segment(parser, next);
    else
        parser->stage = TRAILER;
}

/* A cmsgr_preamble out of 32 bytes whose crc holds. Descriptors of absent segments are not believed: they read as 0. */
static void decode_preamble(cmsgr_preamble *preamble, const uint8_t *in)
{
    *preamble = (cmsgr_preamble){.tag = in[0], .num_segments = in[1], .flags = in[26]};
    for (unsigned i = 0; i < preamble->num_segments && i < CMSGR_MAX_SEGMENTS; i++) {
        preamble->seg_len[i] = cmsgr__get32(in + 2 + 6 * i);
        preamble->seg_align[i] = cmsgr__get16(in + 6 + 6 * i);
    }
}

static int begin_frame(cmsgr_parser *parser, const uint8_t *in)
{
    const cmsgr_limits *limits = &parser->limits;
    const uint32_t message_limit[CMSGR_MAX_SEGMENTS] = {limits->header, limits->front, limits->middle, limits->data};
    cmsgr_preamble *preamble = &parser->preamble;
    uint32_t crc = parser->env->crc32c(0, in, 28);
    uint32_t sent_crc = cmsgr__get32(in + 28);
    unsigned count;

    if (crc != sent_crc)
        return fail(parser, CMSGR_E_PREAMBLE_CRC, crc, sent_crc);
    decode_preamble(preamble, in);
    count = preamble->num_segments;
    if (count == 0 || count > CMSGR_MAX_SEGMENTS)
        return fail(parser, CMSGR_E_SEGMENT_COUNT, count, count ? CMSGR_MAX_SEGMENTS : 1);
    if (preamble->flags & CMSGR__FLAG_COMPRESSED)
        return fail(parser, CMSGR_E_COMPRESSED, preamble->flags, preamble->flags & ~CMSGR__FLAG_COMPRESSED);
    if (count > 1 && preamble->seg_len[count - 1] == 0)
        return fail(parser, CMSGR_E_EMPTY_LAST_SEGMENT, 0, 1);

    parser->geometry = cmsgr__geometry_of(parser->revision);
    parser->body_len = 0;
    for (unsigned i = 0; i < count; i++) {
        uint32_t len = preamble->seg_len[i];
        uint32_t limit = preamble->tag == CMSGR_TAG_MESSAGE ? message_limit[i] : limits->control;

        if (len > limit)
            return fail(parser, CMSGR_E_SEGMENT_TOO_LONG, len, limit);
        if (len > SIZE_MAX - parser->body_len) /* four large limits on a 32-bit machine */
            return fail(parser, CMSGR_E_SEGMENT_TOO_LONG, len, SIZE_MAX - parser->body_len);
        parser->body_len += len;
    }
    parser->body = NULL;
    parser->body_cap = 0;
    parser->body_filled = 0;
    enter_segment(parser, 0);
    return CMSGR_PARSE_PREAMBLE;
}

static int end_frame(cmsgr_parser *parser, const uint8_t *trailer)
{
    const cmsgr__geometry *geometry = parser->geometry;
    const uint8_t *slot = trailer + 1;
    uint8_t status = *trailer & geometry->status_mask;

    for (unsigned i = geometry->first_in_trailer; i < parser->preamble.num_segments; i++, slot += 4) {
        uint32_t sent_crc = cmsgr__get32(slot);

        if (parser->seg_crc[i] != sent_crc)
            return fail(parser, CMSGR_E_SEGMENT_CRC, parser->seg_crc[i], sent_crc);
    }
    if (status != geometry->status_complete && status != geometry->status_aborted)
        return fail(parser, CMSGR_E_LATE_STATUS, *trailer, geometry->status_complete);
    parser->stage = PREAMBLE;
    return status == geometry->status_complete ? CMSGR_PARSE_FRAME : CMSGR_PARSE_ABORTED;
}

/* How much of the current segment the body has room for. */
static size_t segment_room(const cmsgr_parser *parser)
{
    size_t room = parser->body_cap > parser->body_filled ? parser->body_cap - parser->body_filled : 0;

    return room < parser->seg_left ? room : parser->seg_left;
}

int cmsgr_parser_step(cmsgr_parser *parser, const uint8_t **data, size_t *len)
{
    const uint8_t *piece;
    size_t n;

    for (;;) {
        switch ((enum stage)parser->stage) {
        case PREAMBLE:
            piece = take(parser, data, len, CMSGR_PREAMBLE_LEN);
            return piece ? begin_frame(parser, piece) : CMSGR_PARSE_MORE;

        case SEGMENT:
            if (parser->seg_left) {
                n = segment_room(parser);
                if (n == 0)
                    return CMSGR_PARSE_ROOM;
                if (*len == 0)
                    return CMSGR_PARSE_MORE;
                if (n > *len)
                    n = *len;
                memcpy(parser->body + parser->body_filled, *data, n);
                *data += n;
                *len -= n;
                cmsgr_parser_filled(parser, n);
            } else if (parser->segment == 0 && cmsgr__inline_crc_len(parser->geometry, parser->preamble.seg_len[0])) {
                parser->stage = INLINE_CRC;
            } else {
                leave_segment(parser);
            }
            break;

        case INLINE_CRC:
            piece = take(parser, data, len, parser->geometry->inline_crc_len);
            if (!piece)
                return CMSGR_PARSE_MORE;
            if (parser->seg_crc[0] != cmsgr__get32(piece))
                return fail(parser, CMSGR_E_SEGMENT_CRC, parser->seg_crc[0], cmsgr__get32(piece));
            leave_segment(parser);
            break;

        case TRAILER:
            n = cmsgr__trailer_len(parser->geometry, parser->preamble.num_segments);
            if (n == 0) {
                parser->stage = PREAMBLE;
                return CMSGR_PARSE_FRAME;
            }
            piece = take(parser, data, len, n);
            return piece ? end_frame(parser, piece) : CMSGR_PARSE_MORE;

        case FAILED:
            return parser->error;
        }
    }
}

const cmsgr_preamble *cmsgr_parser_preamble(const cmsgr_parser *parser)
{
    return &parser->preamble;
}

size_t cmsgr_parser_body_len(const cmsgr_parser *parser)
{
    return parser->body_len;
}

void cmsgr_parser_set_body(cmsgr_parser *parser, uint8_t *body, size_t cap)
{
    parser->body = body;
    parser->body_cap = cap;
}

size_t cmsgr_parser_want(const cmsgr_parser *parser, uint8_t **dest)
{
    size_t room = parser->stage == SEGMENT ? segment_room(parser) : 0;

    *dest = room ? parser->body + parser->body_filled : NULL;
    return room;
}

void cmsgr_parser_filled(cmsgr_parser *parser, size_t len)
{
    uint32_t *crc = &parser->seg_crc[parser->segment];

    assert(parser->stage == SEGMENT && len <= segment_room(parser));
    if (len == 0)
        return;
    *crc = parser->env->crc32c(*crc, parser->body + parser->body_filled, len);
    parser->body_filled += len;
    parser->seg_left -= (uint32_t)len;
}

uint64_t cmsgr_parser_got(const cmsgr_parser *parser)
{
    return parser->got;
}

uint64_t cmsgr_parser_expected(const cmsgr_parser *parser)
{
    return parser->expected;
}
