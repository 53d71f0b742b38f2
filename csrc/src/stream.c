/*
 * Stream: one socket's bytes. Owns the descriptor; belongs to one worker and is touched by its owner only.
 *
 * Life: made with a socket, connecting or connected -> banner -> frames, one by one, each answered by the control plane ->
 * started (ready) with a session -> faulted or closed. A closed stream's memory stays until the round is over, because an event
 * or a list walk of this round may still name it.
 */
#include "stream.h"

#include <errno.h>

#include "session.h"
#include "worker.h"

int cmsgr__bytes_reserve(const cmsgr_env *env, cmsgr__bytes *bytes, size_t more)
{
    size_t cap = bytes->cap ? bytes->cap : 256;
    uint8_t *data;

    while (cap - bytes->len < more)
        cap *= 2;
    if (cap == bytes->cap)
        return 0;
    data = cmsgr__realloc(env, bytes->data, cap);
    if (!data)
        return -ENOMEM;
    bytes->data = data;
    bytes->cap = cap;
    return 0;
}

int cmsgr__bytes_append(const cmsgr_env *env, cmsgr__bytes *bytes, const void *data, size_t len)
{
    if (!len)
        return 0;
    if (cmsgr__bytes_reserve(env, bytes, len) < 0)
        return -ENOMEM;
    memcpy(bytes->data + bytes->len, data, len);
    bytes->len += len;
    return 0;
}

void cmsgr__bytes_free(const cmsgr_env *env, cmsgr__bytes *bytes)
{
    cmsgr__free(env, bytes->data);
    *bytes = (cmsgr__bytes){0};
}

void cmsgr__stream_mark_dirty(cmsgr_stream *stream)
{
    /* While bytes remain unsent the kernel tells when it takes more; trying earlier is a system call for nothing. */
    if (stream->state != CMSGR__DEAD && stream->connected && !stream->writable_wanted)
        cmsgr__list_add(&stream->worker->dirty, &stream->dirty_link);
}

void cmsgr__stream_mark_hot(cmsgr_stream *stream)
{
    if (stream->state == CMSGR__PARSING)
        cmsgr__list_add(&stream->worker->hot, &stream->hot_link);
}

int cmsgr__stream_fault(cmsgr_stream *stream, int error, uint64_t got, uint64_t expected)
{
    if (stream->state == CMSGR__DEAD)
        return error;
    stream->state = CMSGR__DEAD;
    cmsgr__list_del(&stream->dirty_link);
    cmsgr__list_del(&stream->hot_link);
    stream->fault_item = (cmsgr_item){
        .kind = CMSGR_ITEM_FAULT,
        .stream = stream,
        .session = stream->session,
        .error = error,
        .got = got,
        .expected = expected,
        .tag = stream->banner_done ? cmsgr_parser_preamble(&stream->parser)->tag : CMSGR_TAG_BANNER,
    };
    if (!stream->banner_done)
        stream->fault_item.payload = (cmsgr_span){stream->control.data, stream->control.len};
    cmsgr__worker_add_item(stream->worker, &stream->fault_item);
    return error;
}

/* xorshift64: good enough to break things with, and the same for the same seed. */
int cmsgr__stream_is_unlucky(cmsgr_stream *stream, uint32_t one_in)
{
    if (!one_in)
        return 0;
    stream->chance ^= stream->chance << 13;
    stream->chance ^= stream->chance >> 7;
    stream->chance ^= stream->chance << 17;
    return stream->chance % one_in == 0;
}

/* ---- Events of the socket ---- */

static void stream_on_connect(cmsgr_stream *stream)
{
    const cmsgr_driver *driver = &stream->env->driver;
    int result = driver->connect_result(driver->ctx, stream->fd);

    if (result == 0)
        return;
    if (result < 0) {
        cmsgr__stream_fault(stream, result, 0, 0);
        return;
    }
    cmsgr_center_del_file(stream->worker->center, stream->fd, CMSGR_WRITABLE);
    stream->writable_wanted = 0;
    stream->connected = 1;
    stream->state = CMSGR__HELD; /* the control plane sends its banner before the peer's is looked at */
    stream->more = 1;
    stream->item = (cmsgr_item){.kind = CMSGR_ITEM_CONNECTED, .stream = stream};
    cmsgr__worker_add_item(stream->worker, &stream->item);
}

void cmsgr__stream_on_file(void *arg, int fd, int mask)
{
    cmsgr_stream *stream = arg;

    (void)fd;
    if (mask & CMSGR_HANGUP)
        stream->hangup = 1;
    if (stream->state == CMSGR__CONNECTING) {
        stream_on_connect(stream);
        return;
    }
    if (mask & CMSGR_READABLE) {
        stream->more = 1;
        cmsgr__stream_receive(stream);
    }
    if ((mask & CMSGR_WRITABLE) && stream->writable_wanted && stream->state != CMSGR__DEAD)
        cmsgr__list_add(&stream->worker->dirty, &stream->dirty_link);
}

/* ---- Life ---- */

static void throttles_take(cmsgr_stream *stream, const cmsgr_stream_config *config)
{
    cmsgr_throttle *next[CMSGR__THROTTLES] = {config->policy_messages, config->policy_bytes, config->dispatch_bytes,
                                              config->dispatch_messages};

    for (int i = 0; i < CMSGR__THROTTLES; i++) {
        if (next[i])
            cmsgr_throttle_ref(next[i]);
        if (stream->throttle[i])
            cmsgr_throttle_unref(stream->throttle[i]);
        stream->throttle[i] = next[i];
    }
}

int cmsgr_stream_new(cmsgr_stream **out, cmsgr_worker *worker, int fd, int connecting, const cmsgr_stream_config *config,
                     void *user)
{
    cmsgr_stream *stream = cmsgr__zalloc(worker->env, sizeof *stream);
    int result;

    if (!stream)
        return -ENOMEM;
    stream->env = worker->env;
    stream->worker = worker;
    stream->user = user;
    stream->fd = fd;
    stream->revision = 1;
    stream->connected = !connecting;
    stream->state = connecting ? CMSGR__CONNECTING : CMSGR__PARSING;
    stream->writable_wanted = connecting;
    cmsgr__list_init(&stream->dirty_link);
    cmsgr__list_init(&stream->hot_link);
    cmsgr__list_init(&stream->grave_link);
    cmsgr__chain_init(&stream->chain, stream->env, worker->pool);
    cmsgr__parser_init(&stream->parser, stream->env, stream->revision, &config->limits);
    stream->control_limit = config->limits.control;
    if (stream->control_limit > CMSGR__STRANGER_CONTROL)
        stream->parser.limits.control = CMSGR__STRANGER_CONTROL;
    cmsgr__stream_init_receive(stream);
    stream->inject_failures = config->inject_socket_failures;
    stream->inject_congestion = config->inject_network_congestion;
    if (stream->inject_failures || stream->inject_congestion) {
        stream->env->driver.random(stream->env->driver.ctx, &stream->chance, sizeof stream->chance);
        stream->chance |= 1; /* the generator would stay at 0 */
    }
    result = cmsgr_center_add_file(worker->center, fd, connecting ? CMSGR_READABLE | CMSGR_WRITABLE : CMSGR_READABLE,
                                   CMSGR_PHASE_IO, cmsgr__stream_on_file, stream);
    if (result < 0) {
        cmsgr__free(stream->env, stream);
        return result;
    }
    throttles_take(stream, config);
    *out = stream;
    return 0;
}

static void free_ciphers(cmsgr_stream *stream)
{
    cmsgr_cipher_free(stream->open_cipher);
    cmsgr_cipher_free(stream->seal_cipher);
    stream->open_cipher = stream->seal_cipher = NULL;
}

void cmsgr_stream_close(cmsgr_stream *stream)
{
    const cmsgr_driver *driver = &stream->env->driver;
    cmsgr_worker *worker = stream->worker;

    cmsgr_center_del_file(worker->center, stream->fd, CMSGR_READABLE | CMSGR_WRITABLE);
    driver->close(driver->ctx, stream->fd);
    stream->state = CMSGR__DEAD;
    cmsgr__list_del(&stream->dirty_link);
    cmsgr__list_del(&stream->hot_link);
    cmsgr__worker_remove_item(worker, &stream->item);
    cmsgr__worker_remove_item(worker, &stream->sent_item);
    cmsgr__worker_remove_item(worker, &stream->fault_item);
    cmsgr__worker_remove_item(worker, &stream->sequence_item);
    cmsgr__stream_end_receive(stream);
    cmsgr__stream_end_transmit(stream);
    throttles_take(stream, &(cmsgr_stream_config){0});
    free_ciphers(stream);
    if (stream->session) {
        if (stream->session->stream == stream)
            stream->session->stream = NULL;
        cmsgr_session_unref(stream->session);
        stream->session = NULL;
    }
    cmsgr__list_add(&worker->graves, &stream->grave_link);
}

int cmsgr_stream_start(cmsgr_stream *stream, cmsgr_session *session, int lossless)
{
    if (stream->ready || session->stream)
        return CMSGR_E_NOT_READY;
    stream->ready = 1;
    stream->session = session;
    cmsgr_session_ref(session);
    session->stream = stream;
    atomic_store_explicit(&session->lossless, lossless, memory_order_relaxed);
    atomic_store_explicit(&session->last_read_ns, cmsgr__now(stream->env), memory_order_relaxed);
    /* From here on the peer is known: frames may have their full size, and what the handshake needed is given back. */
    stream->parser.limits.control = stream->control_limit;
    cmsgr__bytes_free(stream->env, &stream->wire);
    cmsgr__bytes_free(stream->env, &stream->control);
    cmsgr__stream_mark_dirty(stream);
    return 0;
}

void cmsgr_stream_continue_sent(cmsgr_stream *stream)
{
    stream->pass_sent |= stream->held_sent;
    stream->held_sent = 0;
    cmsgr__stream_mark_dirty(stream);
}

void cmsgr_stream_continue(cmsgr_stream *stream)
{
    if (stream->state == CMSGR__HELD && stream->item.kind == CMSGR_ITEM_FRAME && stream->item.tag == CMSGR_TAG_MESSAGE) {
        cmsgr__stream_fault(stream, CMSGR_E_NOT_READY, 0, 0); /* it came before READY: there is no memory for it to go on into */
    } else if (stream->state == CMSGR__HELD) {
        stream->state = CMSGR__PARSING;
        if (!stream->pass_received) { /* else the frame that was intercepted is still to be processed */
            stream->wire.len = 0;
            stream->control.len = 0;
        }
        cmsgr__stream_mark_hot(stream);
    }
}

void cmsgr_stream_fail(cmsgr_stream *stream)
{
    cmsgr__stream_fault(stream, CMSGR_E_INJECTED, 0, 0);
}

void *cmsgr_stream_user(const cmsgr_stream *stream)
{
    return stream->user;
}

int cmsgr_stream_fd(const cmsgr_stream *stream)
{
    return stream->fd;
}

void cmsgr_stream_set_throttles(cmsgr_stream *stream, const cmsgr_stream_config *config)
{
    throttles_take(stream, config);
}

void cmsgr_stream_set_revision(cmsgr_stream *stream, int revision)
{
    stream->revision = revision;
    cmsgr__parser_set_revision(&stream->parser, revision);
}

/* "Keys and nonces": one key; the first nonce is the server's, that of its direction to the client. */
enum { SECRET_LEN = CMSGR__KEY_LEN + 2 * CMSGR__NONCE_LEN };

int cmsgr_stream_set_keys(cmsgr_stream *stream, const uint8_t *secret, size_t len, int is_client)
{
    const uint8_t *from_server = secret + CMSGR__KEY_LEN, *from_client = from_server + CMSGR__NONCE_LEN;
    int result;

    if (len < SECRET_LEN || stream->open_cipher || stream->seal_cipher)
        return -EINVAL;
    result = cmsgr_cipher_new(&stream->open_cipher, stream->env, stream->revision, 0, secret,
                              is_client ? from_server : from_client);
    if (result == 0)
        result = cmsgr_cipher_new(&stream->seal_cipher, stream->env, stream->revision, 1, secret,
                                  is_client ? from_client : from_server);
    if (result < 0) { /* neither, rather than one direction in clear */
        free_ciphers(stream);
        return result;
    }
    cmsgr_parser_set_cipher(&stream->parser, stream->open_cipher);
    return 0;
}

int cmsgr_stream_set_compression(cmsgr_stream *stream, int algorithm, size_t min_len)
{
    int result = cmsgr_parser_set_compression(&stream->parser, algorithm);

    if (result == 0) {
        stream->compression = algorithm;
        stream->compress_min = min_len;
    }
    return result;
}

void cmsgr_stream_set_mask(cmsgr_stream *stream, uint32_t received, uint32_t sent)
{
    stream->mask_received = received;
    stream->mask_sent = sent;
}
