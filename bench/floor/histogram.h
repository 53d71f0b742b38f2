/* Latencies in buckets that widen with the value: 128 per power of two, so a percentile is off by less than 1 %. */
#ifndef FLOOR_HISTOGRAM_H
#define FLOOR_HISTOGRAM_H

#include "floor.h"

#define HISTOGRAM_BITS 7
#define HISTOGRAM_BUCKETS ((64 - HISTOGRAM_BITS + 1) << HISTOGRAM_BITS)

struct histogram {
    uint64_t counts[HISTOGRAM_BUCKETS];
    uint64_t total, sum_ns, max_ns;
};

static inline size_t histogram_bucket(uint64_t ns) {
    if (ns >> HISTOGRAM_BITS == 0)
        return (size_t)ns;
    int shift = 63 - __builtin_clzll(ns) - HISTOGRAM_BITS;
    return ((size_t)(shift + 1) << HISTOGRAM_BITS) + (size_t)((ns >> shift) - (1u << HISTOGRAM_BITS));
}

static inline void histogram_add(struct histogram *histogram, uint64_t ns) {
    histogram->counts[histogram_bucket(ns)]++;
    histogram->total++;
    histogram->sum_ns += ns;
    if (ns > histogram->max_ns)
        histogram->max_ns = ns;
}

/* The lower edge of the bucket that holds the value below which `fraction` of all values lie. */
static inline double histogram_us(const struct histogram *histogram, double fraction) {
    uint64_t wanted = (uint64_t)(fraction * (double)histogram->total), seen = 0;
    size_t i = 0;
    while (i < HISTOGRAM_BUCKETS - 1 && (seen += histogram->counts[i]) <= wanted)
        i++;
    size_t major = i >> HISTOGRAM_BITS, minor = i & ((1u << HISTOGRAM_BITS) - 1);
    uint64_t ns = major == 0 ? minor : (uint64_t)((1u << HISTOGRAM_BITS) + minor) << (major - 1);
    return (double)ns / 1000.0;
}

#endif
