/*
 * The Linux poller: epoll, edge-triggered, and an eventfd that other threads write to end a wait.
 *
 * Owner only, except wakeup (any thread). The eventfd is watched edge-triggered too: every write is a new edge even if
 * nothing was read, so its counter is never read. At one wakeup per nanosecond it would take 500 years to fill.
 *
 * The poller's few bytes come from malloc: a driver is the world below the allocator and is not handed one.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "driver_linux.h"

enum { MAX_EVENTS = 256 }; /* per call, on the stack; what is left over comes with the next call */

/* The eventfd's token. Tokens of files end in an fd, and no fd is -1. */
static const uint64_t WAKEUP = UINT64_MAX;

struct poller {
    int epoll_fd;
    int wakeup_fd;
    int millis_only; /* the kernel (before 5.11) or a sandbox lacks epoll_pwait2 */
};

static int watch_wakeup(const struct poller *p)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.u64 = WAKEUP};

    return epoll_ctl(p->epoll_fd, EPOLL_CTL_ADD, p->wakeup_fd, &event) < 0 ? -errno : 0;
}

int cmsgr__epoll_open(void *ctx, void **poller)
{
    struct poller *p = calloc(1, sizeof(*p));
    int rc;

    if (!p)
        return -ENOMEM;
    p->wakeup_fd = -1;
    p->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (p->epoll_fd >= 0)
        p->wakeup_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    rc = p->wakeup_fd < 0 ? -errno : watch_wakeup(p);
    if (rc < 0) {
        cmsgr__epoll_close(ctx, p);
        return rc;
    }
    *poller = p;
    return 0;
}

void cmsgr__epoll_close(void *ctx, void *poller)
{
    struct poller *p = poller;

    (void)ctx;
    if (p->wakeup_fd >= 0)
        close(p->wakeup_fd);
    if (p->epoll_fd >= 0)
        close(p->epoll_fd);
    free(p);
}

int cmsgr__epoll_set(void *ctx, void *poller, int fd, int old_mask, int new_mask, uint64_t token)
{
    const struct poller *p = poller;
    struct epoll_event event = {.events = EPOLLET, .data.u64 = token};
    int op = EPOLL_CTL_MOD;

    (void)ctx;
    if (!old_mask && !new_mask)
        return 0;
    if (!old_mask)
        op = EPOLL_CTL_ADD;
    else if (!new_mask)
        op = EPOLL_CTL_DEL;
    /* Who only writes does not ask whether the peer will send more. */
    if (new_mask & CMSGR_READABLE)
        event.events |= EPOLLIN | EPOLLRDHUP;
    if (new_mask & CMSGR_WRITABLE)
        event.events |= EPOLLOUT;
    return epoll_ctl(p->epoll_fd, op, fd, &event) < 0 ? -errno : 0;
}

static int mask_of(uint32_t events)
{
    int mask = 0;

    if (events & EPOLLIN)
        mask |= CMSGR_READABLE;
    if (events & EPOLLOUT)
        mask |= CMSGR_WRITABLE;
    if (events & EPOLLRDHUP)
        mask |= CMSGR_READABLE | CMSGR_HANGUP;
    /* Reported to whoever watches: the next recv or sendmsg tells what it was. */
    if (events & (EPOLLERR | EPOLLHUP))
        mask |= CMSGR_READABLE | CMSGR_WRITABLE | CMSGR_HANGUP;
    return mask;
}

static int wait_millis(int epoll_fd, struct epoll_event *events, int max, int64_t timeout_ns)
{
    int64_t millis = timeout_ns / 1000000 + (timeout_ns % 1000000 > 0); /* up: a timer is never early */

    if (timeout_ns < 0)
        millis = -1;
    return epoll_wait(epoll_fd, events, max, millis > INT_MAX ? INT_MAX : (int)millis);
}

static int wait_nanos(int epoll_fd, struct epoll_event *events, int max, int64_t timeout_ns)
{
#ifdef SYS_epoll_pwait2 /* glibc has a name for it only since 2.35 */
    /* Two 64-bit fields whatever the C library makes of struct timespec. */
    int64_t timeout[2] = {timeout_ns / 1000000000, timeout_ns % 1000000000};

    return (int)syscall(SYS_epoll_pwait2, epoll_fd, events, max, timeout_ns < 0 ? NULL : timeout, NULL, 0);
#else
    (void)epoll_fd, (void)events, (void)max, (void)timeout_ns;
    errno = ENOSYS;
    return -1;
#endif
}

static int wait_once(struct poller *p, struct epoll_event *events, int max, int64_t timeout_ns)
{
    int count;

    /* Where nanoseconds do not matter the older call is taken: it copies no timeout. */
    if (p->millis_only || timeout_ns <= 0)
        return wait_millis(p->epoll_fd, events, max, timeout_ns);
    count = wait_nanos(p->epoll_fd, events, max, timeout_ns);
    if (count >= 0 || (errno != ENOSYS && errno != EPERM))
        return count;
    p->millis_only = 1;
    return wait_millis(p->epoll_fd, events, max, timeout_ns);
}

static int64_t monotonic_ns(void)
{
    struct timespec at;

    clock_gettime(CLOCK_MONOTONIC, &at);
    return (int64_t)at.tv_sec * 1000000000 + at.tv_nsec;
}

/* After a signal the wait goes on with the time that is left. */
static int wait_through_signals(struct poller *p, struct epoll_event *events, int max, int64_t timeout_ns)
{
    int64_t deadline = timeout_ns > 0 ? monotonic_ns() + timeout_ns : 0;

    for (;;) {
        int count = wait_once(p, events, max, timeout_ns);

        if (count >= 0)
            return count;
        if (errno != EINTR)
            return -errno;
        if (timeout_ns > 0) {
            timeout_ns = deadline - monotonic_ns();
            if (timeout_ns < 0)
                timeout_ns = 0;
        }
    }
}

int cmsgr__epoll_wait(void *ctx, void *poller, cmsgr_ready *ready, int max, int64_t timeout_ns)
{
    struct epoll_event events[MAX_EVENTS];
    int count, filled = 0;

    (void)ctx;
    count = wait_through_signals(poller, events, max < MAX_EVENTS ? max : MAX_EVENTS, timeout_ns);
    if (count < 0)
        return count;
    for (int i = 0; i < count; i++) {
        if (events[i].data.u64 == WAKEUP)
            continue;
        ready[filled].token = events[i].data.u64;
        ready[filled++].mask = mask_of(events[i].events);
    }
    return filled;
}

int cmsgr__epoll_wakeup(void *ctx, void *poller)
{
    const struct poller *p = poller;
    const uint64_t one = 1;

    (void)ctx;
    while (write(p->wakeup_fd, &one, sizeof(one)) < 0) {
        if (errno == EAGAIN) /* the counter is full: as pending as can be */
            return 0;
        if (errno != EINTR)
            return -errno;
    }
    return 0;
}
