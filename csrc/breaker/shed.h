/*
 * Load shedding over all processes of a segment, after BBR as kratos/aegis
 * have it.
 *
 * How many requests are in flight, q, is the sum of a counter in each process:
 * what a dead process had in flight goes with its row. What the host can do is
 * seen in a sliding window of 50 buckets: with P requests done in the best
 * bucket of length b, and R the least mean time of a request over the buckets,
 * M = P * R / b requests in flight keep it busy (Little's law). R is counted
 * in units of 64 ns: with whole milliseconds a service of 100 us gets a limit
 * that is ten times too high.
 *
 * Shed if q > max(1, M + 3 sqrt(M)), while the CPU is at cpu_high; or at
 * cpu_low, and the last drop is less than `cool` ago. Every drop counts as the
 * last. Requests that failed or timed out are neither in P nor in R: if all of
 * them do, M goes to 0 within the window.
 *
 * The root is ours. Requests come as they like: where M are in the system on
 * average, sqrt(M) is the standard deviation, and without room for it 8 servers
 * at load 1 refuse 24 % (Erlang's loss formula); see Halfin, Whitt: "Heavy-
 * traffic limits for queues with many exponential servers", 1981. With it 8 %,
 * and who waits, waits for less than one mean time.
 *
 * Priorities 0 .. 3. A priority below 3 may use its own share of M whatever
 * the others do, and beyond it what the shares of the higher ones leave: the
 * lowest are shed first. Priority 3 is shed by max_inflight alone, the hard
 * limit of all.
 *
 * A request is counted as in flight first, then judged, and taken back when it
 * is refused: two that come at once see each other, so that q never exceeds
 * the limit.
 *
 * A permit is a number below 2^53: shedder, priority, row, and the time of
 * admission in us, so that the latency need not be measured by the caller.
 *
 * Time is an argument (CLOCK_MONOTONIC, ns). Any thread of any process. No
 * allocation but in skl_sheds_open(), no lock but there and in set.
 */
#ifndef SKL_BREAKER_SHED_H
#define SKL_BREAKER_SHED_H

#include "breaker/gauge.h"
#include "breaker/pair.h"
#include "seckill.h"
#include "shm/counters.h"
#include "shm/lock.h"

#include <stdatomic.h>
#include <stdint.h>

enum {
    SKL_SHED_BUCKETS = 50,
    SKL_SHED_GROUP = 10, /* buckets that R is taken of */
    SKL_SHED_GROUPS = SKL_SHED_BUCKETS / SKL_SHED_GROUP,
    SKL_SHED_ROWS = 256,             /* processes */
    SKL_SHED_SHARED = SKL_SHED_ROWS, /* the row of those without one */
    SKL_SHEDS_MAX = 64
};

enum {
    SKL_SHED_ADMITTED,                                         /* by priority */
    SKL_SHED_DROPPED = SKL_SHED_ADMITTED + SECKILL_PRIORITIES, /* the same */
    SKL_SHED_SHADOWED = SKL_SHED_DROPPED + SECKILL_PRIORITIES,
    SKL_SHED_SUCCEEDED,
    SKL_SHED_FAILED,
    SKL_SHED_STALE,
    SKL_SHED_COUNTS
};

typedef struct {
    _Alignas(64) _Atomic uint64_t count[SKL_SHED_COUNTS];
} skl_shed_stripe_t;

typedef struct {
    _Alignas(64) _Atomic uint32_t inflight[SECKILL_PRIORITIES];
} skl_shed_row_t;

typedef struct {
    /* Written once, before the record is counted. */
    _Alignas(64) char name[SECKILL_NAME_MAX + 1];
    uint8_t pad[7];
    skl_numbers_t numbers;
    _Alignas(64) _Atomic int64_t last_drop; /* 0: never */
    _Atomic uint64_t lost;
    skl_pair_t known; /* {time; P, R}, see shed.c */
    _Alignas(64) skl_pair_t bucket[SKL_SHED_BUCKETS];
    skl_shed_row_t row[SKL_SHED_ROWS + 1];
    skl_shed_stripe_t stripe[SKL_STRIPES];
} skl_shed_record_t;

/* The section. */
typedef struct {
    skl_lock_t lock; /* of creation and of changes of numbers */
    uint32_t capacity;
    _Atomic uint32_t count;
    _Atomic uint32_t top; /* rows that were ever used */
    uint32_t pad[13];
} skl_sheds_shm_t;

typedef struct skl_shed skl_shed_t;

/* The handle of one process. */
typedef struct {
    skl_sheds_shm_t *shm;
    skl_shed_record_t *records;
    skl_gauge_t *gauge;
    skl_counters_t *counters;
    skl_shed_t *_Atomic handles; /* one per record, made by the first open */
} skl_sheds_t;

struct skl_shed {
    skl_sheds_t *sheds;
    skl_shed_record_t *record;
    uint32_t index;
    uint32_t pad;
};

uint64_t skl_sheds_bytes(uint32_t shedders);
uint64_t skl_sheds_signature(void);
/* Fill a new section (zeroed memory). */
void skl_sheds_init(void *section, uint32_t shedders);
void skl_sheds_attach(skl_sheds_t *l, void *section, skl_gauge_t *gauge,
                      skl_counters_t *counters);
void skl_sheds_detach(skl_sheds_t *l);
uint32_t skl_sheds_count(const skl_sheds_t *l);
/* The i-th; NULL past the end, or without memory. */
skl_shed_t *skl_sheds_at(skl_sheds_t *l, uint32_t i);
/* A process is dead: what it had in flight in all shedders is lost. */
void skl_sheds_reap(skl_sheds_t *l, uint32_t row);

/* Create or attach; see seckill_shedder_open(). `options` may be NULL. */
int skl_sheds_open(skl_sheds_t *l, const char *name,
                   const seckill_shedder_options_t *options, skl_shed_t **out);
int skl_shed_set(skl_shed_t *s, const seckill_shedder_options_t *options);
void skl_shed_get(skl_shed_t *s, seckill_shedder_options_t *out);

/* `row`: of this process; below 0: none. OK and a permit, or EOVERLOADED and
 * when to come again. */
int skl_shed_admit(skl_shed_t *s, int row, uint32_t priority, int64_t now_ns,
                   uint64_t *permit, int64_t *retry_ns);
/* latency_ns < 0: the time since the admission. 1, 0: it was not in flight;
 * EBADVALUE: not a permit of this shedder. */
int skl_shed_done(skl_shed_t *s, uint64_t permit, int ok, int64_t latency_ns,
                  int64_t now_ns);
/* It leaves, and is not counted: as above. */
int skl_shed_cancel(skl_shed_t *s, uint64_t permit);
/* What the window says: M, and R or 0. */
double skl_shed_limit(skl_shed_t *s, int64_t now_ns, int64_t *min_rt_ns);
void skl_shed_stats(skl_shed_t *s, int64_t now_ns,
                    seckill_shedder_stats_t *out);

#endif
