/* Throttle's inside face: waiting without a thread. */
#ifndef CMSGR_THROTTLE_H
#define CMSGR_THROTTLE_H

#include "center.h"

/* Lives in the object that waits. One wait at a time. */
typedef struct cmsgr__waiter {
    struct cmsgr__waiter *next, *prev;
    cmsgr_center *center; /* where kick.fn runs once the amount was granted */
    cmsgr__kick kick;
    int64_t amount;
    int waiting; /* guarded by the throttle's lock */
} cmsgr__waiter;

/* 1: taken at once. 0: the waiter is in line; the amount is taken on its behalf when there is room, then its kick is
 * made. The caller filled in center and kick.fn. */
int cmsgr__throttle_acquire(cmsgr_throttle *throttle, cmsgr__waiter *waiter, int64_t amount);

/* Owner of the waiter's center. Leaves the line: 1 if it was still waiting, 0 if the amount had been granted (then
 * it is the caller's to put back). No kick arrives afterwards. */
int cmsgr__throttle_cancel(cmsgr_throttle *throttle, cmsgr__waiter *waiter);

#endif
