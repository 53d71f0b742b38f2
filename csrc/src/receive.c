/*
 * Stream, bytes in: banner, then frames. Runs in the I/O phase, without the binding's lock.
 *
 * The parser keeps what is incomplete, so the worker's receive buffer is free again after each read. Only a stream that stands
 * still (a frame was handed up, or a throttle refused) parks the bytes that the same read brought behind it; nothing more is
 * read meanwhile, so they are bounded by the receive buffer.
 */
#include "stream.h"

#include <errno.h>

#include "session.h"
#include "worker.h"

enum {
    BANNER_PREFIX_LEN = 8,
    BANNER_FIXED_LEN = BANNER_PREFIX_LEN + 2,
    BANNER_PAYLOAD_MIN = 16,
    CONTROL_STEP = 4096, /* a control frame's memory starts here and grows with what arrives */
    /* From this on a segment is read straight into its place; below, one copy is cheaper than a second iovec. */
    DIRECT_MIN = 16 * 1024
};

static const uint8_t banner_prefix[BANNER_PREFIX_LEN] = "ceph v2\n";

/* ---- Handing up ---- */

static void stream_surface(cmsgr_stream *stream, int kind, int tag)
{
    stream->state = CMSGR__HELD;
    stream->item = (cmsgr_item){.kind = kind, .stream = stream, .session = stream->session, .tag = tag};
    cmsgr__worker_add_item(stream->worker, &stream->item);
}

static void surface_frame(cmsgr_stream *stream, int tag)
{
    stream_surface(stream, CMSGR_ITEM_FRAME, tag);
    stream->item.payload = (cmsgr_span){stream->control.data, stream->control.len};
    stream->item.wire = (cmsgr_span){stream->wire.data, stream->wire.len};
}

/* ---- Banner ---- */

static void banner_take(cmsgr_stream *stream, const uint8_t **data, size_t *len, size_t wanted)
{
    size_t n = wanted - stream->control.len;

    if (n > *len)
        n = *len;
    if (cmsgr__bytes_append(stream->env, &stream->control, *data, n) < 0) {
        cmsgr__stream_fault(stream, -ENOMEM, 0, 0);
        return;
    }
    *data += n;
    *len -= n;
}

static void banner_step(cmsgr_stream *stream, const uint8_t **data, size_t *len)
{
    cmsgr__bytes *banner = &stream->control;
    size_t payload_len, seen;

    if (banner->len < BANNER_FIXED_LEN) {
        banner_take(stream, data, len, BANNER_FIXED_LEN);
        if (stream->state == CMSGR__DEAD)
            return;
        seen = banner->len < BANNER_PREFIX_LEN ? banner->len : BANNER_PREFIX_LEN;
        /* Byte by byte: a peer of another kind may never send a tenth byte. */
        if (memcmp(banner->data, banner_prefix, seen) != 0) {
            cmsgr__stream_fault(stream, CMSGR_E_BANNER, 0, 0);
            return; /* the fault refers to what came: it must stay where it is */
        }
        if (banner->len < BANNER_FIXED_LEN)
            return;
    }
    payload_len = cmsgr__get16(banner->data + BANNER_PREFIX_LEN);
    if (payload_len < BANNER_PAYLOAD_MIN) {
        cmsgr__stream_fault(stream, CMSGR_E_BANNER_LENGTH, payload_len, BANNER_PAYLOAD_MIN);
        return;
    }
    banner_take(stream, data, len, BANNER_FIXED_LEN + payload_len);
    if (stream->state == CMSGR__DEAD || banner->len < BANNER_FIXED_LEN + payload_len)
        return;
    stream->banner_done = 1;
    stream_surface(stream, CMSGR_ITEM_FRAME, CMSGR_TAG_BANNER);
    stream->item.payload = (cmsgr_span){banner->data + BANNER_FIXED_LEN, payload_len};
    stream->item.wire = (cmsgr_span){banner->data, banner->len};
}

/* ---- Throttles and memory of a message ---- */

static int64_t claim_amount(const cmsgr_stream *stream, int which)
{
    return which == CMSGR__POLICY_MESSAGES || which == CMSGR__DISPATCH_MESSAGES ? 1 : stream->msg_cost;
}

/* The throttle if this step really takes something, else NULL. */
static cmsgr_throttle *claim_from(const cmsgr_stream *stream, int which)
{
    return claim_amount(stream, which) ? stream->throttle[which] : NULL;
}

static void message_begin_body(cmsgr_stream *stream)
{
    size_t body_len = cmsgr_parser_body_len(&stream->parser);

    stream->msg = cmsgr__msg_new(stream->worker->pool, body_len, cmsgr_parser_segment_at(&stream->parser, 3));
    if (!stream->msg) {
        cmsgr__stream_fault(stream, -ENOMEM, body_len, 0);
        return;
    }
    cmsgr_parser_set_body(&stream->parser, stream->msg->body, stream->msg->body_cap);
}

static void message_acquire(cmsgr_stream *stream)
{
    for (; stream->throttle_next < CMSGR__THROTTLES; stream->throttle_next++) {
        cmsgr_throttle *throttle = claim_from(stream, stream->throttle_next);

        if (throttle &&
            !cmsgr__throttle_acquire(throttle, &stream->waiter, claim_amount(stream, stream->throttle_next))) {
            stream->state = CMSGR__THROTTLED;
            stream->waiting_for = throttle;
            cmsgr__count(stream->worker->stats.throttle_stalls, 1);
            return;
        }
    }
    stream->state = CMSGR__PARSING;
    message_begin_body(stream);
}

static void stream_on_granted(cmsgr__kick *kick)
{
    cmsgr_stream *stream = CMSGR__OWNER(kick, cmsgr_stream, waiter.kick);

    if (stream->state != CMSGR__THROTTLED)
        return; /* faulted meanwhile: claims_return finds the amount */
    stream->waiting_for = NULL;
    stream->throttle_next++;
    message_acquire(stream);
    cmsgr__stream_mark_hot(stream);
}

/* What was granted so far goes to the message, which gives it back in its own time. */
static void claims_move(cmsgr_stream *stream, cmsgr__msg *msg)
{
    cmsgr_throttle **place[CMSGR__THROTTLES] = {&msg->policy_messages, &msg->policy_bytes, &msg->dispatch_bytes,
                                                &msg->dispatch_messages};

    msg->cost = stream->msg_cost;
    for (int i = 0; i < stream->throttle_next; i++) {
        *place[i] = claim_from(stream, i);
        if (*place[i])
            cmsgr_throttle_ref(*place[i]);
    }
    atomic_store_explicit(&msg->undispatched, msg->dispatch_bytes || msg->dispatch_messages, memory_order_relaxed);
    stream->throttle_next = 0;
}

static void claims_return(cmsgr_stream *stream)
{
    if (stream->waiting_for && !cmsgr__throttle_cancel(stream->waiting_for, &stream->waiter))
        stream->throttle_next++; /* granted, but the kick had not told us */
    stream->waiting_for = NULL;
    for (int i = 0; i < stream->throttle_next; i++) {
        cmsgr_throttle *throttle = claim_from(stream, i);

        if (throttle)
            cmsgr_throttle_put(throttle, claim_amount(stream, i));
    }
    stream->throttle_next = 0;
}

/* ---- Complete frames ---- */

static void message_drop(cmsgr_stream *stream)
{
    claims_return(stream);
    cmsgr_msg_unref(&stream->msg->pub);
    stream->msg = NULL;
}

/* Of several in one round only the first is told; all are counted. */
static void surface_sequence(cmsgr_stream *stream, uint64_t got, uint64_t expected)
{
    if (stream->sequence_listed)
        return;
    stream->sequence_listed = 1;
    stream->sequence_item = (cmsgr_item){
        .kind = CMSGR_ITEM_SEQUENCE, .stream = stream, .session = stream->session, .got = got, .expected = expected};
    cmsgr__worker_add_item(stream->worker, &stream->sequence_item);
}

static void on_message(cmsgr_stream *stream)
{
    const cmsgr_preamble *preamble = cmsgr_parser_preamble(&stream->parser);
    cmsgr_session *session = stream->session;
    cmsgr__msg *msg = stream->msg;
    uint64_t seq;

    cmsgr_header_decode(&msg->pub.header, msg->body);
    seq = msg->pub.header.seq;
    if (seq <= session->in_seq) {
        cmsgr__count(stream->worker->stats.duplicates_dropped, 1);
        surface_sequence(stream, seq, session->in_seq + 1);
        message_drop(stream);
        return;
    }
    if (seq > session->in_seq + 1) {
        cmsgr__count(stream->worker->stats.sequence_gaps, 1);
        surface_sequence(stream, seq, session->in_seq + 1);
    }
    if (session->lossless) {
        if (cmsgr__session_acked(session, msg->pub.header.ack_seq) < 0) {
            cmsgr__stream_fault(stream, CMSGR_E_ACK_BEYOND_SENT, msg->pub.header.ack_seq, session->out_seq);
            return;
        }
        cmsgr__stream_mark_dirty(stream); /* an acknowledgement is owed */
    }
    atomic_store_explicit(&session->in_seq, seq, memory_order_relaxed);
    for (unsigned i = 0; i < 3; i++)
        msg->pub.segment[i] =
            (cmsgr_span){msg->body + cmsgr_parser_segment_at(&stream->parser, i + 1), preamble->seg_len[i + 1]};
    msg->pub.received_ns = session->last_read_ns;
    claims_move(stream, msg);
    stream->msg = NULL;
    cmsgr__count(stream->worker->stats.recv_messages, 1);
    cmsgr_session_ref(session);
    msg->item = (cmsgr_item){.kind = CMSGR_ITEM_MESSAGE, .session = session, .msg = &msg->pub};
    cmsgr__worker_add_item(stream->worker, &msg->item);
}

static void on_ack(cmsgr_stream *stream, uint64_t seq)
{
    cmsgr_worker *worker = stream->worker;
    int64_t began_ns;

    if (!stream->session->lossless)
        return;
    began_ns = cmsgr__now(stream->env);
    if (cmsgr__session_acked(stream->session, seq) < 0)
        cmsgr__stream_fault(stream, CMSGR_E_ACK_BEYOND_SENT, seq, stream->session->out_seq);
    cmsgr__count(worker->stats.acks_handled, 1);
    cmsgr__count(worker->stats.handle_ack_ns, cmsgr__now(stream->env) - began_ns);
}

static void on_keepalive(cmsgr_stream *stream)
{
    const cmsgr_driver *driver = &stream->env->driver;

    memcpy(stream->keepalive_stamp, stream->control.data, sizeof stream->keepalive_stamp);
    stream->ack_keepalive = 1;
    atomic_store_explicit(&stream->session->last_keepalive_ns, driver->wall_ns(driver->ctx), memory_order_relaxed);
    cmsgr__stream_mark_dirty(stream);
}

static void on_keepalive_ack(cmsgr_stream *stream)
{
    const uint8_t *stamp = stream->control.data;
    int64_t stamp_ns = (int64_t)cmsgr__get32(stamp) * 1000000000 + cmsgr__get32(stamp + 4);

    atomic_store_explicit(&stream->session->last_keepalive_ack_ns, stamp_ns, memory_order_relaxed);
}

/* ACK, KEEPALIVE2 and its answer are 8 bytes each: 1 if the frame was one of them. */
static int on_small_frame(cmsgr_stream *stream, int tag)
{
    if (tag != CMSGR_TAG_ACK && tag != CMSGR_TAG_KEEPALIVE2 && tag != CMSGR_TAG_KEEPALIVE2_ACK)
        return 0;
    if (stream->control.len < 8)
        cmsgr__stream_fault(stream, CMSGR_E_CONTROL_LENGTH, stream->control.len, 8);
    else if (tag == CMSGR_TAG_ACK)
        on_ack(stream, cmsgr__get64(stream->control.data));
    else if (tag == CMSGR_TAG_KEEPALIVE2)
        on_keepalive(stream);
    else
        on_keepalive_ack(stream);
    return 1;
}

static void on_frame(cmsgr_stream *stream)
{
    int tag = cmsgr_parser_preamble(&stream->parser)->tag;

    if (tag < 32 && (stream->mask_received >> tag & 1) && !stream->pass_received) {
        stream->pass_received = 1;
        stream_surface(stream, CMSGR_ITEM_INTERCEPTED, tag);
        return;
    }
    stream->pass_received = 0;
    if (tag == CMSGR_TAG_MESSAGE)
        on_message(stream);
    else if (!stream->ready || !on_small_frame(stream, tag))
        surface_frame(stream, tag);
}

/* ---- Parsing ---- */

static void on_preamble(cmsgr_stream *stream)
{
    const cmsgr_preamble *preamble = cmsgr_parser_preamble(&stream->parser);
    size_t body_len = cmsgr_parser_body_len(&stream->parser);

    if (preamble->tag != CMSGR_TAG_MESSAGE) {
        stream->control.len = 0;
        if (preamble->num_segments != 1)
            cmsgr__stream_fault(stream, CMSGR_E_SEGMENT_COUNT, preamble->num_segments, 1);
        else if (cmsgr__bytes_reserve(stream->env, &stream->control, body_len < CONTROL_STEP ? body_len : CONTROL_STEP) < 0)
            cmsgr__stream_fault(stream, -ENOMEM, body_len, 0);
        else
            cmsgr_parser_set_body(&stream->parser, stream->control.data, stream->control.cap);
    } else if (!stream->ready) {
        surface_frame(stream, CMSGR_TAG_MESSAGE); /* out of place, whatever it says: nothing of it is read */
    } else if (preamble->seg_len[0] < CMSGR_HEADER_LEN && !cmsgr_parser_is_compressed(&stream->parser)) {
        cmsgr__stream_fault(stream, CMSGR_E_HEADER_LENGTH, preamble->seg_len[0], CMSGR_HEADER_LEN);
    } else {
        stream->throttle_next = 0;
        /* Of a compressed message what is compressed: reading stops before the first byte, from which alone one could know more. */
        stream->msg_cost = (int64_t)preamble->seg_len[1] + preamble->seg_len[2] + preamble->seg_len[3];
        message_acquire(stream);
    }
}

/* The body's memory is full and the frame goes on. */
static void on_room(cmsgr_stream *stream)
{
    size_t body_len = cmsgr_parser_body_len(&stream->parser);

    if (cmsgr_parser_preamble(&stream->parser)->tag == CMSGR_TAG_MESSAGE) {
        if (!stream->msg || cmsgr__msg_grow(stream->msg, stream->worker->pool, body_len) < 0)
            cmsgr__stream_fault(stream, -ENOMEM, body_len, 0);
        else
            cmsgr_parser_set_body(&stream->parser, stream->msg->body, stream->msg->body_cap);
        return;
    }
    stream->control.len = stream->control.cap; /* all of it is in use */
    if (cmsgr__bytes_reserve(stream->env, &stream->control, 1) < 0)
        cmsgr__stream_fault(stream, -ENOMEM, body_len, 0);
    else
        cmsgr_parser_set_body(&stream->parser, stream->control.data, stream->control.cap);
}

/* Memory for the decompressed message, in place of the other's, which *packed becomes. */
static uint8_t *message_unpacked(cmsgr_stream *stream, size_t len, cmsgr__msg **packed)
{
    cmsgr__msg *msg = cmsgr__msg_new(stream->worker->pool, len, cmsgr_parser_plain_at(&stream->parser, 3));

    while (msg && msg->body_cap < len) {
        if (cmsgr__msg_grow(msg, stream->worker->pool, len) < 0) {
            cmsgr_msg_unref(&msg->pub);
            msg = NULL;
        }
    }
    if (!msg)
        return NULL;
    *packed = stream->msg;
    stream->msg = msg;
    return msg->body;
}

static uint8_t *control_unpacked(cmsgr_stream *stream, size_t len, cmsgr__bytes *packed)
{
    cmsgr__bytes control = {0};

    if (cmsgr__bytes_reserve(stream->env, &control, len ? len : 1) < 0)
        return NULL;
    *packed = stream->control;
    stream->control = control;
    return control.data;
}

/* A complete frame's segments become what they were before its sender compressed them. Without success the stream has faulted. */
static int decompress(cmsgr_stream *stream)
{
    cmsgr_parser *parser = &stream->parser;
    cmsgr__msg *packed_msg = NULL;
    cmsgr__bytes packed_control = {0};
    ssize_t len;
    uint8_t *out;
    int result;

    if (!cmsgr_parser_is_compressed(parser))
        return 0;
    len = cmsgr_parser_plain_len(parser);
    if (len < 0)
        return cmsgr__stream_fault(stream, (int)len, cmsgr_parser_got(parser), cmsgr_parser_expected(parser));
    out = stream->msg ? message_unpacked(stream, (size_t)len, &packed_msg) : control_unpacked(stream, (size_t)len, &packed_control);
    if (!out)
        return cmsgr__stream_fault(stream, -ENOMEM, (uint64_t)len, 0);
    result = cmsgr_parser_decompress(parser, out);
    if (packed_msg)
        cmsgr_msg_unref(&packed_msg->pub);
    cmsgr__bytes_free(stream->env, &packed_control);
    if (result < 0)
        return cmsgr__stream_fault(stream, result, 0, 0);
    if (stream->msg && cmsgr_parser_preamble(parser)->seg_len[0] < CMSGR_HEADER_LEN)
        return cmsgr__stream_fault(stream, CMSGR_E_HEADER_LENGTH, cmsgr_parser_preamble(parser)->seg_len[0], CMSGR_HEADER_LEN);
    return 0;
}

static void on_parsed(cmsgr_stream *stream, int result)
{
    switch (result) {
    case CMSGR_PARSE_PREAMBLE:
        on_preamble(stream);
        break;
    case CMSGR_PARSE_ROOM:
        on_room(stream);
        break;
    case CMSGR_PARSE_FRAME:
        if (decompress(stream) < 0)
            break;
        stream->control.len = stream->msg ? 0 : cmsgr_parser_preamble(&stream->parser)->seg_len[0];
        on_frame(stream);
        break;
    case CMSGR_PARSE_ABORTED:
        cmsgr__count(stream->worker->stats.frames_aborted, 1);
        stream->wire.len = 0;
        if (stream->msg)
            message_drop(stream);
        break;
    default:
        cmsgr__stream_fault(stream, result, cmsgr_parser_got(&stream->parser), cmsgr_parser_expected(&stream->parser));
    }
}

/* Parses until the input is used up or the stream stands still; returns how much was used. */
static size_t stream_parse(cmsgr_stream *stream, const uint8_t *data, size_t len)
{
    const uint8_t *at = data, *before;
    int result = !CMSGR_PARSE_MORE;

    if (stream->pass_received && stream->state == CMSGR__PARSING)
        on_frame(stream); /* the intercepted frame goes on first */
    while (stream->state == CMSGR__PARSING && result != CMSGR_PARSE_MORE) {
        if (!stream->banner_done) {
            if (!len)
                break;
            banner_step(stream, &at, &len);
            continue;
        }
        before = at;
        result = cmsgr_parser_step(&stream->parser, &at, &len);
        if (!stream->ready && cmsgr__bytes_append(stream->env, &stream->wire, before, (size_t)(at - before)) < 0)
            cmsgr__stream_fault(stream, -ENOMEM, 0, 0);
        else if (result != CMSGR_PARSE_MORE)
            on_parsed(stream, result);
    }
    return (size_t)(at - data);
}

/* ---- Reading ---- */

/* 1 if all parked bytes were parsed and the stream may read. */
static int parse_parked(cmsgr_stream *stream)
{
    cmsgr__bytes *parked = &stream->parked;

    /* Without any, an intercepted frame goes on: not even 0 may be added to NULL. */
    stream->parked_start += stream_parse(stream, parked->data ? parked->data + stream->parked_start : NULL,
                                         parked->len - stream->parked_start);
    if (stream->state != CMSGR__PARSING)
        return 0;
    cmsgr__bytes_free(stream->env, parked);
    stream->parked_start = 0;
    return 1;
}

static void park(cmsgr_stream *stream, const uint8_t *data, size_t len)
{
    if (stream->state != CMSGR__DEAD && cmsgr__bytes_append(stream->env, &stream->parked, data, len) < 0)
        cmsgr__stream_fault(stream, -ENOMEM, len, 0);
}

/* A read of small messages brings fewer bytes: a batch of very many falls out of the cache between parsing and dispatch. */
static void adapt_read_len(cmsgr_stream *stream, uint64_t messages, int filled)
{
    if (messages > CMSGR__READ_MESSAGES && stream->read_len > CMSGR__RECV_MIN)
        stream->read_len /= 2;
    else if (filled && messages < CMSGR__READ_MESSAGES / 4 && stream->read_len < CMSGR__RECV_LEN)
        stream->read_len *= 2;
}

static void read_once(cmsgr_stream *stream)
{
    const cmsgr_driver *driver = &stream->env->driver;
    cmsgr_worker *worker = stream->worker;
    size_t want, direct, used;
    struct iovec iov[2];
    uint8_t *dest;
    uint64_t messages;
    ssize_t got;
    int count = 0, filled;

    if (cmsgr__stream_is_unlucky(stream, stream->inject_failures))
        driver->shutdown(driver->ctx, stream->fd);
    want = cmsgr_parser_want(&stream->parser, &dest);
    if (want < DIRECT_MIN || !stream->ready) /* before that every byte goes through stream_parse, which keeps it for the signature */
        want = 0;
    else
        iov[count++] = (struct iovec){.iov_base = dest, .iov_len = want};
    iov[count++] = (struct iovec){.iov_base = worker->recv_buffer, .iov_len = stream->read_len};
    got = driver->recv(driver->ctx, stream->fd, iov, count);
    cmsgr__count(worker->stats.recv_calls, 1);
    filled = got == (ssize_t)(want + stream->read_len);
    stream->more = filled || stream->hangup;
    if (got == -EAGAIN) {
        stream->more = 0;
        return;
    }
    if (got <= 0) {
        cmsgr__stream_fault(stream, got == 0 ? CMSGR_E_END_OF_STREAM : (int)got, 0, 0);
        return;
    }
    cmsgr__count(worker->stats.recv_bytes, (uint64_t)got);
    if (stream->session)
        atomic_store_explicit(&stream->session->last_read_ns, cmsgr__now(stream->env), memory_order_relaxed);
    direct = (size_t)got < want ? (size_t)got : want;
    if (direct)
        cmsgr_parser_filled(&stream->parser, direct);
    messages = worker->stats.recv_messages;
    used = stream_parse(stream, worker->recv_buffer, (size_t)got - direct);
    adapt_read_len(stream, worker->stats.recv_messages - messages, filled);
    if (used < (size_t)got - direct)
        park(stream, worker->recv_buffer + used, (size_t)got - direct - used);
}

void cmsgr__stream_receive(cmsgr_stream *stream)
{
    if (stream->state != CMSGR__PARSING)
        return;
    if ((stream->parked.data || stream->pass_received) && !parse_parked(stream))
        return;
    if (stream->more)
        read_once(stream);
    if (stream->more)
        cmsgr__stream_mark_hot(stream);
}

void cmsgr__stream_init_receive(cmsgr_stream *stream)
{
    stream->waiter.center = stream->worker->center;
    stream->waiter.kick.fn = stream_on_granted;
    stream->read_len = CMSGR__RECV_LEN;
}

void cmsgr__stream_end_receive(cmsgr_stream *stream)
{
    claims_return(stream);
    if (stream->msg)
        cmsgr_msg_unref(&stream->msg->pub);
    stream->msg = NULL;
    cmsgr__bytes_free(stream->env, &stream->control);
    cmsgr__bytes_free(stream->env, &stream->wire);
    cmsgr__bytes_free(stream->env, &stream->parked);
}
