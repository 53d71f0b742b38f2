/*
 * Timers: a binary heap of places in a table.
 *
 * Invariants: heap[table[p].position] == p for every pending timer; a parent is never later than its children;
 * places that are not pending form a list through `position`. A place's generation changes whenever its timer ends,
 * and an id holds both, so the id of a timer that ended names nothing, even after its place was taken again.
 *
 * A timer is off the heap before its function is called, and the caller gets a copy: any callback may add and
 * delete. One thread; knows no clock.
 */
#include <errno.h>

#include "timers.h"

enum { FIRST_CAP = 16, MAX_CAP = 1 << 30 };

static int earlier(const cmsgr__timers *t, uint32_t a, uint32_t b)
{
    const cmsgr__timer *x = &t->table[a], *y = &t->table[b];

    return x->due_ns != y->due_ns ? x->due_ns < y->due_ns : x->seq < y->seq;
}

static void put(cmsgr__timers *t, uint32_t position, uint32_t place)
{
    t->heap[position] = place;
    t->table[place].position = position;
}

static void sift_up(cmsgr__timers *t, uint32_t position, uint32_t place)
{
    while (position > 0) {
        uint32_t parent = (position - 1) / 2;

        if (!earlier(t, place, t->heap[parent]))
            break;
        put(t, position, t->heap[parent]);
        position = parent;
    }
    put(t, position, place);
}

static void sift_down(cmsgr__timers *t, uint32_t position, uint32_t place)
{
    for (;;) {
        uint32_t child = 2 * position + 1;

        if (child >= t->count)
            break;
        if (child + 1 < t->count && earlier(t, t->heap[child + 1], t->heap[child]))
            child++;
        if (!earlier(t, t->heap[child], place))
            break;
        put(t, position, t->heap[child]);
        position = child;
    }
    put(t, position, place);
}

static int grow(cmsgr__timers *t, const cmsgr_env *env)
{
    uint32_t cap = t->cap ? t->cap * 2 : FIRST_CAP;
    void *block;

    if (cap > MAX_CAP)
        return -ENOMEM;
    block = cmsgr__realloc(env, t->table, cap * sizeof(*t->table));
    if (!block)
        return -ENOMEM;
    t->table = block;
    block = cmsgr__realloc(env, t->heap, cap * sizeof(*t->heap));
    if (!block)
        return -ENOMEM; /* the table is longer than `cap` says, which does no harm */
    t->heap = block;
    t->cap = cap;
    return 0;
}

static int take_place(cmsgr__timers *t, const cmsgr_env *env, uint32_t *place)
{
    if (t->count < t->used) { /* some place below `used` is free */
        *place = t->free_head;
        t->free_head = t->table[*place].position;
        return 0;
    }
    if (t->used == t->cap && grow(t, env) < 0)
        return -ENOMEM;
    *place = t->used++;
    t->table[*place].generation = 1;
    return 0;
}

int64_t cmsgr__timers_add(cmsgr__timers *t, const cmsgr_env *env, int64_t due_ns, cmsgr_fn fn, cmsgr_fn drop, void *arg)
{
    cmsgr__timer *timer;
    uint32_t place;

    if (take_place(t, env, &place) < 0)
        return -ENOMEM;
    timer = &t->table[place];
    timer->due_ns = due_ns;
    timer->seq = t->next_seq++;
    timer->fn = fn;
    timer->drop = drop;
    timer->arg = arg;
    sift_up(t, t->count++, place);
    return (int64_t)timer->generation << 32 | place;
}

/* Off the heap, place free, id void; what it was goes to `out`. */
static void take_out(cmsgr__timers *t, uint32_t place, cmsgr__timer *out)
{
    cmsgr__timer *timer = &t->table[place];
    uint32_t position = timer->position, mover = t->heap[--t->count];

    *out = *timer;
    if (mover != place) {
        /* The last one fills the hole; it may belong above as well as below. */
        if (position > 0 && earlier(t, mover, t->heap[(position - 1) / 2]))
            sift_up(t, position, mover);
        else
            sift_down(t, position, mover);
    }
    timer->generation = timer->generation < INT32_MAX ? timer->generation + 1 : 1; /* an id stays positive */
    timer->fn = NULL;
    timer->position = t->free_head;
    t->free_head = place;
}

static void end_unrun(cmsgr__timers *t, uint32_t place)
{
    cmsgr__timer timer;

    take_out(t, place, &timer);
    if (timer.drop)
        timer.drop(timer.arg);
}

int cmsgr__timers_del(cmsgr__timers *t, int64_t id)
{
    uint32_t place = (uint32_t)id, generation = (uint32_t)(id >> 32);

    if (id <= 0 || place >= t->used || t->table[place].generation != generation || !t->table[place].fn)
        return 0;
    end_unrun(t, place);
    return 1;
}

int64_t cmsgr__timers_next_ns(const cmsgr__timers *t)
{
    return t->count ? t->table[t->heap[0]].due_ns : INT64_MAX;
}

int cmsgr__timers_take_due(cmsgr__timers *t, int64_t now_ns, uint64_t seq_limit, cmsgr__timer *out)
{
    if (!t->count || t->table[t->heap[0]].due_ns > now_ns || t->table[t->heap[0]].seq >= seq_limit)
        return 0;
    take_out(t, t->heap[0], out);
    return 1;
}

void cmsgr__timers_clear(cmsgr__timers *t, const cmsgr_env *env)
{
    while (t->count)
        end_unrun(t, t->heap[0]);
    cmsgr__free(env, t->table);
    cmsgr__free(env, t->heap);
    *t = (cmsgr__timers){0};
}
