/* One socket behind one level-triggered epoll, and the clocks. */
#define _GNU_SOURCE
#include "floor.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PAGE_BYTES 4096u

uint64_t floor_now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static uint64_t timeval_ns(struct timeval tv) {
    return (uint64_t)tv.tv_sec * 1000000000u + (uint64_t)tv.tv_usec * 1000u;
}

uint64_t floor_cpu_ns(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return timeval_ns(usage.ru_utime) + timeval_ns(usage.ru_stime);
}

void floor_die(const char *what) {
    fprintf(stderr, "floor: ");
    perror(what);
    exit(1);
}

void *floor_alloc(size_t bytes, size_t offset_bytes) {
    size_t pages = (offset_bytes + bytes + PAGE_BYTES - 1) / PAGE_BYTES;
    char *memory = aligned_alloc(PAGE_BYTES, pages * PAGE_BYTES);
    if (!memory)
        floor_die("aligned_alloc");
    return memset(memory + offset_bytes, 0, bytes);
}

void floor_wire_init(struct floor_wire *wire, int fd, bool reads_while_unsent, uint64_t poll_ns) {
    int on = 1;
    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0)
        floor_die("TCP_NODELAY");
    if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0)
        floor_die("O_NONBLOCK");
    *wire = (struct floor_wire){.fd = fd,
                                .epoll = epoll_create1(EPOLL_CLOEXEC),
                                .reads_while_unsent = reads_while_unsent,
                                .poll_ns = poll_ns};
    struct epoll_event event = {.events = EPOLLIN};
    if (wire->epoll < 0 || epoll_ctl(wire->epoll, EPOLL_CTL_ADD, fd, &event) < 0)
        floor_die("epoll");
}

void floor_wire_close(struct floor_wire *wire) {
    close(wire->epoll);
    close(wire->fd);
}

static int wait_once(struct floor_wire *wire, int timeout_ms) {
    struct epoll_event event;
    int ready = epoll_wait(wire->epoll, &event, 1, timeout_ms);
    if (ready < 0 && errno != EINTR)
        floor_die("epoll_wait");
    return ready;
}

void floor_wire_wait(struct floor_wire *wire) {
    if (wire->poll_ns) {
        uint64_t end_ns = floor_now_ns() + wire->poll_ns;
        do {
            if (wait_once(wire, 0) > 0)
                return;
        } while (floor_now_ns() < end_ns);
    }
    wait_once(wire, -1);
}

ptrdiff_t floor_wire_read(struct floor_wire *wire, void *buffer, size_t bytes) {
    ssize_t got = recv(wire->fd, buffer, bytes, 0);
    if (got > 0)
        return got;
    if (got == 0 || errno == ECONNRESET)
        return -1;
    if (errno != EAGAIN && errno != EINTR)
        floor_die("recv");
    return 0;
}

static void want_write(struct floor_wire *wire, bool wanted) {
    if (wire->wants_write == wanted)
        return;
    struct epoll_event event = {.events = EPOLLIN};
    if (wanted)
        event.events = wire->reads_while_unsent ? EPOLLIN | EPOLLOUT : EPOLLOUT;
    if (epoll_ctl(wire->epoll, EPOLL_CTL_MOD, wire->fd, &event) < 0)
        floor_die("epoll_ctl");
    wire->wants_write = wanted;
}

size_t floor_wire_write(struct floor_wire *wire, const void *buffer, size_t bytes) {
    ssize_t sent = send(wire->fd, buffer, bytes, MSG_NOSIGNAL);
    if (sent < 0) {
        if (errno != EAGAIN && errno != EINTR)
            floor_die("send");
        sent = 0;
    }
    want_write(wire, (size_t)sent < bytes);
    return (size_t)sent;
}
