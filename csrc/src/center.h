/*
 * EventCenter's inside face: kicks. A kick is a posted event without allocation: its node lives in the object that
 * wants the owner's attention, so kicking cannot fail.
 */
#ifndef CMSGR_CENTER_H
#define CMSGR_CENTER_H

#include <stdatomic.h>

#include "cmsgr/cmsgr.h"

typedef struct cmsgr__kick {
    struct cmsgr__kick *next;
    atomic_int queued; /* 1 from the kick until just before fn runs: kicks between coalesce */
    void (*fn)(struct cmsgr__kick *kick);
} cmsgr__kick;

/* Any thread. fn runs on the owner, in the I/O phase of cmsgr_center_wait; wakes the owner if it sleeps. Returns 1 if
 * this call queued it, 0 if it was queued already. */
int cmsgr__center_kick(cmsgr_center *center, cmsgr__kick *kick);

/* Owner. After it returns, fn will not be called for kicks made so far. No other thread may be in the middle of kicking
 * this one: see to that by a lock of your own. */
void cmsgr__center_unkick(cmsgr_center *center, cmsgr__kick *kick);

/* What a wait found: a file callback of the I/O phase or a kick ran, user-phase work is pending, cmsgr_center_wakeup was called.
 * 0 if the time passed. */
enum { CMSGR__FOUND_IO = 1, CMSGR__FOUND_USER = 2, CMSGR__FOUND_WAKEUP = 4 };
/* Owner. Like cmsgr_center_wait, but returns the sum of the above, or an error. */
int cmsgr__center_wait(cmsgr_center *center, int64_t max_wait_ns);

/* Owner. Was the last wait longer than the work before it? Then whoever is waited for is at work while we wait, and waits while we
 * are. */
int cmsgr__center_takes_turns(const cmsgr_center *center);

/* Owner. Is there user-phase work (fired user files, a due timer, posts)? */
int cmsgr__center_has_user_work(cmsgr_center *center, int64_t now_ns);

#endif
