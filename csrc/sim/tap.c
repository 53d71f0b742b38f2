/* The tap: what one stream carries is kept, and one thing of it altered on the way. */
#include "world.h"

void sim_tap(sim_world *w, enum sim_alteration kind, int side, int64_t at)
{
    tap_t *tap = &w->tap;

    tap->is_due = 1;
    tap->stream = NO_STREAM;
    tap->kind = kind;
    tap->side = side;
    tap->at = at;
    tap->len[0] = tap->len[1] = 0;
}

const uint8_t *sim_tapped(const sim_world *w, int side, size_t *len)
{
    *len = w->tap.len[side];
    return w->tap.data[side];
}

/* A stream has been made; its number may have been another one's before. */
void sim__tap_stream(sim_world *w, int stream)
{
    tap_t *tap = &w->tap;

    if (tap->is_due)
        tap->stream = stream;
    else if (tap->stream == stream)
        tap->stream = NO_STREAM;
    tap->is_due = 0;
}

static void keep(tap_t *tap, int side, const uint8_t *data, size_t len)
{
    if (tap->len[side] + len > tap->cap[side]) {
        tap->cap[side] = 2 * (tap->len[side] + len);
        tap->data[side] = sim__grow(tap->data[side], tap->cap[side]);
    }
    memcpy(tap->data[side] + tap->len[side], data, len);
    tap->len[side] += len;
}

/* The last `len` bytes of the pipe have just been sent, and are not under way yet. */
void sim__tap_sent(sim_world *w, int stream, int side, size_t len)
{
    tap_t *tap = &w->tap;
    pipe_t *pipe;
    int64_t before;

    if (tap->stream != stream || !len)
        return;
    pipe = &w->streams[stream].pipe[side];
    before = (int64_t)tap->len[side];
    keep(tap, side, pipe->data + pipe->end - len, len);
    if (tap->side != side)
        return;
    if (tap->kind == SIM_ALTER_BIT && tap->at / 8 >= before && tap->at / 8 < before + (int64_t)len) {
        pipe->data[(int64_t)(pipe->end - len) + tap->at / 8 - before] ^= (uint8_t)(1 << tap->at % 8);
    } else if (tap->kind == SIM_ALTER_END && tap->at <= before + (int64_t)len) {
        pipe->end -= (size_t)(before + (int64_t)len - tap->at);
        pipe->fin_sent = 1;
    }
}
