/*
 * Fuzz target: a stream and its session, fed with what a peer sent. Input: four bytes of options, then wire bytes from the banner
 * on, whose end is the end of the stream.
 *
 *   [0] bit 0      revision
 *   [0] bit 1      real crcs; without it every computed crc is 0
 *   [0] bit 2      once ready, secure with a cipher that believes everything
 *   [0] bit 3      lossless
 *   [0] bit 4      throttled
 *   [0] bits 5..7  once ready, compression by its number on the wire
 *   [1]            how much one read brings; 0: all there is
 *   [2] bits 0, 1  ready after so many frames and one more, the banner being the first
 *   [2] bits 2..7  tags intercepted: MESSAGE, ACK, KEEPALIVE2, KEEPALIVE2_ACK, received; MESSAGE and ACK, sent
 *   [3]            how much one write takes; 0: all, 1: nothing
 *
 * What must hold beside memory safety: one fault, as the last word; numbers of messages rise; all memory and all claims come back.
 */
#include <errno.h>

#include "fuzz.h"
#include "fuzz_cipher.h"
#include "stream.h"

enum { OPTIONS = 4, FD = 3, QUEUED = 3, MAX_TURNS = 100000 };

static struct {
    const uint8_t *input; /* what the peer sent and was not read yet */
    size_t left, read_max, write_max;
    int mask;
    uint64_t token;
    int64_t now_ns;
    long live;
} world;

/* ---- A driver: the input, and nobody who reads what is written ---- */

static int64_t world_now(void *ctx)
{
    (void)ctx;
    return world.now_ns += 1000;
}

static int world_random(void *ctx, void *buf, size_t len)
{
    (void)ctx;
    memset(buf, 1, len);
    return 0;
}

static void world_yield(void *ctx) { (void)ctx; }

static int world_open(void *ctx, void **poller)
{
    (void)ctx;
    *poller = &world;
    return 0;
}

static void world_close_poller(void *ctx, void *poller)
{
    (void)ctx;
    (void)poller;
}

static int world_set(void *ctx, void *poller, int fd, int old_mask, int new_mask, uint64_t token)
{
    (void)ctx;
    (void)poller;
    FUZZ_CHECK(fd == FD && old_mask == world.mask);
    world.mask = new_mask;
    world.token = token;
    return 0;
}

static int world_wait(void *ctx, void *poller, cmsgr_ready *ready, int max, int64_t timeout_ns)
{
    (void)ctx;
    (void)poller;
    (void)timeout_ns;
    FUZZ_CHECK(max > 0);
    if (!world.mask)
        return 0;
    *ready = (cmsgr_ready){world.token, world.mask};
    return 1;
}

static int world_wakeup(void *ctx, void *poller)
{
    (void)ctx;
    (void)poller;
    return 0;
}

static ssize_t world_recv(void *ctx, int fd, const struct iovec *iov, int count)
{
    size_t want = world.left < world.read_max ? world.left : world.read_max, got = 0;

    (void)ctx;
    FUZZ_CHECK(fd == FD);
    for (int i = 0; i < count && got < want; i++) {
        size_t n = iov[i].iov_len < want - got ? iov[i].iov_len : want - got;

        memcpy(iov[i].iov_base, world.input, n);
        world.input += n;
        world.left -= n;
        got += n;
    }
    return (ssize_t)got;
}

static ssize_t world_sendmsg(void *ctx, int fd, const struct iovec *iov, int count, int more)
{
    size_t total = 0;

    (void)ctx;
    (void)more;
    FUZZ_CHECK(fd == FD);
    for (int i = 0; i < count; i++)
        total += iov[i].iov_len;
    if (!world.write_max)
        return -EAGAIN;
    return (ssize_t)(total < world.write_max ? total : world.write_max);
}

static int world_fd(void *ctx, int fd)
{
    (void)ctx;
    FUZZ_CHECK(fd == FD);
    return 0;
}

static const cmsgr_driver driver = {.name = "fuzz", .now_ns = world_now, .wall_ns = world_now, .random = world_random,
                                    .yield = world_yield, .poller_open = world_open, .poller_close = world_close_poller,
                                    .poller_set = world_set, .poller_wait = world_wait, .poller_wakeup = world_wakeup,
                                    .recv = world_recv, .sendmsg = world_sendmsg, .shutdown = world_fd, .close = world_fd};

static void *world_realloc(void *ctx, void *block, size_t len)
{
    void *got = realloc(block, len);

    (void)ctx;
    world.live += got && !block;
    return got;
}

static void world_free(void *ctx, void *block)
{
    (void)ctx;
    world.live -= block != NULL;
    free(block);
}

static uint32_t no_crc(uint32_t crc, const void *data, size_t len)
{
    (void)crc;
    (void)data;
    (void)len;
    return 0;
}

/* ---- The least control plane ---- */

typedef struct peer {
    const uint8_t *options;
    cmsgr_env *env;
    cmsgr_worker *worker;
    cmsgr_session *session;
    cmsgr_stream *stream;
    cmsgr_throttle *throttle[4]; /* in the order of the config */
    cmsgr_cipher believing;
    int frames, faulted;
    uint64_t seq;
    volatile uint32_t sum; /* of all that was handed up: it must be readable */
} peer;

static void look_at(peer *p, cmsgr_span span)
{
    p->sum += cmsgr_crc32c_table(0, span.data, span.len);
}

static void make_throttles(peer *p, cmsgr_stream_config *config)
{
    if (!(p->options[0] & 16))
        return;
    for (int i = 0; i < 4; i++)
        FUZZ_CHECK(cmsgr_throttle_new(&p->throttle[i], p->env, (int[]){2, 2000, 700, 1}[i]) == 0);
    config->policy_messages = p->throttle[0];
    config->policy_bytes = p->throttle[1];
    config->dispatch_bytes = p->throttle[2];
    config->dispatch_messages = p->throttle[3];
}

static void end_throttles(peer *p)
{
    for (int i = 0; i < 4 && p->throttle[i]; i++) {
        cmsgr_throttle_stats stats;

        cmsgr_throttle_get_stats(p->throttle[i], &stats);
        FUZZ_CHECK(stats.current == 0);
        cmsgr_throttle_unref(p->throttle[i]);
    }
}

static void begin(peer *p)
{
    const cmsgr_allocator allocator = {NULL, world_realloc, world_free};
    cmsgr_stream_config config = {
        .limits = {.control = 4096, .header = 100, .front = 5000, .middle = 5000, .data = 40000}};

    FUZZ_CHECK(cmsgr_env_new(&p->env, &allocator, &driver) == 0);
    p->env->crc32c.fn = p->options[0] & 2 ? cmsgr_crc32c_table : no_crc;
    FUZZ_CHECK(cmsgr_worker_new(&p->worker, p->env) == 0);
    FUZZ_CHECK(cmsgr_session_new(&p->session, p->worker, 0, p) == 0);
    make_throttles(p, &config);
    FUZZ_CHECK(cmsgr_stream_new(&p->stream, p->worker, FD, 0, &config, p) == 0);
    cmsgr_stream_set_revision(p->stream, p->options[0] & 1);
    for (int i = 0; i < QUEUED; i++) { /* there is something to acknowledge */
        cmsgr_entry *entry = cmsgr_entry_new(p->env);

        FUZZ_CHECK(entry);
        entry->segment[2] = (cmsgr_span){fuzz_key, sizeof fuzz_key};
        FUZZ_CHECK(cmsgr_session_send(p->session, entry, 1) == 0);
    }
}

static void collect_garbage(peer *p)
{
    cmsgr_entry *next, *entry = cmsgr_worker_take_garbage(p->worker);

    for (; entry; entry = next) {
        next = entry->next;
        cmsgr_entry_free(p->env, entry);
    }
}

static void end(peer *p)
{
    cmsgr_stream_close(p->stream);
    cmsgr_session_close(p->session);
    cmsgr_session_unref(p->session);
    collect_garbage(p);
    cmsgr_worker_free(p->worker);
    end_throttles(p);
    cmsgr_env_free(p->env);
    FUZZ_CHECK(world.live == 0);
}

static void become_ready(peer *p)
{
    const uint8_t masks = p->options[2];
    uint32_t received = 0;

    for (int i = 0; i < 4; i++)
        received |= (uint32_t)(masks >> (2 + i) & 1) << (CMSGR_TAG_MESSAGE + (int[]){0, 3, 1, 2}[i]);
    cmsgr_stream_set_mask(p->stream, received,
                          (uint32_t)(masks >> 6 & 1) << CMSGR_TAG_MESSAGE | (uint32_t)(masks >> 7) << CMSGR_TAG_ACK);
    if (p->options[0] & 4) {
        p->believing = fuzz_cipher;
        p->stream->open_cipher = &p->believing;
        p->stream->seal_cipher = &p->believing;
        cmsgr_parser_set_cipher(&p->stream->parser, &p->believing);
    }
    cmsgr_stream_set_compression(p->stream, p->options[0] >> 5, 10);
    FUZZ_CHECK(cmsgr_stream_start(p->stream, p->session, p->options[0] >> 3 & 1) == 0);
}

static void on_message(peer *p, const cmsgr_msg *msg)
{
    FUZZ_CHECK(msg->header.seq > p->seq);
    p->seq = msg->header.seq;
    for (int i = 0; i < 3; i++)
        look_at(p, msg->segment[i]);
    cmsgr_msg_dispatched(msg);
    cmsgr_msg_unref(msg);
}

static void on_item(peer *p, const cmsgr_item *item)
{
    FUZZ_CHECK(!p->faulted || item->kind == CMSGR_ITEM_MESSAGE);
    switch (item->kind) {
    case CMSGR_ITEM_MESSAGE:
        on_message(p, item->msg);
        break;
    case CMSGR_ITEM_FRAME:
        look_at(p, item->payload);
        look_at(p, item->wire);
        if (p->frames++ == (p->options[2] & 3))
            become_ready(p);
        cmsgr_stream_send_frame(p->stream, CMSGR_TAG_WAIT, NULL, 0);
        cmsgr_stream_continue(p->stream);
        break;
    case CMSGR_ITEM_INTERCEPTED:
        item->sent ? cmsgr_stream_continue_sent(p->stream) : cmsgr_stream_continue(p->stream);
        break;
    case CMSGR_ITEM_FAULT:
        look_at(p, item->payload);
        p->faulted = 1;
        break;
    default:
        FUZZ_CHECK(item->kind == CMSGR_ITEM_SEQUENCE);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    peer p = {.options = data};
    int turns = 0;

    if (size < OPTIONS)
        return 0;
    memset(&world, 0, sizeof world);
    world.input = data + OPTIONS;
    world.left = size - OPTIONS;
    world.read_max = data[1] ? data[1] : SIZE_MAX;
    world.write_max = data[3] ? data[3] - 1u : SIZE_MAX;
    begin(&p);
    while (!p.faulted) { /* at the latest when the input is at its end */
        cmsgr_item *item;

        FUZZ_CHECK(turns++ < MAX_TURNS);
        FUZZ_CHECK(cmsgr_worker_turn(p.worker, 0) >= 0);
        collect_garbage(&p);
        while ((item = cmsgr_worker_take_item(p.worker)))
            on_item(&p, item);
    }
    end(&p);
    return 0;
}

#ifndef CMSGR_LIBFUZZER

static size_t put_message(const cmsgr_env *env, uint64_t *state, uint8_t options, cmsgr_cipher *cipher, uint64_t seq, uint8_t *out,
                          size_t cap)
{
    static const uint8_t fill[6000];
    cmsgr_header header = {.seq = seq, .ack_seq = fuzz_random(state, 4), .type = 2, .priority = 127};
    uint8_t encoded[41];
    cmsgr_span spans[4] = {{encoded, 41}, {fill, fuzz_random(state, 300)}, {fill, fuzz_random(state, 10)}, {fill, fuzz_random(state, 3000)}};
    ssize_t n;

    cmsgr_header_encode(&header, encoded);
    if (cipher)
        n = cmsgr_frame_seal(env, options & 1, cipher, CMSGR_TAG_MESSAGE, spans, NULL, 4, 0, out, cap);
    else
        n = cmsgr_frame_assemble(env, options & 1, CMSGR_TAG_MESSAGE, spans, NULL, 4, 0, out, cap);
    return n > 0 ? (size_t)n : 0;
}

static size_t put_small(const cmsgr_env *env, uint64_t *state, uint8_t options, cmsgr_cipher *cipher, uint8_t *out, size_t cap)
{
    static const int tags[] = {CMSGR_TAG_ACK, CMSGR_TAG_KEEPALIVE2, CMSGR_TAG_KEEPALIVE2_ACK, CMSGR_TAG_WAIT};
    const uint8_t payload[8] = {(uint8_t)fuzz_random(state, QUEUED + 2)};
    cmsgr_span span = {payload, fuzz_random(state, 10) ? 8 : 7};
    int tag = tags[fuzz_random(state, 4)];
    ssize_t n;

    if (cipher)
        n = cmsgr_frame_seal(env, options & 1, cipher, tag, &span, NULL, 1, 0, out, cap);
    else
        n = cmsgr_frame_assemble(env, options & 1, tag, &span, NULL, 1, 0, out, cap);
    return n > 0 ? (size_t)n : 0;
}

/* A banner, frames until it is ready, then a session's traffic; a few bits changed. */
static size_t fuzz_make_input(uint64_t *state, uint8_t *out, size_t cap)
{
    static const uint8_t banner[26] = "ceph v2\n\x10\x00\x01";
    cmsgr_cipher believing = fuzz_cipher;
    cmsgr_env env = {0};
    size_t len = OPTIONS;
    uint64_t seq = 0;

    for (int i = 0; i < OPTIONS; i++)
        out[i] = (uint8_t)fuzz_random(state, 256);
    if (fuzz_random(state, 4))
        out[3] = 0; /* usually all that is written is taken */
    env.crc32c.fn = out[0] & 2 ? cmsgr_crc32c_table : no_crc;
    memcpy(out + len, banner, sizeof banner);
    len += sizeof banner;
    for (int i = 0; i < (out[2] & 3); i++) {
        cmsgr_span span = {banner, fuzz_random(state, sizeof banner)};

        len += (size_t)cmsgr_frame_assemble(&env, out[0] & 1, 1 + i, &span, NULL, 1, 0, out + len, cap - len);
    }
    for (uint32_t frames = fuzz_random(state, 8); frames; frames--) {
        cmsgr_cipher *cipher = out[0] & 4 ? &believing : NULL;

        seq += fuzz_random(state, 10) ? 1 : fuzz_random(state, 3);
        len += fuzz_random(state, 3) ? put_message(&env, state, out[0], cipher, seq, out + len, cap - len)
                                     : put_small(&env, state, out[0], cipher, out + len, cap - len);
    }
    if (fuzz_random(state, 2))
        fuzz_damage(state, out, OPTIONS, len);
    return fuzz_random(state, 4) ? len : fuzz_random(state, (uint32_t)len + 1);
}

#endif
