/*
 * Files: what one center watches.
 *
 * table[fd] holds what is registered. A file's generation changes when an fd is registered anew, and the poller's token
 * is generation << 32 | fd, so an event found in one batch with the closing of its fd is seen to be stale. Bits whose
 * callback belongs to the user phase are collected in `fired`, and such files form a list by fd number; deleting takes
 * them out again. The table moves when it grows: no pointer into it is kept over a callback.
 *
 * Invariants: mask is what the poller was told; a file is in the list exactly if `fired` is not 0, and then
 * fired & FILE_BITS is a part of mask; a handler is set exactly for the bits of mask. One thread; no locks.
 */
#include "files.h"

#include <errno.h>

enum { MIN_FILES = 64, GROWTH = 4, NO_FD = -1, FILE_BITS = CMSGR_READABLE | CMSGR_WRITABLE };

int cmsgr__files_init(cmsgr__files *f, const cmsgr_env *env, void *poller, int num_files_hint)
{
    *f = (cmsgr__files){.env = env, .poller = poller, .fired_head = NO_FD, .fired_tail = NO_FD};
    f->count = num_files_hint > MIN_FILES ? (size_t)num_files_hint : MIN_FILES;
    f->table = cmsgr__zalloc(env, f->count * sizeof(*f->table));
    return f->table ? 0 : -ENOMEM;
}

void cmsgr__files_free(cmsgr__files *f)
{
    cmsgr__free(f->env, f->table);
}

cmsgr__file *cmsgr__files_find(const cmsgr__files *f, int fd)
{
    return fd >= 0 && (size_t)fd < f->count ? &f->table[fd] : NULL;
}

static int reserve(cmsgr__files *f, int fd)
{
    size_t count = f->count;
    cmsgr__file *table;

    while (count <= (size_t)fd)
        count *= GROWTH;
    if (count == f->count)
        return 0;
    table = cmsgr__realloc(f->env, f->table, count * sizeof(*table));
    if (!table)
        return -ENOMEM;
    memset(table + f->count, 0, (count - f->count) * sizeof(*table));
    f->table = table;
    f->count = count;
    return 0;
}

static void link_fired(cmsgr__files *f, int fd, int bits)
{
    cmsgr__file *file = &f->table[fd];

    if (!file->fired) {
        file->next = NO_FD;
        file->prev = f->fired_tail;
        *(f->fired_tail == NO_FD ? &f->fired_head : &f->table[f->fired_tail].next) = fd;
        f->fired_tail = fd;
    }
    file->fired |= bits;
}

static void unlink_fired(cmsgr__files *f, int fd)
{
    cmsgr__file *file = &f->table[fd];

    if (!file->fired)
        return;
    *(file->prev == NO_FD ? &f->fired_head : &f->table[file->prev].next) = file->next;
    *(file->next == NO_FD ? &f->fired_tail : &f->table[file->next].prev) = file->prev;
    file->fired = 0;
}

/* Tells the poller. */
static int set_mask(cmsgr__files *f, int fd, int mask)
{
    const cmsgr_driver *driver = &f->env->driver;
    cmsgr__file *file = &f->table[fd];
    int rc = driver->poller_set(driver->ctx, f->poller, fd, file->mask, mask,
                                (uint64_t)file->generation << 32 | (uint32_t)fd);

    if (rc < 0)
        return rc;
    cmsgr__count(f->writable_added, (mask & ~file->mask & CMSGR_WRITABLE) != 0);
    cmsgr__count(f->writable_removed, (file->mask & ~mask & CMSGR_WRITABLE) != 0);
    file->mask = mask;
    return 0;
}

int cmsgr__files_add(cmsgr__files *f, int fd, int mask, cmsgr__handler handler)
{
    cmsgr__file *file;
    int rc;

    if (fd < 0)
        return -EBADF;
    if (mask & ~FILE_BITS || !handler.fn)
        return -EINVAL;
    rc = reserve(f, fd);
    if (rc < 0)
        return rc;
    file = &f->table[fd];
    if ((file->mask | mask) == file->mask)
        return 0;
    if (!file->mask)
        file->generation++;
    rc = set_mask(f, fd, file->mask | mask);
    if (rc < 0)
        return rc;
    if (mask & CMSGR_READABLE)
        file->reader = handler;
    if (mask & CMSGR_WRITABLE)
        file->writer = handler;
    return 0;
}

int cmsgr__files_del(cmsgr__files *f, int fd, int mask)
{
    cmsgr__file *file = cmsgr__files_find(f, fd);
    int left, rc;

    if (!file || !(file->mask & mask & FILE_BITS))
        return 0;
    left = file->mask & ~mask;
    if (file->fired & left)
        file->fired &= left | CMSGR_HANGUP;
    else
        unlink_fired(f, fd);
    rc = set_mask(f, fd, left);
    file->mask = left; /* even if the poller failed (the fd was closed before, against the rules): we forget it */
    if (!(left & CMSGR_READABLE))
        file->reader = (cmsgr__handler){0};
    if (!(left & CMSGR_WRITABLE))
        file->writer = (cmsgr__handler){0};
    return rc;
}

/* Those of the fired bits that are registered and whose callback belongs to this phase. */
static int bits_for(const cmsgr__file *file, int fired, int phase)
{
    int bits = fired & file->mask & FILE_BITS;

    if (file->reader.phase != phase)
        bits &= ~CMSGR_READABLE;
    if (file->writer.phase != phase)
        bits &= ~CMSGR_WRITABLE;
    return bits;
}

/* Readable before writable; the second is looked up again, as the first may have changed or closed anything. */
static int run(cmsgr__files *f, int fd, int fired, int phase)
{
    const cmsgr__file *file = &f->table[fd];
    const uint32_t generation = file->generation;
    int bits = bits_for(file, fired, phase), ran = 0;

    if (bits & CMSGR_READABLE) {
        const cmsgr__handler h = file->reader;
        int both = bits & CMSGR_WRITABLE && file->writer.fn == h.fn && file->writer.arg == h.arg;

        h.fn(h.arg, fd, (both ? FILE_BITS : CMSGR_READABLE) | (fired & CMSGR_HANGUP));
        if (both)
            return 1;
        ran = 1;
        file = &f->table[fd];
        bits = file->generation == generation ? bits_for(file, fired, phase) : 0;
    }
    if (bits & CMSGR_WRITABLE) {
        const cmsgr__handler h = file->writer;

        h.fn(h.arg, fd, CMSGR_WRITABLE);
        ran++;
    }
    return ran;
}

int cmsgr__files_handle(cmsgr__files *f, const cmsgr_ready *ready)
{
    int fd = (int)(uint32_t)ready->token, user_bits;
    const cmsgr__file *file = cmsgr__files_find(f, fd);

    if (!file || file->generation != ready->token >> 32 || !(file->mask & ready->mask))
        return -1;
    user_bits = bits_for(file, ready->mask, CMSGR_PHASE_USER);
    if (user_bits)
        link_fired(f, fd, user_bits | (ready->mask & CMSGR_HANGUP));
    return run(f, fd, ready->mask, CMSGR_PHASE_IO);
}

int cmsgr__files_run_fired(cmsgr__files *f)
{
    int ran = 0;

    while (f->fired_head != NO_FD) {
        int fd = f->fired_head, fired = f->table[fd].fired;

        unlink_fired(f, fd);
        ran += run(f, fd, fired, CMSGR_PHASE_USER);
    }
    return ran;
}
