/*
 * Adaptive polling: look for events a short while before sleeping, where that pays.
 *
 * A wakeup across cores costs 20 to 30 us, more than all the work on a small message, so when the next event is likely to
 * come within that time it is cheaper to look for it than to sleep. Whether it is likely is learned from the waits before: each
 * tells whether looking found something, or would have. Nothing is looked for by an idle center, and a center whose
 * peers are not running (more runnable threads than cores) learns that it waits in vain and goes to sleep.
 */
#ifndef CMSGR_POLLING_H
#define CMSGR_POLLING_H

#include <stdint.h>

enum {
    /* The longest look: as long as a peer of this kind is at work on a window of small messages. With less, two peers that once
     * both sleep never find each other awake again, since each sleep holds the other's wakeup. */
    CMSGR__POLL_NS = 200 * 1000,
    /* A sleep this short would have been a look that found something: the wakeup's own time is in it. */
    CMSGR__SHORT_SLEEP_NS = CMSGR__POLL_NS + 30 * 1000,
    /* The score is an average of the last waits, about eight of them: all short = ONE. */
    CMSGR__SCORE_ONE = 1024,
    CMSGR__SCORE_SHIFT = 3,
    CMSGR__SCORE_POLLS = CMSGR__SCORE_ONE / 2
};

typedef struct cmsgr__polling {
    int64_t fixed_ns; /* look always this long; < 0: adaptive; 0: never */
    int score;
} cmsgr__polling;

/* How long to look before a wait of at most max_wait_ns (< 0: any). */
static inline int64_t cmsgr__polling_budget(const cmsgr__polling *polling, int64_t max_wait_ns)
{
    int64_t budget_ns = polling->fixed_ns;

    if (budget_ns < 0)
        budget_ns = polling->score >= CMSGR__SCORE_POLLS ? CMSGR__POLL_NS : 0;
    return max_wait_ns >= 0 && max_wait_ns < budget_ns ? max_wait_ns : budget_ns;
}

/* What a look or a sleep has shown. */
static inline void cmsgr__polling_learn(cmsgr__polling *polling, int was_short)
{
    polling->score += ((was_short ? CMSGR__SCORE_ONE : 0) - polling->score) >> CMSGR__SCORE_SHIFT;
}

#endif
