/*
 * A stream's inside. Three sources share it, each a direction of travel: stream.c (life: made, started, closed), receive.c (bytes
 * in) and transmit.c (bytes out).
 */
#ifndef CMSGR_STREAM_H
#define CMSGR_STREAM_H

#include "chain.h"
#include "frame.h"
#include "list.h"
#include "msg.h"
#include "throttle.h"

/* What the receiving side is doing. Only PARSING reads from the socket. */
enum cmsgr__stream_state {
    CMSGR__CONNECTING, /* the socket is not connected yet */
    CMSGR__PARSING,
    CMSGR__HELD,       /* a frame was handed up: stands still until cmsgr_stream_continue */
    CMSGR__THROTTLED,  /* waits for a throttle; nothing is read meanwhile */
    CMSGR__DEAD        /* faulted: does nothing until it is closed */
};

/* The throttles a MESSAGE passes, in this order. */
enum { CMSGR__POLICY_MESSAGES, CMSGR__POLICY_BYTES, CMSGR__DISPATCH_BYTES, CMSGR__DISPATCH_MESSAGES, CMSGR__THROTTLES };

/* A control frame of the handshake: enough for the largest tickets, and little for a stranger to claim. It is held twice, as it came
 * (for the signature) and as payload. */
enum { CMSGR__STRANGER_CONTROL = 256 * 1024 };

/* Bytes that grow as they come. */
typedef struct cmsgr__bytes {
    uint8_t *data;
    size_t len, cap;
} cmsgr__bytes;

struct cmsgr_stream {
    const cmsgr_env *env;
    cmsgr_worker *worker;
    void *user;
    int fd;
    int revision;
    int state;           /* enum cmsgr__stream_state */
    int ready;           /* cmsgr_stream_start was called: data frames are dealt with here */
    int banner_done;
    int hangup;          /* the peer closed its end: read until the end, no edge will tell */
    int more;            /* the last read filled the buffer: there may be more, and no edge will tell */
    size_t read_len;     /* what one read may bring beside a large segment: CMSGR__RECV_MIN to CMSGR__RECV_LEN */
    cmsgr_session *session; /* once ready; a reference */

    uint32_t inject_failures, inject_congestion; /* one in so many; 0 never */
    uint64_t chance;       /* the injections' generator */

    /* receiving */
    cmsgr_parser parser;
    uint32_t control_limit; /* the parser's, once ready */
    cmsgr__msg *msg;       /* the MESSAGE whose body is being received */
    int64_t msg_cost;      /* what it claims from throttles in bytes: front, middle and data, as its preamble announced them */
    cmsgr__bytes control;  /* the body of the control frame being received, or the banner */
    cmsgr__bytes wire;     /* before ready: the bytes of this frame as they came, for the signatures */
    cmsgr__bytes parked;   /* received behind a frame at which the stream stands still */
    size_t parked_start;
    cmsgr_throttle *throttle[CMSGR__THROTTLES]; /* each may be NULL */
    int throttle_next;     /* the first not granted yet */
    cmsgr_throttle *waiting_for; /* the one whose line the waiter is in, or NULL */
    cmsgr__waiter waiter;
    uint32_t mask_received, mask_sent;
    int pass_received;     /* the intercepted frame was answered: let it through once */

    /* sending */
    cmsgr__chain chain;
    cmsgr_cipher *open_cipher, *seal_cipher; /* secure mode; else NULL */
    int compression;       /* enum cmsgr_compression */
    size_t compress_min;   /* frames whose segments are shorter together go as they are */
    int connected;
    int writable_wanted;   /* EVENT_WRITABLE is registered */
    int ack_keepalive;     /* a KEEPALIVE2 waits for its answer */
    uint8_t keepalive_stamp[8];
    uint32_t held_sent;    /* 1 << tag of an outgoing frame that was intercepted: nothing more is assembled */
    uint32_t pass_sent;    /* answered: the next of each is let through */

    cmsgr__link dirty_link, hot_link, grave_link;
    cmsgr_item item, sent_item, fault_item, sequence_item; /* at most one of each can be listed */
    int sequence_listed;
};

/* Something to send: flush me in this turn. */
void cmsgr__stream_mark_dirty(cmsgr_stream *stream);
/* Something to parse or to read that no event will announce. */
void cmsgr__stream_mark_hot(cmsgr_stream *stream);
/* 1 in `one_in` calls, by chance; never for 0. */
int cmsgr__stream_is_unlucky(cmsgr_stream *stream, uint32_t one_in);
/* The stream's last word. Returns error. */
int cmsgr__stream_fault(cmsgr_stream *stream, int error, uint64_t got, uint64_t expected);

/* The socket's events (CMSGR_PHASE_IO). */
void cmsgr__stream_on_file(void *arg, int fd, int mask);

/* receive.c: parses what is parked, then reads once and parses. */
void cmsgr__stream_receive(cmsgr_stream *stream);
void cmsgr__stream_init_receive(cmsgr_stream *stream);
/* Gives back claims and memory. */
void cmsgr__stream_end_receive(cmsgr_stream *stream);

/* transmit.c: assembles and sends until nothing is left, the kernel takes no more, or the turn's budget is spent. */
void cmsgr__stream_flush(cmsgr_stream *stream);
void cmsgr__stream_end_transmit(cmsgr_stream *stream);

/* stream.c: makes room for `more` bytes behind len: 0 or -ENOMEM. */
int cmsgr__bytes_reserve(const cmsgr_env *env, cmsgr__bytes *bytes, size_t more);
int cmsgr__bytes_append(const cmsgr_env *env, cmsgr__bytes *bytes, const void *data, size_t len);
void cmsgr__bytes_free(const cmsgr_env *env, cmsgr__bytes *bytes);

#endif
