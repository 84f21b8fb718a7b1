/*
 * The load of the CPU, as one number for all workers: written by the one
 * process that samples it (io/cpu.h), read by breakers and shedders.
 *
 * An exponential mean: each 250 ms keep 95 % of it. Value and time are one
 * word, so a reader never sees the value of another time. A value that nobody
 * has renewed for 2 s says nothing: whoever wanted it is counted, and goes on
 * as if the CPU were idle.
 *
 * Time is an argument (CLOCK_MONOTONIC, ns). Any thread of any process.
 */
#ifndef SKL_BREAKER_GAUGE_H
#define SKL_BREAKER_GAUGE_H

#include <stdatomic.h>
#include <stdint.h>

#define SKL_GAUGE_PERIOD_NS 250000000LL
#define SKL_GAUGE_STALE_NS 2000000000LL

typedef struct {
    _Alignas(64) _Atomic uint64_t word; /* ms << 20 | share; 0: never set */
    _Atomic uint64_t stale_reads;
    _Atomic uint64_t samples;
    uint64_t pad[5];
} skl_gauge_t;

/* A new sample: the share of the CPU (0 .. 1) that was used since the last. */
void skl_gauge_feed(skl_gauge_t *g, double share, int64_t now_ns);
/* The mean, or -1 when it is stale (which is counted). */
double skl_gauge_read(skl_gauge_t *g, int64_t now_ns);
/* The mean whatever its age, and its age; -1 and -1: never sampled. */
double skl_gauge_peek(const skl_gauge_t *g, int64_t now_ns, int64_t *age_ns);

#endif
