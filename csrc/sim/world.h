/* What the sources of the simulated world share. */
#ifndef SIM_WORLD_H
#define SIM_WORLD_H

#include <netinet/in.h>
#include <string.h>

#include "sim.h"

enum { NO_FD = -1, NO_STREAM = -1 };

/* What one end has sent and the other has not read: [read, arrived) is readable, [arrived, end) under way. */
typedef struct pipe_t {
    uint8_t *data;
    size_t cap, read, arrived, end;
    int fin_sent, fin_arrived;
    int lost;             /* for ever: nothing arrives any more */
    int scheduled;        /* an event of it is in the heap */
    int wants_room;       /* its sender was refused */
    int64_t stuck_ns;     /* since when nothing gets through; 0: it does */
    int retries;
} pipe_t;

enum end_state { END_NONE, END_CONNECTING, END_WAITING /* in a backlog */, END_OPEN, END_CLOSED };

typedef struct end_t {
    enum end_state state;
    int host, fd;
    struct sockaddr_in addr;
    int error;      /* -errno, told once */
    int was_reset;  /* after that nothing is sent or received */
    int is_shut;    /* by our own shutdown */
    int64_t user_timeout_ns;
} end_t;

/* pipe[i] carries what end[i] sends. */
typedef struct stream_t {
    int is_used, events; /* it stays as long as an event names it */
    end_t end[2]; /* 0 dialled, 1 accepted */
    pipe_t pipe[2];
} stream_t;

enum file_kind { FILE_FREE, FILE_PLAIN, FILE_LISTENER, FILE_STREAM, FILE_ORPHAN };

typedef struct poller_t poller_t;

typedef struct file_t {
    enum file_kind kind;
    int host;
    struct sockaddr_in local;
    int64_t user_timeout_ns;
    int stream, side;
    int *backlog, backlog_len, backlog_max; /* streams that wait to be accepted */
    poller_t *poller;
    uint64_t token;
    int mask, edges, is_listed;
} file_t;

struct poller_t {
    sim_world *world;
    int number;
    int *ready, ready_len, ready_cap; /* fds with edges */
};

typedef struct poller_state {
    int is_open, is_idle;
    int64_t idle_until_ns;
} poller_state;

enum event_kind { EVENT_DIAL, EVENT_CONNECTED, EVENT_REFUSED, EVENT_ARRIVE, EVENT_RESET };

typedef struct event_t {
    int64_t due_ns;
    uint64_t order;
    enum event_kind kind;
    int stream, side;
} event_t;

typedef struct pair_t {
    sim_link link;
    int is_down;
    int64_t stalled_until_ns;
} pair_t;

/* What a tapped stream carries: see sim_tap. */
typedef struct tap_t {
    int is_due; /* for the next stream */
    int stream;
    enum sim_alteration kind;
    int side;
    int64_t at;
    uint8_t *data[2]; /* what each side has sent */
    size_t len[2], cap[2];
} tap_t;

struct sim_world {
    cmsgr_allocator allocator;
    cmsgr_driver driver;
    int64_t now_ns, wall_offset_ns;
    uint64_t chance[4], digest;
    int64_t fail_after, fail_count, failed, live_blocks;
    int host;
    uint16_t next_port;
    pair_t pairs[SIM_MAX_HOSTS + 1][SIM_MAX_HOSTS + 1]; /* a <= b */
    file_t *files;
    int num_files;
    stream_t *streams;
    int num_streams;
    tap_t tap;
    event_t *heap;
    size_t heap_len, heap_cap;
    uint64_t next_order;
    poller_state *pollers;
    int num_pollers;
    sim_stats stats;
};

void *sim__grow(void *block, size_t size);
void sim__digest(sim_world *w, uint64_t value);
uint64_t sim__below(sim_world *w, uint64_t limit);

/* events.c */
void sim__schedule(sim_world *w, int64_t delay_ns, enum event_kind kind, int stream, int side);
int sim__take_event(sim_world *w, event_t *event);

/* network.c */
pair_t *sim__pair(sim_world *w, int a, int b);
pair_t *sim__pair_of(sim_world *w, const stream_t *s);
int sim__new_stream(sim_world *w);
void sim__send_pipe(sim_world *w, int stream, int side);
void sim__close_end(sim_world *w, int stream, int side);
size_t sim__room(sim_world *w, const stream_t *s, int side);
void sim__made_room(sim_world *w, int stream, int side);

/* tap.c */
void sim__tap_stream(sim_world *w, int stream);
void sim__tap_sent(sim_world *w, int stream, int side, size_t len);

/* sockets.c */
void sim__bind_driver(cmsgr_driver *driver);
int sim__find_listener(const sim_world *w, int host, uint16_t port);
int sim__level(sim_world *w, int fd);

/* poller.c */
void sim__edge(sim_world *w, int fd, int bits);
void sim__edge_end(sim_world *w, const end_t *end, int bits);
int sim__poller_open(void *ctx, void **poller);
void sim__poller_close(void *ctx, void *poller);
int sim__poller_set(void *ctx, void *poller, int fd, int old_mask, int new_mask, uint64_t token);
int sim__poller_wait(void *ctx, void *poller, cmsgr_ready *ready, int max, int64_t timeout_ns);
int sim__poller_wakeup(void *ctx, void *poller);
void sim__poller_forget(sim_world *w, int fd);

#endif
