/* The asking side. A request is timed from the write that begins to send it to the read that completes its answer. */
#define _GNU_SOURCE
#include "floor.h"
#include "histogram.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

struct client {
    const struct floor_options *options;
    struct floor_wire wire;
    struct histogram histogram;
    char *ring;         /* in_flight requests, the one with number n at slot n % in_flight; sent straight from here */
    char *plain;        /* what is sealed into a slot; NULL: the slot itself */
    struct floor_guard *seal, *open;
    uint64_t *sent_ns;  /* by the same slot */
    char *in;
    size_t in_bytes, have;
    uint64_t begun;     /* requests numbered and timed */
    uint64_t answered;
    uint64_t bytes_sent; /* of the endless stream of requests */
};

static int dial(uint16_t port) {
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0)
        floor_die("connect");
    return fd;
}

/* Fills the window and writes what is unsent, in at most two writes: the ring's end and its beginning. */
static void ask(struct client *client, uint64_t now_ns, bool more) {
    const uint64_t in_flight = client->options->in_flight, request_bytes = client->options->request_bytes;
    while (more && client->begun - client->answered < in_flight) {
        uint64_t slot = client->begun % in_flight;
        char *message = client->ring + slot * request_bytes, *plain = client->plain ? client->plain : message;
        memcpy(plain, &client->begun, sizeof client->begun);
        floor_guard_seal(client->seal, plain, message, request_bytes);
        client->sent_ns[slot] = now_ns;
        client->begun++;
    }
    const uint64_t ring_bytes = in_flight * request_bytes;
    uint64_t unsent;
    while ((unsent = client->begun * request_bytes - client->bytes_sent) > 0) {
        uint64_t offset = client->bytes_sent % ring_bytes;
        uint64_t piece = unsent < ring_bytes - offset ? unsent : ring_bytes - offset;
        size_t sent = floor_wire_write(&client->wire, client->ring + offset, piece);
        client->bytes_sent += sent;
        if (sent < piece)
            return;
    }
}

/* Reads once and checks every complete answer off. Returns the time of the read. */
static uint64_t listen_to(struct client *client) {
    const size_t reply_bytes = client->options->reply_bytes;
    ptrdiff_t got = floor_wire_read(&client->wire, client->in + client->have, client->in_bytes - client->have);
    if (got < 0) {
        fprintf(stderr, "floor: the server closed after %llu answers\n", (unsigned long long)client->answered);
        exit(1);
    }
    client->have += (size_t)got;
    uint64_t now_ns = floor_now_ns();
    size_t position = 0;
    for (; client->have - position >= reply_bytes; position += reply_bytes) {
        uint64_t number;
        floor_guard_open(client->open, client->in + position, reply_bytes);
        memcpy(&number, client->in + position, sizeof number);
        if (number != client->answered) {
            fprintf(stderr, "floor: answer %llu where %llu was due\n", (unsigned long long)number,
                    (unsigned long long)client->answered);
            exit(1);
        }
        histogram_add(&client->histogram, now_ns - client->sent_ns[number % client->options->in_flight]);
        client->answered++;
    }
    client->have -= position;
    memmove(client->in, client->in + position, client->have);
    return now_ns;
}

struct floor_result floor_drive(const struct floor_options *options) {
    struct client *client = floor_alloc(sizeof *client, 0);
    client->options = options;
    client->ring = floor_alloc(options->in_flight * options->request_bytes, options->offset_bytes);
    client->sent_ns = floor_alloc(options->in_flight * sizeof *client->sent_ns, 0);
    client->seal = floor_guard_new(options->protection, true, true);
    client->open = floor_guard_new(options->protection, false, false);
    if (options->protection == FLOOR_GCM)
        client->plain = floor_alloc(options->request_bytes, options->offset_bytes);
    client->in_bytes = options->reply_bytes > 256u * 1024u ? options->reply_bytes : 256u * 1024u;
    client->in = floor_alloc(client->in_bytes, options->offset_bytes);
    floor_wire_init(&client->wire, dial(options->port), true, options->poll_ns);

    uint64_t cpu_ns = floor_cpu_ns(), started_ns = floor_now_ns(), now_ns = started_ns;
    const uint64_t end_ns = started_ns + (uint64_t)(options->seconds * 1e9);
    ask(client, now_ns, true);
    while (client->answered < client->begun) {
        floor_wire_wait(&client->wire);
        now_ns = listen_to(client);
        ask(client, now_ns, now_ns < end_ns);
    }

    const struct histogram *histogram = &client->histogram;
    struct floor_result result = {
        .cost = {.ops = client->answered, .cpu_ns = floor_cpu_ns() - cpu_ns},
        .seconds = (double)(now_ns - started_ns) / 1e9,
        .latency = {.mean_us = (double)histogram->sum_ns / (double)histogram->total / 1000.0,
                    .p50_us = histogram_us(histogram, 0.50),
                    .p90_us = histogram_us(histogram, 0.90),
                    .p99_us = histogram_us(histogram, 0.99),
                    .p999_us = histogram_us(histogram, 0.999),
                    .max_us = (double)histogram->max_ns / 1000.0}};
    floor_wire_close(&client->wire);
    return result;
}
