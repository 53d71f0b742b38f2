/*
 * sim: a world in memory for libcmsgr: clock, chance, allocator, hosts, links and stream sockets, behind the same driver that
 * the Linux one stands behind. Everything that happens follows from the seed and from the order of the calls.
 *
 *   Hosts     numbered from 1; host h has the one address 127.0.0.h. Sockets are made on the host entered last (sim_enter).
 *   Links     one for each pair of hosts, and one for each host to itself. Bytes take the link's latency and arrive in chunks.
 *   Clock     stands still until sim_advance, or until sim_step comes to a later event. Nobody waits: poller_wait with nothing to
 *             report returns at once, and the poller is idle until something happens to it (sim_poller_idle_until).
 *   Digest    every call of the driver that does something, with its result and the time, goes into one number: two runs with
 *             the same digest did the same.
 *
 * One thread. Out of memory of the world itself is an abort: it is a test's.
 */
#ifndef SIM_H
#define SIM_H

#include "cmsgr/cmsgr.h"

typedef struct sim_world sim_world;

enum { SIM_MAX_HOSTS = 16 };

/* How bytes travel between two hosts, in both directions. */
typedef struct sim_link {
    int64_t latency_ns, jitter_ns;
    int64_t bytes_per_s; /* 0: no limit */
    int64_t chunk_bytes; /* at most so many arrive at once; 0: all that is there */
    int64_t window_bytes; /* so many may be under way or unread, then sendmsg is -EAGAIN */
} sim_link;

enum sim_cut {
    SIM_CUT_FIN,         /* both ends see the end of the stream, behind what is under way */
    SIM_CUT_FIN_ONE,     /* one end sees it; the other direction goes on until that end closes */
    SIM_CUT_RESET,       /* both ends see ECONNRESET */
    SIM_CUT_RESET_ONE,   /* one end does; the other hears of it when it next sends */
    SIM_CUT_SILENT,      /* nothing arrives any more, in either direction */
    SIM_CUT_SILENT_ONE,  /* nothing arrives any more from that end */
    SIM_CUTS
};

enum sim_death {
    SIM_DEATH_FIN,    /* the kernel closes the sockets of a process that was killed */
    SIM_DEATH_RESET,  /* the same with unread bytes in them */
    SIM_DEATH_VANISH, /* peers hear of it when they next send: the machine started anew */
    SIM_DEATH_SILENT, /* peers never hear of it: the machine is gone */
    SIM_DEATHS
};

int sim_world_new(sim_world **out);
void sim_world_free(sim_world *world);
/* A new world, as if never used. Everything made from the former one must be gone: -EBUSY if a socket or poller is still open. */
int sim_world_reset(sim_world *world, uint64_t seed);

/* Valid as long as the world. */
const cmsgr_allocator *sim_allocator(const sim_world *world);
const cmsgr_driver *sim_driver(const sim_world *world);

/* ---- time and chance ---- */

int64_t sim_now_ns(const sim_world *world);
/* Forward only. Nothing happens by itself: events that are due wait for sim_step. */
void sim_advance(sim_world *world, int64_t now_ns);
void sim_set_wall_ns(sim_world *world, int64_t wall_ns);
uint64_t sim_random(sim_world *world);
uint64_t sim_digest(const sim_world *world);
/* Something of the caller's becomes part of the digest. */
void sim_note(sim_world *world, const void *data, size_t len);

/* ---- memory ---- */

/* The allocation that is so many away fails (1: the next one), and those after it until `count` have failed. 0: none. */
void sim_fail_allocations(sim_world *world, int64_t after, int64_t count);
int64_t sim_failed_allocations(const sim_world *world);
int64_t sim_live_blocks(const sim_world *world);

/* ---- the network ---- */

/* 0: nowhere; what is made there reaches nobody. */
void sim_enter(sim_world *world, int host);
void sim_set_link(sim_world *world, int a, int b, const sim_link *link);
/* While it is down nothing arrives, but it is sent again, as TCP does. */
void sim_set_down(sim_world *world, int a, int b, int down);
/* Nothing arrives before that time. */
void sim_stall(sim_world *world, int a, int b, int64_t until_ns);
/* How many streams there are, accepted or not, of which at least one end is open. */
int sim_streams(const sim_world *world);
/* The n-th of them. `side` (0 dialled, 1 accepted) counts for the kinds that say "one". */
void sim_cut_stream(sim_world *world, int nth, enum sim_cut kind, int side);
/* One thing that happens to what a stream carries. */
enum sim_alteration {
    SIM_ALTER_NOTHING,
    SIM_ALTER_BIT, /* bit `at` arrives flipped, bit 0 being the lowest of the first byte */
    SIM_ALTER_END, /* behind `at` bytes nothing comes but the end of the stream */
    SIM_ALTERATIONS
};
/* Taps the stream that is dialled next: what both sides send is kept, and what `side` (0 dialled, 1 accepted) sends is altered. */
void sim_tap(sim_world *world, enum sim_alteration kind, int side, int64_t at);
/* What that side has sent on the tapped stream, as it was before it was altered. Valid until more is sent. */
const uint8_t *sim_tapped(const sim_world *world, int side, size_t *len);
/* The sockets of this host lead nowhere from here on; peers see the kind of death. */
void sim_kill(sim_world *world, int host, enum sim_death kind);

/* When the next event of the network is due, INT64_MAX if there is none. */
int64_t sim_next_ns(const sim_world *world);
/* Runs that event, at its time or now if that is past. 0 if there is none. */
int sim_step(sim_world *world);
/* Events run, bytes that have arrived, sockets open. */
typedef struct sim_stats {
    uint64_t events, bytes, calls;
    int open_sockets, open_pollers;
} sim_stats;
void sim_get_stats(const sim_world *world, sim_stats *stats);

/* Pollers have numbers, in the order in which they are opened, from 0 on. An idle one has nothing to do before a certain time unless
 * something happens to it; one that is not idle should be stepped. */
int sim_pollers(const sim_world *world);
/* The n-th open one that is not idle, or whose time has come; -1 if there are no more than n. */
int sim_awake(const sim_world *world, int nth);
/* When the first of all open ones wants to be stepped: INT64_MAX if none ever does. */
int64_t sim_idle_until_ns(const sim_world *world);
/* Whoever may have left something for its owner says so. */
void sim_poller_rouse(sim_world *world, int poller);

#endif
