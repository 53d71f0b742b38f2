/* The poller: edge-triggered. An edge that nobody watches is forgotten; registering tells what is so already. */
#include <errno.h>
#include <stdlib.h>

#include "world.h"

enum { LOOK_NS = 200 };

int sim__poller_open(void *ctx, void **poller)
{
    sim_world *w = ctx;
    poller_t *p = sim__grow(NULL, sizeof *p);

    *p = (poller_t){.world = w, .number = w->num_pollers++};
    w->pollers = sim__grow(w->pollers, (size_t)w->num_pollers * sizeof *w->pollers);
    w->pollers[p->number] = (poller_state){.is_open = 1};
    w->stats.open_pollers++;
    *poller = p;
    return 0;
}

void sim__poller_close(void *ctx, void *poller)
{
    sim_world *w = ctx;
    poller_t *p = poller;

    for (int fd = 0; fd < w->num_files; fd++)
        if (w->files[fd].poller == p)
            sim__poller_forget(w, fd);
    w->pollers[p->number].is_open = 0;
    w->stats.open_pollers--;
    free(p->ready);
    free(p);
}

void sim__poller_forget(sim_world *w, int fd)
{
    file_t *file = &w->files[fd];
    poller_t *p = file->poller;

    if (file->is_listed)
        for (int i = 0; i < p->ready_len; i++)
            if (p->ready[i] == fd)
                p->ready[i] = p->ready[--p->ready_len];
    file->poller = NULL;
    file->mask = file->edges = file->is_listed = 0;
}

void sim__edge(sim_world *w, int fd, int bits)
{
    file_t *file = fd >= 0 ? &w->files[fd] : NULL;
    poller_t *p = file ? file->poller : NULL;

    if (!p || !(bits & (file->mask | CMSGR_HANGUP)))
        return;
    file->edges |= bits;
    w->pollers[p->number].is_idle = 0;
    if (file->is_listed)
        return;
    file->is_listed = 1;
    if (p->ready_len == p->ready_cap) {
        p->ready_cap = p->ready_cap ? 2 * p->ready_cap : 16;
        p->ready = sim__grow(p->ready, (size_t)p->ready_cap * sizeof *p->ready);
    }
    p->ready[p->ready_len++] = fd;
}

void sim__edge_end(sim_world *w, const end_t *end, int bits)
{
    if (end->state != END_CLOSED)
        sim__edge(w, end->fd, bits);
}

int sim__poller_set(void *ctx, void *poller, int fd, int old_mask, int new_mask, uint64_t token)
{
    sim_world *w = ctx;
    file_t *file;

    if (fd < 0 || fd >= w->num_files || w->files[fd].kind == FILE_FREE)
        return -EBADF;
    file = &w->files[fd];
    if (!old_mask && !new_mask)
        return 0;
    if (!old_mask != !file->poller)
        return old_mask ? -ENOENT : -EEXIST;
    if (file->poller && file->poller != poller)
        return -ENOENT;
    if (!new_mask) {
        sim__poller_forget(w, fd);
        return 0;
    }
    file->poller = poller;
    file->token = token;
    file->mask = new_mask;
    file->edges &= new_mask | CMSGR_HANGUP;
    sim__edge(w, fd, sim__level(w, fd) & (new_mask | CMSGR_HANGUP));
    return 0;
}

/* In any order: the kernel promises none. It takes a moment, so that who looks again and again does not do so for ever. */
int sim__poller_wait(void *ctx, void *poller, cmsgr_ready *ready, int max, int64_t timeout_ns)
{
    sim_world *w = ctx;
    poller_t *p = poller;
    poller_state *state = &w->pollers[p->number];
    int filled = 0;

    w->now_ns += LOOK_NS;
    while (p->ready_len && filled < max) {
        int at = (int)sim__below(w, (uint64_t)p->ready_len);
        file_t *file = &w->files[p->ready[at]];

        p->ready[at] = p->ready[--p->ready_len];
        ready[filled++] = (cmsgr_ready){file->token, file->edges};
        sim__digest(w, file->token ^ (uint64_t)file->edges << 60);
        file->edges = file->is_listed = 0;
    }
    state->is_idle = !filled && timeout_ns;
    state->idle_until_ns = timeout_ns < 0 ? INT64_MAX : w->now_ns + timeout_ns;
    return filled;
}

int sim__poller_wakeup(void *ctx, void *poller)
{
    sim_poller_rouse(ctx, ((poller_t *)poller)->number);
    return 0;
}

int sim_pollers(const sim_world *w)
{
    return w->num_pollers;
}

static int64_t idle_until_ns(const poller_state *state)
{
    if (!state->is_open)
        return INT64_MAX;
    return state->is_idle ? state->idle_until_ns : 0;
}

int sim_awake(const sim_world *w, int nth)
{
    for (int n = 0; n < w->num_pollers; n++)
        if (idle_until_ns(&w->pollers[n]) <= w->now_ns && !nth--)
            return n;
    return -1;
}

int64_t sim_idle_until_ns(const sim_world *w)
{
    int64_t first = INT64_MAX;

    for (int n = 0; n < w->num_pollers; n++)
        if (idle_until_ns(&w->pollers[n]) < first)
            first = idle_until_ns(&w->pollers[n]);
    return first;
}

void sim_poller_rouse(sim_world *w, int poller)
{
    w->pollers[poller].is_idle = 0;
}
