/* Command line of the floor: one process per role; `pair` starts the server itself and reports both sides. */
#define _GNU_SOURCE
#include "floor.h"

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static const char usage[] =
    "usage: floor [pair|server|client] [options]\n"
    "\n"
    "  pair (default)         server and client in two processes, one JSON object for both\n"
    "  server                 listens, serves one connection, prints its own cost\n"
    "  client                 needs --port\n"
    "\n"
    "  --echo BYTES           request and reply of BYTES\n"
    "  --perf BYTES           the perf pair's shape: request of 310 + BYTES, reply of 192 (default: --perf 4096)\n"
    "  --request-bytes N, --reply-bytes N\n"
    "  --crc                  the last 4 bytes of each message are the crc32c of the others, made and checked\n"
    "  --gcm                  each message is encrypted, the last 16 bytes are its tag (AES-128-GCM)\n"
    "  --in-flight N          requests outstanding at any time (32)\n"
    "  --seconds S            (5)\n"
    "  --poll-us N            look for events so long before sleeping (0)\n"
    "  --offset BYTES         of all buffers from a page boundary, below 4096 (0; malloc gives large buffers 16)\n"
    "  --port P               (chosen by the kernel)\n";

static _Noreturn void usage_error(const char *what, const char *value) {
    fprintf(stderr, "floor: %s: %s (--help tells more)\n", what, value);
    exit(2);
}

static uint64_t number(const char *text, uint64_t lowest, uint64_t highest) {
    char *end;
    unsigned long long value = strtoull(text, &end, 10);
    if (end == text || *end || *text == '-' || value < lowest || value > highest)
        usage_error("not a number in range", text);
    return value;
}

static double positive_seconds(const char *text) {
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end || !(value > 0 && value <= 3600))
        usage_error("not a time in seconds", text);
    return value;
}

static void parse(int argc, char **argv, struct floor_options *options) {
    enum { ECHO = 1, PERF, REQUEST, REPLY, IN_FLIGHT, SECONDS, POLL, OFFSET, PORT, CRC, GCM, HELP };
    static const struct option names[] = {
        {"echo", 1, 0, ECHO},           {"perf", 1, 0, PERF},       {"request-bytes", 1, 0, REQUEST},
        {"reply-bytes", 1, 0, REPLY},   {"seconds", 1, 0, SECONDS}, {"in-flight", 1, 0, IN_FLIGHT},
        {"poll-us", 1, 0, POLL},        {"port", 1, 0, PORT},       {"help", 0, 0, HELP},
        {"offset", 1, 0, OFFSET},       {"crc", 0, 0, CRC},         {"gcm", 0, 0, GCM},
        {0, 0, 0, 0},
    };
    const uint64_t size_limit = 64u << 20;
    int option;
    while ((option = getopt_long(argc, argv, "", names, NULL)) != -1)
        switch (option) {
        case ECHO: options->request_bytes = options->reply_bytes = number(optarg, 8, size_limit); break;
        case PERF: options->request_bytes = 310 + number(optarg, 0, size_limit), options->reply_bytes = 192; break;
        case REQUEST: options->request_bytes = number(optarg, 8, size_limit); break;
        case REPLY: options->reply_bytes = number(optarg, 8, size_limit); break;
        case IN_FLIGHT: options->in_flight = (uint32_t)number(optarg, 1, 65536); break;
        case SECONDS: options->seconds = positive_seconds(optarg); break;
        case POLL: options->poll_ns = number(optarg, 0, 1000000) * 1000u; break;
        case OFFSET: options->offset_bytes = number(optarg, 0, 4095); break;
        case CRC: options->protection = FLOOR_CRC; break;
        case GCM: options->protection = FLOOR_GCM; break;
        case PORT: options->port = (uint16_t)number(optarg, 1, 65535); break;
        case HELP: fputs(usage, stdout); exit(0);
        default: exit(2);
        }
    if (optind < argc)
        usage_error("unexpected argument", argv[optind]);
    size_t least = 8 + floor_guard_bytes(options->protection);
    if (options->request_bytes < least || options->reply_bytes < least)
        usage_error("too small for its protection", "a message");
}

static double cpu_us_per_op(struct floor_cost cost) {
    return cost.ops ? (double)cost.cpu_ns / (double)cost.ops / 1000.0 : 0.0;
}

/* Keys as perf-msgr-client has them; `server` is NULL where another process knows. */
static void print_result(const struct floor_options *options, const struct floor_result *result,
                         const struct floor_cost *server) {
    const struct floor_latency *latency = &result->latency;
    double ops_per_s = (double)result->cost.ops / result->seconds;
    printf("{\"ops\": %llu, \"seconds\": %.3f, \"ops_per_s\": %.0f, \"mb_per_s\": %.1f, ",
           (unsigned long long)result->cost.ops, result->seconds, ops_per_s,
           ops_per_s * (double)options->request_bytes / 1e6);
    printf("\"latency_us\": {\"mean\": %.1f, \"p50\": %.1f, \"p90\": %.1f, \"p99\": %.1f, \"p999\": %.1f, \"max\": %.1f}, ",
           latency->mean_us, latency->p50_us, latency->p90_us, latency->p99_us, latency->p999_us, latency->max_us);
    printf("\"cpu_us_per_op\": {\"client\": %.3f", cpu_us_per_op(result->cost));
    if (server)
        printf(", \"server\": %.3f", cpu_us_per_op(*server));
    printf("}, \"request_bytes\": %zu, \"reply_bytes\": %zu, \"in_flight\": %u, \"poll_us\": %llu, \"offset\": %zu}\n",
           options->request_bytes, options->reply_bytes, options->in_flight,
           (unsigned long long)options->poll_ns / 1000u, options->offset_bytes);
}

static void run_pair(struct floor_options *options) {
    int listener = floor_listen(&options->port), answer[2];
    if (pipe(answer) < 0)
        floor_die("pipe");
    pid_t child = fork();
    if (child < 0)
        floor_die("fork");
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGTERM); /* a client that is killed takes its server along */
        struct floor_cost cost = floor_serve(listener, options);
        _exit(write(answer[1], &cost, sizeof cost) == (ssize_t)sizeof cost ? 0 : 1);
    }
    close(listener);
    close(answer[1]);
    struct floor_result result = floor_drive(options);
    struct floor_cost server;
    if (read(answer[0], &server, sizeof server) != (ssize_t)sizeof server || waitpid(child, NULL, 0) < 0)
        floor_die("the server's answer");
    if (server.ops != result.cost.ops) {
        fprintf(stderr, "floor: the server answered %llu requests, the client counted %llu\n",
                (unsigned long long)server.ops, (unsigned long long)result.cost.ops);
        exit(1);
    }
    print_result(options, &result, &server);
}

static void run_server(struct floor_options *options) {
    int listener = floor_listen(&options->port);
    fprintf(stderr, "floor: listening on 127.0.0.1:%u\n", options->port);
    struct floor_cost cost = floor_serve(listener, options);
    printf("{\"ops\": %llu, \"cpu_us_per_op\": {\"server\": %.3f}}\n", (unsigned long long)cost.ops, cpu_us_per_op(cost));
}

static void run_client(struct floor_options *options) {
    if (!options->port)
        usage_error("missing option", "--port");
    struct floor_result result = floor_drive(options);
    print_result(options, &result, NULL);
}

int main(int argc, char **argv) {
    struct floor_options options = {
        .request_bytes = 310 + 4096, .reply_bytes = 192, .in_flight = 32, .seconds = 5.0};
    const char *role = "pair";
    if (argc > 1 && argv[1][0] != '-') {
        role = argv[1];
        argv++, argc--;
    }
    parse(argc, argv, &options);
    if (!strcmp(role, "pair"))
        run_pair(&options);
    else if (!strcmp(role, "server"))
        run_server(&options);
    else if (!strcmp(role, "client"))
        run_client(&options);
    else
        usage_error("unknown role", role);
    return 0;
}
