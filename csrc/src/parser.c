/*
 * Reading frames: one direction's bytes in, announcements and frames out.
 *
 *   crc      PREAMBLE -> SEGMENT 0 -> [INLINE_CRC] -> SEGMENT 1..3 -> TRAILER -> PREAMBLE ...      any -> FAILED
 *   secure   SEALED_HEAD -> [INLINE_PART] -> ( OPERATION -> TAG )* -> SEALED_HEAD ...
 *
 * In secure mode bytes are decrypted into the body as they arrive, or in it if they were read there, and believed only when their
 * tag matched; what brackets are which operation is told in seal.c. The one exception is 2.0's preamble, which rests on its crc
 * until the frame's only tag: its lengths are claims, of which the limits are all that is known.
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

#include <errno.h>

enum stage { PREAMBLE, SEGMENT, INLINE_CRC, TRAILER, SEALED_HEAD, INLINE_PART, OPERATION, TAG, FAILED };

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

int cmsgr_parser_set_compression(cmsgr_parser *parser, int algorithm)
{
    const cmsgr__codec *codec = cmsgr__codec_of(algorithm);

    if (!codec && algorithm != CMSGR_COMPRESSION_NONE)
        return -EINVAL;
    parser->codec = codec;
    return 0;
}

void cmsgr_parser_set_cipher(cmsgr_parser *parser, cmsgr_cipher *cipher)
{
    parser->cipher = cipher;
    if (parser->stage != FAILED)
        parser->stage = cipher ? SEALED_HEAD : PREAMBLE;
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
    parser->run_left = parser->preamble.seg_len[segment];
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

static void enter_sealed(cmsgr_parser *parser);

static uint32_t segment_limit(const cmsgr_parser *parser, unsigned segment)
{
    const cmsgr_limits *limits = &parser->limits;
    const uint32_t message_limit[CMSGR_MAX_SEGMENTS] = {limits->header, limits->front, limits->middle, limits->data};

    return parser->preamble.tag == CMSGR_TAG_MESSAGE ? message_limit[segment] : limits->control;
}

/* What compression may make of a segment at its limit: the worst of the algorithms adds a sixth, and some have a prefix. */
static uint64_t packed_limit(uint32_t limit)
{
    return (uint64_t)limit + limit / 6 + 1024;
}

static int begin_frame(cmsgr_parser *parser, const uint8_t *in)
{
    cmsgr_preamble *preamble = &parser->preamble;
    uint32_t crc = parser->env->crc32c.fn(0, in, 28);
    uint32_t sent_crc = cmsgr__get32(in + 28);
    unsigned count;

    parser->geometry = cmsgr__geometry_of(parser->revision);
    if (crc != sent_crc) {
        *preamble = (cmsgr_preamble){0}; /* nothing of it is known, least of all its tag */
        return fail(parser, CMSGR_E_PREAMBLE_CRC, crc, sent_crc);
    }
    decode_preamble(preamble, in);
    count = preamble->num_segments;
    if (count == 0 || count > CMSGR_MAX_SEGMENTS)
        return fail(parser, CMSGR_E_SEGMENT_COUNT, count, count ? CMSGR_MAX_SEGMENTS : 1);
    if (preamble->flags & CMSGR__FLAG_COMPRESSED && !parser->codec)
        return fail(parser, CMSGR_E_COMPRESSED, preamble->flags, preamble->flags & ~CMSGR__FLAG_COMPRESSED);
    if (count > 1 && preamble->seg_len[count - 1] == 0)
        return fail(parser, CMSGR_E_EMPTY_LAST_SEGMENT, 0, 1);

    parser->body_len = 0;
    parser->unpacked = 0;
    for (unsigned i = 0; i < count; i++) {
        size_t len = preamble->seg_len[i];
        uint32_t limit = segment_limit(parser, i);

        if (len > (preamble->flags & CMSGR__FLAG_COMPRESSED ? packed_limit(limit) : limit))
            return fail(parser, CMSGR_E_SEGMENT_TOO_LONG, len, limit);
        if (len > SIZE_MAX / 8) /* a large limit on a 32-bit machine: four such segments, padded, still have a sum */
            return fail(parser, CMSGR_E_SEGMENT_TOO_LONG, len, SIZE_MAX / 8);
        parser->body_len += parser->cipher ? cmsgr__padded(len) : len;
    }
    parser->body = NULL;
    parser->body_cap = 0;
    parser->body_filled = 0;
    if (parser->cipher)
        enter_sealed(parser);
    else
        enter_segment(parser, 0);
    return CMSGR_PARSE_PREAMBLE;
}

static int end_with_status(cmsgr_parser *parser, uint8_t byte)
{
    const cmsgr__geometry *geometry = parser->geometry;
    uint8_t status = byte & geometry->status_mask;

    if (status != geometry->status_complete && status != geometry->status_aborted)
        return fail(parser, CMSGR_E_LATE_STATUS, byte, geometry->status_complete);
    parser->stage = parser->cipher ? SEALED_HEAD : PREAMBLE;
    return status == geometry->status_complete ? CMSGR_PARSE_FRAME : CMSGR_PARSE_ABORTED;
}

static int end_frame(cmsgr_parser *parser, const uint8_t *trailer)
{
    const uint8_t *slot = trailer + 1;

    for (unsigned i = parser->geometry->first_in_trailer; i < parser->preamble.num_segments; i++, slot += 4) {
        uint32_t sent_crc = cmsgr__get32(slot);

        if (parser->seg_crc[i] != sent_crc)
            return fail(parser, CMSGR_E_SEGMENT_CRC, parser->seg_crc[i], sent_crc);
    }
    return end_with_status(parser, *trailer);
}

/* ---- Secure mode ---- */

/* Is there a status block, and with it a last operation of its own (2.1)? */
static int has_sealed_trailer(const cmsgr_parser *parser)
{
    return !parser->revision || parser->preamble.num_segments > 1;
}

/* The preamble of a sealed frame is good; in 2.0 its operation goes on. */
static void enter_sealed(cmsgr_parser *parser)
{
    if (has_sealed_trailer(parser))
        parser->body_len += CMSGR__SEALED_TRAILER;
    parser->segment = 0;
    parser->run_left = parser->body_len;
    parser->stage = parser->revision ? INLINE_PART : OPERATION;
}

/* The fixed part that begins a frame: decrypted, in 2.1 also authenticated. */
static int open_head(cmsgr_parser *parser, const uint8_t *wire)
{
    cmsgr_cipher *cipher = parser->cipher;
    uint8_t plain[CMSGR_PREAMBLE_LEN + CMSGR__SEALED_INLINE], tag[CMSGR__TAG_LEN];
    size_t len = parser->revision ? sizeof plain : CMSGR_PREAMBLE_LEN;
    int result = cipher->begin(cipher);

    if (result == 0)
        result = cipher->update(cipher, wire, plain, len);
    if (result == 0 && parser->revision) {
        memcpy(tag, wire + len, sizeof tag);
        result = cipher->finish(cipher, tag);
    }
    if (result < 0)
        return fail(parser, result, 0, 0);
    if (parser->revision)
        memcpy(parser->inline_part, plain + CMSGR_PREAMBLE_LEN, CMSGR__SEALED_INLINE);
    return begin_frame(parser, plain);
}

/* 2.1: after the inline part and after each tag. FRAME or ABORTED when no operation is left, else MORE. */
static int next_operation(cmsgr_parser *parser)
{
    size_t first_len = cmsgr__padded(parser->preamble.seg_len[0]);
    int result;

    if (parser->segment == 0 && first_len > CMSGR__SEALED_INLINE) {
        parser->segment = 1;
        parser->run_left = first_len - CMSGR__SEALED_INLINE;
    } else if (parser->revision && parser->segment < 2 && has_sealed_trailer(parser)) {
        parser->segment = 2;
        parser->run_left = parser->body_len - first_len;
    } else if (has_sealed_trailer(parser)) {
        return end_with_status(parser, parser->body[parser->body_len - CMSGR__SEALED_TRAILER]);
    } else {
        parser->stage = SEALED_HEAD;
        return CMSGR_PARSE_FRAME;
    }
    result = parser->cipher->begin(parser->cipher);
    parser->stage = OPERATION;
    return result < 0 ? fail(parser, result, 0, 0) : CMSGR_PARSE_MORE;
}

/* ---- Both modes ---- */

/* How much of the current segment the body has room for. */
static size_t segment_room(const cmsgr_parser *parser)
{
    size_t room = parser->body_cap > parser->body_filled ? parser->body_cap - parser->body_filled : 0;

    return room < parser->run_left ? room : parser->run_left;
}

/* The next bytes of the body: checksummed where they lie there, or decrypted into it from `in`, which may be their place too. */
static void take_in(cmsgr_parser *parser, const uint8_t *in, size_t len)
{
    uint8_t *at = parser->body + parser->body_filled;
    int result;

    parser->body_filled += len;
    parser->run_left -= len;
    if (parser->stage == SEGMENT)
        parser->seg_crc[parser->segment] = parser->env->crc32c.fn(parser->seg_crc[parser->segment], at, len);
    else if ((result = parser->cipher->update(parser->cipher, in, at, len)) < 0)
        fail(parser, result, 0, 0); /* the next step says so */
}

/* Moves input into the body: 0 to go on, CMSGR_PARSE_ROOM, or -1 for want of input. */
static int fill(cmsgr_parser *parser, const uint8_t **data, size_t *len)
{
    size_t n = segment_room(parser);

    if (n == 0)
        return CMSGR_PARSE_ROOM;
    if (*len == 0)
        return -1;
    if (n > *len)
        n = *len;
    if (parser->stage == SEGMENT)
        memcpy(parser->body + parser->body_filled, *data, n);
    take_in(parser, *data, n);
    *data += n;
    *len -= n;
    return 0;
}

int cmsgr_parser_step(cmsgr_parser *parser, const uint8_t **data, size_t *len)
{
    uint8_t tag[CMSGR__TAG_LEN];
    const uint8_t *piece;
    int result;
    size_t n;

    for (;;) {
        switch ((enum stage)parser->stage) {
        case PREAMBLE:
            piece = take(parser, data, len, CMSGR_PREAMBLE_LEN);
            return piece ? begin_frame(parser, piece) : CMSGR_PARSE_MORE;

        case SEGMENT:
            if (parser->run_left) {
                if ((result = fill(parser, data, len)) != 0)
                    return result < 0 ? CMSGR_PARSE_MORE : result;
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

        case SEALED_HEAD:
            n = parser->revision ? sizeof parser->pending : CMSGR_PREAMBLE_LEN;
            piece = take(parser, data, len, n);
            return piece ? open_head(parser, piece) : CMSGR_PARSE_MORE;

        case INLINE_PART:
            n = cmsgr__padded(parser->preamble.seg_len[0]);
            if (n > CMSGR__SEALED_INLINE)
                n = CMSGR__SEALED_INLINE;
            if (parser->body_cap < n)
                return CMSGR_PARSE_ROOM;
            if (n)
                memcpy(parser->body, parser->inline_part, n);
            parser->body_filled = n;
            if ((result = next_operation(parser)) != CMSGR_PARSE_MORE)
                return result;
            break;

        case OPERATION:
            if (!parser->run_left)
                parser->stage = TAG;
            else if ((result = fill(parser, data, len)) != 0)
                return result < 0 ? CMSGR_PARSE_MORE : result;
            break;

        case TAG:
            piece = take(parser, data, len, CMSGR__TAG_LEN);
            if (!piece)
                return CMSGR_PARSE_MORE;
            memcpy(tag, piece, sizeof tag);
            if ((result = parser->cipher->finish(parser->cipher, tag)) < 0)
                return fail(parser, result, 0, 0);
            if (!parser->revision)
                return end_with_status(parser, parser->body[parser->body_len - CMSGR__SEALED_TRAILER]);
            if ((result = next_operation(parser)) != CMSGR_PARSE_MORE)
                return result;
            break;

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
    size_t room = parser->stage == SEGMENT || parser->stage == OPERATION ? segment_room(parser) : 0;

    *dest = room ? parser->body + parser->body_filled : NULL;
    return room;
}

void cmsgr_parser_filled(cmsgr_parser *parser, size_t len)
{
    if (len)
        take_in(parser, parser->body + parser->body_filled, len);
}

size_t cmsgr_parser_segment_at(const cmsgr_parser *parser, unsigned segment)
{
    size_t at = 0;

    for (unsigned i = 0; i < segment; i++)
        at += parser->cipher && !parser->unpacked ? cmsgr__padded(parser->preamble.seg_len[i]) : parser->preamble.seg_len[i];
    return at;
}

/* ---- Compressed frames ---- */

int cmsgr_parser_is_compressed(const cmsgr_parser *parser)
{
    return parser->preamble.flags & CMSGR__FLAG_COMPRESSED && !parser->unpacked;
}

ssize_t cmsgr_parser_plain_len(cmsgr_parser *parser)
{
    const cmsgr_preamble *preamble = &parser->preamble;
    size_t total = 0;

    for (unsigned i = 0; i < preamble->num_segments; i++) {
        uint32_t limit = segment_limit(parser, i), len = preamble->seg_len[i];
        int64_t plain = 0;

        if (len)
            plain = parser->codec->plain_len(parser->env, parser->body + cmsgr_parser_segment_at(parser, i), len, limit);
        if (plain < 0)
            return fail(parser, (int)plain, 0, 0);
        if (plain > limit)
            return fail(parser, CMSGR_E_SEGMENT_TOO_LONG, (uint64_t)plain, limit);
        if ((uint64_t)plain > SIZE_MAX / 8)
            return fail(parser, CMSGR_E_SEGMENT_TOO_LONG, (uint64_t)plain, SIZE_MAX / 8);
        parser->plain_len[i] = (uint32_t)plain;
        total += (size_t)plain;
    }
    return (ssize_t)total;
}

size_t cmsgr_parser_plain_at(const cmsgr_parser *parser, unsigned segment)
{
    size_t at = 0;

    for (unsigned i = 0; i < segment; i++)
        at += i < parser->preamble.num_segments ? parser->plain_len[i] : 0;
    return at;
}

int cmsgr_parser_decompress(cmsgr_parser *parser, uint8_t *out)
{
    cmsgr_preamble *preamble = &parser->preamble;

    for (unsigned i = 0; i < preamble->num_segments; i++) {
        int result = 0;

        if (preamble->seg_len[i])
            result = parser->codec->decompress(parser->env, parser->body + cmsgr_parser_segment_at(parser, i),
                                               preamble->seg_len[i], out, parser->plain_len[i]);
        if (result < 0)
            return fail(parser, result, 0, 0);
        out += parser->plain_len[i];
    }
    memcpy(preamble->seg_len, parser->plain_len, preamble->num_segments * sizeof *preamble->seg_len);
    parser->unpacked = 1;
    return 0;
}

uint64_t cmsgr_parser_got(const cmsgr_parser *parser)
{
    return parser->got;
}

uint64_t cmsgr_parser_expected(const cmsgr_parser *parser)
{
    return parser->expected;
}
