/*
 * limits.h - limiters in memory of a test's own, asked at instants that the
 * test makes up; header only. The memory is shared with children of a fork.
 *
 * Beside it what the oracles of the limiter tests have in common: exact
 * numbers of a rule, in units of 1/256 ns, from the doubles that the engine
 * was given. A double is m * 2^e, so that all of it is integer arithmetic.
 */
#ifndef SKL_TEST_LIMITS_H
#define SKL_TEST_LIMITS_H

#include "limit/limits.h"
#include "test/support/tap.h"

#include <math.h>
#include <sys/mman.h>

#define NS_SEC INT64_C(1000000000)
#define NS_HOUR (3600 * NS_SEC)
#define NS_DAY (24 * NS_HOUR)
#define NS_UNITS 256

__extension__ typedef __int128 wide_t;
__extension__ typedef unsigned __int128 uwide_t;

typedef struct {
    void *section;
    size_t bytes;
    skl_counters_shm_t *counters_shm;
    skl_counters_t counters;
    skl_limits_t limits;
} lim_world_t;

static inline void *lim_pages(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED) {
        perror("mmap");
        exit(1);
    }
    return p;
}

static inline void lim_world_new(lim_world_t *w, uint32_t keys,
                                 uint32_t limiters)
{
    const skl_hash_key_t key = {0x0123456789abcdef, 0xfedcba9876543210};

    const skl_limits_size_t size = {
        .keys = keys, .limiters = limiters, .overrides = 64};

    w->bytes = skl_limits_bytes(&size);
    w->section = lim_pages(w->bytes);
    w->counters_shm = lim_pages(sizeof(*w->counters_shm));
    skl_counters_init(w->counters_shm);
    skl_counters_attach(&w->counters, w->counters_shm);
    skl_limits_init(w->section, &size);
    skl_limits_attach(&w->limits, w->section, &key, &w->counters);
}

static inline void lim_world_free(lim_world_t *w)
{
    skl_limits_detach(&w->limits);
    munmap(w->section, w->bytes);
    munmap(w->counters_shm, sizeof(*w->counters_shm));
}

static inline uint64_t lim_overflows(const lim_world_t *w)
{
    return skl_limits_counted(&w->limits, SKL_LIMIT_OVERFLOW);
}

static inline skl_limiter_t *lim_open(lim_world_t *w, const char *name,
                                      const seckill_limit_t *limit, int64_t now)
{
    skl_limiter_t *lim = NULL;

    if (!CHECK_INT(SECKILL_OK,
                   skl_limits_open(&w->limits, name, limit, now, &lim))) {
        exit(1);
    }
    return lim;
}

static inline int lim_ask(skl_limiter_t *lim, const char *key,
                          skl_limit_ask_t *ask)
{
    skl_limit_place_t place;

    skl_limiter_locate(lim, key, strlen(key), &place);
    return skl_limiter_take(lim, &place, ask);
}

static inline int lim_override(skl_limiter_t *lim, const char *key,
                               const seckill_limit_t *limit, int64_t now)
{
    skl_limit_place_t place;

    skl_limiter_locate(lim, key, strlen(key), &place);
    return skl_limiter_override(lim, &place, limit, now);
}

/* 1: admitted. */
static inline int lim_take(skl_limiter_t *lim, const char *key, uint32_t cost,
                           int64_t now)
{
    skl_limit_ask_t ask = {.now_ns = now, .cost = cost, .commit = 1};

    return lim_ask(lim, key, &ask) == SECKILL_OK;
}

static inline int lim_peek(skl_limiter_t *lim, const char *key, uint32_t cost,
                           int64_t now)
{
    skl_limit_ask_t ask = {.now_ns = now, .cost = cost, .commit = 0};

    return lim_ask(lim, key, &ask) == SECKILL_OK;
}

static inline uint64_t lim_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* 0 .. n - 1 */
static inline int64_t lim_random_below(uint64_t *state, int64_t n)
{
    return (int64_t)(lim_random(state) % (uint64_t)n);
}

static inline wide_t wide_max(wide_t a, wide_t b)
{
    return a > b ? a : b;
}

static inline wide_t wide_min(wide_t a, wide_t b)
{
    return a < b ? a : b;
}

/* ceil(a / b), b > 0 */
static inline wide_t wide_div_up(wide_t a, wide_t b)
{
    return a <= 0 ? -(-a / b) : (a + b - 1) / b;
}

/* A double as m * 2^e with an integer m. */
static inline int64_t lim_mantissa(double value, int *e)
{
    double m = frexp(value, e);

    *e -= 53;
    return (int64_t)ldexp(m, 53);
}

/* Units for one token: 256e9 / rate, rounded up. */
static inline wide_t lim_interval(double rate)
{
    int e;
    int64_t m = lim_mantissa(rate, &e);

    return wide_div_up(((wide_t)NS_UNITS * NS_SEC) << -e, m);
}

/* floor(tokens * interval): tokens need not be whole. */
static inline wide_t lim_units(double tokens, wide_t interval)
{
    int64_t whole = (int64_t)tokens;
    int64_t part = (int64_t)ldexp(tokens - (double)whole, 32);

    /* fractions of the tests have few digits: 32 bits are all of them */
    return whole * interval + ((interval * part) >> 32);
}

#endif
