/* Links and streams: how bytes, ends and resets travel, and what can happen to them. */
#include <errno.h>
#include <stdlib.h>

#include "world.h"

enum { FIRST_RETRY_NS = 200000000, LAST_RETRY_NS = 1600000000, REST_PARTS = 8 };

static const int64_t SECOND_NS = 1000000000;

pair_t *sim__pair(sim_world *w, int a, int b)
{
    return a < b ? &w->pairs[a][b] : &w->pairs[b][a];
}

pair_t *sim__pair_of(sim_world *w, const stream_t *s)
{
    return sim__pair(w, s->end[0].host, s->end[1].host);
}

static int64_t travel_ns(sim_world *w, const pair_t *pair)
{
    return pair->link.latency_ns + (int64_t)sim__below(w, (uint64_t)pair->link.jitter_ns + 1);
}

/* How long until something may arrive, 0 if now. Each try in vain takes longer, as TCP's do. */
static int64_t held_back_ns(sim_world *w, const pair_t *pair, int retries)
{
    if (pair->is_down) {
        int64_t retry_ns = (int64_t)FIRST_RETRY_NS << (retries < 3 ? retries : 3);

        return retry_ns < LAST_RETRY_NS ? retry_ns : LAST_RETRY_NS;
    }
    return pair->stalled_until_ns > w->now_ns ? pair->stalled_until_ns - w->now_ns : 0;
}

/* ---- streams ---- */

int sim__new_stream(sim_world *w)
{
    stream_t *s;
    int n = 0;

    while (n < w->num_streams && w->streams[n].is_used)
        n++;
    if (n == w->num_streams) {
        w->streams = sim__grow(w->streams, (size_t)++w->num_streams * sizeof *w->streams);
        memset(&w->streams[n], 0, sizeof *w->streams);
    }
    s = &w->streams[n];
    for (int i = 0; i < 2; i++) {
        s->end[i] = (end_t){.fd = NO_FD};
        s->pipe[i] = (pipe_t){.data = s->pipe[i].data, .cap = s->pipe[i].cap};
    }
    s->is_used = 1;
    s->events = 0;
    sim__tap_stream(w, n);
    return n;
}

static void free_stream(stream_t *s)
{
    if (s->end[0].state == END_CLOSED && s->end[1].state == END_CLOSED && !s->events)
        s->is_used = 0;
}

/* An end hears that the stream is no more. */
static void reset_end(sim_world *w, stream_t *s, int side, int error)
{
    end_t *end = &s->end[side];

    if (end->state == END_CLOSED || end->was_reset)
        return;
    end->was_reset = 1;
    end->error = error;
    s->pipe[!side].end = s->pipe[!side].arrived; /* what has arrived can still be read */
    sim__edge_end(w, end, CMSGR_READABLE | CMSGR_WRITABLE | CMSGR_HANGUP);
}

static void reset_later(sim_world *w, int stream, int side)
{
    sim__schedule(w, travel_ns(w, sim__pair_of(w, &w->streams[stream])), EVENT_RESET, stream, side);
}

/* Sees to it that what is in the pipe travels. */
void sim__send_pipe(sim_world *w, int stream, int side)
{
    stream_t *s = &w->streams[stream];
    pipe_t *pipe = &s->pipe[side];

    if (pipe->scheduled || pipe->fin_arrived || (pipe->arrived == pipe->end && !pipe->fin_sent))
        return;
    pipe->scheduled = 1;
    sim__schedule(w, travel_ns(w, sim__pair_of(w, s)), EVENT_ARRIVE, stream, side);
}

size_t sim__room(sim_world *w, const stream_t *s, int side)
{
    int64_t window = sim__pair_of(w, s)->link.window_bytes;
    size_t used = s->pipe[side].end - s->pipe[side].read;

    return (int64_t)used < window ? (size_t)window - used : 0;
}

/* The reader has taken something: a sender who was refused may go on. */
void sim__made_room(sim_world *w, int stream, int side)
{
    stream_t *s = &w->streams[stream];

    if (s->pipe[side].wants_room && !s->pipe[side].lost && sim__room(w, s, side)) {
        s->pipe[side].wants_room = 0;
        sim__edge_end(w, &s->end[side], CMSGR_WRITABLE);
    }
}

void sim__close_end(sim_world *w, int stream, int side)
{
    stream_t *s = &w->streams[stream];
    end_t *end = &s->end[side];
    const pipe_t *in = &s->pipe[!side];

    if (end->state == END_CLOSED)
        return;
    end->state = END_CLOSED;
    end->fd = NO_FD;
    if (s->end[!side].state == END_NONE) {
        s->end[!side].state = END_CLOSED; /* nobody has been reached yet */
    } else if (s->end[!side].state != END_CLOSED && !end->was_reset) {
        if (in->arrived > in->read) { /* unread bytes: the peer is told that they were in vain */
            if (!s->pipe[side].lost)
                reset_later(w, stream, !side);
        } else {
            s->pipe[side].fin_sent = 1;
            sim__send_pipe(w, stream, side);
        }
    }
    free_stream(s);
}

/* ---- what arrives ---- */

static size_t chunk_of(sim_world *w, const sim_link *link, size_t under_way)
{
    uint64_t most = (uint64_t)link->chunk_bytes;

    if (!most || !under_way)
        return under_way;
    most = 1 + sim__below(w, most);
    if (most < under_way / REST_PARTS)
        most = under_way / REST_PARTS; /* small chunks of much would take for ever */
    return most < under_way ? most : under_way;
}

static int64_t gap_ns(const sim_link *link, size_t len)
{
    return 1000 + (link->bytes_per_s ? (int64_t)len * SECOND_NS / link->bytes_per_s : 0);
}

/* Nothing gets through. The sender's kernel gives up after its user time-out. */
static void retry_pipe(sim_world *w, int stream, int side, int64_t delay_ns)
{
    stream_t *s = &w->streams[stream];
    pipe_t *pipe = &s->pipe[side];
    end_t *sender = &s->end[side];

    pipe->scheduled = 0;
    if (!pipe->stuck_ns)
        pipe->stuck_ns = w->now_ns;
    if (sender->state != END_CLOSED && sender->user_timeout_ns && w->now_ns - pipe->stuck_ns >= sender->user_timeout_ns) {
        reset_end(w, s, side, -ETIMEDOUT);
        return;
    }
    if (sender->state == END_CLOSED && pipe->lost)
        return;
    pipe->retries++;
    pipe->scheduled = 1;
    sim__schedule(w, delay_ns, EVENT_ARRIVE, stream, side);
}

static void arrive(sim_world *w, int stream, int side)
{
    stream_t *s = &w->streams[stream];
    pipe_t *pipe = &s->pipe[side];
    const pair_t *pair = sim__pair_of(w, s);
    end_t *receiver = &s->end[!side];
    int64_t held_ns = pipe->lost ? LAST_RETRY_NS : held_back_ns(w, pair, pipe->retries);
    size_t len;

    if (s->end[side].was_reset) {
        pipe->scheduled = 0;
        return;
    }
    if (held_ns) {
        retry_pipe(w, stream, side, held_ns);
        return;
    }
    pipe->scheduled = 0;
    pipe->stuck_ns = pipe->retries = 0;
    if (receiver->state == END_CLOSED || receiver->was_reset) {
        if (pipe->end > pipe->arrived && !s->pipe[!side].lost)
            reset_later(w, stream, side); /* nobody is there any more */
        pipe->end = pipe->arrived;
        return;
    }
    len = chunk_of(w, &pair->link, pipe->end - pipe->arrived);
    pipe->arrived += len;
    w->stats.bytes += len;
    if (pipe->arrived < pipe->end) {
        pipe->scheduled = 1;
        sim__schedule(w, gap_ns(&pair->link, len), EVENT_ARRIVE, stream, side);
    } else if (pipe->fin_sent) {
        pipe->fin_arrived = 1;
    }
    sim__edge_end(w, receiver, pipe->fin_arrived ? CMSGR_READABLE | CMSGR_HANGUP : CMSGR_READABLE);
}

static void connected(sim_world *w, stream_t *s)
{
    if (s->end[0].state != END_CONNECTING || s->end[0].was_reset)
        return;
    s->end[0].state = END_OPEN;
    sim__edge_end(w, &s->end[0], CMSGR_WRITABLE);
}

static void dial(sim_world *w, int stream)
{
    stream_t *s = &w->streams[stream];
    pair_t *pair = sim__pair_of(w, s);
    int64_t held_ns = held_back_ns(w, pair, s->pipe[0].retries);
    file_t *listener;
    int fd;

    if (s->end[0].state != END_CONNECTING)
        return;
    if (held_ns) {
        s->pipe[0].retries++;
        sim__schedule(w, held_ns, EVENT_DIAL, stream, 0);
        return;
    }
    s->pipe[0].retries = 0;
    fd = sim__find_listener(w, s->end[1].host, ntohs(s->end[1].addr.sin_port));
    listener = fd < 0 ? NULL : &w->files[fd];
    if (!listener || listener->backlog_len == listener->backlog_max) {
        s->end[1].state = END_CLOSED;
        sim__schedule(w, travel_ns(w, pair), EVENT_REFUSED, stream, 0);
        return;
    }
    s->end[1].state = END_WAITING;
    listener->backlog[listener->backlog_len++] = stream;
    sim__edge(w, fd, CMSGR_READABLE);
    sim__schedule(w, travel_ns(w, pair), EVENT_CONNECTED, stream, 0);
}

int sim_step(sim_world *w)
{
    event_t event;
    stream_t *s;

    if (!sim__take_event(w, &event))
        return 0;
    sim_advance(w, event.due_ns);
    w->stats.events++;
    s = &w->streams[event.stream];
    s->events--;
    switch (event.kind) {
    case EVENT_DIAL:
        dial(w, event.stream);
        break;
    case EVENT_CONNECTED:
        connected(w, s);
        break;
    case EVENT_REFUSED:
        reset_end(w, s, 0, -ECONNREFUSED);
        break;
    case EVENT_ARRIVE:
        arrive(w, event.stream, event.side);
        break;
    case EVENT_RESET:
        reset_end(w, s, event.side, -ECONNRESET);
        break;
    }
    free_stream(&w->streams[event.stream]);
    return 1;
}

/* ---- what the caller does to it ---- */

void sim_enter(sim_world *w, int host)
{
    w->host = host;
}

void sim_set_link(sim_world *w, int a, int b, const sim_link *link)
{
    sim__pair(w, a, b)->link = *link;
}

void sim_set_down(sim_world *w, int a, int b, int down)
{
    sim__pair(w, a, b)->is_down = down;
}

void sim_stall(sim_world *w, int a, int b, int64_t until_ns)
{
    sim__pair(w, a, b)->stalled_until_ns = until_ns;
}

static int is_alive(const stream_t *s)
{
    return s->is_used && (s->end[0].state != END_CLOSED || s->end[1].state != END_CLOSED);
}

int sim_streams(const sim_world *w)
{
    int count = 0;

    for (int i = 0; i < w->num_streams; i++)
        count += is_alive(&w->streams[i]);
    return count;
}

static void lose(stream_t *s, int side)
{
    s->pipe[side].lost = 1;
}

/* The end of the stream arrives from `side`, whoever sent it. */
static void end_from(sim_world *w, int stream, int side)
{
    w->streams[stream].pipe[side].fin_sent = 1;
    sim__send_pipe(w, stream, side);
}

void sim_cut_stream(sim_world *w, int nth, enum sim_cut kind, int side)
{
    int n = 0;
    stream_t *s;

    while (n < w->num_streams && (!is_alive(&w->streams[n]) || nth--))
        n++;
    if (n == w->num_streams)
        return;
    s = &w->streams[n];
    sim__digest(w, (uint64_t)n << 8 | (uint64_t)kind << 1 | (uint64_t)side);
    switch (kind) {
    case SIM_CUT_FIN:
        end_from(w, n, 0);
        end_from(w, n, 1);
        break;
    case SIM_CUT_FIN_ONE:
        end_from(w, n, side);
        break;
    case SIM_CUT_RESET:
        reset_end(w, s, 0, -ECONNRESET);
        reset_end(w, s, 1, -ECONNRESET);
        break;
    case SIM_CUT_RESET_ONE:
        reset_end(w, s, side, -ECONNRESET);
        break;
    case SIM_CUT_SILENT:
        lose(s, 0);
        lose(s, 1);
        break;
    default:
        lose(s, side);
        break;
    }
}

static void kill_end(sim_world *w, int stream, int side, enum sim_death kind)
{
    stream_t *s = &w->streams[stream];
    end_t *end = &s->end[side];

    if (kind == SIM_DEATH_SILENT) {
        lose(s, 0);
        lose(s, 1);
    }
    if (kind == SIM_DEATH_FIN) {
        sim__close_end(w, stream, side);
        return;
    }
    if (kind == SIM_DEATH_RESET && s->end[!side].state != END_NONE)
        reset_later(w, stream, !side);
    end->state = END_CLOSED;
    end->fd = NO_FD;
    if (s->end[!side].state == END_NONE)
        s->end[!side].state = END_CLOSED;
    free_stream(s);
}

void sim_kill(sim_world *w, int host, enum sim_death kind)
{
    sim__digest(w, (uint64_t)host << 8 | (uint64_t)kind);
    for (int n = 0; n < w->num_streams; n++)
        for (int side = 0; side < 2; side++) {
            end_t *end = &w->streams[n].end[side];

            if (w->streams[n].is_used && end->host == host && end->state != END_NONE && end->state != END_CLOSED)
                kill_end(w, n, side, kind);
        }
    for (int fd = 0; fd < w->num_files; fd++)
        if (w->files[fd].kind != FILE_FREE && w->files[fd].host == host) {
            w->files[fd].kind = FILE_ORPHAN;
            w->files[fd].host = w->files[fd].backlog_len = 0;
            w->files[fd].stream = NO_STREAM;
        }
}
