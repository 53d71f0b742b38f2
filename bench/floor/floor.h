/* The floor: what two processes and a kernel cost when nobody does any work on the messages.
 *
 * A client keeps a fixed number of requests in flight on one loopback TCP connection, a server answers each. One thread
 * per side, one epoll per side, everything that one read brought is answered in one write. Messages have fixed sizes and
 * no framing; both sides know them beforehand. The first eight bytes of a request are its number, the answer starts with the
 * same, and the client checks every one of them.
 *
 * Buffers begin at a page. Large ones from malloc begin 16 bytes later, and where the kernel copies with `rep movsb` this
 * alone can halve the rate (seen on AMD EPYC); --offset 16 shows what it does on the machine at hand.
 *
 * Two shapes: an echo, which sends the payload back, and the perf pair's, a request of 310 + n bytes and a reply of 192. In
 * either the last bytes of every message may protect it, as the messenger's do: crc32c, or AES-128-GCM.
 */
#ifndef FLOOR_H
#define FLOOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum floor_protection { FLOOR_PLAIN, FLOOR_CRC, FLOOR_GCM };

struct floor_options {
    uint16_t port;         /* 0: chosen by the kernel (server) */
    size_t request_bytes;  /* at least 8 */
    size_t reply_bytes;    /* at least 8 */
    uint32_t in_flight;
    double seconds;
    uint64_t poll_ns;      /* look for events this long before sleeping; 0: sleep at once */
    size_t offset_bytes;   /* of all buffers from a page boundary */
    enum floor_protection protection; /* its bytes are part of each message's size */
};

/* What a side has used of the CPU, user and system, from the first byte to the last. */
struct floor_cost {
    uint64_t ops;
    uint64_t cpu_ns;
};

struct floor_latency {
    double mean_us, p50_us, p90_us, p99_us, p999_us, max_us;
};

struct floor_result {
    struct floor_cost cost;
    double seconds;
    struct floor_latency latency;
};

/* A listening socket on 127.0.0.1; writes the port it got back to *port. */
int floor_listen(uint16_t *port);

/* Serves one connection until the client closes it. */
struct floor_cost floor_serve(int listener, const struct floor_options *options);

/* Runs for options->seconds, then waits for what is outstanding. */
struct floor_result floor_drive(const struct floor_options *options);

/* ---- guard.c: what protects one direction at one end, in the order of the messages. */

struct floor_guard;

/* Bytes at the end of a message. */
size_t floor_guard_bytes(enum floor_protection protection);

/* Lives as long as the program. */
struct floor_guard *floor_guard_new(enum floor_protection protection, bool seals, bool to_server);

/* Completes a message. GCM encrypts `plain`, which may be `message`; otherwise the message is there already. */
void floor_guard_seal(struct floor_guard *guard, const void *plain, void *message, size_t message_bytes);

/* Checks a message, decrypts it in place; ends the program if it was altered. */
void floor_guard_open(struct floor_guard *guard, void *message, size_t message_bytes);

/* ---- wire.c: what both sides need. Each of these ends the program with one line on stderr if the system fails. */

uint64_t floor_now_ns(void);
uint64_t floor_cpu_ns(void);
_Noreturn void floor_die(const char *what);

/* Zeroed memory that begins offset_bytes after a page boundary and lives as long as the program. */
void *floor_alloc(size_t bytes, size_t offset_bytes);

/* A connected, non-blocking, TCP_NODELAY socket behind an epoll of its own. */
struct floor_wire {
    int fd;
    int epoll;
    bool reads_while_unsent; /* false: EPOLLIN is off meanwhile, or what is not read would wake us without end */
    bool wants_write;
    uint64_t poll_ns;
};

void floor_wire_init(struct floor_wire *wire, int fd, bool reads_while_unsent, uint64_t poll_ns);
void floor_wire_close(struct floor_wire *wire);

/* Waits until there is something to read, or room to write while bytes are unsent. */
void floor_wire_wait(struct floor_wire *wire);

/* Bytes read, 0 if there is nothing now, -1 at the end of the stream. */
ptrdiff_t floor_wire_read(struct floor_wire *wire, void *buffer, size_t bytes);

/* Bytes written, possibly fewer than asked for: EPOLLOUT is then registered until a write is complete. */
size_t floor_wire_write(struct floor_wire *wire, const void *buffer, size_t bytes);

#endif
