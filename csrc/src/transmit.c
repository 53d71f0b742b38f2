/*
 * Stream, bytes out: messages and small frames become a chain of pieces, the chain one gathering sendmsg.
 *
 * Nothing is assembled while bytes of an earlier round are unsent, so a message of high priority waits for at most one
 * assembled batch, and EVENT_WRITABLE is registered exactly while bytes remain unsent: added on the first short write,
 * removed at zero.
 */
#include "stream.h"

#include <errno.h>

#include "session.h"
#include "worker.h"

enum {
    /* What is assembled for one sendmsg: no more than a socket buffer takes, and as sealed memory than the L2 cache holds. With half of
     * it messages of 64 to 256 KiB went at three quarters of the rate. */
    BATCH_LEN = 512 * 1024,
    /* Pieces and own bytes of one message at most: head, header, three copied segments, tail. */
    MESSAGE_PIECES = 5,
    MESSAGE_INLINE = CMSGR__FRAME_HEAD_MAX + CMSGR_HEADER_LEN + 3 * CMSGR__COPY_MAX + CMSGR__FRAME_TAIL_MAX
};

static void entry_left_chain(void *arg, cmsgr_entry *entry)
{
    cmsgr_stream *stream = arg;

    if (entry->done)
        cmsgr__session_retire(stream->session, entry);
}

/* ---- Assembling ---- */

static int put_sealed(cmsgr_stream *stream, int tag, const cmsgr_span *segments, unsigned count, int flags)
{
    cmsgr__chain_sink sink = cmsgr__chain_sink_of(&stream->chain);

    return cmsgr__frame_seal(stream->env, stream->revision, stream->seal_cipher, tag, segments, NULL, count, flags, &sink.sink);
}

/* Into the chain's own memory. */
static int put_flat(cmsgr_stream *stream, int tag, const cmsgr_span *segments, unsigned count, int flags)
{
    size_t seg_len[CMSGR_MAX_SEGMENTS], wire_len;

    for (unsigned i = 0; i < count; i++)
        seg_len[i] = segments[i].len;
    wire_len = cmsgr_frame_wire_len(stream->revision, seg_len, count);
    if (cmsgr__chain_prepare(&stream->chain, 1, wire_len) < 0)
        return -ENOMEM;
    cmsgr_frame_assemble(stream->env, stream->revision, tag, segments, NULL, count, flags, cmsgr__chain_room(&stream->chain),
                         wire_len);
    cmsgr__chain_commit(&stream->chain, wire_len);
    return 0;
}

/* The compressed segments in one block of the pool, which *memory becomes: 1. 0 if the frame goes as it is: nothing was agreed on,
 * it is short, or compression gains nothing, for want of memory too. */
static int compress(cmsgr_stream *stream, const cmsgr_span *segments, unsigned count, cmsgr_span *packed, uint8_t **memory)
{
    size_t total = 0, bound = 0, used = 0;

    if (!stream->compression)
        return 0;
    for (unsigned i = 0; i < count; i++) {
        if (segments[i].len > CMSGR__COMPRESS_MAX - total)
            return 0;
        total += segments[i].len;
        bound += segments[i].len ? cmsgr_compress_bound(stream->compression, segments[i].len) : 0;
    }
    if (!total || total < stream->compress_min || !(*memory = cmsgr__pool_get(stream->worker->pool, bound)))
        return 0;
    for (unsigned i = 0; i < count && used < total; i++) {
        ssize_t len = 0;

        if (segments[i].len)
            len = cmsgr_compress(stream->env, stream->compression, segments[i].data, segments[i].len, *memory + used, bound - used);
        packed[i] = (cmsgr_span){*memory + used, len > 0 ? (size_t)len : 0};
        used = len < 0 ? total : used + packed[i].len;
    }
    if (used < total)
        return 1;
    cmsgr__pool_put(*memory);
    return 0;
}

/* 1 if the frame was put in compressed form, 0 if it is to go as it is, or an error. */
static int put_compressed(cmsgr_stream *stream, int tag, const cmsgr_span *segments, unsigned count)
{
    cmsgr_span packed[CMSGR_MAX_SEGMENTS];
    uint8_t *memory;
    int result;

    if (!compress(stream, segments, count, packed, &memory))
        return 0;
    result = stream->seal_cipher ? put_sealed(stream, tag, packed, count, CMSGR_FRAME_COMPRESSED)
                                 : put_flat(stream, tag, packed, count, CMSGR_FRAME_COMPRESSED);
    cmsgr__pool_put(memory);
    return result < 0 ? result : 1;
}

static int put_frame(cmsgr_stream *stream, int tag, const void *payload, size_t len)
{
    cmsgr_span segment = {payload, len};
    int result = put_compressed(stream, tag, &segment, 1);

    if (result)
        return result < 0 ? result : 0;
    return stream->seal_cipher ? put_sealed(stream, tag, &segment, 1, 0) : put_flat(stream, tag, &segment, 1, 0);
}

static int put_message(cmsgr_stream *stream, cmsgr_entry *entry)
{
    cmsgr__chain *chain = &stream->chain;
    uint8_t header[CMSGR_HEADER_LEN];
    cmsgr_span segments[CMSGR_MAX_SEGMENTS] = {
        {header, sizeof header}, entry->segment[0], entry->segment[1], entry->segment[2]};
    int result;

    cmsgr_header_encode(&entry->header, header);
    result = put_compressed(stream, CMSGR_TAG_MESSAGE, segments, CMSGR_MAX_SEGMENTS);
    if (result)
        return result < 0 ? result : 0;
    if (stream->seal_cipher)
        return put_sealed(stream, CMSGR_TAG_MESSAGE, segments, CMSGR_MAX_SEGMENTS, 0);
    cmsgr__chain_commit(chain, cmsgr__frame_head(stream->env, stream->revision, CMSGR_TAG_MESSAGE, segments, NULL,
                                                 CMSGR_MAX_SEGMENTS, cmsgr__chain_room(chain)));
    for (int i = 1; i < CMSGR_MAX_SEGMENTS; i++) {
        if (segments[i].len <= CMSGR__COPY_MAX)
            cmsgr__chain_copy(chain, segments[i].data, segments[i].len);
        else
            cmsgr__chain_borrow(chain, segments[i].data, segments[i].len, entry);
    }
    cmsgr__chain_commit(chain, cmsgr__frame_tail(stream->env, stream->revision, segments, CMSGR_MAX_SEGMENTS, 0,
                                                 cmsgr__chain_room(chain)));
    return 0;
}

/* 1 if this outgoing frame must first be seen by the interceptor: nothing is assembled until it answered. */
static int intercept(cmsgr_stream *stream, int tag)
{
    uint32_t bit = 1u << tag;

    if (!(stream->mask_sent & bit))
        return 0;
    if (stream->pass_sent & bit) {
        stream->pass_sent &= ~bit;
        return 0;
    }
    stream->held_sent = bit;
    stream->sent_item =
        (cmsgr_item){.kind = CMSGR_ITEM_INTERCEPTED, .stream = stream, .session = stream->session, .tag = tag, .sent = 1};
    cmsgr__worker_add_item(stream->worker, &stream->sent_item);
    return 1;
}

static int put_keepalives(cmsgr_stream *stream)
{
    const cmsgr_driver *driver = &stream->env->driver;
    cmsgr_session *session = stream->session;
    int result = 0;

    if (stream->ack_keepalive && !intercept(stream, CMSGR_TAG_KEEPALIVE2_ACK)) {
        stream->ack_keepalive = 0;
        result = put_frame(stream, CMSGR_TAG_KEEPALIVE2_ACK, stream->keepalive_stamp, sizeof stream->keepalive_stamp);
    }
    if (result == 0 && !stream->held_sent && atomic_load_explicit(&session->keepalive_wanted, memory_order_relaxed) &&
        !intercept(stream, CMSGR_TAG_KEEPALIVE2)) {
        int64_t wall_ns = driver->wall_ns(driver->ctx);
        uint8_t stamp[8];

        atomic_store(&session->keepalive_wanted, 0);
        cmsgr__put32(stamp, (uint32_t)(wall_ns / 1000000000));
        cmsgr__put32(stamp + 4, (uint32_t)(wall_ns % 1000000000));
        cmsgr__count(stream->worker->stats.keepalives_sent, 1);
        result = put_frame(stream, CMSGR_TAG_KEEPALIVE2, stamp, sizeof stamp);
    }
    return result;
}

static int put_messages(cmsgr_stream *stream, int64_t now_ns)
{
    cmsgr_worker *worker = stream->worker;
    cmsgr_session *session = stream->session;

    while (stream->chain.bytes < BATCH_LEN) {
        cmsgr_entry *entry;
        int result;

        if (stream->mask_sent && cmsgr__session_has_queued(session) && intercept(stream, CMSGR_TAG_MESSAGE))
            return 0;
        /* Before it is numbered: a number once given must go out. */
        if (cmsgr__chain_prepare(&stream->chain, MESSAGE_PIECES, MESSAGE_INLINE) < 0)
            return -ENOMEM;
        entry = cmsgr__session_next(session);
        if (!entry) {
            cmsgr__chain_relax(&stream->chain);
            return 0;
        }
        cmsgr__count(worker->stats.send_messages, 1);
        cmsgr__count(worker->stats.queue_latency_ns, now_ns - entry->queued_ns);
        result = put_message(stream, entry);
        cmsgr__session_written(session, entry); /* also if that failed: a lossless session sends it again */
        if (result < 0)
            return result;
    }
    return 0;
}

/* An acknowledgement of its own, if no message took it along. */
static int put_ack(cmsgr_stream *stream)
{
    cmsgr_session *session = stream->session;
    uint8_t payload[8];
    int result;

    if (!session->lossless || session->told_seq == session->in_seq || intercept(stream, CMSGR_TAG_ACK))
        return 0;
    cmsgr__put64(payload, session->in_seq);
    result = put_frame(stream, CMSGR_TAG_ACK, payload, sizeof payload);
    if (result < 0)
        return result;
    session->told_seq = session->in_seq;
    cmsgr__count(stream->worker->stats.acks_sent, 1);
    return 0;
}

static int assemble(cmsgr_stream *stream, int64_t now_ns)
{
    int result = put_keepalives(stream);

    if (result == 0 && !stream->held_sent)
        result = put_messages(stream, now_ns);
    if (result == 0 && !stream->held_sent)
        result = put_ack(stream);
    return result;
}

/* ---- Sending ---- */

enum { SENT_ALL = 1, WOULD_BLOCK = 0, CONGESTED = 2 };

/* One sendmsg: one of the above, or an error. */
static int send_once(cmsgr_stream *stream, int64_t now_ns)
{
    const cmsgr_driver *driver = &stream->env->driver;
    struct iovec iov[CMSGR__IOV_MAX];
    size_t len;
    int count = cmsgr__chain_iov(&stream->chain, iov, CMSGR__IOV_MAX, &len);
    ssize_t taken;

    if (stream->inject_congestion > 1 && !cmsgr__stream_is_unlucky(stream, stream->inject_congestion))
        return CONGESTED;
    if (cmsgr__stream_is_unlucky(stream, stream->inject_failures))
        driver->shutdown(driver->ctx, stream->fd);
    taken = driver->sendmsg(driver->ctx, stream->fd, iov, count, len < stream->chain.bytes);
    cmsgr__count(stream->worker->stats.send_calls, 1);
    if (taken < 0 && taken != -EAGAIN)
        return (int)taken;
    if (taken > 0) {
        cmsgr__count(stream->worker->stats.send_bytes, (uint64_t)taken);
        cmsgr__chain_consume(&stream->chain, (size_t)taken, entry_left_chain, stream);
        if (stream->session)
            atomic_store_explicit(&stream->session->last_write_ns, now_ns, memory_order_relaxed);
    }
    return taken == (ssize_t)len ? SENT_ALL : WOULD_BLOCK;
}

static int set_writable(cmsgr_stream *stream, int wanted)
{
    cmsgr_center *center = stream->worker->center;
    int result;

    if (wanted == stream->writable_wanted)
        return 0;
    if (wanted)
        result = cmsgr_center_add_file(center, stream->fd, CMSGR_WRITABLE, CMSGR_PHASE_IO, cmsgr__stream_on_file, stream);
    else
        result = cmsgr_center_del_file(center, stream->fd, CMSGR_WRITABLE);
    if (result == 0)
        stream->writable_wanted = wanted;
    return result;
}

static int send_all(cmsgr_stream *stream)
{
    int64_t now_ns = cmsgr__now(stream->env);
    uint64_t limit = stream->worker->stats.send_bytes + CMSGR__FLUSH_BUDGET;
    int result = SENT_ALL;

    while (result == SENT_ALL) {
        if (stream->ready && !stream->held_sent && !stream->chain.bytes && (result = assemble(stream, now_ns)) < 0)
            return result;
        if (!stream->chain.bytes)
            return set_writable(stream, 0);
        if (stream->worker->stats.send_bytes >= limit) {
            result = set_writable(stream, 0);
            cmsgr__stream_mark_dirty(stream); /* the rest in the next turn: others wait */
            return result;
        }
        result = send_once(stream, now_ns);
    }
    if (result == CONGESTED) { /* the kernel would take it, so it will not tell when to try again */
        cmsgr__list_add(&stream->worker->dirty, &stream->dirty_link);
        return 0;
    }
    return result < 0 ? result : set_writable(stream, 1);
}

void cmsgr__stream_flush(cmsgr_stream *stream)
{
    int result;

    if (stream->state == CMSGR__DEAD || !stream->connected)
        return;
    result = send_all(stream);
    if (result < 0)
        cmsgr__stream_fault(stream, result, 0, 0);
}

ssize_t cmsgr_stream_try_send(cmsgr_stream *stream)
{
    cmsgr__stream_flush(stream);
    return stream->state == CMSGR__DEAD ? stream->fault_item.error : (ssize_t)stream->chain.bytes;
}

size_t cmsgr_stream_unsent_bytes(const cmsgr_stream *stream)
{
    return stream->chain.bytes;
}

int cmsgr_stream_send_bytes(cmsgr_stream *stream, const void *data, size_t len)
{
    if (stream->state == CMSGR__DEAD)
        return 0;
    if (cmsgr__chain_prepare(&stream->chain, 1, len) < 0)
        return -ENOMEM;
    cmsgr__chain_copy(&stream->chain, data, len);
    cmsgr__stream_mark_dirty(stream);
    return 0;
}

int cmsgr_stream_send_frame(cmsgr_stream *stream, int tag, const void *payload, size_t len)
{
    int result;

    if (stream->state == CMSGR__DEAD)
        return 0;
    result = put_frame(stream, tag, payload, len);
    if (result == 0)
        cmsgr__stream_mark_dirty(stream);
    else
        cmsgr__stream_fault(stream, result, 0, 0); /* part of the frame may be in the chain */
    return result;
}

void cmsgr__stream_end_transmit(cmsgr_stream *stream)
{
    cmsgr__chain_clear(&stream->chain, entry_left_chain, stream);
}
