/*
 * What every fuzz target shares. A target has LLVMFuzzerTestOneInput, which aborts where something does not hold, and
 * fuzz_make_input, which makes inputs that come far.
 *
 * With -DCMSGR_LIBFUZZER the fuzzer's own main is used. Else this one: it replays the files and directories given, or without
 * any runs CMSGR_FUZZ_INPUTS inputs of the target's own from a fixed seed; --write DIRECTORY puts some of these there, for the
 * fuzzer to begin with.
 */
#ifndef CMSGR_FUZZ_H
#define CMSGR_FUZZ_H

#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { FUZZ_MAX_INPUT = 64 * 1024 };

#define FUZZ_CHECK(condition)                                                                 \
    do {                                                                                      \
        if (!(condition)) {                                                                   \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);           \
            abort();                                                                          \
        }                                                                                     \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static inline uint32_t fuzz_random(uint64_t *state, uint32_t below)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((*state >> 33) % below);
}

/* Some bits of the input's bytes from `first` on are turned over, most of them near the beginning. */
static inline void fuzz_damage(uint64_t *state, uint8_t *input, size_t first, size_t len)
{
    for (uint32_t changes = fuzz_random(state, 4); changes && len > first; changes--) {
        uint32_t span = (uint32_t)(len - first);

        if (fuzz_random(state, 4) && span > 40)
            span = 40;
        input[first + fuzz_random(state, span)] ^= (uint8_t)(1u << fuzz_random(state, 8));
    }
}

#ifndef CMSGR_LIBFUZZER

enum { FUZZ_OWN_INPUTS = 5000, FUZZ_WRITTEN_INPUTS = 500 };

static size_t fuzz_make_input(uint64_t *state, uint8_t *out, size_t cap);

/* In memory of exactly its size, so that a sanitizer sees a read behind its end. */
static inline void fuzz_run(const uint8_t *input, size_t len)
{
    uint8_t *exact = malloc(len + !len);

    FUZZ_CHECK(exact);
    memcpy(exact, input, len);
    LLVMFuzzerTestOneInput(exact, len);
    free(exact);
}

static inline int fuzz_replay_file(const char *path)
{
    static uint8_t buffer[1 << 20];
    FILE *file = fopen(path, "rb");

    if (!file) {
        perror(path);
        return 0;
    }
    fprintf(stderr, "%s\n", path); /* the last one is the one that failed */
    fuzz_run(buffer, fread(buffer, 1, sizeof buffer, file));
    fclose(file);
    return 1;
}

/* How many inputs were replayed. */
static inline int fuzz_replay(const char *path)
{
    struct stat status;
    struct dirent *entry;
    char name[1024];
    int count = 0;
    DIR *dir;

    if (stat(path, &status) == 0 && !S_ISDIR(status.st_mode))
        return fuzz_replay_file(path);
    dir = opendir(path);
    if (!dir) {
        perror(path);
        return 0;
    }
    while ((entry = readdir(dir))) {
        if (entry->d_name[0] == '.')
            continue;
        snprintf(name, sizeof name, "%s/%s", path, entry->d_name);
        count += fuzz_replay_file(name);
    }
    closedir(dir);
    return count;
}

static inline void fuzz_write(const char *directory, int number, const uint8_t *input, size_t len)
{
    char name[1024];
    FILE *file;

    snprintf(name, sizeof name, "%s/own-%d", directory, number);
    file = fopen(name, "wb");
    FUZZ_CHECK(file && fwrite(input, 1, len, file) == len && fclose(file) == 0);
}

int main(int argc, char **argv)
{
    static uint8_t input[FUZZ_MAX_INPUT];
    const char *directory = argc == 3 && strcmp(argv[1], "--write") == 0 ? argv[2] : NULL;
    const char *asked = getenv("CMSGR_FUZZ_INPUTS");
    int num_inputs = asked ? atoi(asked) : FUZZ_OWN_INPUTS;
    uint64_t state = 20240229;

    for (int i = 0; directory && i < FUZZ_WRITTEN_INPUTS; i++)
        fuzz_write(directory, i, input, fuzz_make_input(&state, input, sizeof input));
    if (directory)
        return 0;
    for (int i = 1; i < argc; i++) {
        int count = fuzz_replay(argv[i]);

        if (!count)
            return 1;
        printf("%s: %d inputs\n", argv[i], count);
    }
    if (argc > 1)
        return 0;
    printf("seed %llu\n", (unsigned long long)state);
    for (int i = 0; i < num_inputs; i++) {
        size_t len = fuzz_make_input(&state, input, sizeof input);

        fuzz_run(input, len);
    }
    return 0;
}

#endif
#endif
