/*
 * Received messages. Made by the worker's thread, immutable once they are handed up, dropped by any thread.
 */
#include "msg.h"

#include <errno.h>

#include "internal.h"

cmsgr__msg *cmsgr__msg_new(cmsgr__pool *pool, size_t body_len, size_t data_at)
{
    size_t inside = body_len <= CMSGR__SMALL_BODY ? body_len + CMSGR__SMALL_SKEW : 0;
    cmsgr__msg *msg = cmsgr__pool_get(pool, sizeof *msg + inside);

    if (!msg)
        return NULL;
    memset(msg, 0, sizeof *msg);
    atomic_init(&msg->refs, 1);
    if (inside) {
        msg->body = (uint8_t *)(msg + 1) + CMSGR__SMALL_SKEW;
        msg->body_cap = body_len;
    } else if (cmsgr__msg_grow(msg, pool, body_len) < 0) {
        cmsgr__pool_put(msg);
        return NULL;
    } else {
        msg->skew = -((uintptr_t)msg->large + data_at) & (CMSGR__DATA_ALIGN - 1);
        msg->body = msg->large + msg->skew;
    }
    return msg;
}

int cmsgr__msg_grow(cmsgr__msg *msg, cmsgr__pool *pool, size_t body_len)
{
    size_t cap = msg->large ? CMSGR__BODY_GROWTH * msg->body_cap : CMSGR__BODY_STEP;
    uint8_t *large;

    if (cap > body_len)
        cap = body_len;
    large = msg->large ? cmsgr__pool_resize(msg->large, cap + CMSGR__DATA_ALIGN)
                       : cmsgr__pool_get(pool, cap + CMSGR__DATA_ALIGN);
    if (!large)
        return -ENOMEM;
    msg->large = large;
    msg->body = large + msg->skew;
    msg->body_cap = cap;
    return 0;
}

void cmsgr_msg_ref(const cmsgr_msg *pub)
{
    atomic_fetch_add_explicit(&((cmsgr__msg *)(uintptr_t)pub)->refs, 1, memory_order_relaxed);
}

static void claim_return(cmsgr_throttle *throttle, int64_t amount)
{
    if (!throttle)
        return;
    cmsgr_throttle_put(throttle, amount);
    cmsgr_throttle_unref(throttle);
}

void cmsgr_msg_dispatched(const cmsgr_msg *pub)
{
    cmsgr__msg *msg = (cmsgr__msg *)(uintptr_t)pub;

    if (!atomic_exchange_explicit(&msg->undispatched, 0, memory_order_acq_rel))
        return;
    claim_return(msg->dispatch_bytes, msg->cost);
    claim_return(msg->dispatch_messages, 1);
}

void cmsgr_msg_unref(const cmsgr_msg *pub)
{
    cmsgr__msg *msg = (cmsgr__msg *)(uintptr_t)pub;

    if (atomic_fetch_sub_explicit(&msg->refs, 1, memory_order_acq_rel) != 1)
        return;
    cmsgr_msg_dispatched(pub);
    claim_return(msg->policy_messages, 1);
    claim_return(msg->policy_bytes, msg->cost);
    cmsgr__pool_put(msg->large);
    cmsgr__pool_put(msg);
}
