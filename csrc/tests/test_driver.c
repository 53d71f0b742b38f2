/* The Linux driver: poller and sockets, against the kernel. Contract C1, C2; of D what concerns single calls. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>

#include "check.h"

enum { SOON_NS = 1000, LONG_NS = 1000000000, MAX = 8 };

static const cmsgr_driver *d;

static int wait_one(void *poller, int64_t timeout_ns, uint64_t *token)
{
    cmsgr_ready ready[MAX];
    int count = d->poller_wait(NULL, poller, ready, MAX, timeout_ns);

    CHECK(count == 0 || count == 1);
    *token = count ? ready[0].token : 0;
    return count ? ready[0].mask : CMSGR_NONE;
}

static void expect(void *poller, int mask, uint64_t token)
{
    uint64_t got;

    CHECK_EQ(wait_one(poller, mask ? LONG_NS : SOON_NS, &got), mask);
    CHECK_EQ(got, token);
}

/* C1: nothing while empty; a byte, an event; another byte, unread the first, another event; none once unwatched. */
static void test_C1_pipe(void)
{
    void *poller;
    int fd[2];

    CHECK_EQ(pipe(fd), 0);
    CHECK_EQ(d->poller_open(NULL, &poller), 0);
    CHECK_EQ(d->poller_set(NULL, poller, fd[0], CMSGR_NONE, CMSGR_READABLE, 77), 0);
    expect(poller, CMSGR_NONE, 0);
    CHECK_EQ(write(fd[1], "a", 1), 1);
    expect(poller, CMSGR_READABLE, 77);
    expect(poller, CMSGR_NONE, 0); /* edge-triggered: told once */
    CHECK_EQ(write(fd[1], "b", 1), 1);
    expect(poller, CMSGR_READABLE, 77);
    CHECK_EQ(d->poller_set(NULL, poller, fd[0], CMSGR_READABLE, CMSGR_NONE, 77), 0);
    CHECK_EQ(write(fd[1], "c", 1), 1);
    expect(poller, CMSGR_NONE, 0);
    d->poller_close(NULL, poller);
    close(fd[0]);
    close(fd[1]);
}

static int listen_on(int family, struct sockaddr_storage *addr, socklen_t *len)
{
    struct sockaddr_in any4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in6 any6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int fd = d->socket(NULL, family);

    CHECK(fd >= 0);
    if (family == AF_INET)
        CHECK_EQ(d->bind(NULL, fd, (struct sockaddr *)&any4, sizeof(any4)), 0);
    else
        CHECK_EQ(d->bind(NULL, fd, (struct sockaddr *)&any6, sizeof(any6)), 0);
    CHECK_EQ(d->listen(NULL, fd, 16), 0);
    CHECK_EQ(d->local_addr(NULL, fd, addr, len), 0);
    return fd;
}

/* A connected pair over loopback. */
static void connect_pair(int *client, int *server)
{
    struct sockaddr_storage addr, peer;
    socklen_t len, peer_len;
    int listener = listen_on(AF_INET, &addr, &len);
    uint64_t token;
    void *poller;

    CHECK_EQ(d->poller_open(NULL, &poller), 0);
    *client = d->socket(NULL, AF_INET);
    CHECK_EQ(d->connect_result(NULL, *client), 0);
    CHECK_EQ(d->connect(NULL, *client, (struct sockaddr *)&addr, len), 0);
    CHECK_EQ(d->poller_set(NULL, poller, *client, CMSGR_NONE, CMSGR_WRITABLE, 5), 0);
    CHECK_EQ(wait_one(poller, LONG_NS, &token), CMSGR_WRITABLE);
    CHECK_EQ(d->connect_result(NULL, *client), 1);
    *server = d->accept(NULL, listener, &peer, &peer_len);
    CHECK(*server >= 0);
    CHECK_EQ(d->local_addr(NULL, *client, &addr, &len), 0);
    CHECK(len == peer_len && memcmp(&addr, &peer, len) == 0);
    CHECK_EQ(d->peer_addr(NULL, *server, &addr, &len), 0);
    CHECK(len == peer_len && memcmp(&addr, &peer, len) == 0);
    d->poller_close(NULL, poller);
    CHECK_EQ(d->close(NULL, listener), 0);
}

enum { ROUNDS = 30, WORD = 7 };

/* The peer: connects, sends 7 bytes, reads what is there, waits for an answer byte, up to 30 times, closes. */
static void *C2_client(void *arg)
{
    const struct sockaddr_storage *addr = arg;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    char byte;

    CHECK_EQ(connect(fd, (const struct sockaddr *)addr, sizeof(struct sockaddr_in)), 0);
    for (int i = 0; i < ROUNDS; i++) {
        CHECK_EQ(write(fd, "example", WORD), WORD);
        CHECK_EQ(read(fd, &byte, 1), 1);
    }
    close(fd);
    return NULL;
}

static void C2_round(void *poller, int fd)
{
    char word[WORD];
    struct iovec iov = {word, WORD};

    expect(poller, CMSGR_READABLE, 2);
    CHECK_EQ(d->recv(NULL, fd, &iov, 1), WORD);
    CHECK_EQ(d->recv(NULL, fd, &iov, 1), -EAGAIN);
    CHECK_EQ(d->poller_set(NULL, poller, fd, CMSGR_READABLE, CMSGR_READABLE | CMSGR_WRITABLE, 2), 0);
    expect(poller, CMSGR_WRITABLE, 2);
    CHECK_EQ(d->poller_set(NULL, poller, fd, CMSGR_READABLE | CMSGR_WRITABLE, CMSGR_READABLE, 2), 0);
    expect(poller, CMSGR_NONE, 0);
    iov.iov_len = 1;
    CHECK_EQ(d->sendmsg(NULL, fd, &iov, 1, 0), 1);
}

/* C2: accept event; per round readable exactly, then with writable added writable exactly; EOF ends. */
static void test_C2_network(void)
{
    struct sockaddr_storage addr, peer;
    socklen_t len;
    pthread_t client;
    void *poller;
    char byte;
    struct iovec iov = {&byte, 1};
    int listener = listen_on(AF_INET, &addr, &len), fd;

    CHECK_EQ(d->poller_open(NULL, &poller), 0);
    CHECK_EQ(d->poller_set(NULL, poller, listener, CMSGR_NONE, CMSGR_READABLE, 1), 0);
    CHECK_EQ(pthread_create(&client, NULL, C2_client, &addr), 0);
    expect(poller, CMSGR_READABLE, 1);
    fd = d->accept(NULL, listener, &peer, &len);
    CHECK(fd >= 0);
    CHECK_EQ(d->accept(NULL, listener, &peer, &len), -EAGAIN);
    CHECK_EQ(d->poller_set(NULL, poller, fd, CMSGR_NONE, CMSGR_READABLE, 2), 0);
    for (int i = 0; i < ROUNDS; i++)
        C2_round(poller, fd);
    expect(poller, CMSGR_READABLE | CMSGR_HANGUP, 2);
    CHECK_EQ(d->recv(NULL, fd, &iov, 1), 0);
    pthread_join(client, NULL);
    d->poller_close(NULL, poller);
    CHECK_EQ(d->close(NULL, fd), 0);
    CHECK_EQ(d->close(NULL, listener), 0);
}

static void test_errors_are_readable_and_writable(void)
{
    void *poller;
    int client, server;

    connect_pair(&client, &server);
    CHECK_EQ(d->poller_open(NULL, &poller), 0);
    CHECK_EQ(d->shutdown(NULL, client), 0);
    CHECK_EQ(d->shutdown(NULL, server), 0);
    CHECK_EQ(d->poller_set(NULL, poller, client, CMSGR_NONE, CMSGR_WRITABLE, 9), 0);
    expect(poller, CMSGR_READABLE | CMSGR_WRITABLE | CMSGR_HANGUP, 9);
    d->poller_close(NULL, poller);
    d->close(NULL, client);
    d->close(NULL, server);
}

/* A wakeup ends the wait without an entry, before and during it; any number sent before ends one. */
static void *wake(void *poller)
{
    CHECK_EQ(d->poller_wakeup(NULL, poller), 0);
    return NULL;
}

static void test_wakeup(void)
{
    cmsgr_ready ready[MAX];
    pthread_t thread;
    void *poller;

    CHECK_EQ(d->poller_open(NULL, &poller), 0);
    for (int round = 0; round < 3; round++) {
        CHECK_EQ(d->poller_wakeup(NULL, poller), 0);
        CHECK_EQ(d->poller_wakeup(NULL, poller), 0);
        CHECK_EQ(d->poller_wait(NULL, poller, ready, MAX, -1), 0);
        CHECK_EQ(pthread_create(&thread, NULL, wake, poller), 0);
        CHECK_EQ(d->poller_wait(NULL, poller, ready, MAX, -1), 0);
        pthread_join(thread, NULL);
    }
    d->poller_close(NULL, poller);
}

static atomic_int signals;
static void count_signal(int number) { atomic_fetch_add(&signals, number == SIGUSR1); }

static void expect_full_waits(void *poller)
{
    static const int64_t timeouts[] = {1, 999, 50000, 999999, 1000001, 2500000};
    cmsgr_ready ready[MAX];

    for (size_t i = 0; i < sizeof(timeouts) / sizeof(timeouts[0]); i++) {
        int64_t start_ns = d->now_ns(NULL);

        CHECK_EQ(d->poller_wait(NULL, poller, ready, MAX, timeouts[i]), 0);
        CHECK(d->now_ns(NULL) - start_ns >= timeouts[i]);
    }
}

/* C6 at the driver: a wait is never short, not even when signals come in. */
static void test_wait_is_never_short(void)
{
    const struct itimerspec period = {{0, 200000}, {0, 200000}};
    struct sigaction action = {.sa_handler = count_signal};
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    timer_t timer;
    void *poller;

    CHECK_EQ(d->poller_open(NULL, &poller), 0);
    expect_full_waits(poller);
    CHECK_EQ(sigaction(SIGUSR1, &action, NULL), 0);
    CHECK_EQ(timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
    CHECK_EQ(timer_settime(timer, 0, &period, NULL), 0);
    while (atomic_load(&signals) < 5)
        expect_full_waits(poller);
    timer_delete(timer);
    d->poller_close(NULL, poller);
}

/* Old kernels and sandboxes lack epoll_pwait2: milliseconds, rounded up, must do. For the rest of the program. */
static void test_wait_without_nanoseconds(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 441 /* epoll_pwait2, on every CPU */, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const struct sock_fprog program = {sizeof(code) / sizeof(code[0]), code};
    void *poller;

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0) {
        fprintf(stderr, "not tested: waiting without epoll_pwait2 (no seccomp here)\n");
        return;
    }
    CHECK_EQ(syscall(441, -1, NULL, 0, NULL, NULL, 0), -1);
    CHECK(errno == EPERM || errno == ENOSYS); /* valgrind itself does not know the call */
    CHECK_EQ(d->poller_open(NULL, &poller), 0);
    expect_full_waits(poller);
    d->poller_close(NULL, poller);
}

static void test_refused_connect(void)
{
    struct sockaddr_storage addr;
    socklen_t len;
    void *poller;
    int fd = listen_on(AF_INET, &addr, &len), rc;

    CHECK_EQ(d->close(NULL, fd), 0); /* now nobody listens there */
    fd = d->socket(NULL, AF_INET);
    rc = d->connect(NULL, fd, (struct sockaddr *)&addr, len);
    if (rc == 0) {
        uint64_t token;

        CHECK_EQ(d->poller_open(NULL, &poller), 0);
        CHECK_EQ(d->poller_set(NULL, poller, fd, CMSGR_NONE, CMSGR_WRITABLE, 1), 0);
        CHECK(wait_one(poller, LONG_NS, &token) & CMSGR_WRITABLE);
        rc = d->connect_result(NULL, fd);
        d->poller_close(NULL, poller);
    }
    CHECK_EQ(rc, -ECONNREFUSED);
    d->close(NULL, fd);
}

static void test_second_listener_is_refused(void)
{
    struct sockaddr_storage addr;
    socklen_t len;
    int first = listen_on(AF_INET, &addr, &len), second = d->socket(NULL, AF_INET);
    int rc = d->bind(NULL, second, (struct sockaddr *)&addr, len);

    CHECK_EQ(rc < 0 ? rc : d->listen(NULL, second, 1), -EADDRINUSE);
    d->close(NULL, first);
    d->close(NULL, second);
}

static void test_gather_scatter_and_end(void)
{
    char one[4], two[10];
    struct iovec out[2] = {{"hello ", 6}, {"world", 5}}, in[2] = {{one, 4}, {two, 10}};
    int client, server;

    connect_pair(&client, &server);
    CHECK_EQ(d->sendmsg(NULL, client, out, 2, 1), 11);
    CHECK_EQ(d->shutdown(NULL, client), 0); /* pushes out what MSG_MORE held back */
    CHECK_EQ(d->sendmsg(NULL, client, out, 2, 0), -EPIPE); /* and no SIGPIPE, or we would not be here */
    for (ssize_t got = 0, more; got < 11; got += more) {
        struct iovec rest[2] = {in[0], in[1]};
        size_t skip = (size_t)got < 4 ? (size_t)got : 4;

        rest[0].iov_base = one + skip;
        rest[0].iov_len = 4 - skip;
        rest[1].iov_base = two + ((size_t)got - skip);
        rest[1].iov_len = 10 - ((size_t)got - skip);
        more = d->recv(NULL, server, rest, 2);
        if (more == -EAGAIN)
            more = 0;
        CHECK(more >= 0);
    }
    CHECK(memcmp(one, "hell", 4) == 0 && memcmp(two, "o world", 7) == 0);
    while (d->recv(NULL, server, in, 2) == -EAGAIN)
        ;
    CHECK_EQ(d->recv(NULL, server, in, 2), 0);
    CHECK_EQ(d->close(NULL, client), 0);
    CHECK_EQ(d->close(NULL, server), 0);
    CHECK_EQ(d->close(NULL, server), -EBADF);
}

/* More pieces than one call takes, and more bytes than the socket takes. */
static void test_many_pieces(void)
{
    static struct iovec iov[3000];
    static char byte;
    static char bulk[16 << 20];
    struct iovec big = {bulk, sizeof(bulk)};
    int client, server;
    ssize_t sent;

    connect_pair(&client, &server);
    for (int i = 0; i < 3000; i++)
        iov[i] = (struct iovec){&byte, 1};
    CHECK_EQ(d->sendmsg(NULL, client, iov, 3000, 0), 1024);
    CHECK(d->sendmsg(NULL, client, &big, 1, 0) < (ssize_t)sizeof(bulk));
    do /* one more call might find room again: bytes move on to the peer all the while */
        sent = d->sendmsg(NULL, client, &big, 1, 0);
    while (sent > 0);
    CHECK_EQ(sent, -EAGAIN);
    d->close(NULL, client);
    d->close(NULL, server);
}

static int option_of(int fd, int level, int name)
{
    int value = -1;
    socklen_t len = sizeof(value);

    CHECK_EQ(getsockopt(fd, level, name, &value, &len), 0);
    return value;
}

static void test_options(int family)
{
    struct sockaddr_storage addr;
    socklen_t len;
    int fd = listen_on(family, &addr, &len);

    CHECK(fcntl(fd, F_GETFL) & O_NONBLOCK);
    CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    CHECK_EQ(option_of(fd, SOL_SOCKET, SO_REUSEADDR), 1);
    CHECK_EQ(d->set_option(NULL, fd, CMSGR_SO_NODELAY, 1), 0);
    CHECK_EQ(option_of(fd, IPPROTO_TCP, TCP_NODELAY), 1);
    CHECK_EQ(d->set_option(NULL, fd, CMSGR_SO_RCVBUF, 65536), 0);
    CHECK(option_of(fd, SOL_SOCKET, SO_RCVBUF) >= 65536);
    CHECK_EQ(d->set_option(NULL, fd, CMSGR_SO_PRIORITY, 3), 0);
    CHECK_EQ(option_of(fd, SOL_SOCKET, SO_PRIORITY), 3);
    CHECK_EQ(family == AF_INET ? option_of(fd, IPPROTO_IP, IP_TOS) : option_of(fd, IPPROTO_IPV6, IPV6_TCLASS), 0xc0);
    CHECK_EQ(d->set_option(NULL, fd, CMSGR_SO_USER_TIMEOUT_MS, 1234), 0);
    CHECK_EQ(option_of(fd, IPPROTO_TCP, TCP_USER_TIMEOUT), 1234);
    CHECK_EQ(d->set_option(NULL, fd, 99, 1), -EINVAL);
    CHECK_EQ(d->set_option(NULL, -1, CMSGR_SO_PRIORITY, 1), -EBADF);
    d->close(NULL, fd);
}

static int have_ipv6(void)
{
    const struct sockaddr_in6 loopback = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int fd = socket(AF_INET6, SOCK_STREAM, 0);
    int have = fd >= 0 && bind(fd, (const struct sockaddr *)&loopback, sizeof(loopback)) == 0;

    if (fd >= 0)
        close(fd);
    return have;
}

static void test_clock_and_chance(void)
{
    uint8_t a[600] = {0}, b[600] = {0};
    int64_t first_ns = d->now_ns(NULL);

    CHECK(d->now_ns(NULL) >= first_ns);
    CHECK(d->wall_ns(NULL) > (int64_t)1600000000 * 1000000000);
    CHECK_EQ(d->random(NULL, a, sizeof(a)), 0);
    CHECK_EQ(d->random(NULL, b, sizeof(b)), 0);
    CHECK(memcmp(a, b, sizeof(a)) != 0);
    CHECK(memcmp(a + 500, b + 500, 100) != 0);
}

int main(void)
{
    d = cmsgr_driver_linux();
    check_deadline(60);
    test_C1_pipe();
    test_C2_network();
    test_errors_are_readable_and_writable();
    test_wakeup();
    test_wait_is_never_short();
    test_refused_connect();
    test_second_listener_is_refused();
    test_gather_scatter_and_end();
    test_many_pieces();
    test_options(AF_INET);
    if (have_ipv6())
        test_options(AF_INET6);
    test_clock_and_chance();
    test_wait_without_nanoseconds();
    return 0;
}
