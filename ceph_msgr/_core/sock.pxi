# Sockets, through the driver only. Every call is non-blocking, so the interpreter lock is kept.

cdef extern from "<netinet/in.h>" nogil:
    enum:
        AF_INET
        AF_INET6
        INET6_ADDRSTRLEN

    struct in_addr:
        pass

    struct in6_addr:
        pass

    struct sockaddr_in:
        sa_family_t sin_family
        uint16_t sin_port
        in_addr sin_addr

    struct sockaddr_in6:
        sa_family_t sin6_family
        uint16_t sin6_port
        uint32_t sin6_flowinfo
        in6_addr sin6_addr
        uint32_t sin6_scope_id

    uint16_t htons(uint16_t value)
    uint32_t htonl(uint32_t value)
    uint16_t ntohs(uint16_t value)
    uint32_t ntohl(uint32_t value)

cdef extern from "<arpa/inet.h>" nogil:
    int inet_pton(int family, const char *text, void *addr)
    const char *inet_ntop(int family, const void *addr, char *text, socklen_t size)


cdef enum:
    MAX_IOV = 64


cdef socklen_t sockaddr_from_addr(addr, sockaddr_storage *out) except 0:
    cdef sockaddr_in *v4 = <sockaddr_in *>out
    cdef sockaddr_in6 *v6 = <sockaddr_in6 *>out
    cdef bytes ip = addr.ip.encode()
    memset(out, 0, sizeof(sockaddr_storage))
    if not ip:
        raise ValueError(f"{addr} has no ip to make a socket address of")
    if b":" in ip:
        v6.sin6_family = AF_INET6
        v6.sin6_port = htons(addr.port)
        v6.sin6_flowinfo = htonl(addr.flow_info)
        v6.sin6_scope_id = addr.scope_id
        inet_pton(AF_INET6, ip, &v6.sin6_addr)
        return sizeof(sockaddr_in6)
    v4.sin_family = AF_INET
    v4.sin_port = htons(addr.port)
    inet_pton(AF_INET, ip, &v4.sin_addr)
    return sizeof(sockaddr_in)


cdef addr_from_sockaddr(const sockaddr_storage *addr):
    cdef const sockaddr_in *v4 = <const sockaddr_in *>addr
    cdef const sockaddr_in6 *v6 = <const sockaddr_in6 *>addr
    cdef char text[64]
    if addr.ss_family == AF_INET:
        inet_ntop(AF_INET, &v4.sin_addr, text, sizeof(text))
        return EntityAddr(AddrType.MSGR2, text.decode(), ntohs(v4.sin_port))
    if addr.ss_family == AF_INET6:
        inet_ntop(AF_INET6, &v6.sin6_addr, text, sizeof(text))
        return EntityAddr(AddrType.MSGR2, text.decode(), ntohs(v6.sin6_port), 0, ntohl(v6.sin6_flowinfo), v6.sin6_scope_id)
    raise OSError(f"a socket of address family {addr.ss_family}, expected IPv4 or IPv6")


cdef int set_options(int fd, bint nodelay, int rcvbuf, int priority, int user_timeout_ms) except -1:
    cdef const cmsgr_driver *driver = cmsgr_env_driver(ENV)
    if nodelay:
        check(driver.set_option(driver.ctx, fd, CMSGR_SO_NODELAY, 1), "TCP_NODELAY")
    if rcvbuf > 0:
        check(driver.set_option(driver.ctx, fd, CMSGR_SO_RCVBUF, rcvbuf), "SO_RCVBUF")
    if priority >= 0:
        check(driver.set_option(driver.ctx, fd, CMSGR_SO_PRIORITY, priority), "SO_PRIORITY")
    if user_timeout_ms > 0:
        check(driver.set_option(driver.ctx, fd, CMSGR_SO_USER_TIMEOUT_MS, user_timeout_ms), "TCP_USER_TIMEOUT")
    return 0


def tcp_connect(addr, *, bind_to=None, bint nodelay=True, int rcvbuf=0, int priority=-1, int user_timeout_ms=0):
    cdef const cmsgr_driver *driver = cmsgr_env_driver(ENV)
    cdef sockaddr_storage target, local
    cdef socklen_t target_len = sockaddr_from_addr(addr, &target)
    cdef socklen_t local_len
    cdef int fd
    fd = driver.socket(driver.ctx, target.ss_family)
    check(fd, f"socket for {addr}")
    try:
        set_options(fd, nodelay, rcvbuf, priority, user_timeout_ms)
        if bind_to is not None:
            local_len = sockaddr_from_addr(bind_to, &local)
            check(driver.bind(driver.ctx, fd, <sockaddr *>&local, local_len), f"bind to {bind_to}")
        check(driver.connect(driver.ctx, fd, <sockaddr *>&target, target_len), f"connect to {addr}")
    except BaseException:
        driver.close(driver.ctx, fd)
        raise
    return fd


def tcp_connect_result(int fd):
    cdef const cmsgr_driver *driver = cmsgr_env_driver(ENV)
    cdef int rc = driver.connect_result(driver.ctx, fd)
    check(rc, "connect")
    return rc


def tcp_listen(addr, *, int backlog=512, bint nodelay=True, int rcvbuf=0):
    cdef const cmsgr_driver *driver = cmsgr_env_driver(ENV)
    cdef sockaddr_storage local
    cdef socklen_t local_len = sockaddr_from_addr(addr, &local)
    cdef int fd
    fd = driver.socket(driver.ctx, local.ss_family)
    check(fd, f"socket for {addr}")
    try:
        set_options(fd, nodelay, rcvbuf, -1, 0)
        check(driver.bind(driver.ctx, fd, <sockaddr *>&local, local_len), f"bind to {addr}")
        check(driver.listen(driver.ctx, fd, backlog), f"listen on {addr}")
    except BaseException:
        driver.close(driver.ctx, fd)
        raise
    return fd


def tcp_accept(int fd, *, bint nodelay=True, int rcvbuf=0, int priority=-1, int user_timeout_ms=0):
    cdef const cmsgr_driver *driver = cmsgr_env_driver(ENV)
    cdef sockaddr_storage peer
    cdef socklen_t peer_len = sizeof(peer)
    cdef int accepted = driver.accept(driver.ctx, fd, &peer, &peer_len)
    if accepted == -EAGAIN:
        return None
    check(accepted, "accept")
    try:
        set_options(accepted, nodelay, rcvbuf, priority, user_timeout_ms)
        return accepted, addr_from_sockaddr(&peer)
    except BaseException:
        driver.close(driver.ctx, accepted)
        raise


def tcp_local_addr(int fd):
    cdef const cmsgr_driver *driver = cmsgr_env_driver(ENV)
    cdef sockaddr_storage addr
    cdef socklen_t addr_len = sizeof(addr)
    check(driver.local_addr(driver.ctx, fd, &addr, &addr_len), "getsockname")
    return addr_from_sockaddr(&addr)


def tcp_peer_addr(int fd):
    cdef const cmsgr_driver *driver = cmsgr_env_driver(ENV)
    cdef sockaddr_storage addr
    cdef socklen_t addr_len = sizeof(addr)
    check(driver.peer_addr(driver.ctx, fd, &addr, &addr_len), "getpeername")
    return addr_from_sockaddr(&addr)


def tcp_recv(int fd, Py_ssize_t len_bytes):
    cdef const cmsgr_driver *driver = cmsgr_env_driver(ENV)
    cdef iovec iov
    cdef ssize_t got
    if len_bytes < 1:
        raise ValueError(f"cannot receive {len_bytes} bytes")
    data = PyBytes_FromStringAndSize(NULL, len_bytes)
    iov.iov_base = PyBytes_AS_STRING(data)
    iov.iov_len = len_bytes
    got = driver.recv(driver.ctx, fd, &iov, 1)
    if got == -EAGAIN:
        return None
    check(got, "recv")
    return data if got == len_bytes else data[:got]


def tcp_send(int fd, buffers, *, bint more=False):
    cdef const cmsgr_driver *driver = cmsgr_env_driver(ENV)
    cdef iovec iov[MAX_IOV]
    cdef Py_buffer view[MAX_IOV]
    cdef int i, count = 0
    cdef ssize_t sent
    try:
        for buffer in buffers:
            if count == MAX_IOV:
                more = True
                break
            PyObject_GetBuffer(buffer, &view[count], PyBUF_SIMPLE)
            iov[count].iov_base = view[count].buf
            iov[count].iov_len = view[count].len
            count += 1
        sent = driver.sendmsg(driver.ctx, fd, iov, count, more)
    finally:
        for i in range(count):
            PyBuffer_Release(&view[i])
    if sent == -EAGAIN:
        return 0
    check(sent, "send")
    return sent


def tcp_shutdown(int fd):
    cdef const cmsgr_driver *driver = cmsgr_env_driver(ENV)
    check(driver.shutdown(driver.ctx, fd), "shutdown")


def tcp_close(int fd):
    cdef const cmsgr_driver *driver = cmsgr_env_driver(ENV)
    check(driver.close(driver.ctx, fd), "close")
