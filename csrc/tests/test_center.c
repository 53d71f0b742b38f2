/* EventCenter on one thread, mostly with a fake driver. Contract C3, C6, C7, C9, C10, and what the header promises. */
#include <sys/resource.h>
#include <sys/socket.h>

#include "center.h"
#include "fake_driver.h"

static fake_driver *fake;
static cmsgr_env *env;
static cmsgr_center *center;

static char called[64]; /* what ran, one letter each */
static void note(char letter)
{
    size_t len = strlen(called);

    CHECK(len + 1 < sizeof(called));
    called[len] = letter;
    called[len + 1] = 0;
}

#define EXPECT_CALLED(letters)               \
    do {                                     \
        CHECK_STR(called, letters);          \
        memset(called, 0, sizeof(called));   \
    } while (0)

static int last_mask;
static void on_file(void *arg, int fd, int mask)
{
    (void)fd;
    last_mask = mask;
    note(*(const char *)arg);
}
static void on_other_file(void *arg, int fd, int mask) { on_file(arg, fd, mask); }
static void on_event(void *arg) { note(*(const char *)arg); }

static void begin(void)
{
    fake = fake_new();
    CHECK_EQ(cmsgr_env_new(&env, NULL, &fake->driver), 0);
    CHECK_EQ(cmsgr_center_new(&center, env, 0), 0);
    CHECK_EQ(fake->open_pollers, 1);
}

static void end(void)
{
    cmsgr_center_free(center);
    CHECK_EQ(fake->open_pollers, 0);
    EXPECT_CALLED("");
    cmsgr_env_free(env);
    free(fake);
}

static void add(int fd, int mask, int phase, const char *letter)
{
    CHECK_EQ(cmsgr_center_add_file(center, fd, mask, phase, on_file, (void *)letter), 0);
}

static cmsgr_center_stats stats(void)
{
    cmsgr_center_stats got;

    cmsgr_center_get_stats(center, &got);
    return got;
}

/* ---- Files --------------------------------------------------------------------------------------------- */

static void test_phases(void)
{
    begin();
    add(5, CMSGR_READABLE, CMSGR_PHASE_IO, "i");
    add(6, CMSGR_READABLE, CMSGR_PHASE_USER, "u");
    fake_make_ready(fake, 6, CMSGR_READABLE);
    fake_make_ready(fake, 5, CMSGR_READABLE);
    CHECK_EQ(cmsgr_center_wait(center, -1), 1);
    EXPECT_CALLED("i");
    CHECK_EQ(cmsgr_center_dispatch(center), 1);
    EXPECT_CALLED("u");
    CHECK_EQ(cmsgr_center_dispatch(center), 0); /* once */
    fake_make_ready(fake, 5, CMSGR_READABLE);
    CHECK_EQ(cmsgr_center_wait(center, -1), 0); /* the I/O phase alone leaves nothing to dispatch */
    EXPECT_CALLED("i");
    fake_make_ready(fake, 5, CMSGR_READABLE);
    CHECK_EQ(cmsgr__center_wait(center, -1), 1);
    fake_make_ready(fake, 6, CMSGR_READABLE);
    CHECK_EQ(cmsgr__center_wait(center, -1), 2);
    fake_make_ready(fake, 5, CMSGR_READABLE);
    CHECK_EQ(cmsgr__center_wait(center, -1), 3); /* and what was remembered is not lost by waiting again */
    CHECK_EQ(fake->last_timeout_ns, 0);
    CHECK_EQ(cmsgr_center_dispatch(center), 1);
    EXPECT_CALLED("iiu");
    CHECK_EQ(cmsgr__center_wait(center, 10), 0);
    CHECK_EQ(stats().events, 6);
    end();
}

/* 0 is a descriptor like any other. */
static void test_descriptor_0(void)
{
    begin();
    add(0, CMSGR_READABLE, CMSGR_PHASE_IO, "z");
    CHECK_EQ(cmsgr_center_file_mask(center, 0), CMSGR_READABLE);
    fake_make_ready(fake, 0, CMSGR_READABLE);
    cmsgr_center_wait(center, 0);
    EXPECT_CALLED("z");
    CHECK_EQ(cmsgr_center_del_file(center, 0, CMSGR_READABLE), 0);
    CHECK_EQ(cmsgr_center_file_mask(center, 0), CMSGR_NONE);
    end();
}

static void test_masks(void)
{
    begin();
    add(5, CMSGR_READABLE, CMSGR_PHASE_IO, "r");
    fake_make_ready(fake, 5, CMSGR_READABLE | CMSGR_WRITABLE); /* an error, told to whoever watches */
    cmsgr_center_wait(center, 0);
    CHECK_EQ(last_mask, CMSGR_READABLE);
    fake_make_ready(fake, 5, CMSGR_READABLE | CMSGR_HANGUP);
    cmsgr_center_wait(center, 0);
    CHECK_EQ(last_mask, CMSGR_READABLE | CMSGR_HANGUP);
    fake_make_ready(fake, 5, CMSGR_WRITABLE);
    cmsgr_center_wait(center, 0);
    EXPECT_CALLED("rr");

    /* Readable before writable. */
    add(5, CMSGR_WRITABLE, CMSGR_PHASE_IO, "w");
    fake_make_ready(fake, 5, CMSGR_READABLE | CMSGR_WRITABLE | CMSGR_HANGUP);
    cmsgr_center_wait(center, 0);
    EXPECT_CALLED("rw");
    CHECK_EQ(last_mask, CMSGR_WRITABLE);

    /* The same function and argument for both: once, with both. */
    add(6, CMSGR_READABLE | CMSGR_WRITABLE, CMSGR_PHASE_USER, "b");
    fake_make_ready(fake, 6, CMSGR_WRITABLE | CMSGR_READABLE | CMSGR_HANGUP);
    cmsgr_center_wait(center, 0);
    cmsgr_center_dispatch(center);
    EXPECT_CALLED("b");
    CHECK_EQ(last_mask, CMSGR_READABLE | CMSGR_WRITABLE | CMSGR_HANGUP);
    end();
}

static void test_adding_merges(void)
{
    static const char r[] = "r", w[] = "w", x[] = "x";

    begin();
    CHECK_EQ(cmsgr_center_file_mask(center, 5), CMSGR_NONE);
    add(5, CMSGR_READABLE, CMSGR_PHASE_IO, r);
    CHECK_EQ(fake->set_calls, 1);
    add(5, CMSGR_READABLE, CMSGR_PHASE_IO, x); /* nothing new: not even the callback changes */
    CHECK_EQ(cmsgr_center_add_file(center, 5, CMSGR_READABLE, CMSGR_PHASE_USER, on_other_file, NULL), 0);
    CHECK_EQ(cmsgr_center_add_file(center, 5, CMSGR_NONE, CMSGR_PHASE_USER, on_other_file, NULL), 0);
    CHECK_EQ(fake->set_calls, 1);
    CHECK(cmsgr_center_file_arg(center, 5, CMSGR_READABLE) == r);
    CHECK(cmsgr_center_file_arg(center, 5, CMSGR_WRITABLE) == NULL);
    add(5, CMSGR_WRITABLE, CMSGR_PHASE_IO, w);
    CHECK_EQ(cmsgr_center_file_mask(center, 5), CMSGR_READABLE | CMSGR_WRITABLE);
    CHECK_EQ(fake->mask[5], CMSGR_READABLE | CMSGR_WRITABLE);
    CHECK(cmsgr_center_file_arg(center, 5, CMSGR_READABLE) == r);
    CHECK(cmsgr_center_file_arg(center, 5, CMSGR_WRITABLE) == w);
    CHECK(cmsgr_center_file_arg(center, 5, CMSGR_HANGUP) == NULL);
    CHECK_EQ(cmsgr_center_del_file(center, 5, CMSGR_READABLE), 0);
    CHECK_EQ(cmsgr_center_del_file(center, 5, CMSGR_READABLE), 0);
    CHECK_EQ(fake->mask[5], CMSGR_WRITABLE);
    CHECK(cmsgr_center_file_arg(center, 5, CMSGR_READABLE) == NULL);
    CHECK_EQ(cmsgr_center_del_file(center, 5, CMSGR_READABLE | CMSGR_WRITABLE), 0);
    CHECK_EQ(cmsgr_center_file_mask(center, 5), CMSGR_NONE);
    CHECK_EQ(cmsgr_center_del_file(center, 5, CMSGR_WRITABLE), 0);
    CHECK_EQ(fake->set_calls, 4);
    CHECK_EQ(stats().writable_added, 1);
    CHECK_EQ(stats().writable_removed, 1);
    end();
}

static void test_bad_arguments(void)
{
    begin();
    CHECK_EQ(cmsgr_center_add_file(center, -1, CMSGR_READABLE, CMSGR_PHASE_IO, on_file, NULL), -EBADF);
    CHECK_EQ(cmsgr_center_add_file(center, 5, CMSGR_HANGUP, CMSGR_PHASE_IO, on_file, NULL), -EINVAL);
    CHECK_EQ(cmsgr_center_add_file(center, 5, CMSGR_READABLE, CMSGR_PHASE_IO, NULL, NULL), -EINVAL);
    CHECK_EQ(cmsgr_center_add_timer(center, 5, NULL, NULL, NULL), -EINVAL);
    for (int fd = -1; fd < 100000; fd += 50000) {
        CHECK_EQ(cmsgr_center_del_file(center, fd, CMSGR_READABLE), 0);
        CHECK_EQ(cmsgr_center_file_mask(center, fd), CMSGR_NONE);
        CHECK(cmsgr_center_file_arg(center, fd, CMSGR_READABLE) == NULL);
    }
    CHECK_EQ(fake->set_calls, 0);
    end();
}

/* A poller that fails: adding changes nothing; deleting forgets all the same. */
static void test_failing_poller(void)
{
    begin();
    fake->fail_next_set = -ENOSPC;
    CHECK_EQ(cmsgr_center_add_file(center, 5, CMSGR_READABLE, CMSGR_PHASE_IO, on_file, "x"), -ENOSPC);
    CHECK_EQ(cmsgr_center_file_mask(center, 5), CMSGR_NONE);
    CHECK(cmsgr_center_file_arg(center, 5, CMSGR_READABLE) == NULL);
    add(5, CMSGR_READABLE, CMSGR_PHASE_IO, "r");
    fake->fail_next_set = -ENOSPC;
    CHECK_EQ(cmsgr_center_add_file(center, 5, CMSGR_WRITABLE, CMSGR_PHASE_IO, on_file, "x"), -ENOSPC);
    CHECK_EQ(cmsgr_center_file_mask(center, 5), CMSGR_READABLE);
    fake->fail_next_set = -EBADF;
    CHECK_EQ(cmsgr_center_del_file(center, 5, CMSGR_READABLE), -EBADF);
    CHECK_EQ(cmsgr_center_file_mask(center, 5), CMSGR_NONE);
    fake->fail_next_wait = -EBADF;
    CHECK_EQ(cmsgr_center_wait(center, -1), -EBADF);
    CHECK_EQ(cmsgr_center_wait(center, 7), 0); /* and it can be stepped again */
    CHECK_EQ(fake->last_timeout_ns, 7);
    end();
}

static int victim_fd, victim_bit;
static void remove_victim(void *arg, int fd, int mask)
{
    on_file(arg, fd, mask);
    CHECK_EQ(cmsgr_center_del_file(center, victim_fd, victim_bit), 0);
}

/* C7: a callback that takes away another's watch suppresses its pending event, in both phases. */
static void test_C7_removal_suppresses(void)
{
    for (int phase = CMSGR_PHASE_IO; phase <= CMSGR_PHASE_USER; phase++) {
        begin();
        CHECK_EQ(cmsgr_center_add_file(center, 5, CMSGR_READABLE, phase, remove_victim, "a"), 0);
        add(6, CMSGR_READABLE, phase, "b");
        add(6, CMSGR_WRITABLE, phase, "c");
        add(7, CMSGR_READABLE, phase, "d");
        victim_fd = 6;
        victim_bit = CMSGR_READABLE;
        fake_make_ready(fake, 5, CMSGR_READABLE);
        fake_make_ready(fake, 6, CMSGR_READABLE | CMSGR_WRITABLE);
        fake_make_ready(fake, 7, CMSGR_READABLE);
        cmsgr_center_wait(center, 0);
        cmsgr_center_dispatch(center);
        EXPECT_CALLED("acd");
        victim_bit = CMSGR_WRITABLE;
        fake_make_ready(fake, 7, CMSGR_READABLE);
        fake_make_ready(fake, 5, CMSGR_READABLE);
        fake_make_ready(fake, 6, CMSGR_READABLE | CMSGR_WRITABLE);
        cmsgr_center_wait(center, 0);
        cmsgr_center_dispatch(center);
        EXPECT_CALLED("da");
        end();
    }
}

/* A readable callback that takes away its own writable bit, or the whole fd. */
static void test_removal_within_one_file(void)
{
    begin();
    CHECK_EQ(cmsgr_center_add_file(center, 5, CMSGR_READABLE, CMSGR_PHASE_IO, remove_victim, "r"), 0);
    add(5, CMSGR_WRITABLE, CMSGR_PHASE_IO, "w");
    victim_fd = 5;
    victim_bit = CMSGR_READABLE | CMSGR_WRITABLE;
    fake_make_ready(fake, 5, CMSGR_READABLE | CMSGR_WRITABLE);
    cmsgr_center_wait(center, 0);
    EXPECT_CALLED("r");
    end();
}

static void reuse_fd(void *arg, int fd, int mask)
{
    on_file(arg, fd, mask);
    CHECK_EQ(cmsgr_center_del_file(center, victim_fd, CMSGR_READABLE | CMSGR_WRITABLE), 0);
    /* Closed; the next socket gets the same number, and its owner watches it. */
    CHECK_EQ(cmsgr_center_add_file(center, victim_fd, CMSGR_READABLE | CMSGR_WRITABLE, victim_bit, on_file, "n"), 0);
}

/* An event of a closed fd never reaches the fd's next owner: not in the same batch, not in a later one. */
static void test_fd_reuse(void)
{
    for (int phase = CMSGR_PHASE_IO; phase <= CMSGR_PHASE_USER; phase++)
        for (int next_phase = CMSGR_PHASE_IO; next_phase <= CMSGR_PHASE_USER; next_phase++) {
            begin();
            victim_fd = 6;
            victim_bit = next_phase;
            CHECK_EQ(cmsgr_center_add_file(center, 5, CMSGR_READABLE, CMSGR_PHASE_IO, reuse_fd, "a"), 0);
            add(6, CMSGR_READABLE, phase, "b");
            fake_make_ready(fake, 5, CMSGR_READABLE);
            fake_make_ready(fake, 6, CMSGR_READABLE);
            cmsgr_center_wait(center, 0);
            cmsgr_center_dispatch(center);
            EXPECT_CALLED("a");
            fake_make_ready(fake, 6, CMSGR_WRITABLE); /* the new owner's own */
            cmsgr_center_wait(center, 0);
            cmsgr_center_dispatch(center);
            EXPECT_CALLED("n");
            end();
        }
}

/* The fd itself is reused by its own readable callback: the old writable event is not the new owner's. */
static void test_fd_reuse_within_one_file(void)
{
    begin();
    victim_fd = 5;
    victim_bit = CMSGR_PHASE_IO;
    CHECK_EQ(cmsgr_center_add_file(center, 5, CMSGR_READABLE, CMSGR_PHASE_IO, reuse_fd, "a"), 0);
    add(5, CMSGR_WRITABLE, CMSGR_PHASE_IO, "w");
    fake_make_ready(fake, 5, CMSGR_READABLE | CMSGR_WRITABLE);
    cmsgr_center_wait(center, 0);
    EXPECT_CALLED("a");
    end();
}

/* Remembered in the order reported; one that is remembered already keeps its place; removal from any place works. */
static void test_fired_order(void)
{
    begin();
    for (int fd = 5; fd < 10; fd++)
        add(fd, CMSGR_READABLE | CMSGR_WRITABLE, CMSGR_PHASE_USER, &"56789"[fd - 5]);
    for (int fd = 9; fd >= 5; fd--)
        fake_make_ready(fake, fd, CMSGR_READABLE);
    cmsgr_center_wait(center, 0);
    fake_make_ready(fake, 9, CMSGR_WRITABLE);
    cmsgr_center_wait(center, 0);
    CHECK_EQ(cmsgr_center_del_file(center, 7, CMSGR_READABLE | CMSGR_WRITABLE), 0);
    CHECK_EQ(cmsgr_center_del_file(center, 5, CMSGR_READABLE), 0);
    CHECK_EQ(cmsgr_center_dispatch(center), 3);
    EXPECT_CALLED("986");
    fake_make_ready(fake, 8, CMSGR_READABLE);
    cmsgr_center_wait(center, 0);
    CHECK_EQ(cmsgr_center_del_file(center, 8, CMSGR_READABLE), 0); /* the only one in the list */
    CHECK_EQ(cmsgr_center_wait(center, 0), 0);
    CHECK_EQ(cmsgr_center_dispatch(center), 0);
    end();
}

static void grow_table(void *arg, int fd, int mask)
{
    on_file(arg, fd, mask);
    add(FAKE_MAX_FD - 1, CMSGR_READABLE, CMSGR_PHASE_IO, "z");
}

/* The table moves under a running callback. */
static void test_growth_in_callback(void)
{
    begin();
    CHECK_EQ(cmsgr_center_add_file(center, 5, CMSGR_READABLE, CMSGR_PHASE_IO, grow_table, "g"), 0);
    add(5, CMSGR_WRITABLE, CMSGR_PHASE_IO, "w");
    add(6, CMSGR_READABLE, CMSGR_PHASE_USER, "u");
    fake_make_ready(fake, 6, CMSGR_READABLE);
    fake_make_ready(fake, 5, CMSGR_READABLE | CMSGR_WRITABLE);
    cmsgr_center_wait(center, 0);
    cmsgr_center_dispatch(center);
    EXPECT_CALLED("gwu");
    CHECK_EQ(cmsgr_center_file_mask(center, FAKE_MAX_FD - 1), CMSGR_READABLE);
    end();
}

/* C3: room for 100, 300 sockets; the real poller. */
static void test_C3_expansion(void)
{
    enum { SOCKETS = 300 };
    struct rlimit limit;
    cmsgr_center *real;
    cmsgr_env *real_env;
    int fd[SOCKETS];

    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
    CHECK(limit.rlim_cur > SOCKETS + 50);
    CHECK_EQ(cmsgr_env_new(&real_env, NULL, NULL), 0);
    CHECK_EQ(cmsgr_center_new(&real, real_env, 100), 0);
    for (int i = 0; i < SOCKETS; i++) {
        fd[i] = socket(AF_INET, SOCK_STREAM, 0);
        CHECK(fd[i] >= 0);
        CHECK_EQ(cmsgr_center_add_file(real, fd[i], CMSGR_READABLE, CMSGR_PHASE_IO, on_other_file, "s"), 0);
    }
    for (int i = 0; i < SOCKETS; i++) {
        CHECK_EQ(cmsgr_center_file_mask(real, fd[i]), CMSGR_READABLE);
        CHECK_EQ(cmsgr_center_del_file(real, fd[i], CMSGR_READABLE), 0);
        close(fd[i]);
    }
    memset(called, 0, sizeof(called));
    cmsgr_center_free(real);
    cmsgr_env_free(real_env);
}

/* ---- Timers -------------------------------------------------------------------------------------------- */

/* C6: in order of time, once, never early; the wait is just as long as the first timer needs. */
static void test_C6_timers(void)
{
    int64_t id;

    begin();
    CHECK(cmsgr_center_add_timer(center, 300, on_event, NULL, "c") > 0);
    CHECK(cmsgr_center_add_timer(center, 100, on_event, NULL, "a") > 0);
    CHECK(cmsgr_center_add_timer(center, 100, on_event, NULL, "b") > 0);
    id = cmsgr_center_add_timer(center, 200, on_event, on_event, "d");
    CHECK_EQ(cmsgr_center_dispatch(center), 0);
    CHECK_EQ(cmsgr_center_wait(center, 99), 0);
    CHECK_EQ(fake->last_timeout_ns, 99);
    CHECK_EQ(cmsgr_center_dispatch(center), 0);
    CHECK_EQ(cmsgr_center_wait(center, -1), 1);
    CHECK_EQ(fake->last_timeout_ns, 1);
    CHECK_EQ(cmsgr_center_dispatch(center), 2);
    EXPECT_CALLED("ab");
    CHECK_EQ(cmsgr_center_del_timer(center, id), 1);
    EXPECT_CALLED("d"); /* its drop function */
    CHECK_EQ(cmsgr_center_del_timer(center, id), 0);
    CHECK_EQ(cmsgr_center_wait(center, 1000), 1);
    CHECK_EQ(fake->last_timeout_ns, 200);
    CHECK_EQ(cmsgr_center_wait(center, 1000), 1); /* due, and not run yet: no sleep */
    CHECK_EQ(fake->last_timeout_ns, 0);
    CHECK_EQ(cmsgr_center_dispatch(center), 1);
    EXPECT_CALLED("c");
    CHECK_EQ(stats().timers, 3);
    CHECK_EQ(stats().slept_ns, 99 + 1 + 200);
    CHECK_EQ(cmsgr_center_add_timer(center, INT64_MAX, on_event, NULL, "x") > 0, 1); /* does not overflow */
    CHECK_EQ(cmsgr_center_wait(center, 5), 0);
    end();
}

static int64_t ids[3];
static void delete_all(void *arg)
{
    on_event(arg);
    for (int i = 0; i < 3; i++)
        cmsgr_center_del_timer(center, ids[i]); /* itself among them */
}

static void add_again(void *arg)
{
    on_event(arg);
    CHECK(cmsgr_center_add_timer(center, -5, add_again, NULL, arg) > 0);
}

/* C6: deleting inside a callback works; a timer that adds itself anew at once runs once a turn. */
static void test_C6_inside_callbacks(void)
{
    begin();
    for (int i = 0; i < 3; i++)
        ids[i] = cmsgr_center_add_timer(center, 10, delete_all, on_event, (void *)&"abc"[i]);
    CHECK_EQ(cmsgr_center_wait(center, -1), 1);
    CHECK_EQ(cmsgr_center_dispatch(center), 1);
    EXPECT_CALLED("abc"); /* a ran, b and c were dropped */
    CHECK(cmsgr_center_add_timer(center, 0, add_again, NULL, "r") > 0);
    for (int turn = 0; turn < 3; turn++) {
        CHECK_EQ(cmsgr_center_wait(center, -1), 1);
        CHECK_EQ(fake->last_timeout_ns, 0);
        CHECK_EQ(cmsgr_center_dispatch(center), 1);
    }
    EXPECT_CALLED("rrr");
    end();
}

/* ---- Posts --------------------------------------------------------------------------------------------- */

/* C10: the same twice in a row runs once, A B A runs three times; another argument is another event. */
static void test_C10_coalescing(void)
{
    static const char a[] = "a", other_a[] = "a";

    begin();
    CHECK_EQ(cmsgr_center_post(center, on_event, (void *)a), 1);
    CHECK_EQ(cmsgr_center_post(center, on_event, (void *)a), 0);
    CHECK_EQ(cmsgr_center_post(center, on_event, (void *)other_a), 1);
    CHECK_EQ(cmsgr_center_post(center, on_event, "b"), 1);
    CHECK_EQ(cmsgr_center_post(center, on_event, (void *)a), 1);
    CHECK_EQ(cmsgr_center_wait(center, -1), 1);
    CHECK_EQ(cmsgr_center_dispatch(center), 4);
    EXPECT_CALLED("aaba");
    CHECK_EQ(stats().posted, 4);
    end();
}

static int64_t posts_left;
static void post_until_none_left(void *arg)
{
    on_event(arg);
    if (--posts_left)
        CHECK_EQ(cmsgr_center_post(center, post_until_none_left, arg), 1); /* 1: itself is no longer queued */
}

/* C9: an event posted by an event runs in the next turn; that turn does not sleep, nor does the owner wake itself. */
static void test_C9_post_from_post(void)
{
    begin();
    posts_left = 3;
    CHECK_EQ(cmsgr_center_post(center, post_until_none_left, "p"), 1);
    for (int turn = 0; turn < 3; turn++) {
        CHECK_EQ(cmsgr_center_wait(center, -1), 1);
        CHECK_EQ(fake->last_timeout_ns, 0);
        CHECK_EQ(cmsgr_center_dispatch(center), 1);
        EXPECT_CALLED("p");
    }
    CHECK_EQ(cmsgr_center_wait(center, 9), 0);
    CHECK_EQ(fake->wakeups, 0);
    CHECK_EQ(stats().wakeups_sent, 0);
    end();
}

static int counted;
static void count(void *arg) { counted += *(const int *)arg; }

/* A turn runs a bounded number; the rest comes in the next one, in order, and coalesces with what is still queued. */
static void test_post_batch(void)
{
    static const int one = 1, ten = 10;

    begin();
    for (int i = 0; i < CMSGR_POST_BATCH + 2; i++)
        CHECK_EQ(cmsgr_center_post(center, count, (void *)(i % 2 ? &one : &ten)), 1);
    CHECK_EQ(cmsgr_center_dispatch(center), CMSGR_POST_BATCH);
    CHECK_EQ(counted, CMSGR_POST_BATCH / 2 * 11);
    CHECK_EQ(cmsgr_center_post(center, count, (void *)&one), 0);
    CHECK_EQ(cmsgr_center_wait(center, -1), 1);
    CHECK_EQ(fake->last_timeout_ns, 0);
    CHECK_EQ(cmsgr_center_dispatch(center), 2);
    CHECK_EQ(cmsgr_center_dispatch(center), 0);
    end();
}

static int numbers[200], next_number;
static void check_number(void *arg)
{
    CHECK_EQ(*(const int *)arg, next_number);
    next_number++;
}

/* The queue grows while its first event is anywhere in the ring; the order stays. */
static void test_post_order_while_growing(void)
{
    for (int first = 0; first < 70; first += 23) {
        begin();
        for (int i = 0; i < first; i++) {
            CHECK_EQ(cmsgr_center_post(center, count, &numbers[0]), 1);
            CHECK_EQ(cmsgr_center_dispatch(center), 1);
        }
        next_number = 0;
        for (int i = 0; i < 200; i++) {
            numbers[i] = i;
            CHECK_EQ(cmsgr_center_post(center, check_number, &numbers[i]), 1);
        }
        CHECK_EQ(cmsgr_center_dispatch(center), 200);
        end();
    }
}

/* A flood of posts starves neither timers nor files. */
static void test_flood_does_not_starve(void)
{
    begin();
    posts_left = 3;
    add(5, CMSGR_READABLE, CMSGR_PHASE_USER, "f");
    CHECK_EQ(cmsgr_center_post(center, post_until_none_left, "p"), 1);
    CHECK(cmsgr_center_add_timer(center, 10, on_event, NULL, "t") > 0);
    for (int turn = 0; turn < 3; turn++) {
        fake->now_ns += 5;
        if (turn == 2)
            fake_make_ready(fake, 5, CMSGR_READABLE);
        CHECK_EQ(cmsgr_center_wait(center, -1), 1);
        cmsgr_center_dispatch(center);
    }
    EXPECT_CALLED("ptpfp");
    end();
}

/* ---- Kicks --------------------------------------------------------------------------------------------- */

static cmsgr__kick kicks[3];
static void on_kick(cmsgr__kick *kick) { note("012"[kick - kicks]); }
static void kick_again(cmsgr__kick *kick)
{
    on_kick(kick);
    CHECK_EQ(cmsgr__center_kick(center, kick), 1);
}

static void reset_kicks(void)
{
    memset(kicks, 0, sizeof(kicks));
    for (int i = 0; i < 3; i++)
        kicks[i].fn = on_kick;
}

/* In order, in the I/O phase, coalesced; one that kicks itself runs once a wait, and that wait does not sleep. */
static void test_kicks(void)
{
    begin();
    reset_kicks();
    CHECK_EQ(cmsgr__center_kick(center, &kicks[2]), 1);
    CHECK_EQ(cmsgr__center_kick(center, &kicks[0]), 1);
    CHECK_EQ(cmsgr__center_kick(center, &kicks[2]), 0);
    CHECK_EQ(cmsgr__center_wait(center, -1), 1);
    CHECK_EQ(fake->last_timeout_ns, 0);
    EXPECT_CALLED("20");
    kicks[1].fn = kick_again;
    CHECK_EQ(cmsgr__center_kick(center, &kicks[1]), 1);
    CHECK_EQ(cmsgr_center_wait(center, -1), 0); /* kicks are no user work */
    CHECK_EQ(cmsgr__center_wait(center, -1), 1);
    CHECK_EQ(fake->last_timeout_ns, 0);
    EXPECT_CALLED("11");
    cmsgr__center_unkick(center, &kicks[1]);
    CHECK_EQ(cmsgr__center_wait(center, 5), 0);
    CHECK_EQ(fake->last_timeout_ns, 5);
    CHECK_EQ(fake->wakeups, 0);
    end();
}

static void unkick_others(cmsgr__kick *kick)
{
    on_kick(kick);
    for (int i = 0; i < 3; i++)
        if (&kicks[i] != kick)
            cmsgr__center_unkick(center, &kicks[i]);
}

/* Taken back: before the round, and by another kick within it. What was taken back can be kicked again. */
static void test_unkick(void)
{
    begin();
    reset_kicks();
    cmsgr__center_unkick(center, &kicks[0]); /* never kicked */
    for (int i = 0; i < 3; i++)
        cmsgr__center_kick(center, &kicks[i]);
    cmsgr__center_unkick(center, &kicks[1]);
    CHECK_EQ(cmsgr__center_kick(center, &kicks[1]), 1); /* anew, hence last */
    CHECK_EQ(cmsgr__center_wait(center, -1), 1);
    EXPECT_CALLED("021");
    kicks[1].fn = unkick_others;
    for (int i = 0; i < 3; i++)
        CHECK_EQ(cmsgr__center_kick(center, &kicks[i]), 1);
    CHECK_EQ(cmsgr__center_wait(center, -1), 1);
    EXPECT_CALLED("01");
    CHECK_EQ(cmsgr__center_kick(center, &kicks[2]), 1);
    CHECK_EQ(cmsgr__center_wait(center, -1), 1);
    EXPECT_CALLED("2");
    end();
}

/* ---- Waking, life, memory ------------------------------------------------------------------------------ */

/* A wakeup ends the next wait, once, and calls coalesce. */
static void test_wakeup(void)
{
    begin();
    cmsgr_center_wakeup(center);
    cmsgr_center_wakeup(center);
    CHECK_EQ(cmsgr_center_wait(center, -1), 0);
    CHECK_EQ(fake->last_timeout_ns, 0);
    CHECK_EQ(cmsgr_center_wait(center, 7), 0);
    CHECK_EQ(fake->last_timeout_ns, 7);
    CHECK_EQ(stats().waits, 2);
    end();
}

static void test_owner(void)
{
    begin();
    CHECK_EQ(cmsgr_center_owner(center), 0);
    CHECK(cmsgr_center_add_timer(center, 5, on_event, on_event, "d") > 0); /* before there is an owner */
    cmsgr_center_set_owner(center, 42);
    CHECK_EQ(cmsgr_center_owner(center), 42);
    cmsgr_center_free(center);
    EXPECT_CALLED("d");
    CHECK_EQ(cmsgr_center_new(&center, env, 0), 0);
    end();
}

static void post_when_dropped(void *arg)
{
    on_event(arg);
    cmsgr_center_post(center, on_event, "q");
}

/* The end runs what is posted, also what is posted meanwhile, and drops timers. */
static void test_free_loses_nothing(void)
{
    begin();
    posts_left = 2;
    CHECK(cmsgr_center_add_timer(center, 0, on_event, post_when_dropped, "d") > 0);
    CHECK_EQ(cmsgr_center_post(center, post_until_none_left, "p"), 1);
    cmsgr_center_free(center);
    EXPECT_CALLED("ppdq");
    cmsgr_center_free(NULL);
    CHECK_EQ(cmsgr_center_new(&center, env, 0), 0);
    end();
}

/* Whatever allocation fails: an error, nothing lost, nothing half done. */
static void failing_allocations(void *ctx, cmsgr_env *failing_env)
{
    static const int one = 1, zero = 0;
    cmsgr_center *c;
    int queued = 0, rc = cmsgr_center_new(&c, failing_env, 0);

    (void)ctx;
    if (rc) {
        CHECK_EQ(rc, -ENOMEM);
        CHECK(c == NULL);
        CHECK_EQ(fake->open_pollers, 0);
        return;
    }
    counted = 0;
    for (int i = 0; i < 300; i++) {
        rc = cmsgr_center_post(c, count, (void *)(i % 2 ? &one : &zero)); /* zero keeps two ones apart */
        CHECK(rc == 1 || rc == 0 || rc == -ENOMEM);
        queued += i % 2 && rc == 1;
    }
    for (int i = 0; i < 40; i++) {
        int64_t id = cmsgr_center_add_timer(c, 5, count, count, (void *)&one);

        CHECK(id > 0 || id == -ENOMEM);
        queued += id > 0;
    }
    rc = cmsgr_center_add_file(c, 5000, CMSGR_READABLE, CMSGR_PHASE_IO, on_file, NULL);
    CHECK(rc == 0 || rc == -ENOMEM);
    CHECK_EQ(cmsgr_center_file_mask(c, 5000), rc ? CMSGR_NONE : CMSGR_READABLE);
    cmsgr_center_del_file(c, 5000, CMSGR_READABLE);
    cmsgr_center_free(c);
    CHECK_EQ(counted, queued);
}

int main(void)
{
    check_deadline(60);
    test_phases();
    test_descriptor_0();
    test_masks();
    test_adding_merges();
    test_bad_arguments();
    test_failing_poller();
    test_C7_removal_suppresses();
    test_removal_within_one_file();
    test_fd_reuse();
    test_fd_reuse_within_one_file();
    test_fired_order();
    test_growth_in_callback();
    test_C3_expansion();
    test_C6_timers();
    test_C6_inside_callbacks();
    test_C10_coalescing();
    test_C9_post_from_post();
    test_post_batch();
    test_post_order_while_growing();
    test_flood_does_not_starve();
    test_kicks();
    test_unkick();
    test_wakeup();
    test_owner();
    test_free_loses_nothing();
    fake = fake_new();
    check_each_failing_allocation(failing_allocations, NULL, &fake->driver);
    free(fake);
    return 0;
}
