/* What is to happen, by time: a binary heap. Events of one moment happen in the order in which they were scheduled. */
#include "world.h"

static int is_before(const event_t *a, const event_t *b)
{
    return a->due_ns != b->due_ns ? a->due_ns < b->due_ns : a->order < b->order;
}

static void swap(event_t *a, event_t *b)
{
    event_t held = *a;

    *a = *b;
    *b = held;
}

void sim__schedule(sim_world *w, int64_t delay_ns, enum event_kind kind, int stream, int side)
{
    size_t at = w->heap_len++;

    if (w->heap_len > w->heap_cap) {
        w->heap_cap = w->heap_cap ? 2 * w->heap_cap : 64;
        w->heap = sim__grow(w->heap, w->heap_cap * sizeof *w->heap);
    }
    w->heap[at] = (event_t){w->now_ns + delay_ns, w->next_order++, kind, stream, side};
    w->streams[stream].events++;
    for (; at && is_before(&w->heap[at], &w->heap[(at - 1) / 2]); at = (at - 1) / 2)
        swap(&w->heap[at], &w->heap[(at - 1) / 2]);
}

int sim__take_event(sim_world *w, event_t *event)
{
    size_t at = 0;

    if (!w->heap_len)
        return 0;
    *event = w->heap[0];
    w->heap[0] = w->heap[--w->heap_len];
    for (;;) {
        size_t least = at;

        for (size_t child = 2 * at + 1; child <= 2 * at + 2 && child < w->heap_len; child++)
            if (is_before(&w->heap[child], &w->heap[least]))
                least = child;
        if (least == at)
            return 1;
        swap(&w->heap[at], &w->heap[least]);
        at = least;
    }
}

int64_t sim_next_ns(const sim_world *w)
{
    return w->heap_len ? w->heap[0].due_ns : INT64_MAX;
}
