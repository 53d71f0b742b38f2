/*
 * EventCenter: who is ready, which timer is due, what did other threads post.
 *
 * Threads. Everything belongs to the owner, except post, kick, wakeup and owner (any thread).
 *
 * No wakeup is lost. A poster (1) makes its work visible (extq.count, kicks or wakeup_wanted), then (2) reads
 * `sleeping`. The owner (3) sets `sleeping`, then (4) looks for work, and waits only if there is none. All four are
 * sequentially consistent, so they have one order. If the owner's look (4) missed the work, (4) came before (1),
 * hence (3) before (2): the poster sees `sleeping` and makes the system call. A wakeup that arrives before the wait
 * ends that wait at once. The poster takes `sleeping` away by an exchange, so of many posters one pays; and since
 * the owner was found asleep after an empty look, that one is whose work made the queue non-empty. On its own thread
 * `sleeping` is 0: a post by the owner costs no system call, and step (4) finds it. (Variables, not fences: the
 * thread sanitizer does not understand fences.)
 *
 * Ending. A poster is `inside` from before its work is visible until after its wakeup; cmsgr_center_free waits for
 * this, as the event posted may be the one that makes the owner leave. No call may begin once free has begun.
 */
#include "center.h"

#include <errno.h>
#include <sched.h>

#include "extq.h"
#include "files.h"
#include "internal.h"
#include "kicks.h"
#include "polling.h"
#include "timers.h"

enum { MAX_READY = 256 }; /* of one wait */

struct cmsgr_center {
    cmsgr_env *env;
    void *poller;
    cmsgr__files files;
    cmsgr__kick *taken_kicks; /* oldest first */
    cmsgr__timers timers;
    cmsgr__polling polling;
    int64_t wait_ended_ns, waited_ns; /* the last wait */
    int64_t worked_ns;                /* between the last two waits */
    cmsgr_center_stats stats;
    cmsgr_ready ready[MAX_READY];
    char other_threads_write_below[64]; /* apart from the owner's cache lines */
    cmsgr__extq posts;
    cmsgr__kicks kicks;
    atomic_int sleeping;
    atomic_int wakeup_wanted;
    atomic_int inside;
    atomic_uint_fast64_t owner;
    atomic_uint_fast64_t wakeups_sent;
};

/* ---- Waking ------------------------------------------------------------------------------------------- */

static void enter(cmsgr_center *c)
{
    atomic_fetch_add_explicit(&c->inside, 1, memory_order_relaxed);
}

/* Steps (2) and on of the argument above. */
static void wake_and_leave(cmsgr_center *c)
{
    if (atomic_load(&c->sleeping) && atomic_exchange(&c->sleeping, 0)) {
        atomic_fetch_add_explicit(&c->wakeups_sent, 1, memory_order_relaxed);
        c->env->driver.poller_wakeup(c->env->driver.ctx, c->poller);
    }
    atomic_fetch_sub_explicit(&c->inside, 1, memory_order_release);
}

int cmsgr_center_post(cmsgr_center *c, cmsgr_fn fn, void *arg)
{
    int rc;

    enter(c);
    rc = cmsgr__extq_post(&c->posts, fn, arg);
    wake_and_leave(c);
    return rc;
}

void cmsgr_center_wakeup(cmsgr_center *c)
{
    enter(c);
    atomic_exchange(&c->wakeup_wanted, 1);
    wake_and_leave(c);
}

int cmsgr__center_kick(cmsgr_center *c, cmsgr__kick *kick)
{
    if (!cmsgr__kicks_claim(kick))
        return 0;
    enter(c);
    cmsgr__kicks_push(&c->kicks, kick);
    wake_and_leave(c);
    return 1;
}

void cmsgr__center_unkick(cmsgr_center *c, cmsgr__kick *kick)
{
    cmsgr__kicks_remove(&c->kicks, &c->taken_kicks, kick);
}

/* ---- Files ------------------------------------------------------------------------------------------- */

int cmsgr_center_add_file(cmsgr_center *c, int fd, int mask, int phase, cmsgr_file_fn fn, void *arg)
{
    return cmsgr__files_add(&c->files, fd, mask, (cmsgr__handler){fn, arg, phase});
}

int cmsgr_center_del_file(cmsgr_center *c, int fd, int mask)
{
    return cmsgr__files_del(&c->files, fd, mask);
}

int cmsgr_center_file_mask(const cmsgr_center *c, int fd)
{
    const cmsgr__file *file = cmsgr__files_find(&c->files, fd);

    return file ? file->mask : CMSGR_NONE;
}

void *cmsgr_center_file_arg(const cmsgr_center *c, int fd, int bit)
{
    const cmsgr__file *file = cmsgr__files_find(&c->files, fd);

    if (!file || (bit != CMSGR_READABLE && bit != CMSGR_WRITABLE))
        return NULL;
    return bit == CMSGR_READABLE ? file->reader.arg : file->writer.arg;
}

/* ---- Timers and posts ---------------------------------------------------------------------------------- */

int64_t cmsgr_center_add_timer(cmsgr_center *c, int64_t delay_ns, cmsgr_fn fn, cmsgr_fn drop, void *arg)
{
    int64_t now_ns = cmsgr__now(c->env);

    if (!fn)
        return -EINVAL;
    if (delay_ns < 0)
        delay_ns = 0;
    if (delay_ns > INT64_MAX - now_ns)
        delay_ns = INT64_MAX - now_ns;
    return cmsgr__timers_add(&c->timers, c->env, now_ns + delay_ns, fn, drop, arg);
}

int cmsgr_center_del_timer(cmsgr_center *c, int64_t id)
{
    return cmsgr__timers_del(&c->timers, id);
}

/* A timer added by one of these waits for the next turn: it cannot keep this one from ending. */
static int run_timers(cmsgr_center *c)
{
    const uint64_t seq_limit = c->timers.next_seq;
    cmsgr__timer timer;
    int64_t now_ns;
    int ran = 0;

    if (!c->timers.count)
        return 0;
    now_ns = cmsgr__now(c->env);
    while (cmsgr__timers_take_due(&c->timers, now_ns, seq_limit, &timer)) {
        timer.fn(timer.arg);
        ran++;
    }
    cmsgr__count(c->stats.timers, (uint64_t)ran);
    return ran;
}

static int run_posts(cmsgr_center *c)
{
    cmsgr__posted batch[CMSGR_POST_BATCH];
    size_t count = cmsgr__extq_take(&c->posts, batch, CMSGR_POST_BATCH);

    for (size_t i = 0; i < count; i++)
        batch[i].fn(batch[i].arg);
    cmsgr__count(c->stats.posted, count);
    return (int)count;
}

/* ---- The turn ------------------------------------------------------------------------------------------ */

int cmsgr__center_has_user_work(cmsgr_center *c, int64_t now_ns)
{
    return cmsgr__files_have_fired(&c->files) || cmsgr__extq_len(&c->posts) ||
           cmsgr__timers_next_ns(&c->timers) <= now_ns;
}

/* Did others leave something for us? */
static int has_messages(cmsgr_center *c)
{
    return c->taken_kicks || cmsgr__extq_len(&c->posts) || !cmsgr__kicks_empty(&c->kicks) || atomic_load(&c->wakeup_wanted);
}

/* How long the poller may wait: less than asked if a timer is due earlier, 0 if there is something to do. */
static int64_t timeout_for(cmsgr_center *c, int64_t max_wait_ns, int64_t now_ns)
{
    int64_t next_ns = cmsgr__timers_next_ns(&c->timers);

    if (max_wait_ns == 0 || cmsgr__center_has_user_work(c, now_ns))
        return 0;
    if (next_ns != INT64_MAX && (max_wait_ns < 0 || next_ns - now_ns < max_wait_ns))
        max_wait_ns = next_ns - now_ns;
    atomic_store(&c->sleeping, 1);
    if (has_messages(c)) {
        atomic_store(&c->sleeping, 0);
        return 0;
    }
    return max_wait_ns;
}

static int64_t polling_budget(cmsgr_center *c, int64_t max_wait_ns, int64_t now_ns)
{
    int64_t next_ns = cmsgr__timers_next_ns(&c->timers);

    if (max_wait_ns == 0 || has_messages(c) || cmsgr__center_has_user_work(c, now_ns))
        return 0;
    if (next_ns != INT64_MAX && (max_wait_ns < 0 || next_ns - now_ns < max_wait_ns))
        max_wait_ns = next_ns - now_ns;
    return cmsgr__polling_budget(&c->polling, max_wait_ns);
}

/* Looks for events until budget_ns have passed. Returns their number, or an error; 0 also when there are posts or kicks, or when
 * the time is over (then *lost). Whoever posts meanwhile need not wake us: the flag `sleeping` is not set. */
static int look(cmsgr_center *c, int64_t now_ns, int64_t budget_ns, int *lost)
{
    const cmsgr_driver *driver = &c->env->driver;
    int64_t end_ns = now_ns + budget_ns;
    int count;

    *lost = 0;
    while ((count = driver->poller_wait(driver->ctx, c->poller, c->ready, MAX_READY, 0)) == 0 && !has_messages(c)) {
        if (cmsgr__now(c->env) >= end_ns) {
            *lost = 1;
            break;
        }
        driver->yield(driver->ctx); /* whoever we wait for may need this core */
    }
    return count;
}

/* Waits, first awake and then asleep. Fills c->ready; returns its number or an error. *now_ns is when it ended. */
static int wait_ready(cmsgr_center *c, int64_t max_wait_ns, int64_t *now_ns)
{
    const cmsgr_driver *driver = &c->env->driver;
    int64_t timeout_ns, slept_ns, budget_ns = polling_budget(c, max_wait_ns, *now_ns);
    int count, lost;

    if (budget_ns) {
        const int64_t began_ns = *now_ns;

        count = look(c, began_ns, budget_ns, &lost);
        *now_ns = cmsgr__now(c->env);
        if (max_wait_ns > 0)
            max_wait_ns = *now_ns - began_ns < max_wait_ns ? max_wait_ns - (*now_ns - began_ns) : 0;
        cmsgr__count(c->stats.polls_won, !lost);
        cmsgr__count(c->stats.polls_lost, lost);
        cmsgr__count(c->stats.polled_ns, *now_ns - began_ns);
        cmsgr__polling_learn(&c->polling, !lost);
        if (!lost)
            return count;
    }
    timeout_ns = timeout_for(c, max_wait_ns, *now_ns);
    count = driver->poller_wait(driver->ctx, c->poller, c->ready, MAX_READY, timeout_ns);
    if (timeout_ns) {
        atomic_store(&c->sleeping, 0);
        slept_ns = cmsgr__now(c->env) - *now_ns;
        *now_ns += slept_ns;
        cmsgr__count(c->stats.slept_ns, slept_ns);
        if (!budget_ns)
            cmsgr__polling_learn(&c->polling, slept_ns <= CMSGR__SHORT_SLEEP_NS);
    }
    return count;
}

int cmsgr__center_wait(cmsgr_center *c, int64_t max_wait_ns)
{
    const int64_t began_ns = cmsgr__now(c->env);
    int64_t now_ns = began_ns;
    int count = wait_ready(c, max_wait_ns, &now_ns);
    int ran_io = 0, woken = 0;

    c->worked_ns = began_ns - c->wait_ended_ns;
    c->waited_ns = now_ns - began_ns;
    c->wait_ended_ns = now_ns;
    cmsgr__count(c->stats.waits, 1);
    /* An exchange, since it also makes visible what the waker wrote before. */
    if (atomic_load_explicit(&c->wakeup_wanted, memory_order_relaxed))
        woken = atomic_exchange(&c->wakeup_wanted, 0);
    for (int i = 0; i < count; i++) {
        int ran = cmsgr__files_handle(&c->files, &c->ready[i]);

        cmsgr__count(c->stats.events, ran >= 0);
        ran_io += ran > 0;
    }
    ran_io += cmsgr__kicks_run(&c->kicks, &c->taken_kicks); /* whatever the poller said: they hold references */
    if (count < 0)
        return count;
    return (ran_io ? CMSGR__FOUND_IO : 0) | (cmsgr__center_has_user_work(c, now_ns) ? CMSGR__FOUND_USER : 0) |
           (woken ? CMSGR__FOUND_WAKEUP : 0);
}

int cmsgr__center_takes_turns(const cmsgr_center *c)
{
    return c->waited_ns > c->worked_ns;
}

int cmsgr_center_wait(cmsgr_center *c, int64_t max_wait_ns)
{
    int found = cmsgr__center_wait(c, max_wait_ns);

    return found < 0 ? found : (found & CMSGR__FOUND_USER) != 0;
}

int cmsgr_center_dispatch(cmsgr_center *c)
{
    int ran = cmsgr__files_run_fired(&c->files);

    ran += run_timers(c); /* before the posts, whatever their number */
    return ran + run_posts(c);
}

/* ---- Life ---------------------------------------------------------------------------------------------- */

static int open_parts(cmsgr_center *c, int num_files_hint)
{
    const cmsgr_driver *driver = &c->env->driver;
    int rc = driver->poller_open(driver->ctx, &c->poller);

    if (rc < 0)
        return rc;
    rc = cmsgr__extq_init(&c->posts, c->env);
    if (rc == 0) {
        rc = cmsgr__files_init(&c->files, c->env, c->poller, num_files_hint);
        if (rc == 0)
            return 0;
        cmsgr__extq_destroy(&c->posts);
    }
    driver->poller_close(driver->ctx, c->poller);
    return rc;
}

int cmsgr_center_new(cmsgr_center **out, cmsgr_env *env, int num_files_hint)
{
    cmsgr_center *c = cmsgr__zalloc(env, sizeof(*c));
    int rc;

    *out = NULL;
    if (!c)
        return -ENOMEM;
    c->env = env;
    rc = open_parts(c, num_files_hint);
    if (rc < 0) {
        cmsgr__free(env, c);
        return rc;
    }
    *out = c;
    return 0;
}

void cmsgr_center_free(cmsgr_center *c)
{
    const cmsgr_env *env;

    if (!c)
        return;
    env = c->env;
    while (atomic_load_explicit(&c->inside, memory_order_acquire))
        sched_yield(); /* a poster is about to leave: some instructions, or one system call */
    do {
        while (run_posts(c))
            ;
        cmsgr__timers_clear(&c->timers, env);
    } while (cmsgr__extq_len(&c->posts)); /* drop functions may post */
    env->driver.poller_close(env->driver.ctx, c->poller);
    cmsgr__extq_destroy(&c->posts);
    cmsgr__files_free(&c->files);
    cmsgr__free(env, c);
}

void cmsgr_center_set_polling(cmsgr_center *c, int64_t poll_ns)
{
    c->polling.fixed_ns = poll_ns;
}

void cmsgr_center_set_owner(cmsgr_center *c, uint64_t owner)
{
    atomic_store_explicit(&c->owner, owner, memory_order_relaxed);
}

uint64_t cmsgr_center_owner(const cmsgr_center *c)
{
    return atomic_load_explicit(&c->owner, memory_order_relaxed);
}

void cmsgr_center_get_stats(const cmsgr_center *c, cmsgr_center_stats *stats)
{
    cmsgr__read_counters(stats, &c->stats, sizeof *stats);
    cmsgr__read_counters(&stats->writable_added, &c->files.writable_added, sizeof stats->writable_added);
    cmsgr__read_counters(&stats->writable_removed, &c->files.writable_removed, sizeof stats->writable_removed);
    stats->wakeups_sent = atomic_load_explicit(&c->wakeups_sent, memory_order_relaxed);
}
