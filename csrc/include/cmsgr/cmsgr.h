/*
 * cmsgr: the C core of ceph_msgr. This header is its manual.
 *
 * What it is: an EventCenter (epoll loop, timers, events from other threads) and, on top of it, the data
 * plane of Ceph's msgr2: frames are parsed, checked, numbered, acknowledged, queued and sent here. It knows
 * nothing of Python, of handshakes or of authentication: a frame that is not plain data is handed up, and
 * the stream stands still until the answer comes.
 *
 * The layers, each usable without the ones after it:
 *
 *     env        allocator, driver (the one door to the kernel, the clock and chance), the crc32c choice
 *     frame      bytes <-> frames, no I/O
 *     center     EventCenter: who is ready, which timer is due, what did other threads post
 *     throttle   a bound on what is read, with waiters that are woken
 *     session    what outlives sockets: the priority out_q, the sent list, sequence numbers
 *     stream     one socket's bytes: parser, unsent bytes, throttle claims; dies with the socket
 *     worker     one turn: flush, wait, read and parse; hands complete items up
 *
 * Conventions
 *   Results     int: 0 or a positive result; else -errno for the system's errors, or CMSGR_E_* (below -10000).
 *   Time        int64_t nanoseconds of the driver's monotonic clock; wall time only where a name says wall.
 *   Threads     "owner" is the thread that steps a center or worker. Functions are for the owner unless their
 *               comment says "any thread". A center belongs to one owner at a time (cmsgr_center_set_owner).
 *   Memory      X_new makes, X_free or X_unref ends. All memory comes from the env's allocator. Out of memory is a
 *               result, never an abort.
 *   Globals     none that change. Two copies of this library may live in one process.
 */
#ifndef CMSGR_H
#define CMSGR_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Errors ------------------------------------------------------------------------------------------ */

/* One map yields the enum, cmsgr_error_name(), cmsgr_error_text() and their tests. */
#define CMSGR_ERROR_MAP(X)                                                                              \
    X(BANNER, -10001, "the peer's banner is not msgr2's")                                               \
    X(BANNER_LENGTH, -10002, "the banner's payload is shorter than 16 bytes")                           \
    X(PREAMBLE_CRC, -10003, "the crc of a frame's preamble does not match")                             \
    X(SEGMENT_COUNT, -10004, "a frame must have 1 to 4 segments")                                       \
    X(EMPTY_LAST_SEGMENT, -10005, "the last of several segments is empty")                              \
    X(SEGMENT_TOO_LONG, -10006, "a segment is longer than its limit")                                   \
    X(COMPRESSED, -10007, "a compressed frame, but no compression was agreed on")                       \
    X(SEGMENT_CRC, -10008, "the crc of a segment does not match")                                       \
    X(LATE_STATUS, -10009, "the trailer's status is neither complete nor aborted")                      \
    X(UNKNOWN_TAG, -10010, "unknown frame tag")                                                         \
    X(HEADER_LENGTH, -10011, "a message header is shorter than 41 bytes")                               \
    X(CONTROL_LENGTH, -10012, "a control frame's payload has the wrong length")                         \
    X(ACK_BEYOND_SENT, -10013, "the peer acknowledged a sequence number that was never sent")           \
    X(END_OF_STREAM, -10014, "the peer closed the connection")                                          \
    X(QUEUE_FULL, -10015, "the send queue is full")                                                     \
    X(CLOSED, -10016, "closed")                                                                         \
    X(INJECTED, -10017, "a fault asked for by the interceptor")                                         \
    X(NOT_READY, -10018, "not possible in this state")                                                  \
    X(AUTH_TAG, -10019, "a frame was altered, replayed or sealed with another key")                     \
    X(NONCE_USED_UP, -10020, "the next nonce would equal the first one of this connection")             \
    X(CIPHER, -10021, "the cryptographic library failed")                                              \
    X(DECOMPRESS, -10022, "a compressed segment is damaged")

enum cmsgr_error {
#define X(name, code, text) CMSGR_E_##name = code,
    CMSGR_ERROR_MAP(X)
#undef X
};

/* cmsgr_entry.features of a message that is encoded alike for every peer. */
#define CMSGR_FEATURES_ANY UINT64_MAX

/* ---- cffi: begin (the white-box tests read the declarations between these two marks) ------------------ */

/* The symbol ("SEGMENT_CRC", or "ECONNRESET" for -errno) and the sentence of a result. Static strings; any
 * thread; never NULL. */
const char *cmsgr_error_name(int code);
const char *cmsgr_error_text(int code);

/* ---- The world: allocator, driver, environment --------------------------------------------------------- */

typedef struct cmsgr_allocator {
    void *ctx;
    /* realloc(ctx, NULL, n) allocates; may return NULL. Any thread. */
    void *(*realloc)(void *ctx, void *block, size_t len_bytes);
    void (*free)(void *ctx, void *block);
} cmsgr_allocator;

enum {
    CMSGR_NONE = 0,
    CMSGR_READABLE = 1,
    CMSGR_WRITABLE = 2,
    CMSGR_HANGUP = 4 /* reported only, beside READABLE: read to the end, no further edge will come */
};

typedef struct cmsgr_ready {
    uint64_t token; /* as given to poller_set */
    int mask;
} cmsgr_ready;

enum cmsgr_sockopt {
    CMSGR_SO_NODELAY,
    CMSGR_SO_RCVBUF,
    CMSGR_SO_PRIORITY, /* SO_PRIORITY and the class selector TOS */
    CMSGR_SO_USER_TIMEOUT_MS
};

/*
 * The one door to the kernel. Everything the core asks of the world goes through here, so a simulated network
 * and clock can stand in for the real ones and any call can be made to fail. Sockets are non-blocking and
 * close-on-exec. EINTR never comes out. Results as above; would-block is -EAGAIN.
 */
typedef struct cmsgr_driver {
    void *ctx;
    const char *name;
    int64_t (*now_ns)(void *ctx);  /* monotonic */
    int64_t (*wall_ns)(void *ctx); /* since the epoch; only for stamps that go on the wire */
    int (*random)(void *ctx, void *buf, size_t len_bytes);
    void (*yield)(void *ctx); /* lets another thread have this core */

    int (*poller_open)(void *ctx, void **poller);
    void (*poller_close)(void *ctx, void *poller);
    /* Edge-triggered. Masks are what was registered before and what shall be; NONE = not registered. */
    int (*poller_set)(void *ctx, void *poller, int fd, int old_mask, int new_mask, uint64_t token);
    /* Waits at most timeout_ns (0 = look, < 0 = for ever); rounds up, so that a timer is never early. Returns the
     * number of entries filled. A wakeup ends the wait and is not an entry. */
    int (*poller_wait)(void *ctx, void *poller, cmsgr_ready *ready, int max, int64_t timeout_ns);
    int (*poller_wakeup)(void *ctx, void *poller); /* any thread; never fails for being pending already */

    int (*socket)(void *ctx, int family);
    int (*bind)(void *ctx, int fd, const struct sockaddr *addr, socklen_t len);
    int (*listen)(void *ctx, int fd, int backlog);
    int (*accept)(void *ctx, int fd, struct sockaddr_storage *peer, socklen_t *len);
    int (*connect)(void *ctx, int fd, const struct sockaddr *addr, socklen_t len); /* 0: under way or done */
    int (*connect_result)(void *ctx, int fd); /* 1 connected, 0 under way, -errno */
    ssize_t (*recv)(void *ctx, int fd, const struct iovec *iov, int count); /* 0 = end of stream */
    ssize_t (*sendmsg)(void *ctx, int fd, const struct iovec *iov, int count, int more);
    int (*shutdown)(void *ctx, int fd);
    int (*close)(void *ctx, int fd);
    int (*local_addr)(void *ctx, int fd, struct sockaddr_storage *addr, socklen_t *len);
    int (*peer_addr)(void *ctx, int fd, struct sockaddr_storage *addr, socklen_t *len);
    int (*set_option)(void *ctx, int fd, int option, int value);
} cmsgr_driver;

/* The real world: epoll, eventfd, CLOCK_MONOTONIC, getrandom. Immutable. Any thread. */
const cmsgr_driver *cmsgr_driver_linux(void);

/* What every other object is made from. Must outlive all of them. Copies both structs; NULL means malloc, and the
 * Linux driver. Chooses the crc32c implementation for this CPU. */
typedef struct cmsgr_env cmsgr_env;
int cmsgr_env_new(cmsgr_env **out, const cmsgr_allocator *allocator, const cmsgr_driver *driver);
void cmsgr_env_free(cmsgr_env *env);
const cmsgr_driver *cmsgr_env_driver(const cmsgr_env *env);
int64_t cmsgr_env_now_ns(const cmsgr_env *env);

/* CRC-32C as msgr2 uses it: raw, without final inversion; the register starts at `crc`. Any thread. */
uint32_t cmsgr_crc32c(const cmsgr_env *env, uint32_t crc, const void *data, size_t len_bytes);
/* "avx512", "sse42", "armv8" or "table". */
const char *cmsgr_crc32c_name(const cmsgr_env *env);
/* The portable implementation, to check the others against. */
uint32_t cmsgr_crc32c_table(uint32_t crc, const void *data, size_t len_bytes);

/* ---- Frames: bytes <-> frames, no I/O ------------------------------------------------------------------ */

enum cmsgr_tag {
    CMSGR_TAG_BANNER = 0, /* not on the wire: stands for the banner in items */
    CMSGR_TAG_HELLO = 1,
    CMSGR_TAG_AUTH_REQUEST = 2,
    CMSGR_TAG_AUTH_BAD_METHOD = 3,
    CMSGR_TAG_AUTH_REPLY_MORE = 4,
    CMSGR_TAG_AUTH_REQUEST_MORE = 5,
    CMSGR_TAG_AUTH_DONE = 6,
    CMSGR_TAG_AUTH_SIGNATURE = 7,
    CMSGR_TAG_CLIENT_IDENT = 8,
    CMSGR_TAG_SERVER_IDENT = 9,
    CMSGR_TAG_IDENT_MISSING_FEATURES = 10,
    CMSGR_TAG_SESSION_RECONNECT = 11,
    CMSGR_TAG_SESSION_RESET = 12,
    CMSGR_TAG_SESSION_RETRY = 13,
    CMSGR_TAG_SESSION_RETRY_GLOBAL = 14,
    CMSGR_TAG_SESSION_RECONNECT_OK = 15,
    CMSGR_TAG_WAIT = 16,
    CMSGR_TAG_MESSAGE = 17,
    CMSGR_TAG_KEEPALIVE2 = 18,
    CMSGR_TAG_KEEPALIVE2_ACK = 19,
    CMSGR_TAG_ACK = 20,
    CMSGR_TAG_COMPRESSION_REQUEST = 21,
    CMSGR_TAG_COMPRESSION_DONE = 22
};

enum { CMSGR_PREAMBLE_LEN = 32, CMSGR_HEADER_LEN = 41, CMSGR_MAX_SEGMENTS = 4 };

/* A decoded preamble: what the frame's sender announced. */
typedef struct cmsgr_preamble {
    uint8_t tag;
    uint8_t num_segments;
    uint8_t flags;
    uint32_t seg_len[4];
    uint16_t seg_align[4];
} cmsgr_preamble;

/* Largest segments accepted, checked on the preamble, before anything is allocated. */
typedef struct cmsgr_limits {
    uint32_t control; /* the one segment of a frame that is not MESSAGE */
    uint32_t header;  /* segment 0 of a MESSAGE */
    uint32_t front;
    uint32_t middle;
    uint32_t data;
} cmsgr_limits;
/* Control 1 MiB, header 4 KiB, front and middle 64 MiB, data 256 MiB. */
void cmsgr_limits_default(cmsgr_limits *limits);

typedef struct cmsgr_span {
    const void *data;
    size_t len;
} cmsgr_span;

/* Bytes on the wire of a frame whose segments have these lengths (trailing empty ones are dropped). `revision` is 1
 * for msgr2.1, 0 for msgr2.0. */
size_t cmsgr_frame_wire_len(int revision, const size_t *seg_len, unsigned count);

/*
 * Writes one whole frame to `out` and returns its length, or -ENOSPC if `cap` is less than cmsgr_frame_wire_len(),
 * -EINVAL for 0 or more than 4 segments, one longer than 2^32-1, or ABORTED with a single segment in 2.1, which
 * has no trailer to say so. `align` may be NULL: 8 for every segment, and
 * 4096 for segment 3. `flags` are 0 or these: ABORTED, the trailer says that the receiver shall drop the frame; COMPRESSED, the
 * segments are compressed already, each by itself, and the preamble says so.
 */
enum { CMSGR_FRAME_ABORTED = 1, CMSGR_FRAME_COMPRESSED = 2 };
ssize_t cmsgr_frame_assemble(const cmsgr_env *env, int revision, int tag, const cmsgr_span *segments,
                             const uint16_t *align, unsigned count, int flags, uint8_t *out, size_t cap);

/* Secure mode: one cipher per direction of a stream, AES-128-GCM with nonces that step per operation ("Secure mode"). `seal` tells
 * which way it works; `revision` where the nonce's counter lies. */
typedef struct cmsgr_cipher cmsgr_cipher;
int cmsgr_cipher_new(cmsgr_cipher **out, const cmsgr_env *env, int revision, int seal, const uint8_t key[16],
                     const uint8_t nonce[12]);
void cmsgr_cipher_free(cmsgr_cipher *cipher);
/* As cmsgr_frame_wire_len and cmsgr_frame_assemble; after an error other than -EINVAL and -ENOSPC the cipher is of no use. */
size_t cmsgr_frame_sealed_len(int revision, const size_t *seg_len, unsigned count);
ssize_t cmsgr_frame_seal(const cmsgr_env *env, int revision, cmsgr_cipher *cipher, int tag, const cmsgr_span *segments,
                         const uint16_t *align, unsigned count, int flags, uint8_t *out, size_t cap);

/*
 * Compression: a segment's bytes to and from what they are on the wire, by the algorithms' own libraries. Those absent when
 * this was built have no name, and are -EINVAL everywhere. Any thread.
 */
enum cmsgr_compression {
    CMSGR_COMPRESSION_NONE = 0,
    CMSGR_COMPRESSION_SNAPPY = 1,
    CMSGR_COMPRESSION_ZLIB = 2,
    CMSGR_COMPRESSION_ZSTD = 3,
    CMSGR_COMPRESSION_LZ4 = 4,
    CMSGR_COMPRESSION_NUMBERS = 5 /* all are below */
};
/* "snappy"; NULL if it is not compiled in. */
const char *cmsgr_compression_name(int algorithm);
/* What `len` bytes become at most, 0 if they cannot be compressed: more than 1 GiB, or no such algorithm. */
size_t cmsgr_compress_bound(int algorithm, size_t len);
/* The compressed length; -ENOSPC if `cap` is below the bound, -ENOMEM, -EINVAL. */
ssize_t cmsgr_compress(const cmsgr_env *env, int algorithm, const void *in, size_t len, uint8_t *out, size_t cap);
/* What a compressed segment will become, found without memory for it: exact up to `limit`, beyond it any number above it. A
 * claim that its own length makes impossible, like other damage that is seen at once, is CMSGR_E_DECOMPRESS. */
int64_t cmsgr_decompressed_len(const cmsgr_env *env, int algorithm, const void *in, size_t len, size_t limit);
/* 0: exactly `plain_len` bytes, as cmsgr_decompressed_len told, are in `out`, which is not NULL. Else CMSGR_E_DECOMPRESS or
 * -ENOMEM. */
int cmsgr_decompress(const cmsgr_env *env, int algorithm, const void *in, size_t len, uint8_t *out, size_t plain_len);

/* AES-128-CBC with PKCS#7 padding, for cephx. `out` has room for len + 16 bytes; returns the length, or CMSGR_E_CIPHER for a bad
 * length or padding. */
ssize_t cmsgr_aes_128_cbc(int seal, const uint8_t key[16], const uint8_t iv[16], const void *in, size_t len, uint8_t *out);

/*
 * Parser: a state machine over one direction's bytes after the banner. Each step consumes, asks for more, announces,
 * or fails; after a failure it stays failed.
 *
 *   cmsgr_parser_step advances *data and *len past what it consumed and returns
 *     CMSGR_PARSE_MORE      all input consumed, the frame is not complete
 *     CMSGR_PARSE_PREAMBLE  a preamble was read and found good: set_body, then step again, even with no input left
 *     CMSGR_PARSE_ROOM      the body is full but the frame goes on: set_body with a larger one (contents kept)
 *     CMSGR_PARSE_FRAME     a frame is complete and its crcs or tags hold; its segments lie in the body
 *     CMSGR_PARSE_ABORTED   a frame that its sender aborted: drop it and go on
 *     < 0                   CMSGR_E_*; cmsgr_parser_got/expected tell the two numbers that were compared (of a crc:
 *                           computed and received; of a length: it and its limit)
 */
typedef struct cmsgr_parser cmsgr_parser;
enum {
    CMSGR_PARSE_MORE = 0,
    CMSGR_PARSE_PREAMBLE = 1,
    CMSGR_PARSE_ROOM = 2,
    CMSGR_PARSE_FRAME = 3,
    CMSGR_PARSE_ABORTED = 4
};
/* `limits` NULL: the default ones. */
int cmsgr_parser_new(cmsgr_parser **out, const cmsgr_env *env, int revision, const cmsgr_limits *limits);
void cmsgr_parser_free(cmsgr_parser *parser);
int cmsgr_parser_step(cmsgr_parser *parser, const uint8_t **data, size_t *len);
const cmsgr_preamble *cmsgr_parser_preamble(const cmsgr_parser *parser);
/* The memory that the segments of the frame announced last take; in secure mode with padding and status. */
size_t cmsgr_parser_body_len(const cmsgr_parser *parser);
/* Where in the body a segment begins. */
size_t cmsgr_parser_segment_at(const cmsgr_parser *parser, unsigned segment);
/* Between frames: all that follow are sealed. The cipher stays the caller's and must outlive its use. */
void cmsgr_parser_set_cipher(cmsgr_parser *parser, cmsgr_cipher *cipher);
/* Between frames: those that follow may be compressed by this algorithm, or, with NONE, not at all. -EINVAL if it is not compiled in. */
int cmsgr_parser_set_compression(cmsgr_parser *parser, int algorithm);
/*
 * After FRAME, where is_compressed says so: plain_len tells what the segments take decompressed, or that they are damaged or above
 * their limits, before there is memory for them; then decompress puts them into `out` (not NULL), one behind the other. From then on
 * preamble and segment_at tell of those. An error fails the parser.
 */
int cmsgr_parser_is_compressed(const cmsgr_parser *parser);
ssize_t cmsgr_parser_plain_len(cmsgr_parser *parser);
/* Where a segment will begin: after plain_len. */
size_t cmsgr_parser_plain_at(const cmsgr_parser *parser, unsigned segment);
int cmsgr_parser_decompress(cmsgr_parser *parser, uint8_t *out);
/* Lends the memory into which the segments go. `cap` may be less than body_len: ROOM asks for more then. */
void cmsgr_parser_set_body(cmsgr_parser *parser, uint8_t *body, size_t cap);
/* Where the next bytes of the current segment belong, so that a socket can be read straight into place: 0 when
 * the parser is not inside a segment. cmsgr_parser_filled tells how many were put there. */
size_t cmsgr_parser_want(const cmsgr_parser *parser, uint8_t **dest);
void cmsgr_parser_filled(cmsgr_parser *parser, size_t len);
uint64_t cmsgr_parser_got(const cmsgr_parser *parser);
uint64_t cmsgr_parser_expected(const cmsgr_parser *parser);

/* ---- EventCenter --------------------------------------------------------------------------------------- */

/*
 * One loop's state. A turn has two parts, so that a binding can hold its interpreter lock for the second only:
 *
 *   cmsgr_center_wait      waits; runs callbacks registered for the I/O phase; remembers the rest
 *   cmsgr_center_dispatch  runs what was remembered: file callbacks of the user phase, due timers, a bounded batch
 *                          of posted events
 *
 * Rules
 *   - File slots carry a generation: once cmsgr_center_del_file took a bit away its callback is not called
 *     again for it, and an event of a closed fd never reaches the fd's next owner.
 *   - Readable runs before writable. The same callback with the same argument runs once if both fired.
 *   - add_file merges `mask` into what is registered and sets the callback for those bits; nothing happens, not even
 *     a change of callback, when the registered mask already equals the merged one.
 *   - Timers run in order of their time, once, never early; a timer may delete itself or others. They are decided
 *     before posted events are looked at, so that no flood of posts starves them.
 *   - Posted events run in the order posted. One that equals the last one still queued (same function and argument)
 *     is not queued again. A post made by a posted event runs in the next turn. At most `CMSGR_POST_BATCH` run a turn.
 *   - Waking costs one system call, made only when the queue was empty and the owner sleeps.
 */
typedef struct cmsgr_center cmsgr_center;
typedef void (*cmsgr_file_fn)(void *arg, int fd, int mask);
typedef void (*cmsgr_fn)(void *arg);
enum { CMSGR_PHASE_IO = 0, CMSGR_PHASE_USER = 1 };
enum { CMSGR_POST_BATCH = 256 };

int cmsgr_center_new(cmsgr_center **out, cmsgr_env *env, int num_files_hint);
/* Runs pending posted events, so none is lost, and drops files and timers. */
void cmsgr_center_free(cmsgr_center *center);

/* The owner is a field, not a thread looked up: whoever is about to step the center says who it is (any number but 0,
 * which means nobody). Any thread may ask. */
void cmsgr_center_set_owner(cmsgr_center *center, uint64_t owner);
uint64_t cmsgr_center_owner(const cmsgr_center *center);

/* How long to look for events before sleeping: 0 never (the beginning), < 0 adaptive: up to 50 us while looking has been
 * finding something, else that many ns always. Before the first wait, or by the owner. */
void cmsgr_center_set_polling(cmsgr_center *center, int64_t poll_ns);

int cmsgr_center_add_file(cmsgr_center *center, int fd, int mask, int phase, cmsgr_file_fn fn, void *arg);
int cmsgr_center_del_file(cmsgr_center *center, int fd, int mask);
int cmsgr_center_file_mask(const cmsgr_center *center, int fd);
/* The callback argument of a bit, NULL where none: lets a binding release what it lent. */
void *cmsgr_center_file_arg(const cmsgr_center *center, int fd, int bit);

/* Returns an id > 0 or an error. `drop`, if not NULL, is called instead of fn when the timer ends without having run. */
int64_t cmsgr_center_add_timer(cmsgr_center *center, int64_t delay_ns, cmsgr_fn fn, cmsgr_fn drop, void *arg);
/* 1 if it was pending, 0 if unknown, fired or deleted before. */
int cmsgr_center_del_timer(cmsgr_center *center, int64_t id);

/* Any thread. 1 queued, 0 coalesced with the last one, -ENOMEM. `arg` stays the caller's until fn runs. */
int cmsgr_center_post(cmsgr_center *center, cmsgr_fn fn, void *arg);
/* Any thread: ends the current or the next wait. Calls coalesce. */
void cmsgr_center_wakeup(cmsgr_center *center);

/* Waits at most max_wait_ns (< 0: for ever), less if a timer is due earlier, not at all if user-phase work is pending.
 * Returns 1 if cmsgr_center_dispatch has something to do, else 0, or an error of the poller. */
int cmsgr_center_wait(cmsgr_center *center, int64_t max_wait_ns);
/* Returns how many callbacks ran. */
int cmsgr_center_dispatch(cmsgr_center *center);

typedef struct cmsgr_center_stats {
    uint64_t waits;        /* calls of the poller */
    uint64_t wakeups_sent; /* system calls made to wake this center */
    uint64_t events;       /* file events reported */
    uint64_t posted;       /* posted events run */
    uint64_t timers;       /* timers run */
    uint64_t writable_added;
    uint64_t writable_removed;
    uint64_t polls_won, polls_lost; /* looks before a sleep that made it needless, or did not */
    int64_t slept_ns, polled_ns; /* waiting asleep, and looking */
} cmsgr_center_stats;
void cmsgr_center_get_stats(const cmsgr_center *center, cmsgr_center_stats *stats); /* any thread */

/* ---- Throttle ------------------------------------------------------------------------------------------ */

/*
 * A bound on how much may be taken at once. max 0 = unlimited, still counted. A request n waits if
 * (n <= max and current + n > max) or (n > max and current > max): one request larger than the limit passes an
 * unsaturated throttle, so it can never dead-lock. Waiters are granted in order, by whoever gives back, and are told
 * through their center: never polled. All functions: any thread. Reference counted, as messages give back when they
 * are destroyed.
 */
typedef struct cmsgr_throttle cmsgr_throttle;
typedef struct cmsgr_throttle_stats {
    int64_t current, max;
    uint64_t get, get_sum, get_or_fail_fail, get_or_fail_success, take, take_sum, put, put_sum, waited;
} cmsgr_throttle_stats;
int cmsgr_throttle_new(cmsgr_throttle **out, cmsgr_env *env, int64_t max);
void cmsgr_throttle_ref(cmsgr_throttle *throttle);
void cmsgr_throttle_unref(cmsgr_throttle *throttle);
/* 1 taken, 0 refused: it would exceed, or somebody already waits. */
int cmsgr_throttle_get_or_fail(cmsgr_throttle *throttle, int64_t amount);
void cmsgr_throttle_take(cmsgr_throttle *throttle, int64_t amount);
void cmsgr_throttle_put(cmsgr_throttle *throttle, int64_t amount);
void cmsgr_throttle_set_max(cmsgr_throttle *throttle, int64_t max);
void cmsgr_throttle_get_stats(cmsgr_throttle *throttle, cmsgr_throttle_stats *stats);

/* ---- Messages ------------------------------------------------------------------------------------------ */

/* The header segment, in host order (msgr2 "Messages"). */
typedef struct cmsgr_header {
    uint64_t seq;
    uint64_t tid;
    uint64_t ack_seq;
    uint16_t type;
    uint16_t priority;
    uint16_t version;
    uint16_t compat_version;
    uint16_t data_off;
    uint8_t flags;
} cmsgr_header;
void cmsgr_header_encode(const cmsgr_header *header, uint8_t out[41]);
void cmsgr_header_decode(cmsgr_header *header, const uint8_t in[41]);

/* A received message. Immutable, reference counted, any thread; its memory never belongs to the receive buffer. The last
 * unref gives the policy throttles their amounts back. */
typedef struct cmsgr_msg {
    cmsgr_header header;
    cmsgr_span segment[3]; /* front, middle, data */
    int64_t received_ns;
} cmsgr_msg;
void cmsgr_msg_ref(const cmsgr_msg *msg);
void cmsgr_msg_unref(const cmsgr_msg *msg);
/* The dispatcher's callback is over: gives the dispatch throttle its amount back. Once. Any thread. */
void cmsgr_msg_dispatched(const cmsgr_msg *msg);

/*
 * A queued outgoing message: header fields (seq and ack_seq are filled in when it is written), the segments' memory and
 * four opaque references that keep this memory alive. The queue owns an entry from cmsgr_session_send on; when it is done
 * it goes to the worker's garbage list, where the binding drops the references (cmsgr_worker_take_garbage).
 */
typedef struct cmsgr_entry {
    struct cmsgr_entry *next; /* the list it is in */
    cmsgr_header header;
    cmsgr_span segment[3];
    void *owner[4];
    uint64_t features;  /* the features it was encoded for; CMSGR_FEATURES_ANY if they do not matter */
    int64_t queued_ns;
    int64_t cost;       /* what it counts for in queued_bytes */
    uint32_t pieces;    /* unsent pieces that point into the segments */
    uint8_t unencoded;  /* segments are not there yet: see cmsgr_session_take_stale */
    uint8_t done;       /* off every list; garbage as soon as pieces is 0 */
} cmsgr_entry;
/* A zeroed entry. Any thread. */
cmsgr_entry *cmsgr_entry_new(cmsgr_env *env);
/* Frees the struct alone; the references are the caller's business. Any thread. */
void cmsgr_entry_free(cmsgr_env *env, cmsgr_entry *entry);

/* ---- Session: what outlives sockets -------------------------------------------------------------------- */

typedef struct cmsgr_worker cmsgr_worker;
typedef struct cmsgr_stream cmsgr_stream;
typedef struct cmsgr_session cmsgr_session;

/* A session belongs to a worker; `user` is the binding's object. `max_queued_bytes` bounds what is unsent or
 * unacknowledged (each message counts its segments and its header), 0 = unbounded; an empty queue admits any one message.
 * Reference counted: ref and unref from any thread. */
int cmsgr_session_new(cmsgr_session **out, cmsgr_worker *worker, int64_t max_queued_bytes, void *user);
void cmsgr_session_ref(cmsgr_session *session);
void cmsgr_session_unref(cmsgr_session *session);
void *cmsgr_session_user(const cmsgr_session *session);
void cmsgr_session_set_user(cmsgr_session *session, void *user);

/* Any thread. Queues the entry by header.priority, FIFO inside a priority, and sees to it that the worker writes:
 * `on_owner` tells that the caller is the worker's owner (no wakeup then). CMSGR_E_QUEUE_FULL, CMSGR_E_CLOSED: the entry
 * stays the caller's. */
int cmsgr_session_send(cmsgr_session *session, cmsgr_entry *entry, int on_owner);
/* Any thread. Asks for one KEEPALIVE2; requests coalesce until one was written. */
int cmsgr_session_send_keepalive(cmsgr_session *session, int on_owner);
/* The features messages are encoded for: 0 until the first handshake ended. Any thread. */
uint64_t cmsgr_session_features(const cmsgr_session *session);
/* Owner. Sets the features. NULL if every queued entry is encoded for them; else the whole queue, in order, in which `unencoded`
 * marks the entries to encode (their old segments and references are still there). Give all of them back by
 * cmsgr_session_put_stale; those marked `done` are dropped. No message may be written in between. */
cmsgr_entry *cmsgr_session_take_stale(cmsgr_session *session, uint64_t features);
void cmsgr_session_put_stale(cmsgr_session *session, cmsgr_entry *entries);
/* Owner. With `on`, the next send while no stream is attached surfaces as CMSGR_ITEM_SEND_QUEUED, once. */
void cmsgr_session_notify_send(cmsgr_session *session, int on);
/* Any thread. With limit >= 0: once queued bytes are at or below it, one CMSGR_ITEM_DRAINED surfaces. At once if so now. */
void cmsgr_session_notify_drained(cmsgr_session *session, int64_t limit_bytes, int on_owner);

/* What the control plane may do to the queues, each on the owner. */
void cmsgr_session_requeue(cmsgr_session *session);             /* unacknowledged ones back to the front, old numbers */
void cmsgr_session_drop_acked(cmsgr_session *session, uint64_t seq); /* the peer has everything up to seq */
void cmsgr_session_reset(cmsgr_session *session, int drop_queue); /* numbers from 1 again; in_seq 0 */
/* The old worker's owner, with no stream attached: from here on the session belongs to `worker`, and only its owner may touch it.
 * What other threads queue meanwhile reaches the new worker. CMSGR_E_NOT_READY if a stream is attached. */
int cmsgr_session_move(cmsgr_session *session, cmsgr_worker *worker);
/* Drops everything for good. Messages sent later are refused with CMSGR_E_CLOSED. */
void cmsgr_session_close(cmsgr_session *session);

typedef struct cmsgr_session_info {
    uint64_t in_seq, out_seq, acked_seq;
    uint64_t queued_messages, unacked_messages;
    int64_t queued_bytes; /* unsent + unacknowledged */
    int64_t last_keepalive_ns;         /* wall clock, when the last KEEPALIVE2 came; 0 never */
    int64_t last_keepalive_ack_ns;     /* the wall-clock stamp of ours that was acknowledged last; 0 never */
    int64_t last_read_ns;              /* monotonic: when anything was read last */
    int64_t last_write_ns;             /* monotonic: when anything was written last */
    int keepalive_wanted, closed, lossless;
} cmsgr_session_info;
void cmsgr_session_get_info(cmsgr_session *session, cmsgr_session_info *info); /* any thread */
/* Queued messages of each priority, highest first; returns how many priorities there are. Any thread. */
int cmsgr_session_priorities(cmsgr_session *session, uint16_t *priority, uint64_t *count, int max);

/* ---- Stream: one socket's bytes ------------------------------------------------------------------------- */

typedef struct cmsgr_stream_config {
    cmsgr_limits limits;
    cmsgr_throttle *policy_messages; /* each may be NULL; a reference is taken */
    cmsgr_throttle *policy_bytes;
    cmsgr_throttle *dispatch_bytes;
    cmsgr_throttle *dispatch_messages; /* 1 per message, given back with dispatch_bytes: small messages are bounded too */
    /* For tests, 0 in production: the socket is shut down at one of so many reads and writes; only one of so many attempts to
     * write does write. */
    uint32_t inject_socket_failures, inject_network_congestion;
} cmsgr_stream_config;

/*
 * Takes the socket over (it is closed with the stream). With `connecting` the connect is under way:
 * CMSGR_ITEM_CONNECTED or CMSGR_ITEM_FAULT follows. Then the banner is expected, then frames: each surfaces as
 * CMSGR_ITEM_FRAME, and the stream stands still until cmsgr_stream_continue. After cmsgr_stream_start, MESSAGE, ACK,
 * KEEPALIVE2 and KEEPALIVE2_ACK are dealt with here; any other frame still surfaces.
 * A fault surfaces once, as the stream's last item; the stream then does nothing until it is closed.
 */
int cmsgr_stream_new(cmsgr_stream **out, cmsgr_worker *worker, int fd, int connecting, const cmsgr_stream_config *config,
                     void *user);
/* Owner. Unregisters, closes the socket, returns claims; queued items of the stream are dropped, but messages it
 * completed are still delivered. Frees the stream. */
void cmsgr_stream_close(cmsgr_stream *stream);
void *cmsgr_stream_user(const cmsgr_stream *stream);
int cmsgr_stream_fd(const cmsgr_stream *stream);
void cmsgr_stream_set_throttles(cmsgr_stream *stream, const cmsgr_stream_config *config);
void cmsgr_stream_set_revision(cmsgr_stream *stream, int revision);
/* Secure mode in both directions from here on: frames sent after this, frames parsed after the next continue. `secret` is the
 * connection secret, at least 40 bytes; `is_client` tells whether we dialled ("Keys and nonces"). */
int cmsgr_stream_set_keys(cmsgr_stream *stream, const uint8_t *secret, size_t len, int is_client);
/* Compression in both directions from here on, with the same timing. A frame whose segments have less than `min_len` bytes together, or
 * would not become shorter, is sent as it is; received ones may be either. -EINVAL if the algorithm is not compiled in. */
int cmsgr_stream_set_compression(cmsgr_stream *stream, int algorithm, size_t min_len);
/* Append bytes (the banner) or a control frame; they go out in this turn's flush. On a stream that has faulted this, and
 * cmsgr_stream_start, succeed to no effect: the fault may not have been taken yet, and tells by itself. */
int cmsgr_stream_send_bytes(cmsgr_stream *stream, const void *data, size_t len);
int cmsgr_stream_send_frame(cmsgr_stream *stream, int tag, const void *payload, size_t len);
/* The answer to a frame that was handed up, or to a received one that was intercepted: go on. Not for a MESSAGE, which is handed up
 * only if it came before READY: the stream faults with CMSGR_E_NOT_READY. */
void cmsgr_stream_continue(cmsgr_stream *stream);
/* The same for a sent one. */
void cmsgr_stream_continue_sent(cmsgr_stream *stream);
/* READY: joins the session. Lossless sessions keep what they sent until it is acknowledged. */
int cmsgr_stream_start(cmsgr_stream *stream, cmsgr_session *session, int lossless);
/* Tries to send now what is assembled and what the session has queued. Returns the bytes still unsent, or an error
 * (which also surfaces as the fault). EVENT_WRITABLE is registered exactly while bytes remain unsent. */
ssize_t cmsgr_stream_try_send(cmsgr_stream *stream);
size_t cmsgr_stream_unsent_bytes(const cmsgr_stream *stream);
/* Frames for which (1 << tag) is set in the mask of their direction surface as CMSGR_ITEM_INTERCEPTED before they are
 * processed (received: complete and checked, not yet counted; sent: not yet numbered). Zero in production. */
void cmsgr_stream_set_mask(cmsgr_stream *stream, uint32_t received, uint32_t sent);
/* Answer to an intercepted frame other than continue: the stream faults with CMSGR_E_INJECTED. */
void cmsgr_stream_fail(cmsgr_stream *stream);

/* ---- Worker: one turn ----------------------------------------------------------------------------------- */

enum cmsgr_item_kind {
    CMSGR_ITEM_MESSAGE = 1,
    CMSGR_ITEM_FRAME = 2,
    CMSGR_ITEM_CONNECTED = 3,
    CMSGR_ITEM_FAULT = 4,
    CMSGR_ITEM_INTERCEPTED = 5,
    CMSGR_ITEM_SEND_QUEUED = 6,
    CMSGR_ITEM_DRAINED = 7,
    CMSGR_ITEM_SEQUENCE = 8 /* a repeated number (the message was dropped) or a skipped one; the stream goes on */
};

/* Something for the user phase. `stream` is NULL for what belongs to a session alone, and for messages. */
typedef struct cmsgr_item {
    struct cmsgr_item *next;
    int kind;
    cmsgr_stream *stream;
    cmsgr_session *session;
    const cmsgr_msg *msg;   /* MESSAGE: the taker owns one reference */
    int tag;                /* FRAME, INTERCEPTED, and FAULT: the tag at which it happened */
    int sent;               /* INTERCEPTED: the frame was about to be sent */
    cmsgr_span payload;     /* FRAME: the segments; for the banner, its payload. FAULT of the banner: what came */
    cmsgr_span wire;        /* FRAME: the bytes on the wire */
    int error;              /* FAULT */
    uint64_t got, expected; /* FAULT, SEQUENCE: the numbers compared; nothing follows 2^64 - 1, so 0 is expected there */
} cmsgr_item;

/*
 * The phases of a turn: cmsgr_worker_turn is C and A, the user phase B lies between two calls of it.
 *   C  flush every stream that has something to send
 *   A  wait, then receive and parse for every ready stream; complete messages and all else become items
 *   B  (the caller, under its interpreter lock) take garbage, take items one by one, cmsgr_center_dispatch
 */
int cmsgr_worker_new(cmsgr_worker **out, cmsgr_env *env);
/* All its streams must be closed and sessions unreferenced. */
void cmsgr_worker_free(cmsgr_worker *worker);
cmsgr_center *cmsgr_worker_center(cmsgr_worker *worker);
/* Returns 1 if the user phase has work (items, garbage that should not wait, timers, posts), 0 if max_wait_ns passed
 * without any, or an error of the poller. Without user work it goes on turning by itself: messages sent by other threads
 * cost the caller nothing. */
int cmsgr_worker_turn(cmsgr_worker *worker, int64_t max_wait_ns);
/* The next item of this turn, or NULL. Valid until the next call or turn. */
cmsgr_item *cmsgr_worker_take_item(cmsgr_worker *worker);
/* Phase C ahead of time, from within the user phase: sends what its callbacks have queued so far. Any item may be added. */
void cmsgr_worker_flush(cmsgr_worker *worker);
/* At the beginning of the user phase: after how many items, each time, a flush pays if there are more. Normally only at the end, for a
 * send costs as much as some messages do. But a peer that was waited for longer than the work before took is waiting now: it gets
 * half of the answers while the other half is made, and from then on both are at work. */
size_t cmsgr_worker_flush_every(const cmsgr_worker *worker);
/* All entries that are done, linked by next. The caller drops owner[0..3] and calls cmsgr_entry_free. */
cmsgr_entry *cmsgr_worker_take_garbage(cmsgr_worker *worker);

typedef struct cmsgr_worker_stats {
    uint64_t turns;      /* calls of cmsgr_worker_turn that returned work */
    uint64_t rounds;     /* flush + wait + parse rounds, with and without user work */
    uint64_t recv_messages, send_messages, recv_bytes, send_bytes;
    uint64_t recv_calls, send_calls; /* system calls */
    uint64_t acks_sent, keepalives_sent, duplicates_dropped, sequence_gaps, frames_aborted, replayed_messages;
    uint64_t throttle_stalls;
    int64_t handle_ack_ns, queue_latency_ns; /* sums; counts are acks handled and send_messages */
    uint64_t acks_handled;
    int64_t recv_ns, send_ns;
} cmsgr_worker_stats;
void cmsgr_worker_get_stats(const cmsgr_worker *worker, cmsgr_worker_stats *stats); /* any thread */

/* ---- cffi: end ------------------------------------------------------------------------------------------ */

#ifdef __cplusplus
}
#endif
#endif
