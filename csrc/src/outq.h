/*
 * out_q: messages waiting to be written. Strict priority, first in first out inside a priority.
 *
 * Not locked: the session's lock guards it. Priorities in use are few, so the buckets are a short list, highest first, and
 * stay once made.
 */
#ifndef CMSGR_OUTQ_H
#define CMSGR_OUTQ_H

#include "internal.h"

/* First in, first out, through cmsgr_entry.next. */
typedef struct cmsgr__fifo {
    cmsgr_entry *first, *last;
    uint64_t count;
} cmsgr__fifo;

void cmsgr__fifo_push(cmsgr__fifo *fifo, cmsgr_entry *entry);
cmsgr_entry *cmsgr__fifo_pop(cmsgr__fifo *fifo);
/* `front` goes before what is in `fifo`, and is empty afterwards. */
void cmsgr__fifo_prepend(cmsgr__fifo *fifo, cmsgr__fifo *front);

typedef struct cmsgr__bucket {
    struct cmsgr__bucket *next;
    uint16_t priority;
    cmsgr__fifo fifo;
} cmsgr__bucket;

typedef struct cmsgr__outq {
    cmsgr__bucket *buckets; /* highest priority first */
    uint64_t count;
} cmsgr__outq;

int cmsgr__outq_push(cmsgr__outq *outq, const cmsgr_env *env, cmsgr_entry *entry);
cmsgr_entry *cmsgr__outq_pop(cmsgr__outq *outq);
/* Gives back what was popped, in the order it was popped, before everything pushed since. */
void cmsgr__outq_restore(cmsgr__outq *outq, cmsgr__fifo *popped);
/* The buckets' memory; the queue must be empty. */
void cmsgr__outq_clear(cmsgr__outq *outq, const cmsgr_env *env);

#endif
