/* A session's inside, for the stream that writes and reads for it. */
#ifndef CMSGR_SESSION_H
#define CMSGR_SESSION_H

#include <pthread.h>
#include <stdatomic.h>

#include "center.h"
#include "list.h"
#include "outq.h"

struct cmsgr_session {
    const cmsgr_env *env;
    cmsgr_worker *worker;
    void *user;
    atomic_int refs;
    cmsgr__kick kick; /* another thread wants the owner to look here; holds a reference while it is queued */

    pthread_mutex_t lock; /* guards from here ... */
    cmsgr__outq outq;
    int wake_pending;     /* the owner was told that something is queued and has not yet seen the queue empty */
    int closed;
    int64_t max_queued_bytes; /* ... to here */

    _Atomic uint64_t features; /* written by the owner */

    atomic_llong queued_bytes; /* unsent + unacknowledged: the sum of the entries' cost */
    atomic_llong drained_limit; /* < 0: nobody asked */
    atomic_int keepalive_wanted;

    /* The owner's. Read by others through cmsgr_session_get_info, hence atomic; written by one thread only. */
    cmsgr_stream *stream;      /* the one that is READY, or NULL */
    cmsgr__fifo replay;        /* to be written again, with their old numbers, before the out_q */
    cmsgr__fifo sent;          /* written and not acknowledged, in order of seq; lossless only */
    _Atomic uint64_t in_seq;   /* highest received */
    _Atomic uint64_t out_seq;  /* last given */
    _Atomic uint64_t acked_seq;
    uint64_t told_seq;         /* the in_seq the peer was told last, by a header or an ACK */
    _Atomic uint64_t unacked;  /* replay.count + sent.count */
    _Atomic int64_t last_keepalive_ns, last_keepalive_ack_ns, last_read_ns, last_write_ns;
    atomic_int lossless;
    int notify_send;
    cmsgr_item send_queued_item, drained_item;
    int send_queued_listed, drained_listed;
};

/* Owner. The next message to write, numbered and stamped with the acknowledgement, or NULL when nothing is queued (the
 * next send will kick again). It stays the session's: retire it, or keep it in `sent`. */
cmsgr_entry *cmsgr__session_next(cmsgr_session *session);
/* Owner. Is there a message to write? */
int cmsgr__session_has_queued(cmsgr_session *session);
/* Owner. The entry was written: keep it until it is acknowledged (lossless), or be done with it. */
void cmsgr__session_written(cmsgr_session *session, cmsgr_entry *entry);
/* Owner. The entry left every list and every chain: it becomes garbage. */
void cmsgr__session_retire(cmsgr_session *session, cmsgr_entry *entry);
/* Owner. The peer has everything up to seq: 0 or CMSGR_E_ACK_BEYOND_SENT. */
int cmsgr__session_acked(cmsgr_session *session, uint64_t seq);

#endif
