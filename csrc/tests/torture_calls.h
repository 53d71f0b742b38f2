/*
 * The system calls of the Linux driver, each of which fails when torture.h says so. The linker puts these in place of the C
 * library's (--wrap, csrc/Makefile), which __real_NAME calls.
 *
 * Each way is one its manual page names: an errno; or less than was asked for. Where the core was promised that an edge follows
 * (nothing there now, only a part there), the edge is made to follow.
 */
#ifndef CMSGR_TORTURE_CALLS_H
#define CMSGR_TORTURE_CALLS_H

#include <errno.h>
#include <stdarg.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "torture.h"

/* Ways beside an errno. */
enum { TORTURE_ONE_BYTE = -1, TORTURE_HALF = -2, TORTURE_END = -3, TORTURE_SO_ERROR = -1000 /* minus the errno it tells */ };

#define TORTURE_WAYS(...) (const int[]){__VA_ARGS__, 0}
/* Fails by an errno if it is its turn. */
#define TORTURE_MAY_FAIL(name, ...)                                                \
    do {                                                                           \
        const int *way_ = torture_strikes(name, 0, TORTURE_WAYS(__VA_ARGS__));     \
        if (way_) {                                                                \
            errno = *way_;                                                         \
            return -1;                                                             \
        }                                                                          \
    } while (0)

/* What epoll was told of each descriptor last, to make an edge by telling it again. */
static struct {
    int epoll_fd;
    struct epoll_event event;
} torture_watched[TORTURE_MAX_FD];

int __real_epoll_create1(int flags);
int __wrap_epoll_create1(int flags)
{
    TORTURE_MAY_FAIL("epoll_create1", EMFILE, ENFILE, ENOMEM);
    return __real_epoll_create1(flags);
}

int __real_eventfd(unsigned initial, int flags);
int __wrap_eventfd(unsigned initial, int flags)
{
    TORTURE_MAY_FAIL("eventfd", EMFILE, ENFILE, ENODEV, ENOMEM);
    return __real_eventfd(initial, flags);
}

int __real_epoll_ctl(int epoll_fd, int op, int fd, struct epoll_event *event);
int __wrap_epoll_ctl(int epoll_fd, int op, int fd, struct epoll_event *event)
{
    if (op == EPOLL_CTL_ADD)
        TORTURE_MAY_FAIL("epoll_ctl ADD", ENOMEM, ENOSPC, EPERM);
    TORTURE_MAY_FAIL("epoll_ctl", ENOMEM);
    CHECK(fd < TORTURE_MAX_FD);
    torture_watched[fd].epoll_fd = op == EPOLL_CTL_DEL ? 0 : epoll_fd;
    torture_watched[fd].event = *event;
    return __real_epoll_ctl(epoll_fd, op, fd, event);
}

static inline void torture_make_edge(int fd)
{
    if (torture_watched[fd].epoll_fd)
        CHECK_EQ(__real_epoll_ctl(torture_watched[fd].epoll_fd, EPOLL_CTL_MOD, fd, &torture_watched[fd].event), 0);
}

int __real_epoll_wait(int epoll_fd, struct epoll_event *events, int max, int timeout_ms);
int __wrap_epoll_wait(int epoll_fd, struct epoll_event *events, int max, int timeout_ms)
{
    TORTURE_MAY_FAIL("epoll_wait", EINTR);
    return __real_epoll_wait(epoll_fd, events, max, timeout_ms);
}

/* epoll_pwait2, the only one the core calls by its number. */
long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...)
{
    long arg[6];
    va_list args;

    va_start(args, number);
    for (int i = 0; i < 6; i++)
        arg[i] = va_arg(args, long);
    va_end(args);
    TORTURE_MAY_FAIL("epoll_pwait2", EINTR, ENOSYS, EPERM);
    return __real_syscall(number, arg[0], arg[1], arg[2], arg[3], arg[4], arg[5]);
}

ssize_t __real_write(int fd, const void *data, size_t len);
ssize_t __wrap_write(int fd, const void *data, size_t len)
{
    TORTURE_MAY_FAIL("write to the eventfd", EINTR, EAGAIN);
    return __real_write(fd, data, len);
}

int __real_socket(int family, int type, int protocol);
int __wrap_socket(int family, int type, int protocol)
{
    TORTURE_MAY_FAIL("socket", EMFILE, ENFILE, ENOBUFS, ENOMEM, EACCES, EAFNOSUPPORT);
    return __real_socket(family, type, protocol);
}

int __real_bind(int fd, const struct sockaddr *addr, socklen_t len);
int __wrap_bind(int fd, const struct sockaddr *addr, socklen_t len)
{
    TORTURE_MAY_FAIL("bind", EADDRINUSE, EADDRNOTAVAIL, EACCES, ENOMEM);
    return __real_bind(fd, addr, len);
}

int __real_listen(int fd, int backlog);
int __wrap_listen(int fd, int backlog)
{
    TORTURE_MAY_FAIL("listen", EADDRINUSE);
    return __real_listen(fd, backlog);
}

int __real_accept4(int fd, struct sockaddr *addr, socklen_t *len, int flags);
int __wrap_accept4(int fd, struct sockaddr *addr, socklen_t *len, int flags)
{
    TORTURE_MAY_FAIL("accept4", EINTR, EAGAIN, ECONNABORTED, EMFILE, ENFILE, ENOBUFS, ENOMEM, EPROTO, EPERM);
    return __real_accept4(fd, addr, len, flags);
}

int __real_connect(int fd, const struct sockaddr *addr, socklen_t len);
int __wrap_connect(int fd, const struct sockaddr *addr, socklen_t len)
{
    const int *way =
        torture_strikes("connect", 0, TORTURE_WAYS(EINTR, EINPROGRESS, ECONNREFUSED, ENETUNREACH, ETIMEDOUT, EADDRNOTAVAIL, EAGAIN));
    int result;

    if (!way)
        return __real_connect(fd, addr, len);
    if (*way != EINTR && *way != EINPROGRESS) {
        errno = *way;
        return -1;
    }
    result = __real_connect(fd, addr, len); /* it goes on in the background */
    errno = result < 0 && errno != EINPROGRESS ? errno : *way;
    return -1;
}

int __real_getsockopt(int fd, int level, int name, void *value, socklen_t *len);
int __wrap_getsockopt(int fd, int level, int name, void *value, socklen_t *len)
{
    const int *way = torture_strikes("getsockopt", 0, TORTURE_WAYS(ENOBUFS, TORTURE_SO_ERROR - ECONNREFUSED,
                                                                   TORTURE_SO_ERROR - ETIMEDOUT, TORTURE_SO_ERROR - EHOSTUNREACH));

    if (way && *way > 0) {
        errno = *way;
        return -1;
    }
    if (way) {
        *(int *)value = TORTURE_SO_ERROR - *way;
        return 0;
    }
    return __real_getsockopt(fd, level, name, value, len);
}

int __real_setsockopt(int fd, int level, int name, const void *value, socklen_t len);
int __wrap_setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
    TORTURE_MAY_FAIL("setsockopt", ENOBUFS, ENOMEM, ENOPROTOOPT);
    return __real_setsockopt(fd, level, name, value, len);
}

int __real_getpeername(int fd, struct sockaddr *addr, socklen_t *len);
int __wrap_getpeername(int fd, struct sockaddr *addr, socklen_t *len)
{
    const int *way = torture_strikes("getpeername", 0, TORTURE_WAYS(ENOTCONN, ENOBUFS));

    if (!way)
        return __real_getpeername(fd, addr, len);
    if (*way == ENOTCONN)
        torture_make_edge(fd); /* not connected yet: told when it is */
    errno = *way;
    return -1;
}

int __real_getsockname(int fd, struct sockaddr *addr, socklen_t *len);
int __wrap_getsockname(int fd, struct sockaddr *addr, socklen_t *len)
{
    TORTURE_MAY_FAIL("getsockname", ENOBUFS);
    return __real_getsockname(fd, addr, len);
}

/* The same buffers, but only their first `len` bytes. */
static inline int torture_cut(struct iovec *out, const struct iovec *iov, int count, size_t len)
{
    int kept = 0;

    for (; kept < count && kept < 1024 && len; kept++) {
        out[kept] = iov[kept];
        if (out[kept].iov_len > len)
            out[kept].iov_len = len;
        len -= out[kept].iov_len;
    }
    return kept;
}

static inline size_t torture_part(int way, const struct iovec *iov, int count)
{
    size_t total = 0;

    for (int i = 0; i < count; i++)
        total += iov[i].iov_len;
    return way == TORTURE_HALF && total > 1 ? total / 2 : 1;
}

ssize_t __real_readv(int fd, const struct iovec *iov, int count);
ssize_t __wrap_readv(int fd, const struct iovec *iov, int count)
{
    const int *way = torture_strikes("readv", 0, TORTURE_WAYS(EINTR, EAGAIN, ECONNRESET, ETIMEDOUT, EHOSTUNREACH, ENOMEM, ENOBUFS,
                                                              TORTURE_ONE_BYTE, TORTURE_HALF, TORTURE_END));
    struct iovec part[1024];

    if (!way)
        return __real_readv(fd, iov, count);
    if (*way == EAGAIN || *way == TORTURE_ONE_BYTE || *way == TORTURE_HALF)
        torture_make_edge(fd);
    if (*way == TORTURE_END)
        return 0;
    if (*way < 0)
        return __real_readv(fd, part, torture_cut(part, iov, count, torture_part(*way, iov, count)));
    errno = *way;
    return -1;
}

ssize_t __real_sendmsg(int fd, const struct msghdr *msg, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *msg, int flags)
{
    const int *way = torture_strikes("sendmsg", 0, TORTURE_WAYS(EINTR, EAGAIN, ECONNRESET, EPIPE, ETIMEDOUT, EHOSTUNREACH, ENOMEM,
                                                                ENOBUFS, TORTURE_ONE_BYTE, TORTURE_HALF));
    struct iovec part[1024];
    struct msghdr cut = *msg;

    if (!way)
        return __real_sendmsg(fd, msg, flags);
    if (*way == EAGAIN || *way < 0)
        torture_make_edge(fd);
    if (*way > 0) {
        errno = *way;
        return -1;
    }
    cut.msg_iovlen = (size_t)torture_cut(part, msg->msg_iov, (int)msg->msg_iovlen,
                                         torture_part(*way, msg->msg_iov, (int)msg->msg_iovlen));
    cut.msg_iov = part;
    return __real_sendmsg(fd, &cut, flags);
}

int __real_shutdown(int fd, int how);
int __wrap_shutdown(int fd, int how)
{
    TORTURE_MAY_FAIL("shutdown", ENOTCONN);
    return __real_shutdown(fd, how);
}

int __real_close(int fd);
int __wrap_close(int fd)
{
    const int *way = torture_strikes("close", 0, TORTURE_WAYS(EINTR, EIO, ENOSPC));

    if (fd < TORTURE_MAX_FD)
        torture_watched[fd].epoll_fd = 0;
    if (!way)
        return __real_close(fd);
    __real_close(fd); /* released in any case */
    errno = *way;
    return -1;
}

ssize_t __real_getrandom(void *out, size_t len, unsigned flags);
ssize_t __wrap_getrandom(void *out, size_t len, unsigned flags)
{
    const int *way = torture_strikes("getrandom", 0, TORTURE_WAYS(EINTR, ENOSYS, TORTURE_ONE_BYTE));

    if (way && *way > 0) {
        errno = *way;
        return -1;
    }
    return __real_getrandom(out, way ? 1 : len, flags);
}

#endif
