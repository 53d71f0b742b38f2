/* The driver's sockets. The lowest free number is the next descriptor, from 0 on, as a kernel has it. */
#include <errno.h>
#include <stdlib.h>

#include "world.h"

enum { ACCEPTED = 1, DEFAULT_TIMEOUT_S = 60 };

static const int64_t SECOND_NS = 1000000000;

static struct sockaddr_in addr_of(int host, uint16_t port)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(port)};

    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK - 1 + (uint32_t)host);
    return addr;
}

static file_t *file_of(sim_world *w, int fd)
{
    return fd >= 0 && fd < w->num_files && w->files[fd].kind != FILE_FREE ? &w->files[fd] : NULL;
}

static int new_file(sim_world *w, enum file_kind kind)
{
    int fd = 0;

    while (fd < w->num_files && w->files[fd].kind != FILE_FREE)
        fd++;
    if (fd == w->num_files)
        w->files = sim__grow(w->files, (size_t)++w->num_files * sizeof *w->files);
    w->files[fd] = (file_t){.kind = w->host ? kind : FILE_ORPHAN,
                            .host = w->host,
                            .stream = NO_STREAM,
                            .user_timeout_ns = DEFAULT_TIMEOUT_S * SECOND_NS};
    w->stats.open_sockets++;
    return fd;
}

static uint16_t next_port(sim_world *w)
{
    return w->next_port++ | 0x8000;
}

static int noted(sim_world *w, int what, int fd, int64_t result)
{
    w->stats.calls++;
    sim__digest(w, (uint64_t)what << 56 ^ (uint64_t)fd << 40 ^ (uint64_t)result);
    sim__digest(w, (uint64_t)w->now_ns);
    return (int)result;
}

/* ---- life ---- */

static int sock_socket(void *ctx, int family)
{
    return family == AF_INET ? noted(ctx, 1, 0, new_file(ctx, FILE_PLAIN)) : -EAFNOSUPPORT;
}

int sim__find_listener(const sim_world *w, int host, uint16_t port)
{
    for (int fd = 0; fd < w->num_files; fd++)
        if (w->files[fd].kind == FILE_LISTENER && w->files[fd].host == host && ntohs(w->files[fd].local.sin_port) == port)
            return fd;
    return NO_FD;
}

static int sock_bind(void *ctx, int fd, const struct sockaddr *addr, socklen_t len)
{
    sim_world *w = ctx;
    file_t *file = file_of(w, fd);
    uint16_t port;

    if (!file)
        return -EBADF;
    if (len < sizeof(struct sockaddr_in) || addr->sa_family != AF_INET)
        return -EAFNOSUPPORT;
    port = ntohs(((const struct sockaddr_in *)addr)->sin_port);
    if (port && sim__find_listener(w, file->host, port) >= 0)
        return noted(w, 2, fd, -EADDRINUSE);
    file->local = addr_of(file->host, port ? port : next_port(w));
    return noted(w, 2, fd, 0);
}

static int sock_listen(void *ctx, int fd, int backlog)
{
    sim_world *w = ctx;
    file_t *file = file_of(w, fd);

    if (!file)
        return -EBADF;
    if (file->kind == FILE_PLAIN) {
        file->kind = FILE_LISTENER;
        file->backlog_max = backlog;
        file->backlog = sim__grow(NULL, (size_t)backlog * sizeof(int));
    }
    return noted(w, 3, fd, 0);
}

static int sock_accept(void *ctx, int fd, struct sockaddr_storage *peer, socklen_t *len)
{
    sim_world *w = ctx;
    file_t *listener = file_of(w, fd), *file;
    stream_t *s;
    int stream, accepted;

    if (!listener)
        return -EBADF;
    if (listener->kind != FILE_LISTENER || !listener->backlog_len)
        return -EAGAIN;
    stream = listener->backlog[0];
    memmove(listener->backlog, listener->backlog + 1, (size_t)--listener->backlog_len * sizeof(int));
    accepted = new_file(w, FILE_STREAM);
    s = &w->streams[stream];
    file = &w->files[accepted];
    file->stream = stream;
    file->side = ACCEPTED;
    file->local = s->end[ACCEPTED].addr;
    s->end[ACCEPTED].state = END_OPEN;
    s->end[ACCEPTED].fd = accepted;
    s->end[ACCEPTED].user_timeout_ns = file->user_timeout_ns;
    memset(peer, 0, sizeof *peer);
    memcpy(peer, &s->end[0].addr, sizeof s->end[0].addr);
    *len = sizeof s->end[0].addr;
    return noted(w, 4, fd, accepted);
}

static int sock_connect(void *ctx, int fd, const struct sockaddr *addr, socklen_t len)
{
    sim_world *w = ctx;
    file_t *file = file_of(w, fd);
    const struct sockaddr_in *target = (const struct sockaddr_in *)addr;
    int64_t host;
    stream_t *s;

    if (!file)
        return -EBADF;
    if (file->kind == FILE_ORPHAN)
        return 0;
    if (len < sizeof *target || addr->sa_family != AF_INET)
        return -EAFNOSUPPORT;
    host = (int64_t)ntohl(target->sin_addr.s_addr) - INADDR_LOOPBACK + 1;
    if (host < 1 || host > SIM_MAX_HOSTS)
        return noted(w, 5, fd, -ENETUNREACH);
    if (!file->local.sin_family)
        file->local = addr_of(file->host, next_port(w));
    file->kind = FILE_STREAM;
    file->stream = sim__new_stream(w);
    s = &w->streams[file->stream];
    s->end[0] = (end_t){END_CONNECTING, file->host, fd, file->local, .user_timeout_ns = file->user_timeout_ns};
    s->end[1] = (end_t){END_NONE, (int)host, NO_FD, *target, .user_timeout_ns = file->user_timeout_ns};
    sim__schedule(w, sim__pair_of(w, s)->link.latency_ns, EVENT_DIAL, file->stream, 0);
    return noted(w, 5, fd, 0);
}

static int take_error(end_t *end)
{
    int error = end->error;

    end->error = 0;
    return error;
}

static int sock_connect_result(void *ctx, int fd)
{
    sim_world *w = ctx;
    const file_t *file = file_of(w, fd);
    end_t *end;

    if (!file)
        return -EBADF;
    if (file->kind != FILE_STREAM)
        return 0;
    end = &w->streams[file->stream].end[file->side];
    if (end->error)
        return noted(w, 6, fd, take_error(end));
    if (end->was_reset)
        return noted(w, 6, fd, -ENOTCONN);
    return noted(w, 6, fd, end->state == END_OPEN);
}

static int sock_shutdown(void *ctx, int fd)
{
    sim_world *w = ctx;
    const file_t *file = file_of(w, fd);
    stream_t *s;

    if (!file)
        return -EBADF;
    if (file->kind != FILE_STREAM)
        return -ENOTCONN;
    s = &w->streams[file->stream];
    if (s->end[file->side].state != END_OPEN || s->end[file->side].was_reset)
        return noted(w, 7, fd, -ENOTCONN);
    s->end[file->side].is_shut = 1;
    s->pipe[file->side].fin_sent = 1;
    sim__send_pipe(w, file->stream, file->side);
    sim__edge(w, fd, CMSGR_READABLE | CMSGR_WRITABLE | CMSGR_HANGUP);
    return noted(w, 7, fd, 0);
}

static int sock_close(void *ctx, int fd)
{
    sim_world *w = ctx;
    file_t *file = file_of(w, fd);

    if (!file)
        return -EBADF;
    if (file->poller)
        sim__poller_forget(w, fd);
    if (file->kind == FILE_STREAM)
        sim__close_end(w, file->stream, file->side);
    for (int i = 0; i < file->backlog_len; i++)
        if (w->streams[file->backlog[i]].end[ACCEPTED].state == END_WAITING) {
            w->streams[file->backlog[i]].end[ACCEPTED].state = END_CLOSED;
            sim__schedule(w, 0, EVENT_RESET, file->backlog[i], 0);
        }
    free(file->backlog);
    *file = (file_t){.kind = FILE_FREE};
    w->stats.open_sockets--;
    return noted(w, 8, fd, 0);
}

/* ---- bytes ---- */

int sim__level(sim_world *w, int fd)
{
    const file_t *file = &w->files[fd];
    const stream_t *s;
    const end_t *end;
    const pipe_t *in;
    int bits = CMSGR_NONE;

    if (file->kind == FILE_LISTENER)
        return file->backlog_len ? CMSGR_READABLE : CMSGR_NONE;
    if (file->kind != FILE_STREAM)
        return CMSGR_NONE;
    s = &w->streams[file->stream];
    end = &s->end[file->side];
    in = &s->pipe[!file->side];
    if (end->was_reset || end->is_shut)
        return CMSGR_READABLE | CMSGR_WRITABLE | CMSGR_HANGUP;
    if (end->state != END_OPEN)
        return CMSGR_NONE;
    if (in->arrived > in->read)
        bits |= CMSGR_READABLE;
    if (in->fin_arrived)
        bits |= CMSGR_READABLE | CMSGR_HANGUP;
    if (sim__room(w, s, file->side))
        bits |= CMSGR_WRITABLE;
    return bits;
}

static ssize_t sock_recv(void *ctx, int fd, const struct iovec *iov, int count)
{
    sim_world *w = ctx;
    const file_t *file = file_of(w, fd);
    size_t got = 0;
    stream_t *s;
    end_t *end;
    pipe_t *in;

    if (!file)
        return -EBADF;
    if (file->kind != FILE_STREAM)
        return -EAGAIN;
    s = &w->streams[file->stream];
    end = &s->end[file->side];
    in = &s->pipe[!file->side];
    for (int i = 0; i < count && in->read < in->arrived; i++) {
        size_t part = in->arrived - in->read < iov[i].iov_len ? in->arrived - in->read : iov[i].iov_len;

        memcpy(iov[i].iov_base, in->data + in->read, part);
        in->read += part;
        got += part;
    }
    if (got) {
        noted(w, 9, fd, (int64_t)got);
        sim__made_room(w, file->stream, !file->side);
        return (ssize_t)got;
    }
    if (end->error)
        return noted(w, 9, fd, take_error(end));
    if (in->fin_arrived || end->was_reset || end->is_shut)
        return noted(w, 9, fd, 0);
    return end->state == END_OPEN ? -EAGAIN : -ENOTCONN;
}

static void append(pipe_t *pipe, const void *data, size_t len)
{
    if (pipe->read == pipe->end) {
        pipe->read = pipe->arrived = pipe->end = 0;
    } else if (pipe->read > pipe->cap / 2) {
        memmove(pipe->data, pipe->data + pipe->read, pipe->end - pipe->read);
        pipe->arrived -= pipe->read;
        pipe->end -= pipe->read;
        pipe->read = 0;
    }
    if (pipe->end + len > pipe->cap) {
        pipe->cap = 2 * (pipe->end + len);
        pipe->data = sim__grow(pipe->data, pipe->cap);
    }
    memcpy(pipe->data + pipe->end, data, len);
    pipe->end += len;
}

static ssize_t sock_sendmsg(void *ctx, int fd, const struct iovec *iov, int count, int more)
{
    sim_world *w = ctx;
    const file_t *file = file_of(w, fd);
    size_t room, sent = 0, wanted = 0;
    stream_t *s;
    end_t *end;
    pipe_t *out;

    (void)more;
    if (!file)
        return -EBADF;
    for (int i = 0; i < count; i++)
        wanted += iov[i].iov_len;
    if (file->kind != FILE_STREAM)
        return (ssize_t)wanted;
    s = &w->streams[file->stream];
    end = &s->end[file->side];
    out = &s->pipe[file->side];
    if (end->error)
        return noted(w, 10, fd, take_error(end));
    if (end->was_reset || end->is_shut)
        return noted(w, 10, fd, -EPIPE);
    if (end->state != END_OPEN)
        return -EAGAIN;
    if (out->fin_sent) { /* the stream was ended on the way: what follows is lost */
        if (s->end[!file->side].state == END_CLOSED)
            sim__schedule(w, sim__pair_of(w, s)->link.latency_ns, EVENT_RESET, file->stream, file->side);
        return noted(w, 10, fd, (int64_t)wanted);
    }
    room = sim__room(w, s, file->side);
    for (int i = 0; i < count && room; i++) {
        size_t part = iov[i].iov_len < room ? iov[i].iov_len : room;

        append(out, iov[i].iov_base, part);
        sim_note(w, iov[i].iov_base, part);
        room -= part;
        sent += part;
    }
    sim__tap_sent(w, file->stream, file->side, sent);
    out->wants_room = sent < wanted;
    sim__send_pipe(w, file->stream, file->side);
    return noted(w, 10, fd, sent || !wanted ? (int64_t)sent : -EAGAIN);
}

/* ---- names and options ---- */

static int tell(const struct sockaddr_in *from, struct sockaddr_storage *addr, socklen_t *len)
{
    memset(addr, 0, sizeof *addr);
    memcpy(addr, from, sizeof *from);
    *len = sizeof *from;
    return 0;
}

static int sock_local_addr(void *ctx, int fd, struct sockaddr_storage *addr, socklen_t *len)
{
    const file_t *file = file_of(ctx, fd);
    const struct sockaddr_in any = {.sin_family = AF_INET};

    return file ? tell(file->local.sin_family ? &file->local : &any, addr, len) : -EBADF;
}

static int sock_peer_addr(void *ctx, int fd, struct sockaddr_storage *addr, socklen_t *len)
{
    sim_world *w = ctx;
    const file_t *file = file_of(w, fd);

    if (!file)
        return -EBADF;
    if (file->kind != FILE_STREAM)
        return -ENOTCONN;
    return tell(&w->streams[file->stream].end[!file->side].addr, addr, len);
}

static int sock_set_option(void *ctx, int fd, int option, int value)
{
    sim_world *w = ctx;
    file_t *file = file_of(w, fd);

    if (!file)
        return -EBADF;
    if (option == CMSGR_SO_USER_TIMEOUT_MS) {
        file->user_timeout_ns = value * (SECOND_NS / 1000);
        if (file->stream != NO_STREAM)
            w->streams[file->stream].end[file->side].user_timeout_ns = file->user_timeout_ns;
    }
    return 0;
}

void sim__bind_driver(cmsgr_driver *driver)
{
    driver->socket = sock_socket;
    driver->bind = sock_bind;
    driver->listen = sock_listen;
    driver->accept = sock_accept;
    driver->connect = sock_connect;
    driver->connect_result = sock_connect_result;
    driver->recv = sock_recv;
    driver->sendmsg = sock_sendmsg;
    driver->shutdown = sock_shutdown;
    driver->close = sock_close;
    driver->local_addr = sock_local_addr;
    driver->peer_addr = sock_peer_addr;
    driver->set_option = sock_set_option;
}
