/* All calls that any thread may make, from eight threads at random, on one session that moves between two workers meanwhile: each
 * message arrives once, those of one thread and priority in their order. Contract H5. */
#include <pthread.h>
#include <sched.h>

#include "pair.h"

enum { THREADS = 8, MOVES = 16, PRIORITIES = 3, MAX_QUEUED_BYTES = 64 << 10 };
static const int64_t NEVER_NS = -1;
static const uint16_t priorities[PRIORITIES] = {63, 127, 196};

static cmsgr_env *env;
static cmsgr_throttle *throttle;
static cmsgr_stream_config config;

/* Worker 0 receives; the sending session is now here, now there. */
typedef struct place {
    cmsgr_worker *worker;
    pthread_t thread;
    int stop; /* the owner's */
} place;
static place places[2];

static cmsgr_session *sender, *receiver; /* the receiver stays on worker 0 */
static cmsgr_stream *sending, *receiving; /* each its owner's */
static int fd[2];
static int home; /* the sender's place: between moves everybody's, in a move the owner's */
static uint64_t next_tid[THREADS][PRIORITIES]; /* worker 0's */
static uint64_t sent[THREADS][PRIORITIES];     /* each thread's own */
static atomic_uint_fast64_t received;
static atomic_int is_over, ready;

/* ---- the owners ---- */

static void take_message(const cmsgr_msg *msg)
{
    uint64_t thread = msg->header.tid >> 40, priority = msg->header.tid >> 32 & 0xFF;

    CHECK_EQ(msg->header.tid & 0xFFFFFFFF, next_tid[thread][priority]);
    next_tid[thread][priority]++;
    cmsgr_msg_dispatched(msg);
    cmsgr_msg_unref(msg);
    atomic_fetch_add(&received, 1);
}

static void take_frame(cmsgr_stream *stream)
{
    CHECK_EQ(cmsgr_stream_start(stream, stream == receiving ? receiver : sender, 1), 0);
    cmsgr_stream_continue(stream);
    atomic_fetch_add(&ready, 1);
}

static void *run(void *arg)
{
    place *here = arg;
    cmsgr_entry *next, *entry;
    cmsgr_item *item;

    cmsgr_center_set_owner(cmsgr_worker_center(here->worker), (uint64_t)(here - places) + 1);
    while (!here->stop) {
        CHECK(cmsgr_worker_turn(here->worker, NEVER_NS) >= 0);
        for (entry = cmsgr_worker_take_garbage(here->worker); entry; entry = next) {
            next = entry->next;
            cmsgr_entry_free(env, entry);
        }
        while ((item = cmsgr_worker_take_item(here->worker))) {
            if (item->kind == CMSGR_ITEM_MESSAGE)
                take_message(item->msg);
            else if (item->kind == CMSGR_ITEM_FRAME)
                take_frame(item->stream);
            else /* the other end was closed, or room was made */
                CHECK(item->kind == CMSGR_ITEM_FAULT || item->kind == CMSGR_ITEM_DRAINED);
        }
        cmsgr_center_dispatch(cmsgr_worker_center(here->worker));
    }
    return NULL;
}

/* What is posted runs on the owner; the one who posts waits for it. */
static atomic_int done;
static void post(int at, cmsgr_fn fn, void *arg)
{
    atomic_store(&done, 0);
    CHECK(cmsgr_center_post(cmsgr_worker_center(places[at].worker), fn, arg) >= 0);
    while (!atomic_load(&done))
        sched_yield();
}

static void stop(void *arg)
{
    ((place *)arg)->stop = 1;
    atomic_store(&done, 1);
}

static void close_receiving(void *arg)
{
    (void)arg;
    if (receiving)
        cmsgr_stream_close(receiving);
    receiving = NULL;
    cmsgr_session_requeue(receiver);
    atomic_store(&done, 1);
}

/* The old place's: as a take-over does it. */
static void leave(void *arg)
{
    cmsgr_session_info info;

    if (sending)
        cmsgr_stream_close(sending);
    sending = NULL;
    cmsgr_session_get_info(receiver, &info);
    cmsgr_session_drop_acked(sender, info.in_seq);
    cmsgr_session_requeue(sender);
    CHECK_EQ(cmsgr_session_move(sender, places[1 - home].worker), 0);
    home = 1 - home;
    (void)arg;
    atomic_store(&done, 1);
}

static void open_stream(void *arg)
{
    int side = arg == receiver;
    cmsgr_stream **stream = side ? &receiving : &sending;

    CHECK_EQ(cmsgr_stream_new(stream, places[side ? 0 : home].worker, fd[side], 0, &config, NULL), 0);
    CHECK_EQ(cmsgr_stream_send_bytes(*stream, pair_banner, sizeof pair_banner), 0);
    atomic_store(&done, 1);
}

static void close_session(void *arg)
{
    cmsgr_session_close(arg);
    atomic_store(&done, 1);
}

static void connect_sides(void)
{
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd), 0);
    atomic_store(&ready, 0);
    post(0, open_stream, receiver);
    post(home, open_stream, sender);
    while (atomic_load(&ready) < 2)
        sched_yield();
}

/* ---- eight threads ---- */

static void nothing(void *arg) { (void)arg; }

static void send_one(uint64_t thread, uint64_t *chance)
{
    static const uint8_t bytes[4000];
    uint64_t priority = check_random(chance) % PRIORITIES;
    cmsgr_entry *entry = cmsgr_entry_new(env);

    CHECK(entry);
    entry->header = (cmsgr_header){.tid = thread << 40 | priority << 32 | sent[thread][priority], .type = 2,
                                   .priority = priorities[priority], .version = 1, .compat_version = 1, .flags = 3};
    entry->segment[2] = (cmsgr_span){bytes, check_random(chance) % sizeof bytes};
    entry->features = CMSGR_FEATURES_ANY;
    if (cmsgr_session_send(sender, entry, 0) == 0)
        sent[thread][priority]++;
    else
        cmsgr_entry_free(env, entry); /* the queue is full, or closed at the end */
}

static void *call(void *arg)
{
    uint64_t thread = (uint64_t)(uintptr_t)arg, chance = thread * 7919 + 1, counts[8];
    cmsgr_center *center = cmsgr_worker_center(places[thread % 2].worker);
    cmsgr_throttle_stats throttle_stats;
    cmsgr_worker_stats worker_stats;
    cmsgr_center_stats center_stats;
    cmsgr_session_info info;
    uint16_t found[8];

    while (!atomic_load(&is_over)) {
        switch (check_random(&chance) % 16) {
        case 0: CHECK_EQ(cmsgr_session_send_keepalive(sender, 0), 0); break;
        case 1: cmsgr_session_get_info(sender, &info); break;
        case 2: CHECK(cmsgr_session_priorities(sender, found, counts, 8) <= PRIORITIES); break;
        case 3: cmsgr_session_notify_drained(sender, MAX_QUEUED_BYTES / 2, 0); break;
        case 4: cmsgr_session_features(sender); break;
        case 5: cmsgr_session_ref(receiver); cmsgr_session_get_info(receiver, &info); cmsgr_session_unref(receiver); break;
        case 6: CHECK(cmsgr_center_post(center, nothing, &chance) >= 0); break;
        case 7: cmsgr_center_wakeup(center); break;
        case 8: CHECK(cmsgr_center_owner(center) <= 2); break;
        case 9: cmsgr_worker_get_stats(places[thread % 2].worker, &worker_stats); break;
        case 10: cmsgr_center_get_stats(center, &center_stats); break;
        case 11:
            if (cmsgr_throttle_get_or_fail(throttle, 10))
                cmsgr_throttle_put(throttle, 10);
            break;
        case 12: cmsgr_throttle_take(throttle, 5); cmsgr_throttle_put(throttle, 5); break;
        case 13: cmsgr_throttle_get_stats(throttle, &throttle_stats); break;
        case 14: cmsgr_throttle_set_max(throttle, 4000 + (int64_t)(check_random(&chance) % 60000)); break;
        default: send_one(thread, &chance);
        }
    }
    return NULL;
}

static uint64_t total_sent(void)
{
    uint64_t total = 0;

    for (int i = 0; i < THREADS; i++)
        for (int j = 0; j < PRIORITIES; j++)
            total += sent[i][j];
    return total;
}

static void test_H5_all_calls(void)
{
    pthread_t threads[THREADS];
    cmsgr_throttle_stats stats;

    CHECK_EQ(cmsgr_throttle_new(&throttle, env, 16000), 0);
    cmsgr_limits_default(&config.limits);
    config.dispatch_bytes = throttle;
    for (int i = 0; i < 2; i++)
        CHECK_EQ(cmsgr_worker_new(&places[i].worker, env), 0);
    CHECK_EQ(cmsgr_session_new(&sender, places[0].worker, MAX_QUEUED_BYTES, NULL), 0);
    CHECK_EQ(cmsgr_session_new(&receiver, places[0].worker, 0, NULL), 0);
    for (int i = 0; i < 2; i++)
        CHECK_EQ(pthread_create(&places[i].thread, NULL, run, &places[i]), 0);
    connect_sides();
    for (uintptr_t i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, call, (void *)i), 0);
    for (int i = 0; i < MOVES; i++) {
        uint64_t before = atomic_load(&received);

        while (atomic_load(&received) < before + 50)
            sched_yield();
        post(0, close_receiving, NULL);
        post(home, leave, NULL);
        connect_sides();
    }
    atomic_store(&is_over, 1);
    for (int i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    while (atomic_load(&received) < total_sent())
        sched_yield();
    CHECK_EQ(atomic_load(&received), total_sent());
    fprintf(stderr, "%d messages, %d moves\n", (int)total_sent(), MOVES);

    post(0, close_receiving, NULL);
    post(home, leave, NULL); /* closes the stream */
    post(home, close_session, sender);
    post(0, close_session, receiver);
    for (int i = 0; i < 2; i++) {
        post(i, stop, &places[i]);
        CHECK_EQ(pthread_join(places[i].thread, NULL), 0);
    }
    cmsgr_session_unref(sender);
    cmsgr_session_unref(receiver);
    for (int i = 0; i < 2; i++) {
        cmsgr_entry *next, *entry = cmsgr_worker_take_garbage(places[i].worker);

        for (; entry; entry = next) {
            next = entry->next;
            cmsgr_entry_free(env, entry);
        }
        cmsgr_worker_free(places[i].worker);
    }
    cmsgr_throttle_get_stats(throttle, &stats);
    CHECK_EQ(stats.current, 0);
    cmsgr_throttle_unref(throttle);
}

int main(void)
{
    check_deadline(120);
    CHECK_EQ(cmsgr_env_new(&env, NULL, NULL), 0);
    test_H5_all_calls();
    cmsgr_env_free(env);
    return 0;
}
