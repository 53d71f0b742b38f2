/* The simulated world (csrc/sim): that its sockets behave as the kernel's do, and that the same calls do the same. */
#include <errno.h>
#include <netinet/in.h>

#include "check.h"
#include "sim.h"

enum { CLIENT = 3, SERVER = 7, PORT = 6800 };

static sim_world *world;
static const cmsgr_driver *d;
static void *poller;
static int listener, dialled, accepted;

static struct sockaddr_in addr_of(int host, int port)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};

    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK - 1 + (uint32_t)host);
    return addr;
}

static void begin(uint64_t seed)
{
    const struct sockaddr_in addr = addr_of(SERVER, PORT);

    if (!world)
        CHECK_EQ(sim_world_new(&world), 0);
    CHECK_EQ(sim_world_reset(world, seed), 0);
    d = sim_driver(world);
    CHECK_EQ(d->poller_open(d->ctx, &poller), 0);
    sim_enter(world, SERVER);
    listener = d->socket(d->ctx, AF_INET);
    CHECK_EQ(d->bind(d->ctx, listener, (const struct sockaddr *)&addr, sizeof addr), 0);
    CHECK_EQ(d->listen(d->ctx, listener, 4), 0);
    dialled = accepted = -1;
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        CHECK_EQ(d->close(d->ctx, *fd), 0);
    *fd = -1;
}

static void end(void)
{
    sim_stats stats;

    close_fd(&dialled);
    close_fd(&accepted);
    close_fd(&listener);
    d->poller_close(d->ctx, poller);
    sim_get_stats(world, &stats);
    CHECK_EQ(stats.open_sockets, 0);
    CHECK_EQ(stats.open_pollers, 0);
}

static void run(void)
{
    while (sim_step(world))
        ;
}

static int dial(int port)
{
    const struct sockaddr_in addr = addr_of(SERVER, port);

    sim_enter(world, CLIENT);
    dialled = d->socket(d->ctx, AF_INET);
    return d->connect(d->ctx, dialled, (const struct sockaddr *)&addr, sizeof addr);
}

static void connect_both(void)
{
    struct sockaddr_storage peer;
    socklen_t len;

    CHECK_EQ(dial(PORT), 0);
    CHECK_EQ(d->connect_result(d->ctx, dialled), 0);
    run();
    CHECK_EQ(d->connect_result(d->ctx, dialled), 1);
    sim_enter(world, SERVER);
    accepted = d->accept(d->ctx, listener, &peer, &len);
    CHECK(accepted >= 0);
    CHECK_EQ(((struct sockaddr_in *)&peer)->sin_addr.s_addr, addr_of(CLIENT, 0).sin_addr.s_addr);
    CHECK_EQ(d->accept(d->ctx, listener, &peer, &len), -EAGAIN);
}

static ssize_t send_bytes(int fd, const void *data, size_t len)
{
    const struct iovec iov = {(void *)data, len};

    return d->sendmsg(d->ctx, fd, &iov, 1, 0);
}

static ssize_t recv_bytes(int fd, void *data, size_t len)
{
    const struct iovec iov = {data, len};

    return d->recv(d->ctx, fd, &iov, 1);
}

static int look(int64_t timeout_ns)
{
    cmsgr_ready ready[4];
    int count = d->poller_wait(d->ctx, poller, ready, 4, timeout_ns);

    CHECK(count <= 1);
    return count ? ready[0].mask : 0;
}

static void test_bytes_arrive_whole_and_in_order(void)
{
    const sim_link link = {.latency_ns = 1000, .jitter_ns = 500, .chunk_bytes = 7, .window_bytes = 300};
    uint8_t out[5000], in[5000];
    size_t sent = 0, got = 0;

    begin(1);
    sim_set_link(world, CLIENT, SERVER, &link);
    connect_both();
    for (size_t i = 0; i < sizeof out; i++)
        out[i] = (uint8_t)(i * 31);
    while (got < sizeof out) {
        ssize_t part = send_bytes(dialled, out + sent, sizeof out - sent);

        sent += part > 0 ? (size_t)part : 0;
        CHECK(part > 0 || part == -EAGAIN || sent == sizeof out);
        sim_step(world);
        part = recv_bytes(accepted, in + got, sizeof in - got);
        got += part > 0 ? (size_t)part : 0;
    }
    CHECK(!memcmp(in, out, sizeof out));
    end();
}

static void test_edges(void)
{
    char byte;

    begin(2);
    connect_both();
    CHECK_EQ(d->poller_set(d->ctx, poller, accepted, 0, CMSGR_READABLE, 42), 0);
    CHECK_EQ(look(0), 0);
    CHECK_EQ(sim_idle_until_ns(world), 0); /* it looked, but did not want to sleep */
    CHECK_EQ(look(5000), 0);
    CHECK_EQ(sim_idle_until_ns(world), sim_now_ns(world) + 5000);
    CHECK_EQ(sim_awake(world, 0), -1);
    CHECK_EQ(send_bytes(dialled, "ab", 2), 2);
    run();
    CHECK_EQ(sim_awake(world, 0), 0);
    CHECK_EQ(look(-1), CMSGR_READABLE);
    CHECK_EQ(look(-1), 0); /* one edge, once, although nothing was read */
    CHECK_EQ(recv_bytes(accepted, &byte, 1), 1);
    CHECK_EQ(d->poller_set(d->ctx, poller, accepted, CMSGR_READABLE, CMSGR_READABLE | CMSGR_WRITABLE, 42), 0);
    CHECK_EQ(look(-1), CMSGR_READABLE | CMSGR_WRITABLE); /* what is so already */
    close_fd(&dialled);
    run();
    CHECK_EQ(look(-1), CMSGR_READABLE | CMSGR_HANGUP);
    CHECK_EQ(recv_bytes(accepted, &byte, 1), 1);
    CHECK_EQ(recv_bytes(accepted, &byte, 1), 0);
    end();
}

static void test_a_sender_who_was_refused_hears_of_room(void)
{
    const sim_link link = {.latency_ns = 1000, .window_bytes = 10};
    char bytes[20] = {0};

    begin(3);
    sim_set_link(world, CLIENT, SERVER, &link);
    connect_both();
    CHECK_EQ(d->poller_set(d->ctx, poller, dialled, 0, CMSGR_WRITABLE, 1), 0);
    CHECK_EQ(look(-1), CMSGR_WRITABLE);
    CHECK_EQ(send_bytes(dialled, bytes, sizeof bytes), 10);
    CHECK_EQ(send_bytes(dialled, bytes, sizeof bytes), -EAGAIN);
    run();
    CHECK_EQ(look(-1), 0);
    CHECK_EQ(recv_bytes(accepted, bytes, 4), 4);
    CHECK_EQ(look(-1), CMSGR_WRITABLE);
    CHECK_EQ(send_bytes(dialled, bytes, sizeof bytes), 4);
    end();
}

static void test_nobody_listens(void)
{
    begin(4);
    CHECK_EQ(dial(PORT + 1), 0);
    run();
    CHECK_EQ(d->connect_result(d->ctx, dialled), -ECONNREFUSED);
    end();
}

static void test_cuts(void)
{
    char bytes[8];

    for (int side = 0; side < 2; side++) {
        begin(5);
        connect_both();
        CHECK_EQ(sim_streams(world), 1);
        CHECK_EQ(send_bytes(dialled, "left", 4), 4);
        sim_cut_stream(world, 0, SIM_CUT_FIN, side);
        run();
        CHECK_EQ(recv_bytes(accepted, bytes, sizeof bytes), 4);
        CHECK_EQ(recv_bytes(accepted, bytes, sizeof bytes), 0);
        CHECK_EQ(recv_bytes(dialled, bytes, sizeof bytes), 0);
        end();

        begin(5);
        connect_both();
        sim_cut_stream(world, 0, SIM_CUT_RESET, side);
        CHECK_EQ(recv_bytes(accepted, bytes, sizeof bytes), -ECONNRESET);
        CHECK_EQ(send_bytes(dialled, "x", 1), -ECONNRESET);
        CHECK_EQ(send_bytes(dialled, "x", 1), -EPIPE);
        end();

        begin(5);
        connect_both();
        sim_cut_stream(world, 0, SIM_CUT_RESET_ONE, side);
        CHECK_EQ(recv_bytes(side ? accepted : dialled, bytes, sizeof bytes), -ECONNRESET);
        CHECK_EQ(recv_bytes(side ? dialled : accepted, bytes, sizeof bytes), -EAGAIN);
        CHECK_EQ(send_bytes(side ? dialled : accepted, "x", 1), 1);
        run();
        CHECK_EQ(recv_bytes(side ? dialled : accepted, bytes, sizeof bytes), -ECONNRESET);
        end();

        begin(5);
        connect_both();
        sim_cut_stream(world, 0, SIM_CUT_SILENT_ONE, side);
        CHECK_EQ(send_bytes(dialled, "x", 1), 1);
        CHECK_EQ(send_bytes(accepted, "y", 1), 1);
        sim_step(world);
        sim_step(world);
        CHECK_EQ(recv_bytes(accepted, bytes, sizeof bytes), side ? 1 : -EAGAIN);
        CHECK_EQ(recv_bytes(dialled, bytes, sizeof bytes), side ? -EAGAIN : 1);
        end();
    }
}

/* What a dead link swallows is sent again until the sender's time-out is over. */
static void test_a_link_that_is_down(void)
{
    char bytes[8];

    begin(6);
    connect_both();
    CHECK_EQ(d->set_option(d->ctx, dialled, CMSGR_SO_USER_TIMEOUT_MS, 30000), 0);
    sim_set_down(world, SERVER, CLIENT, 1);
    CHECK_EQ(send_bytes(dialled, "x", 1), 1);
    while (sim_next_ns(world) < 10000000000)
        sim_step(world);
    CHECK_EQ(recv_bytes(accepted, bytes, sizeof bytes), -EAGAIN);
    sim_set_down(world, SERVER, CLIENT, 0);
    run();
    CHECK_EQ(recv_bytes(accepted, bytes, sizeof bytes), 1);
    sim_set_down(world, SERVER, CLIENT, 1);
    CHECK_EQ(send_bytes(dialled, "x", 1), 1);
    run();
    CHECK_EQ(recv_bytes(dialled, bytes, sizeof bytes), -ETIMEDOUT);
    CHECK_EQ(recv_bytes(accepted, bytes, sizeof bytes), -EAGAIN);
    end();
}

static void test_a_stalled_link(void)
{
    char byte;
    int64_t until_ns;

    begin(7);
    connect_both();
    until_ns = sim_now_ns(world) + 777000000;
    sim_stall(world, CLIENT, SERVER, until_ns);
    CHECK_EQ(send_bytes(accepted, "x", 1), 1);
    run();
    CHECK(sim_now_ns(world) >= until_ns);
    CHECK_EQ(recv_bytes(dialled, &byte, 1), 1);
    end();
}

static void test_deaths(void)
{
    const int heard[SIM_DEATHS] = {0, -ECONNRESET, -EAGAIN, -EAGAIN};
    const int heard_after_sending[SIM_DEATHS] = {0, 0, -ECONNRESET, -EAGAIN};
    struct sockaddr_storage peer;
    socklen_t len;
    char byte;

    for (int death = 0; death < SIM_DEATHS; death++) {
        begin(8);
        connect_both();
        sim_kill(world, SERVER, (enum sim_death)death);
        run();
        CHECK_EQ(recv_bytes(dialled, &byte, 1), heard[death]);
        if (death >= SIM_DEATH_VANISH) {
            CHECK_EQ(send_bytes(dialled, "x", 1), 1);
            while (sim_next_ns(world) < 20000000000)
                sim_step(world);
            CHECK_EQ(recv_bytes(dialled, &byte, 1), heard_after_sending[death]);
        }
        close_fd(&dialled);
        /* What the dead process still holds leads nowhere. */
        CHECK_EQ(recv_bytes(accepted, &byte, 1), -EAGAIN);
        CHECK_EQ(send_bytes(accepted, "x", 1), 1);
        CHECK_EQ(d->accept(d->ctx, listener, &peer, &len), -EAGAIN);
        CHECK_EQ(dial(PORT), 0);
        run();
        CHECK_EQ(d->connect_result(d->ctx, dialled), -ECONNREFUSED);
        end();
    }
}

static void test_unread_bytes_reset_the_peer(void)
{
    char byte;

    begin(9);
    connect_both();
    CHECK_EQ(send_bytes(dialled, "x", 1), 1);
    run();
    close_fd(&accepted);
    run();
    CHECK_EQ(recv_bytes(dialled, &byte, 1), -ECONNRESET);
    end();
}

static void test_failing_allocations(void)
{
    const cmsgr_allocator *a;
    void *block;

    begin(10);
    a = sim_allocator(world);
    sim_fail_allocations(world, 2, 2);
    block = a->realloc(a->ctx, NULL, 1);
    CHECK(block != NULL);
    CHECK(!a->realloc(a->ctx, NULL, 1));
    CHECK(!a->realloc(a->ctx, NULL, 1));
    block = a->realloc(a->ctx, block, 100);
    CHECK(block != NULL);
    CHECK_EQ(sim_failed_allocations(world), 2);
    CHECK_EQ(sim_live_blocks(world), 1);
    a->free(a->ctx, block);
    CHECK_EQ(sim_live_blocks(world), 0);
    end();
}

/* What was sent is kept as it was; what arrives has one bit, or an end, that was not sent. The next stream is left alone. */
static void test_a_tapped_stream(void)
{
    char bytes[8];
    size_t len;

    for (int side = 0; side < 2; side++)
        for (int at = 0; at < 4; at++) {
            int *from = side ? &accepted : &dialled, *to = side ? &dialled : &accepted;

            begin(11);
            sim_tap(world, SIM_ALTER_BIT, side, 8 * at + 5);
            connect_both();
            CHECK_EQ(send_bytes(*to, "x", 1), 1);
            CHECK_EQ(send_bytes(*from, "ab", 2), 2);
            CHECK_EQ(send_bytes(*from, "cd", 2), 2);
            run();
            CHECK_EQ(recv_bytes(*to, bytes, sizeof bytes), 4);
            for (int i = 0; i < 4; i++)
                CHECK_EQ(bytes[i], i == at ? "ABCD"[i] : "abcd"[i]);
            CHECK_EQ(recv_bytes(*from, bytes, sizeof bytes), 1);
            CHECK_EQ(bytes[0], 'x');
            CHECK(!memcmp(sim_tapped(world, side, &len), "abcd", 4));
            CHECK_EQ(len, 4);
            close_fd(&dialled);
            close_fd(&accepted);
            run();
            connect_both();
            CHECK_EQ(send_bytes(*from, "abcd", 4), 4);
            run();
            CHECK_EQ(recv_bytes(*to, bytes, sizeof bytes), 4);
            CHECK(!memcmp(bytes, "abcd", 4));
            end();

            begin(12);
            sim_tap(world, SIM_ALTER_END, side, at);
            connect_both();
            CHECK_EQ(send_bytes(*from, "ab", 2), 2);
            CHECK_EQ(send_bytes(*from, "cd", 2), 2);
            CHECK_EQ(send_bytes(*to, "x", 1), 1);
            run();
            CHECK_EQ(recv_bytes(*to, bytes, sizeof bytes), at);
            CHECK_EQ(recv_bytes(*to, bytes, sizeof bytes), 0);
            CHECK_EQ(recv_bytes(*from, bytes, sizeof bytes), 1);
            end();
        }
}

static uint64_t digest_of_a_run(uint64_t seed, char last)
{
    const sim_link link = {.latency_ns = 1000, .jitter_ns = 9000, .chunk_bytes = 5, .window_bytes = 100};
    char bytes[8] = "0123456";

    begin(seed);
    sim_set_link(world, CLIENT, SERVER, &link);
    connect_both();
    bytes[7] = last;
    CHECK_EQ(send_bytes(dialled, bytes, sizeof bytes), sizeof bytes);
    while (sim_step(world))
        recv_bytes(accepted, bytes, sizeof bytes);
    end();
    return sim_digest(world);
}

static void test_the_same_seed_is_the_same_run(void)
{
    CHECK_EQ(digest_of_a_run(1, 'a'), digest_of_a_run(1, 'a'));
    CHECK(digest_of_a_run(1, 'a') != digest_of_a_run(2, 'a'));
    CHECK(digest_of_a_run(1, 'a') != digest_of_a_run(1, 'b'));
}

int main(void)
{
    check_deadline(30);
    test_bytes_arrive_whole_and_in_order();
    test_edges();
    test_a_sender_who_was_refused_hears_of_room();
    test_nobody_listens();
    test_cuts();
    test_a_link_that_is_down();
    test_a_stalled_link();
    test_deaths();
    test_unread_bytes_reset_the_peer();
    test_failing_allocations();
    test_a_tapped_stream();
    test_the_same_seed_is_the_same_run();
    sim_world_free(world);
    return 0;
}
