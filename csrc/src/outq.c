/* out_q: see outq.h. */
#include "outq.h"

#include <errno.h>

void cmsgr__fifo_push(cmsgr__fifo *fifo, cmsgr_entry *entry)
{
    entry->next = NULL;
    if (fifo->last)
        fifo->last->next = entry;
    else
        fifo->first = entry;
    fifo->last = entry;
    fifo->count++;
}

cmsgr_entry *cmsgr__fifo_pop(cmsgr__fifo *fifo)
{
    cmsgr_entry *entry = fifo->first;

    if (!entry)
        return NULL;
    fifo->first = entry->next;
    if (!fifo->first)
        fifo->last = NULL;
    fifo->count--;
    entry->next = NULL;
    return entry;
}

void cmsgr__fifo_prepend(cmsgr__fifo *fifo, cmsgr__fifo *front)
{
    if (!front->first)
        return;
    front->last->next = fifo->first;
    fifo->first = front->first;
    if (!fifo->last)
        fifo->last = front->last;
    fifo->count += front->count;
    *front = (cmsgr__fifo){0};
}

static cmsgr__bucket *outq_bucket(cmsgr__outq *outq, const cmsgr_env *env, uint16_t priority)
{
    cmsgr__bucket **at = &outq->buckets, *bucket;

    while (*at && (*at)->priority > priority)
        at = &(*at)->next;
    if (*at && (*at)->priority == priority)
        return *at;
    if (!env)
        return NULL;
    bucket = cmsgr__zalloc(env, sizeof *bucket);
    if (bucket) {
        bucket->priority = priority;
        bucket->next = *at;
        *at = bucket;
    }
    return bucket;
}

int cmsgr__outq_push(cmsgr__outq *outq, const cmsgr_env *env, cmsgr_entry *entry)
{
    cmsgr__bucket *bucket = outq_bucket(outq, env, entry->header.priority);

    if (!bucket)
        return -ENOMEM;
    cmsgr__fifo_push(&bucket->fifo, entry);
    outq->count++;
    return 0;
}

cmsgr_entry *cmsgr__outq_pop(cmsgr__outq *outq)
{
    if (!outq->count)
        return NULL;
    for (cmsgr__bucket *bucket = outq->buckets;; bucket = bucket->next) {
        if (bucket->fifo.first) {
            outq->count--;
            return cmsgr__fifo_pop(&bucket->fifo);
        }
    }
}

void cmsgr__outq_restore(cmsgr__outq *outq, cmsgr__fifo *popped)
{
    /* Buckets stay once made, so each of these finds its own and nothing can fail. */
    while (popped->first) {
        cmsgr__fifo same = {0};
        uint16_t priority = popped->first->header.priority;

        while (popped->first && popped->first->header.priority == priority)
            cmsgr__fifo_push(&same, cmsgr__fifo_pop(popped));
        outq->count += same.count;
        cmsgr__fifo_prepend(&outq_bucket(outq, NULL, priority)->fifo, &same);
    }
}

void cmsgr__outq_clear(cmsgr__outq *outq, const cmsgr_env *env)
{
    while (outq->buckets) {
        cmsgr__bucket *bucket = outq->buckets;

        outq->buckets = bucket->next;
        cmsgr__free(env, bucket);
    }
}
