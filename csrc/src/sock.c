/*
 * The Linux driver's sockets: non-blocking, close-on-exec, never SIGPIPE, never EINTR. Stateless; the calls are as safe
 * between threads as the system's own.
 */
#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "driver_linux.h"

#ifndef IOV_MAX
#define IOV_MAX 1024
#endif

/* Class selector 6, network control: what Ceph marks heartbeats with, in the upper six bits of the TOS octet. */
enum { CLASS_SELECTOR_6 = 0xc0 };

static int result(int rc)
{
    return rc < 0 ? -errno : rc;
}

static int set_int(int fd, int level, int name, int value)
{
    return result(setsockopt(fd, level, name, &value, sizeof(value)));
}

int cmsgr__sock_socket(void *ctx, int family)
{
    (void)ctx;
    return result(socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
}

int cmsgr__sock_bind(void *ctx, int fd, const struct sockaddr *addr, socklen_t len)
{
    /* Else a restarted daemon waits for its predecessor's connections to leave TIME_WAIT. */
    int rc = set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1);

    (void)ctx;
    return rc < 0 ? rc : result(bind(fd, addr, len));
}

int cmsgr__sock_listen(void *ctx, int fd, int backlog)
{
    (void)ctx;
    return result(listen(fd, backlog));
}

int cmsgr__sock_accept(void *ctx, int fd, struct sockaddr_storage *peer, socklen_t *len)
{
    int rc;

    (void)ctx;
    *len = sizeof(*peer);
    do
        rc = accept4(fd, (struct sockaddr *)peer, len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    while (rc < 0 && errno == EINTR);
    return result(rc);
}

int cmsgr__sock_connect(void *ctx, int fd, const struct sockaddr *addr, socklen_t len)
{
    (void)ctx;
    if (connect(fd, addr, len) == 0)
        return 0;
    /* An interrupted connect goes on in the background; asking again would only tell EALREADY. */
    return errno == EINPROGRESS || errno == EINTR ? 0 : -errno;
}

int cmsgr__sock_connect_result(void *ctx, int fd)
{
    struct sockaddr_storage peer;
    socklen_t len = sizeof(int);
    int error = 0;

    (void)ctx;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
        return -errno;
    if (error)
        return -error;
    /* No error is also what a connect under way tells: only having a peer is success. */
    len = sizeof(peer);
    if (getpeername(fd, (struct sockaddr *)&peer, &len) == 0)
        return 1;
    return errno == ENOTCONN ? 0 : -errno;
}

ssize_t cmsgr__sock_recv(void *ctx, int fd, const struct iovec *iov, int count)
{
    ssize_t got;

    (void)ctx;
    do
        got = readv(fd, iov, count < IOV_MAX ? count : IOV_MAX);
    while (got < 0 && errno == EINTR);
    return got < 0 ? -errno : got;
}

ssize_t cmsgr__sock_sendmsg(void *ctx, int fd, const struct iovec *iov, int count, int more)
{
    struct msghdr msg = {.msg_iov = (struct iovec *)iov, .msg_iovlen = (size_t)(count < IOV_MAX ? count : IOV_MAX)};
    int flags = MSG_NOSIGNAL | (more || count > IOV_MAX ? MSG_MORE : 0);
    ssize_t sent;

    (void)ctx;
    do
        sent = sendmsg(fd, &msg, flags);
    while (sent < 0 && errno == EINTR);
    return sent < 0 ? -errno : sent;
}

int cmsgr__sock_shutdown(void *ctx, int fd)
{
    (void)ctx;
    return result(shutdown(fd, SHUT_RDWR));
}

int cmsgr__sock_close(void *ctx, int fd)
{
    (void)ctx;
    /* Linux has released the fd even if close was interrupted: trying again could close somebody else's. */
    return close(fd) < 0 && errno != EINTR ? -errno : 0;
}

int cmsgr__sock_local_addr(void *ctx, int fd, struct sockaddr_storage *addr, socklen_t *len)
{
    (void)ctx;
    *len = sizeof(*addr);
    return result(getsockname(fd, (struct sockaddr *)addr, len));
}

int cmsgr__sock_peer_addr(void *ctx, int fd, struct sockaddr_storage *addr, socklen_t *len)
{
    (void)ctx;
    *len = sizeof(*addr);
    return result(getpeername(fd, (struct sockaddr *)addr, len));
}

static int set_priority(int fd, int priority)
{
    struct sockaddr_storage addr;
    socklen_t len = sizeof(addr);
    int rc;

    if (getsockname(fd, (struct sockaddr *)&addr, &len) < 0)
        return -errno;
    if (addr.ss_family == AF_INET6)
        rc = set_int(fd, IPPROTO_IPV6, IPV6_TCLASS, CLASS_SELECTOR_6);
    else
        rc = set_int(fd, IPPROTO_IP, IP_TOS, CLASS_SELECTOR_6);
    /* Last: the kernel derives a priority of its own from the TOS. */
    return rc < 0 ? rc : set_int(fd, SOL_SOCKET, SO_PRIORITY, priority);
}

int cmsgr__sock_set_option(void *ctx, int fd, int option, int value)
{
    (void)ctx;
    switch (option) {
    case CMSGR_SO_NODELAY:
        return set_int(fd, IPPROTO_TCP, TCP_NODELAY, value);
    case CMSGR_SO_RCVBUF:
        return set_int(fd, SOL_SOCKET, SO_RCVBUF, value);
    case CMSGR_SO_PRIORITY:
        return set_priority(fd, value);
    case CMSGR_SO_USER_TIMEOUT_MS:
        return set_int(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, value);
    default:
        return -EINVAL;
    }
}
