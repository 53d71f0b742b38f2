/*
 * A driver without a world: time stands until told, a wait passes exactly the time asked for, and what is ready is what
 * the test said. Waiting for ever is a failure of the test. One thread.
 */
#ifndef CMSGR_FAKE_DRIVER_H
#define CMSGR_FAKE_DRIVER_H

#include <errno.h>

#include "check.h"

enum { FAKE_MAX_FD = 70000, FAKE_MAX_READY = 64 };

typedef struct fake_driver {
    cmsgr_driver driver;
    int64_t now_ns;
    int64_t last_timeout_ns;
    int set_calls, wait_calls, wakeups, open_pollers;
    int fail_next_set; /* -errno, once */
    int fail_next_wait;
    uint64_t token[FAKE_MAX_FD]; /* as registered last */
    int mask[FAKE_MAX_FD];
    cmsgr_ready ready[FAKE_MAX_READY];
    int num_ready;
} fake_driver;

static inline int64_t fake_now(void *ctx) { return ((fake_driver *)ctx)->now_ns; }

static inline int fake_open(void *ctx, void **poller)
{
    ((fake_driver *)ctx)->open_pollers++;
    *poller = ctx;
    return 0;
}

static inline void fake_close(void *ctx, void *poller)
{
    CHECK(ctx == poller);
    ((fake_driver *)ctx)->open_pollers--;
}

static inline int fake_set(void *ctx, void *poller, int fd, int old_mask, int new_mask, uint64_t token)
{
    fake_driver *fake = ctx;
    int rc = fake->fail_next_set;

    CHECK(ctx == poller);
    CHECK(fd >= 0 && fd < FAKE_MAX_FD);
    CHECK_EQ(fake->mask[fd], old_mask);
    fake->set_calls++;
    fake->fail_next_set = 0;
    if (rc)
        return rc;
    fake->mask[fd] = new_mask;
    fake->token[fd] = token;
    return 0;
}

static inline int fake_wait(void *ctx, void *poller, cmsgr_ready *ready, int max, int64_t timeout_ns)
{
    fake_driver *fake = ctx;
    int count = fake->num_ready, rc = fake->fail_next_wait;

    CHECK(ctx == poller);
    fake->wait_calls++;
    fake->last_timeout_ns = timeout_ns;
    fake->fail_next_wait = 0;
    if (rc)
        return rc;
    CHECK(count <= max);
    memcpy(ready, fake->ready, (size_t)count * sizeof(*ready));
    fake->num_ready = 0;
    CHECK(count || timeout_ns >= 0); /* nobody would ever end this wait */
    if (!count)
        fake->now_ns += timeout_ns;
    return count;
}

static inline void fake_yield(void *ctx) { ((fake_driver *)ctx)->now_ns += 1000; }

static inline int fake_wakeup(void *ctx, void *poller)
{
    CHECK(ctx == poller);
    ((fake_driver *)ctx)->wakeups++;
    return 0;
}

static inline fake_driver *fake_new(void)
{
    fake_driver *fake = calloc(1, sizeof(*fake));

    fake->now_ns = 1000;
    fake->driver = (cmsgr_driver){.ctx = fake,
                                  .name = "fake",
                                  .now_ns = fake_now,
                                  .wall_ns = fake_now,
                                  .yield = fake_yield,
                                  .poller_open = fake_open,
                                  .poller_close = fake_close,
                                  .poller_set = fake_set,
                                  .poller_wait = fake_wait,
                                  .poller_wakeup = fake_wakeup};
    return fake;
}

/* The next wait reports it, with the token it has now: unregistering it later makes the report stale. */
static inline void fake_make_ready(fake_driver *fake, int fd, int mask)
{
    CHECK(fake->num_ready < FAKE_MAX_READY);
    fake->ready[fake->num_ready++] = (cmsgr_ready){fake->token[fd], mask};
}

#endif
