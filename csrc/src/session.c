/*
 * Session: what outlives sockets.
 *
 * Threads. Anyone may append to the out_q under `lock`; only the owner takes out, numbers, and keeps the sent list.
 * wake_pending is what makes a burst of sends cost one wakeup: set by the first send, cleared under the lock by the owner when
 * it saw the queue empty, so no message is left behind.
 *
 * An entry's way: out_q -> (written) -> sent list -> (acknowledged) -> garbage. Lossy sessions skip the sent list. After a
 * fault the sent list becomes the replay list, which is written before everything else with its old numbers.
 */
#include "session.h"

#include <errno.h>

#include "stream.h"
#include "worker.h"

static void session_on_kick(cmsgr__kick *kick);

int cmsgr_session_new(cmsgr_session **out, cmsgr_worker *worker, int64_t max_queued_bytes, void *user)
{
    cmsgr_session *session = cmsgr__zalloc(worker->env, sizeof *session);

    if (!session)
        return -ENOMEM;
    session->env = worker->env;
    session->worker = worker;
    cmsgr__worker_ref(worker);
    session->user = user;
    session->max_queued_bytes = max_queued_bytes;
    atomic_init(&session->refs, 1);
    atomic_init(&session->drained_limit, -1);
    session->kick.fn = session_on_kick;
    session->send_queued_item = (cmsgr_item){.kind = CMSGR_ITEM_SEND_QUEUED, .session = session};
    session->drained_item = (cmsgr_item){.kind = CMSGR_ITEM_DRAINED, .session = session};
    pthread_mutex_init(&session->lock, NULL);
    *out = session;
    return 0;
}

void cmsgr_session_ref(cmsgr_session *session)
{
    atomic_fetch_add_explicit(&session->refs, 1, memory_order_relaxed);
}

/* Everything queued in one list, linked by next; the queues are empty afterwards. */
static cmsgr_entry *session_take_all(cmsgr_session *session)
{
    cmsgr__fifo all = session->replay;
    cmsgr_entry *entry;

    cmsgr__fifo_prepend(&all, &session->sent);
    session->replay = (cmsgr__fifo){0};
    atomic_store_explicit(&session->unacked, 0, memory_order_relaxed);
    pthread_mutex_lock(&session->lock);
    while ((entry = cmsgr__outq_pop(&session->outq)))
        cmsgr__fifo_push(&all, entry);
    session->wake_pending = 0;
    pthread_mutex_unlock(&session->lock);
    return all.first;
}

void cmsgr_session_unref(cmsgr_session *session)
{
    cmsgr_worker *worker;

    if (atomic_fetch_sub_explicit(&session->refs, 1, memory_order_acq_rel) != 1)
        return;
    worker = session->worker;
    cmsgr__worker_add_late_garbage(worker, session_take_all(session));
    cmsgr__outq_clear(&session->outq, session->env);
    pthread_mutex_destroy(&session->lock);
    cmsgr__free(session->env, session);
    cmsgr__worker_unref(worker);
}

void *cmsgr_session_user(const cmsgr_session *session)
{
    return session->user;
}

void cmsgr_session_set_user(cmsgr_session *session, void *user)
{
    session->user = user;
}

/* What an entry counts for in queued_bytes: its segments and its header, so that empty messages count too. */
static int64_t entry_cost(const cmsgr_entry *entry)
{
    return (int64_t)(CMSGR_HEADER_LEN + entry->segment[0].len + entry->segment[1].len + entry->segment[2].len);
}

/* ---- Waking the writer ---- */

/* Items of a session are its own memory, so each can be listed once at a time; a listed one holds a reference. */
static void session_surface(cmsgr_session *session, cmsgr_item *item, int *listed)
{
    if (*listed)
        return;
    *listed = 1;
    cmsgr_session_ref(session);
    cmsgr__worker_add_item(session->worker, item);
}

static void session_check_drained(cmsgr_session *session)
{
    long long limit = atomic_load(&session->drained_limit);

    if (limit < 0 || atomic_load(&session->queued_bytes) > limit)
        return;
    atomic_store(&session->drained_limit, -1);
    session_surface(session, &session->drained_item, &session->drained_listed);
}

static void session_look(cmsgr_session *session)
{
    session_check_drained(session);
    if (session->stream) {
        cmsgr__stream_mark_dirty(session->stream);
    } else if (session->notify_send && cmsgr__session_has_queued(session)) {
        session->notify_send = 0;
        session_surface(session, &session->send_queued_item, &session->send_queued_listed);
    }
}

static void session_on_kick(cmsgr__kick *kick)
{
    cmsgr_session *session = CMSGR__OWNER(kick, cmsgr_session, kick);

    session_look(session);
    cmsgr_session_unref(session);
}

static void session_wake(cmsgr_session *session, int on_owner)
{
    int queued;

    if (on_owner) {
        session_look(session);
        return;
    }
    cmsgr_session_ref(session);
    pthread_mutex_lock(&session->lock); /* the worker stays the same until the kick is made: cmsgr_session_move */
    queued = cmsgr__center_kick(session->worker->center, &session->kick);
    pthread_mutex_unlock(&session->lock);
    if (!queued)
        cmsgr_session_unref(session); /* queued already, with the reference of that kick */
}

int cmsgr_session_send(cmsgr_session *session, cmsgr_entry *entry, int on_owner)
{
    int64_t cost = entry_cost(entry);
    int wake = 0, result;

    entry->cost = cost;
    entry->queued_ns = cmsgr__now(session->env);
    pthread_mutex_lock(&session->lock);
    if (session->closed) {
        result = CMSGR_E_CLOSED;
    } else if (session->max_queued_bytes > 0 && atomic_load(&session->queued_bytes) > 0 &&
               atomic_load(&session->queued_bytes) + cost > session->max_queued_bytes) {
        result = CMSGR_E_QUEUE_FULL;
    } else if ((result = cmsgr__outq_push(&session->outq, session->env, entry)) == 0) {
        atomic_fetch_add_explicit(&session->queued_bytes, cost, memory_order_relaxed);
        wake = !session->wake_pending;
        session->wake_pending = 1;
    }
    pthread_mutex_unlock(&session->lock);
    if (wake)
        session_wake(session, on_owner);
    return result;
}

int cmsgr_session_send_keepalive(cmsgr_session *session, int on_owner)
{
    int closed;

    pthread_mutex_lock(&session->lock);
    closed = session->closed;
    pthread_mutex_unlock(&session->lock);
    if (closed)
        return CMSGR_E_CLOSED;
    atomic_store(&session->keepalive_wanted, 1);
    session_wake(session, on_owner);
    return 0;
}

void cmsgr_session_notify_send(cmsgr_session *session, int on)
{
    session->notify_send = on;
    if (on)
        session_look(session);
}

void cmsgr_session_notify_drained(cmsgr_session *session, int64_t limit_bytes, int on_owner)
{
    atomic_store(&session->drained_limit, limit_bytes);
    session_wake(session, on_owner);
}

/* ---- Writing ---- */

int cmsgr__session_has_queued(cmsgr_session *session)
{
    int queued;

    if (session->replay.first)
        return 1;
    pthread_mutex_lock(&session->lock);
    queued = session->outq.count > 0;
    if (!queued)
        session->wake_pending = 0;
    pthread_mutex_unlock(&session->lock);
    return queued;
}

cmsgr_entry *cmsgr__session_next(cmsgr_session *session)
{
    cmsgr_entry *entry = cmsgr__fifo_pop(&session->replay);

    if (entry) {
        cmsgr__count(session->worker->stats.replayed_messages, 1);
    } else {
        pthread_mutex_lock(&session->lock);
        entry = cmsgr__outq_pop(&session->outq);
        if (!entry)
            session->wake_pending = 0;
        pthread_mutex_unlock(&session->lock);
        if (!entry)
            return NULL;
        entry->header.seq = session->out_seq + 1;
        atomic_store_explicit(&session->out_seq, entry->header.seq, memory_order_relaxed);
    }
    entry->header.ack_seq = session->in_seq;
    session->told_seq = session->in_seq;
    return entry;
}

void cmsgr__session_written(cmsgr_session *session, cmsgr_entry *entry)
{
    if (session->lossless) {
        cmsgr__fifo_push(&session->sent, entry);
        atomic_store_explicit(&session->unacked, session->sent.count + session->replay.count, memory_order_relaxed);
        return;
    }
    entry->done = 1;
    if (!entry->pieces)
        cmsgr__session_retire(session, entry);
}

void cmsgr__session_retire(cmsgr_session *session, cmsgr_entry *entry)
{
    atomic_fetch_sub_explicit(&session->queued_bytes, entry->cost, memory_order_relaxed);
    cmsgr__worker_add_garbage(session->worker, entry, entry->cost);
    session_check_drained(session);
}

/* Off its list: garbage, unless the kernel has not taken all its bytes yet (then when it has). */
static void session_finish(cmsgr_session *session, cmsgr_entry *entry)
{
    entry->done = 1;
    if (!entry->pieces)
        cmsgr__session_retire(session, entry);
}

static void fifo_finish_acked(cmsgr_session *session, cmsgr__fifo *fifo, uint64_t seq)
{
    while (fifo->first && fifo->first->header.seq <= seq)
        session_finish(session, cmsgr__fifo_pop(fifo));
}

int cmsgr__session_acked(cmsgr_session *session, uint64_t seq)
{
    if (seq > session->out_seq)
        return CMSGR_E_ACK_BEYOND_SENT;
    if (seq <= session->acked_seq)
        return 0;
    atomic_store_explicit(&session->acked_seq, seq, memory_order_relaxed);
    fifo_finish_acked(session, &session->sent, seq);
    fifo_finish_acked(session, &session->replay, seq);
    atomic_store_explicit(&session->unacked, session->sent.count + session->replay.count, memory_order_relaxed);
    return 0;
}

/* ---- What the control plane may do ---- */

void cmsgr_session_requeue(cmsgr_session *session)
{
    /* sent holds lower numbers than what is left of an unfinished replay */
    cmsgr__fifo_prepend(&session->replay, &session->sent);
}

void cmsgr_session_drop_acked(cmsgr_session *session, uint64_t seq)
{
    fifo_finish_acked(session, &session->replay, seq);
    fifo_finish_acked(session, &session->sent, seq);
    atomic_store_explicit(&session->unacked, session->sent.count + session->replay.count, memory_order_relaxed);
    if (seq > session->acked_seq)
        atomic_store_explicit(&session->acked_seq, seq, memory_order_relaxed);
}

void cmsgr_session_reset(cmsgr_session *session, int drop_queue)
{
    atomic_store_explicit(&session->in_seq, 0, memory_order_relaxed);
    atomic_store_explicit(&session->out_seq, 0, memory_order_relaxed);
    atomic_store_explicit(&session->acked_seq, 0, memory_order_relaxed);
    session->told_seq = 0;
    if (drop_queue) {
        cmsgr_entry *next, *entry = session_take_all(session);

        for (; entry; entry = next) {
            next = entry->next;
            session_finish(session, entry);
        }
        return;
    }
    /* What waits to be replayed gets new numbers, in the same order: a session opened by an ident counts from 1. */
    for (cmsgr_entry *entry = session->replay.first; entry; entry = entry->next)
        atomic_store_explicit(&session->out_seq, entry->header.seq = session->out_seq + 1, memory_order_relaxed);
}

/* 1 if the item was listed; its reference is the caller's then. */
static int session_unlist(cmsgr_session *session, cmsgr_item *item, int *listed)
{
    if (!*listed)
        return 0;
    *listed = 0;
    cmsgr__worker_remove_item(session->worker, item);
    return 1;
}

int cmsgr_session_move(cmsgr_session *session, cmsgr_worker *worker)
{
    cmsgr_worker *old = session->worker;
    int references = 0; /* of what was listed or queued for the old worker and is void now: the new one looks again */

    if (session->stream)
        return CMSGR_E_NOT_READY;
    if (worker == old)
        return 0;
    cmsgr__worker_ref(worker);
    pthread_mutex_lock(&session->lock);
    references += session_unlist(session, &session->send_queued_item, &session->send_queued_listed);
    if (session_unlist(session, &session->drained_item, &session->drained_listed)) {
        references++;
        atomic_store(&session->drained_limit, INT64_MAX); /* it was due: the new owner tells it at once */
    }
    /* Kicks are made under the lock: one that is queued is queued on the old worker, and none follows there. */
    references += atomic_load(&session->kick.queued);
    cmsgr__center_unkick(old->center, &session->kick);
    session->worker = worker;
    pthread_mutex_unlock(&session->lock);
    session_wake(session, 0); /* from here on the new owner may be at work */
    while (references--)
        cmsgr_session_unref(session);
    cmsgr__worker_unref(old);
    return 0;
}

void cmsgr_session_close(cmsgr_session *session)
{
    pthread_mutex_lock(&session->lock);
    session->closed = 1;
    pthread_mutex_unlock(&session->lock);
    cmsgr_session_reset(session, 1);
}

/* ---- Encoding for the features agreed on ---- */

uint64_t cmsgr_session_features(const cmsgr_session *session)
{
    return atomic_load_explicit(&session->features, memory_order_acquire);
}

static int entry_is_stale(const cmsgr_entry *entry, uint64_t features)
{
    return entry->unencoded || (entry->features != features && entry->features != CMSGR_FEATURES_ANY);
}

/* Entries in queue order go back before everything queued since. */
static void session_restore(cmsgr_session *session, cmsgr_entry *entries)
{
    cmsgr__fifo replay = {0}, queued = {0};
    cmsgr_entry *next;

    for (; entries; entries = next) {
        next = entries->next;
        cmsgr__fifo_push(entries->header.seq ? &replay : &queued, entries);
    }
    cmsgr__fifo_prepend(&session->replay, &replay);
    pthread_mutex_lock(&session->lock);
    cmsgr__outq_restore(&session->outq, &queued);
    pthread_mutex_unlock(&session->lock);
}

cmsgr_entry *cmsgr_session_take_stale(cmsgr_session *session, uint64_t features)
{
    cmsgr__fifo all = session->replay;
    cmsgr_entry *entry;
    int stale = 0;

    session->replay = (cmsgr__fifo){0};
    pthread_mutex_lock(&session->lock);
    atomic_store_explicit(&session->features, features, memory_order_release);
    while ((entry = cmsgr__outq_pop(&session->outq)))
        cmsgr__fifo_push(&all, entry);
    pthread_mutex_unlock(&session->lock);
    for (entry = all.first; entry; entry = entry->next)
        stale |= entry->unencoded = (uint8_t)entry_is_stale(entry, features);
    if (!stale) {
        session_restore(session, all.first);
        return NULL;
    }
    return all.first;
}

void cmsgr_session_put_stale(cmsgr_session *session, cmsgr_entry *entries)
{
    cmsgr_entry *kept = NULL, **end = &kept, *next;

    for (; entries; entries = next) {
        next = entries->next;
        if (entries->done) {
            cmsgr__session_retire(session, entries);
            continue;
        }
        int64_t cost = entry_cost(entries); /* encoding has changed it */

        atomic_fetch_add_explicit(&session->queued_bytes, cost - entries->cost, memory_order_relaxed);
        entries->cost = cost;
        entries->next = NULL;
        *end = entries;
        end = &entries->next;
    }
    session_restore(session, kept);
}

/* ---- Looking ---- */

void cmsgr_session_get_info(cmsgr_session *session, cmsgr_session_info *info)
{
    *info = (cmsgr_session_info){
        .in_seq = session->in_seq,
        .out_seq = session->out_seq,
        .acked_seq = session->acked_seq,
        .unacked_messages = session->unacked,
        .queued_bytes = atomic_load(&session->queued_bytes),
        .last_keepalive_ns = session->last_keepalive_ns,
        .last_keepalive_ack_ns = session->last_keepalive_ack_ns,
        .last_read_ns = session->last_read_ns,
        .last_write_ns = session->last_write_ns,
        .lossless = session->lossless,
        .keepalive_wanted = session->keepalive_wanted,
    };
    pthread_mutex_lock(&session->lock);
    info->queued_messages = session->outq.count;
    info->closed = session->closed;
    pthread_mutex_unlock(&session->lock);
}

int cmsgr_session_priorities(cmsgr_session *session, uint16_t *priority, uint64_t *count, int max)
{
    int found = 0;

    pthread_mutex_lock(&session->lock);
    for (cmsgr__bucket *bucket = session->outq.buckets; bucket; bucket = bucket->next) {
        if (!bucket->fifo.count)
            continue;
        if (found < max) {
            priority[found] = bucket->priority;
            count[found] = bucket->fifo.count;
        }
        found++;
    }
    pthread_mutex_unlock(&session->lock);
    return found;
}
