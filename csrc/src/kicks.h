/* The kicks of one center: pushed by any thread, run by the owner. What a kick is: center.h. */
#ifndef CMSGR_KICKS_H
#define CMSGR_KICKS_H

#include "center.h"

/* Newest first. Operations are sequentially consistent: see center.c. */
typedef _Atomic(cmsgr__kick *) cmsgr__kicks;

/* Any thread. 1: the kick is the caller's to push. 0: it is queued already, and fn will yet run. */
static inline int cmsgr__kicks_claim(cmsgr__kick *kick)
{
    return !atomic_exchange_explicit(&kick->queued, 1, memory_order_acq_rel);
}

/* Any thread. Once it is pushed the kick is the owner's: fn may have run before this returns. */
void cmsgr__kicks_push(cmsgr__kicks *kicks, cmsgr__kick *kick);

static inline int cmsgr__kicks_empty(cmsgr__kicks *kicks) { return atomic_load(kicks) == NULL; }

/* Owner. `taken` is the owner's list of kicks that are off the stack, oldest first. Runs all there are and returns how
 * many; one made meanwhile runs the next time. */
int cmsgr__kicks_run(cmsgr__kicks *kicks, cmsgr__kick **taken);

/* Owner: cmsgr__center_unkick. */
void cmsgr__kicks_remove(cmsgr__kicks *kicks, cmsgr__kick **taken, cmsgr__kick *kick);

#endif
