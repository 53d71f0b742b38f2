/* The Linux driver: clock, chance, and the table that joins them with epoll.c and sock.c. No state; any thread. */
#include <errno.h>
#include <sched.h>
#include <sys/random.h>
#include <time.h>

#include "driver_linux.h"

static int64_t read_clock(clockid_t clock)
{
    struct timespec at;

    clock_gettime(clock, &at);
    return (int64_t)at.tv_sec * 1000000000 + at.tv_nsec;
}

static int64_t now_ns(void *ctx)
{
    (void)ctx;
    return read_clock(CLOCK_MONOTONIC);
}

static int64_t wall_ns(void *ctx)
{
    (void)ctx;
    return read_clock(CLOCK_REALTIME);
}

static void yield(void *ctx)
{
    (void)ctx;
    sched_yield();
}

static int fill_random(void *ctx, void *buf, size_t len_bytes)
{
    uint8_t *next = buf;

    (void)ctx;
    while (len_bytes) { /* more than 256 bytes may come in parts */
        ssize_t got = getrandom(next, len_bytes, 0);

        if (got < 0) {
            if (errno == EINTR)
                continue;
            return -errno;
        }
        next += got;
        len_bytes -= (size_t)got;
    }
    return 0;
}

const cmsgr_driver *cmsgr_driver_linux(void)
{
    static const cmsgr_driver driver = {
        .name = "linux",
        .now_ns = now_ns,
        .wall_ns = wall_ns,
        .random = fill_random,
        .yield = yield,
        .poller_open = cmsgr__epoll_open,
        .poller_close = cmsgr__epoll_close,
        .poller_set = cmsgr__epoll_set,
        .poller_wait = cmsgr__epoll_wait,
        .poller_wakeup = cmsgr__epoll_wakeup,
        .socket = cmsgr__sock_socket,
        .bind = cmsgr__sock_bind,
        .listen = cmsgr__sock_listen,
        .accept = cmsgr__sock_accept,
        .connect = cmsgr__sock_connect,
        .connect_result = cmsgr__sock_connect_result,
        .recv = cmsgr__sock_recv,
        .sendmsg = cmsgr__sock_sendmsg,
        .shutdown = cmsgr__sock_shutdown,
        .close = cmsgr__sock_close,
        .local_addr = cmsgr__sock_local_addr,
        .peer_addr = cmsgr__sock_peer_addr,
        .set_option = cmsgr__sock_set_option,
    };

    return &driver;
}
