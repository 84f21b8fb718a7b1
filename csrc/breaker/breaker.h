/*
 * Circuit breakers over all processes of a segment.
 *
 * States. CLOSED admits and watches; OPEN refuses; HALF_OPEN admits a few
 * probes. FORCED_OPEN, FORCED_CLOSED and DISABLED are set by hand and left by
 * hand. Each change of state begins a new generation, and every permit says of
 * which generation it is: what ends after its generation has ended is counted
 * in the statistics, and decides nothing.
 *
 *   CLOSED     A sliding window of ten buckets {calls, errors, slow calls},
 *              filled by what is reported, never by what is refused. It trips
 *              when calls >= min_calls and (errors / calls >= error_ratio, or
 *              slow / calls >= slow_ratio, or the CPU is at cpu), or after
 *              `consecutive` failures in a row.
 *   OPEN       lasts open * 2^i +- 10 %, i = 0 .. 5. The first call after that
 *              begins HALF_OPEN.
 *   HALF_OPEN  `probes` permits, each with a lease. All good: CLOSED. One that
 *              fails, is slow (where slow_ratio is set) or is not reported
 *              within its lease: OPEN again, with i + 1. A probe that was
 *              given back (cancel) can be had again.
 *   CLOSED after HALF_OPEN: for `ramp` seconds 10 % .. 100 % of the calls are
 *              admitted. Closed for window + ramp: i begins at 0 again.
 *
 * In memory: the state is one pair {kind, generation, i; time}, a probe one
 * pair {generation, serial, status; end of the lease}, a bucket one pair
 * {stamp; counts}. Every step is one compare-and-swap of one of them, so that
 * a process may be killed anywhere: it loses at most its own report. What
 * follows from the probes is computed by whoever comes next.
 *
 * A permit is a number below 2^53: kind, generation, number and serial of the
 * probe, number of the breaker.
 *
 * Time is an argument (CLOCK_MONOTONIC, ns). Any thread of any process. No
 * allocation but in skl_breakers_open(), no lock but there and in set.
 */
#ifndef SKL_BREAKER_BREAKER_H
#define SKL_BREAKER_BREAKER_H

#include "breaker/gauge.h"
#include "breaker/pair.h"
#include "seckill.h"
#include "shm/counters.h"
#include "shm/lock.h"

#include <stdatomic.h>
#include <stdint.h>

enum {
    SKL_BREAKER_BUCKETS = 10,
    SKL_BREAKER_PROBES = 16,
    SKL_BREAKERS_MAX = 1024,
    SKL_BREAKER_DOUBLINGS = 5
};

/* What is counted, striped over the processes. */
enum {
    SKL_BREAKER_ALLOWED,
    SKL_BREAKER_REJECTED,
    SKL_BREAKER_SHADOWED,
    SKL_BREAKER_SUCCEEDED,
    SKL_BREAKER_FAILED,
    SKL_BREAKER_SLOW,
    SKL_BREAKER_STALE,
    SKL_BREAKER_CANCELLED,
    SKL_BREAKER_COUNTS
};

/* What rarely happens. */
enum {
    SKL_BREAKER_OPENED,
    SKL_BREAKER_PROBED, /* entered HALF_OPEN */
    SKL_BREAKER_CLOSED,
    SKL_BREAKER_EXPIRED, /* probes that were not reported in time */
    SKL_BREAKER_EVENTS
};

typedef struct {
    _Alignas(64) _Atomic uint64_t count[SKL_BREAKER_COUNTS];
} skl_breaker_stripe_t;

typedef struct {
    /* Written once, before the record is counted. */
    _Alignas(64) char name[SECKILL_NAME_MAX + 1];
    uint8_t pad[7];
    uint64_t seed; /* of the jitter */
    skl_numbers_t numbers;
    _Alignas(64) skl_pair_t state;
    _Atomic uint64_t streak; /* generation << 32 | failures in a row */
    _Atomic uint64_t turn;   /* calls during ramps */
    _Atomic uint64_t event[SKL_BREAKER_EVENTS];
    _Alignas(64) skl_pair_t bucket[SKL_BREAKER_BUCKETS];
    _Alignas(64) skl_pair_t probe[SKL_BREAKER_PROBES];
    skl_breaker_stripe_t stripe[SKL_STRIPES];
} skl_breaker_record_t;

/* The section. */
typedef struct {
    skl_gauge_t gauge;
    skl_lock_t lock; /* of creation and of changes of numbers */
    uint32_t capacity;
    _Atomic uint32_t count;
} skl_breakers_shm_t;

typedef struct skl_breaker skl_breaker_t;

/* The handle of one process. */
typedef struct {
    skl_breakers_shm_t *shm;
    skl_breaker_record_t *records;
    skl_counters_t *counters;
    skl_breaker_t *_Atomic handles; /* one per record, made by the first open */
} skl_breakers_t;

struct skl_breaker {
    skl_breakers_t *breakers;
    skl_breaker_record_t *record;
    uint32_t index;
    uint32_t pad;
};

uint64_t skl_breakers_bytes(uint32_t breakers);
uint64_t skl_breakers_signature(void);
/* Fill a new section (zeroed memory). */
void skl_breakers_init(void *section, uint32_t breakers);
void skl_breakers_attach(skl_breakers_t *l, void *section,
                         skl_counters_t *counters);
/* Free what this process allocated; its breakers are gone then. */
void skl_breakers_detach(skl_breakers_t *l);
/* Breakers that exist; they are never removed. */
uint32_t skl_breakers_count(const skl_breakers_t *l);
/* The i-th; NULL past the end, or without memory. */
skl_breaker_t *skl_breakers_at(skl_breakers_t *l, uint32_t i);

/* Create or attach; see seckill_breaker_open(). `options` may be NULL. */
int skl_breakers_open(skl_breakers_t *l, const char *name,
                      const seckill_breaker_options_t *options, int64_t now_ns,
                      skl_breaker_t **out);
int skl_breaker_set(skl_breaker_t *b, const seckill_breaker_options_t *options);
void skl_breaker_get(skl_breaker_t *b, seckill_breaker_options_t *out);

/* OK and a permit, or EOPEN and when to come again. */
int skl_breaker_allow(skl_breaker_t *b, int64_t now_ns, uint64_t *permit,
                      int64_t *retry_ns);
/* The end of a call. 1: it counted; 0: of another generation, or ended before;
 * EBADVALUE: not a permit of this breaker. */
int skl_breaker_report(skl_breaker_t *b, uint64_t permit, int ok,
                       int64_t latency_ns, int64_t now_ns);
/* The call did not happen: as above. */
int skl_breaker_cancel(skl_breaker_t *b, uint64_t permit, int64_t now_ns);
/* SECKILL_BREAKER_*. Probes whose lease is over are seen to. */
int skl_breaker_state(skl_breaker_t *b, int64_t now_ns);
/* SECKILL_BREAKER_FORCED_OPEN, _FORCED_CLOSED, _DISABLED, or 0: automatic. */
int skl_breaker_force(skl_breaker_t *b, int kind, int64_t now_ns);
void skl_breaker_stats(skl_breaker_t *b, int64_t now_ns,
                       seckill_breaker_stats_t *out);

#endif
