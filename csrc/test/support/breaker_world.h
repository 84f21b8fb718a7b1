/*
 * breaker_world.h - breakers in shared pages with a virtual clock, for C
 * tests; header only. Times are given in ms.
 */
#ifndef SKL_TEST_BREAKER_WORLD_H
#define SKL_TEST_BREAKER_WORLD_H

#include "breaker/breaker.h"
#include "breaker/numbers.h"
#include "test/support/tap.h"

#include <sys/mman.h>

#define MS INT64_C(1000000)
#define SEC (1000 * MS)
#define BREAKER_T0 (1000 * SEC)

typedef struct {
    void *section;
    size_t bytes;
    skl_counters_shm_t *counters_shm;
    skl_counters_t counters;
    skl_breakers_t breakers;
    int64_t now;
} breaker_world_t;

static inline void *shared_pages(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED) {
        perror("mmap");
        exit(1);
    }
    return p;
}

static inline void world_new(breaker_world_t *w, uint32_t breakers)
{
    memset(w, 0, sizeof(*w));
    w->bytes = skl_breakers_bytes(breakers);
    w->section = shared_pages(w->bytes);
    w->counters_shm = shared_pages(sizeof(*w->counters_shm));
    skl_counters_init(w->counters_shm);
    skl_counters_attach(&w->counters, w->counters_shm);
    skl_breakers_init(w->section, breakers);
    skl_breakers_attach(&w->breakers, w->section, &w->counters);
    w->now = BREAKER_T0;
}

static inline void world_free(breaker_world_t *w)
{
    skl_breakers_detach(&w->breakers);
    munmap(w->section, w->bytes);
    munmap(w->counters_shm, sizeof(*w->counters_shm));
}

/* 10 buckets of 100 ms, 2 calls of which half fail, open for 1 s, 2 probes
 * with a lease of 300 ms. */
static inline seckill_breaker_options_t small_options(void)
{
    return (seckill_breaker_options_t){.struct_size =
                                           sizeof(seckill_breaker_options_t),
                                       .window_ns = SEC,
                                       .min_calls = 2,
                                       .probes = 2,
                                       .error_ratio = 0.5,
                                       .open_ns = SEC,
                                       .probe_timeout_ns = 300 * MS};
}

static inline skl_breaker_t *breaker_of(breaker_world_t *w, const char *name,
                                        seckill_breaker_options_t o)
{
    skl_breaker_t *b = NULL;

    o.struct_size = sizeof(o);
    if (!CHECK_INT(SECKILL_OK,
                   skl_breakers_open(&w->breakers, name, &o, w->now, &b))) {
        exit(1);
    }
    return b;
}

/* A new world with one breaker. */
static inline skl_breaker_t *one_breaker(breaker_world_t *w,
                                         seckill_breaker_options_t o)
{
    world_new(w, 1);
    return breaker_of(w, "a", o);
}

static inline seckill_breaker_stats_t stats_of(breaker_world_t *w,
                                               skl_breaker_t *b)
{
    seckill_breaker_stats_t s;

    skl_breaker_stats(b, w->now, &s);
    return s;
}

/* A permit, or 0. */
static inline uint64_t allow(breaker_world_t *w, skl_breaker_t *b)
{
    uint64_t permit = 0;
    int64_t retry;

    (void)skl_breaker_allow(b, w->now, &permit, &retry);
    return permit;
}

static inline int report(breaker_world_t *w, skl_breaker_t *b, uint64_t permit,
                         int ok)
{
    return skl_breaker_report(b, permit, ok, MS, w->now);
}

static inline int state(breaker_world_t *w, skl_breaker_t *b)
{
    return skl_breaker_state(b, w->now);
}

/* n calls, one after the other. */
static inline void calls(breaker_world_t *w, skl_breaker_t *b, int n, int ok)
{
    for (int i = 0; i < n; i++) {
        uint64_t permit = allow(w, b);

        CHECK(permit != 0);
        CHECK_INT(1, report(w, b, permit, ok));
    }
}

/* To the end of the opening. */
static inline void pass_open(breaker_world_t *w, skl_breaker_t *b)
{
    w->now += stats_of(w, b).retry_ns;
}

/* It trips, with small options, and its opening is over: probes come next. */
static inline void trip_and_pass(breaker_world_t *w, skl_breaker_t *b)
{
    calls(w, b, 2, 0);
    pass_open(w, b);
}

#endif
