/* Torture of the EventCenter and of what is made by itself: what was accepted happens once, what was refused never. */
#include <sys/socket.h>

#include "torture_calls.h"

enum { NUM_TIMERS = 40, NUM_POSTS = 200, NUM_FILES = 3, TURNS = 400 };

static int timer_ran[NUM_TIMERS], post_ran[NUM_POSTS], last_post;
static int file_ran[NUM_FILES];

static void on_timer(void *arg) { ++*(int *)arg; }

static void on_post(void *arg)
{
    int number = (int)((int *)arg - post_ran);

    CHECK(number > last_post);
    last_post = number;
    ++*(int *)arg;
}

static void on_file(void *arg, int fd, int mask)
{
    char byte;

    CHECK_EQ(mask & CMSGR_READABLE, CMSGR_READABLE);
    *(int *)arg += read(fd, &byte, 1) == 1;
}

static cmsgr_center *make_center(cmsgr_env *env)
{
    cmsgr_center *center = NULL;

    for (int tries = 0; cmsgr_center_new(&center, env, 0) < 0; tries++) {
        CHECK(!center);
        CHECK(tries < 100);
    }
    return center;
}

/* One that a full table refuses is offered again: the second time there is room. */
static int64_t add_timer(cmsgr_center *center, int number)
{
    int64_t id;
    int tries = 0;

    while ((id = cmsgr_center_add_timer(center, number % 2 ? 0 : INT64_C(3600000000000), on_timer, on_timer, &timer_ran[number])) < 0) {
        CHECK_EQ(id, -ENOMEM);
        CHECK(++tries < 100);
    }
    return id;
}

static void run_center(cmsgr_env *env)
{
    cmsgr_center *center;
    int pair[NUM_FILES][2], added[NUM_FILES];
    int64_t id[NUM_TIMERS];

    memset(timer_ran, 0, sizeof timer_ran);
    memset(post_ran, 0, sizeof post_ran);
    memset(file_ran, 0, sizeof file_ran);
    last_post = -1;
    center = make_center(env);
    for (int i = 0; i < NUM_FILES; i++) {
        CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair[i]), 0);
        if (i == 2) { /* beyond the table as it was made */
            CHECK_EQ(dup2(pair[i][0], TORTURE_MAX_FD - 1), TORTURE_MAX_FD - 1);
            __real_close(pair[i][0]);
            pair[i][0] = TORTURE_MAX_FD - 1;
        }
        added[i] = cmsgr_center_add_file(center, pair[i][0], CMSGR_READABLE, i % 2, on_file, &file_ran[i]) == 0;
        CHECK_EQ(cmsgr_center_file_mask(center, pair[i][0]), added[i] ? CMSGR_READABLE : 0);
        CHECK_EQ(__real_write(pair[i][1], "x", 1), 1);
    }
    for (int i = 0; i < NUM_TIMERS; i++)
        id[i] = add_timer(center, i);
    for (int i = 0, tries = 0; i < NUM_POSTS; tries++) {
        int result = cmsgr_center_post(center, on_post, &post_ran[i]);

        CHECK(result == 1 || result == -ENOMEM);
        CHECK(tries < 100 * NUM_POSTS);
        i += result == 1;
    }
    for (int i = 0; i < TURNS && !post_ran[NUM_POSTS - 1]; i++) {
        CHECK(cmsgr_center_wait(center, 1000000) >= 0);
        cmsgr_center_dispatch(center);
    }
    CHECK_EQ(cmsgr_center_del_timer(center, id[0]), 1);
    CHECK_EQ(cmsgr_center_del_timer(center, id[0]), 0);
    for (int i = 0; i < NUM_FILES; i++) {
        CHECK_EQ(file_ran[i], added[i]);
        cmsgr_center_del_file(center, pair[i][0], CMSGR_READABLE); /* forgotten even if the poller fails */
        CHECK_EQ(cmsgr_center_file_mask(center, pair[i][0]), 0);
        __real_close(pair[i][0]);
        __real_close(pair[i][1]);
    }
    cmsgr_center_free(center);
    for (int i = 0; i < NUM_TIMERS; i++)
        CHECK_EQ(timer_ran[i], 1); /* or dropped, by the same function */
    for (int i = 0; i < NUM_POSTS; i++)
        CHECK_EQ(post_ran[i], 1);
}

/* The driver by itself: interrupted calls go on, parts are put together, and a wakeup is never lost to a signal. */
static void run_driver(cmsgr_env *env)
{
    const cmsgr_driver *driver = cmsgr_env_driver(env);
    uint8_t chance[64] = {0};
    cmsgr_ready ready[4];
    void *poller;
    int result, sum = 0;

    for (int tries = 0; (result = driver->random(driver->ctx, chance, sizeof chance)) < 0; tries++) {
        CHECK_EQ(result, -ENOSYS);
        CHECK(tries < 100);
    }
    for (size_t i = 0; i < sizeof chance; i++)
        sum += chance[i] != 0;
    CHECK(sum > 32); /* all of it was filled */
    for (int tries = 0; driver->poller_open(driver->ctx, &poller) < 0; tries++)
        CHECK(tries < 100);
    CHECK_EQ(driver->poller_wakeup(driver->ctx, poller), 0);
    CHECK_EQ(driver->poller_wait(driver->ctx, poller, ready, 4, 1000000), 0);
    CHECK_EQ(driver->poller_wait(driver->ctx, poller, ready, 4, 1000), 0);
    driver->poller_close(driver->ctx, poller);
}

static int made(int result)
{
    CHECK(result == 0 || result == -ENOMEM);
    return result == 0;
}

static void run_objects(cmsgr_env *env)
{
    static const uint8_t key[16], nonce[12];
    cmsgr_throttle *throttle;
    cmsgr_cipher *cipher;
    cmsgr_parser *parser;
    cmsgr_worker *worker;
    cmsgr_session *session;
    cmsgr_entry *entry;

    if (made(cmsgr_throttle_new(&throttle, env, 10)))
        cmsgr_throttle_unref(throttle);
    if (made(cmsgr_cipher_new(&cipher, env, 1, 1, key, nonce)))
        cmsgr_cipher_free(cipher);
    if (made(cmsgr_parser_new(&parser, env, 1, NULL)))
        cmsgr_parser_free(parser);
    if ((entry = cmsgr_entry_new(env)))
        cmsgr_entry_free(env, entry);
    if (!made(cmsgr_worker_new(&worker, env)))
        return;
    if (made(cmsgr_session_new(&session, worker, 0, NULL)))
        cmsgr_session_unref(session);
    cmsgr_worker_free(worker);
}

int main(void)
{
    uint64_t seed = check_seed();

    check_deadline(3600);
    torture_all("center", run_center, &seed);
    torture_each("driver", run_driver, 0, &seed);
    torture_each("objects", run_objects, 1, &seed);
    return 0;
}
