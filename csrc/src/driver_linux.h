/* The Linux driver's two halves: the poller (epoll.c) and the sockets (sock.c). Contracts: cmsgr_driver in cmsgr.h. */
#ifndef CMSGR_DRIVER_LINUX_H
#define CMSGR_DRIVER_LINUX_H

#include "cmsgr/cmsgr.h"

int cmsgr__epoll_open(void *ctx, void **poller);
void cmsgr__epoll_close(void *ctx, void *poller);
int cmsgr__epoll_set(void *ctx, void *poller, int fd, int old_mask, int new_mask, uint64_t token);
int cmsgr__epoll_wait(void *ctx, void *poller, cmsgr_ready *ready, int max, int64_t timeout_ns);
int cmsgr__epoll_wakeup(void *ctx, void *poller);

int cmsgr__sock_socket(void *ctx, int family);
int cmsgr__sock_bind(void *ctx, int fd, const struct sockaddr *addr, socklen_t len);
int cmsgr__sock_listen(void *ctx, int fd, int backlog);
int cmsgr__sock_accept(void *ctx, int fd, struct sockaddr_storage *peer, socklen_t *len);
int cmsgr__sock_connect(void *ctx, int fd, const struct sockaddr *addr, socklen_t len);
int cmsgr__sock_connect_result(void *ctx, int fd);
ssize_t cmsgr__sock_recv(void *ctx, int fd, const struct iovec *iov, int count);
ssize_t cmsgr__sock_sendmsg(void *ctx, int fd, const struct iovec *iov, int count, int more);
int cmsgr__sock_shutdown(void *ctx, int fd);
int cmsgr__sock_close(void *ctx, int fd);
int cmsgr__sock_local_addr(void *ctx, int fd, struct sockaddr_storage *addr, socklen_t *len);
int cmsgr__sock_peer_addr(void *ctx, int fd, struct sockaddr_storage *addr, socklen_t *len);
int cmsgr__sock_set_option(void *ctx, int fd, int option, int value);

#endif
