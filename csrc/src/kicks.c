/*
 * Kicks: a stack that any thread pushes to and only the owner takes from, always all of it, hence without the ABA
 * problem. Turned round, what was taken waits in a list of the owner's, from which a kick can be taken back.
 *
 * A kick's `queued` is exchanged by both sides (acquire and release): who finds it 1 knows that fn will yet run, and
 * what he wrote before is seen by it.
 */
#include "kicks.h"

void cmsgr__kicks_push(cmsgr__kicks *kicks, cmsgr__kick *kick)
{
    cmsgr__kick *head = atomic_load_explicit(kicks, memory_order_relaxed);

    do
        kick->next = head;
    while (!atomic_compare_exchange_weak(kicks, &head, kick));
}

static void take_all(cmsgr__kicks *kicks, cmsgr__kick **taken)
{
    cmsgr__kick *newest, *oldest = NULL;

    if (!atomic_load_explicit(kicks, memory_order_relaxed))
        return;
    newest = atomic_exchange_explicit(kicks, NULL, memory_order_acquire);
    while (newest) {
        cmsgr__kick *next = newest->next;

        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    while (*taken)
        taken = &(*taken)->next;
    *taken = oldest;
}

int cmsgr__kicks_run(cmsgr__kicks *kicks, cmsgr__kick **taken)
{
    int ran = 0;

    take_all(kicks, taken);
    while (*taken) {
        cmsgr__kick *kick = *taken;

        *taken = kick->next;
        atomic_exchange_explicit(&kick->queued, 0, memory_order_acq_rel);
        kick->fn(kick); /* may end the kick's owner */
        ran++;
    }
    return ran;
}

void cmsgr__kicks_remove(cmsgr__kicks *kicks, cmsgr__kick **taken, cmsgr__kick *kick)
{
    if (!atomic_load_explicit(&kick->queued, memory_order_acquire))
        return;
    take_all(kicks, taken);
    while (*taken && *taken != kick)
        taken = &(*taken)->next;
    if (*taken)
        *taken = kick->next;
    atomic_store_explicit(&kick->queued, 0, memory_order_release);
}
