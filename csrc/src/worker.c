/*
 * Worker: one turn.
 *
 *   C  flush every dirty stream        A  wait, read and parse every ready stream        (B  the caller's user phase)
 *
 * Streams say by two lists what no event will: dirty (something to send) and hot (something to parse or to read). Rounds of C and
 * A go on until something needs the caller, so what other threads send goes out without their binding's lock.
 */
#include "worker.h"

#include <errno.h>

#include "session.h"
#include "stream.h"

static uint8_t *align_up(uint8_t *memory, uintptr_t align)
{
    return memory + (-(uintptr_t)memory & (align - 1));
}

int cmsgr_worker_new(cmsgr_worker **out, cmsgr_env *env)
{
    cmsgr_worker *worker = cmsgr__zalloc(env, sizeof *worker);
    int result;

    if (!worker)
        return -ENOMEM;
    worker->env = env;
    atomic_init(&worker->refs, 1);
    cmsgr__list_init(&worker->dirty);
    cmsgr__list_init(&worker->hot);
    cmsgr__list_init(&worker->graves);
    worker->items_end = &worker->items;
    worker->recv_memory = cmsgr__alloc(env, CMSGR__RECV_LEN + CMSGR__RECV_ALIGN);
    worker->recv_buffer = align_up(worker->recv_memory, CMSGR__RECV_ALIGN);
    result = worker->recv_memory ? cmsgr__pool_new(&worker->pool, env) : -ENOMEM;
    if (result == 0)
        result = cmsgr_center_new(&worker->center, env, 0);
    if (result < 0) {
        cmsgr__worker_unref(worker);
        return result;
    }
    *out = worker;
    return 0;
}

void cmsgr__worker_ref(cmsgr_worker *worker)
{
    atomic_fetch_add_explicit(&worker->refs, 1, memory_order_relaxed);
}

void cmsgr__worker_unref(cmsgr_worker *worker)
{
    if (atomic_fetch_sub_explicit(&worker->refs, 1, memory_order_acq_rel) != 1)
        return;
    if (worker->center)
        cmsgr_center_free(worker->center);
    if (worker->pool)
        cmsgr__pool_release(worker->pool);
    cmsgr__free(worker->env, worker->recv_memory);
    cmsgr__free(worker->env, worker);
}

static void bury(cmsgr_worker *worker)
{
    cmsgr__link *link;

    while ((link = cmsgr__list_pop(&worker->graves)))
        cmsgr__free(worker->env, CMSGR__OWNER(link, cmsgr_stream, grave_link));
}

void cmsgr_worker_free(cmsgr_worker *worker)
{
    cmsgr_item *item;

    cmsgr__center_wait(worker->center, 0); /* kicks hold references on their sessions */
    while ((item = cmsgr_worker_take_item(worker)))
        if (item->kind == CMSGR_ITEM_MESSAGE)
            cmsgr_msg_unref(item->msg);
    bury(worker);
    cmsgr__worker_unref(worker);
}

cmsgr_center *cmsgr_worker_center(cmsgr_worker *worker)
{
    return worker->center;
}

/* ---- Items ---- */

void cmsgr__worker_add_item(cmsgr_worker *worker, cmsgr_item *item)
{
    item->next = NULL;
    *worker->items_end = item;
    worker->items_end = &item->next;
    worker->num_items++;
}

void cmsgr__worker_remove_item(cmsgr_worker *worker, cmsgr_item *item)
{
    for (cmsgr_item **at = &worker->items; *at; at = &(*at)->next) {
        if (*at != item)
            continue;
        *at = item->next;
        worker->num_items--;
        if (!*at)
            worker->items_end = at;
        return;
    }
}

/* The session of the item taken last stays until the next one is taken: nobody else may hold it any more. */
static void release_taken(cmsgr_worker *worker)
{
    if (worker->taken)
        cmsgr_session_unref(worker->taken);
    worker->taken = NULL;
}

cmsgr_item *cmsgr_worker_take_item(cmsgr_worker *worker)
{
    cmsgr_item *item = worker->items;

    release_taken(worker);
    if (!item)
        return NULL;
    worker->items = item->next;
    worker->num_items--;
    if (!worker->items)
        worker->items_end = &worker->items;
    if (item->stream) { /* the stream holds the session */
        if (item->kind == CMSGR_ITEM_SEQUENCE)
            item->stream->sequence_listed = 0;
        return item;
    }
    worker->taken = item->session;
    if (item->kind == CMSGR_ITEM_SEND_QUEUED)
        item->session->send_queued_listed = 0;
    else if (item->kind == CMSGR_ITEM_DRAINED)
        item->session->drained_listed = 0;
    return item;
}

size_t cmsgr_worker_flush_every(const cmsgr_worker *worker)
{
    size_t items = worker->num_items;

    if (items >= CMSGR__PARTED_BATCH && cmsgr__center_takes_turns(worker->center))
        items = (items + 1) / 2;
    return items < CMSGR__FLUSH_AT_MOST ? items : CMSGR__FLUSH_AT_MOST;
}

/* ---- Garbage ---- */

void cmsgr__worker_add_garbage(cmsgr_worker *worker, cmsgr_entry *entry, int64_t len_bytes)
{
    cmsgr__fifo_push(&worker->garbage, entry);
    worker->garbage_bytes += len_bytes;
}

void cmsgr__worker_add_late_garbage(cmsgr_worker *worker, cmsgr_entry *entries)
{
    cmsgr_entry *last = entries;

    if (!entries)
        return;
    while (last->next)
        last = last->next;
    last->next = atomic_load_explicit(&worker->late_garbage, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(&worker->late_garbage, &last->next, entries, memory_order_release,
                                                  memory_order_relaxed))
        ;
}

cmsgr_entry *cmsgr_worker_take_garbage(cmsgr_worker *worker)
{
    cmsgr_entry *late = atomic_exchange_explicit(&worker->late_garbage, NULL, memory_order_acquire);
    cmsgr_entry *first;

    while (late) {
        cmsgr_entry *next = late->next;

        cmsgr__fifo_push(&worker->garbage, late);
        late = next;
    }
    first = worker->garbage.first;
    worker->garbage = (cmsgr__fifo){0};
    worker->garbage_bytes = 0;
    return first;
}

static int garbage_is_pressing(const cmsgr_worker *worker)
{
    return worker->garbage.count >= CMSGR__GARBAGE_COUNT || worker->garbage_bytes >= CMSGR__GARBAGE_BYTES;
}

/* ---- A turn ---- */

void cmsgr_worker_flush(cmsgr_worker *worker)
{
    int64_t began_ns;
    cmsgr__link streams, *link;

    if (cmsgr__list_empty(&worker->dirty))
        return;
    began_ns = cmsgr__now(worker->env);
    cmsgr__list_take(&streams, &worker->dirty);
    while ((link = cmsgr__list_pop(&streams)))
        cmsgr__stream_flush(CMSGR__OWNER(link, cmsgr_stream, dirty_link));
    cmsgr__count(worker->stats.send_ns, cmsgr__now(worker->env) - began_ns);
}

static void receive_hot(cmsgr_worker *worker)
{
    cmsgr__link streams, *link;

    cmsgr__list_take(&streams, &worker->hot);
    while ((link = cmsgr__list_pop(&streams)))
        cmsgr__stream_receive(CMSGR__OWNER(link, cmsgr_stream, hot_link));
}

static int has_rounds_left(const cmsgr_worker *worker)
{
    return !cmsgr__list_empty(&worker->dirty) || !cmsgr__list_empty(&worker->hot);
}

static int64_t wait_length(const cmsgr_worker *worker, int64_t deadline_ns)
{
    int64_t left_ns = -1;

    if (has_rounds_left(worker))
        return 0;
    if (deadline_ns >= 0) {
        left_ns = deadline_ns - cmsgr__now(worker->env);
        if (left_ns < 0)
            left_ns = 0;
    }
    if (worker->garbage.first && (left_ns < 0 || left_ns > CMSGR__GARBAGE_WAIT_NS))
        left_ns = CMSGR__GARBAGE_WAIT_NS;
    return left_ns;
}

/* Has the turn lasted as long as the caller allowed? A stream of events that need no user work must not keep it for ever. */
static int is_over(const cmsgr_worker *worker, int64_t deadline_ns)
{
    return deadline_ns >= 0 && cmsgr__now(worker->env) >= deadline_ns;
}

int cmsgr_worker_turn(cmsgr_worker *worker, int64_t max_wait_ns)
{
    int64_t deadline_ns = max_wait_ns < 0 ? -1 : cmsgr__now(worker->env) + max_wait_ns;
    int found = 0;

    do {
        cmsgr__count(worker->stats.rounds, 1);
        release_taken(worker);
        bury(worker);
        cmsgr_worker_flush(worker);
        if (worker->items || garbage_is_pressing(worker))
            break;
        found = cmsgr__center_wait(worker->center, wait_length(worker, deadline_ns));
        if (found < 0)
            return found;
        receive_hot(worker);
    } while (!worker->items && !(found & (CMSGR__FOUND_USER | CMSGR__FOUND_WAKEUP)) &&
             (found || has_rounds_left(worker)) && !is_over(worker, deadline_ns));
    if (!worker->items && !(found & CMSGR__FOUND_USER) && !worker->garbage.first)
        return 0;
    cmsgr__count(worker->stats.turns, 1);
    return 1;
}

void cmsgr_worker_get_stats(const cmsgr_worker *worker, cmsgr_worker_stats *stats)
{
    cmsgr__read_counters(stats, &worker->stats, sizeof *stats);
}
