/* What one center watches: a table by fd. One thread. The rules are cmsgr_center's in cmsgr.h. */
#ifndef CMSGR_FILES_H
#define CMSGR_FILES_H

#include "internal.h"

typedef struct cmsgr__handler {
    cmsgr_file_fn fn;
    void *arg;
    int phase;
} cmsgr__handler;

typedef struct cmsgr__file {
    int mask;       /* registered */
    int fired;      /* bits waiting for the user phase, and HANGUP; 0 = not in the list */
    int next, prev; /* in the list; fd numbers */
    uint32_t generation;
    cmsgr__handler reader, writer;
} cmsgr__file;

typedef struct cmsgr__files {
    const cmsgr_env *env;
    void *poller;
    cmsgr__file *table;
    size_t count;
    int fired_head, fired_tail; /* fd numbers, -1 = none */
    uint64_t writable_added, writable_removed;
} cmsgr__files;

/* The poller stays the caller's. */
int cmsgr__files_init(cmsgr__files *files, const cmsgr_env *env, void *poller, int num_files_hint);
void cmsgr__files_free(cmsgr__files *files);

int cmsgr__files_add(cmsgr__files *files, int fd, int mask, cmsgr__handler handler);
int cmsgr__files_del(cmsgr__files *files, int fd, int mask);
/* NULL for an fd beyond the table. Valid until the next add or callback. */
cmsgr__file *cmsgr__files_find(const cmsgr__files *files, int fd);

/* What the poller reported: runs callbacks of the I/O phase, remembers those of the user phase. Returns how many ran,
 * or -1 if the event was stale. */
int cmsgr__files_handle(cmsgr__files *files, const cmsgr_ready *ready);
static inline int cmsgr__files_have_fired(const cmsgr__files *files) { return files->fired_head >= 0; }
/* Runs what was remembered; returns how many ran. */
int cmsgr__files_run_fired(cmsgr__files *files);

#endif
