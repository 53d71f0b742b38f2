/* The answering side. While answers are unsent it does not read, so its memory is bounded by one read. */
#define _GNU_SOURCE
#include "floor.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* One read takes at most this much, or one request if that is more: large enough for a batch, small enough for L2. */
#define READ_BYTES (256u * 1024u)

int floor_listen(uint16_t *port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(*port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0 ||
        bind(fd, (struct sockaddr *)&address, length) < 0 || listen(fd, 1) < 0 ||
        getsockname(fd, (struct sockaddr *)&address, &length) < 0)
        floor_die("listen");
    *port = ntohs(address.sin_port);
    return fd;
}

struct floor_cost floor_serve(int listener, const struct floor_options *options) {
    const size_t request_bytes = options->request_bytes, reply_bytes = options->reply_bytes;
    const size_t room = request_bytes > READ_BYTES ? request_bytes : READ_BYTES;
    const bool echo = request_bytes == reply_bytes; /* then the requests are the answers, where they lie */
    const size_t copied = request_bytes < reply_bytes ? request_bytes : reply_bytes;

    char *in = floor_alloc(room, options->offset_bytes);
    char *out = echo ? in : floor_alloc(room / request_bytes * reply_bytes, options->offset_bytes);
    struct floor_guard *open = floor_guard_new(options->protection, false, true);
    struct floor_guard *seal = floor_guard_new(options->protection, true, false);
    size_t have = 0;                 /* bytes in `in` */
    size_t unsent = 0, position = 0; /* bytes in `out`, from `position` on */

    int fd;
    do
        fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    while (fd < 0 && errno == EINTR);
    if (fd < 0)
        floor_die("accept");
    struct floor_wire wire;
    floor_wire_init(&wire, fd, false, options->poll_ns);
    struct floor_cost cost = {.cpu_ns = floor_cpu_ns()};

    for (;;) {
        floor_wire_wait(&wire);
        if (!unsent) {
            ptrdiff_t got = floor_wire_read(&wire, in + have, room - have);
            if (got < 0)
                break;
            have += (size_t)got;
            size_t count = have / request_bytes;
            for (size_t i = 0; i < count; i++) {
                char *request = in + i * request_bytes, *reply = out + i * reply_bytes;
                floor_guard_open(open, request, request_bytes);
                if (!echo)
                    memcpy(reply, request, copied);
                floor_guard_seal(seal, reply, reply, reply_bytes);
            }
            unsent = count * reply_bytes;
            position = 0;
            cost.ops += count;
        }
        if (unsent) {
            size_t sent = floor_wire_write(&wire, out + position, unsent);
            position += sent;
            unsent -= sent;
        }
        if (!unsent) {
            size_t rest = have % request_bytes;
            memmove(in, in + have - rest, rest);
            have = rest;
        }
    }
    cost.cpu_ns = floor_cpu_ns() - cost.cpu_ns;
    floor_wire_close(&wire);
    return cost;
}
