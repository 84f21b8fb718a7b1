/*
 * shed_world.h - shedders in shared pages with a virtual clock and a gauge
 * that the test feeds, for C tests; header only.
 */
#ifndef SKL_TEST_SHED_WORLD_H
#define SKL_TEST_SHED_WORLD_H

#include "breaker/shed.h"
#include "test/support/tap.h"

#include <sys/mman.h>

#define US INT64_C(1000)
#define MS (1000 * US)
#define SEC (1000 * MS)
#define SHED_T0 (1000 * SEC)

typedef struct {
    void *section;
    size_t bytes;
    skl_gauge_t *gauge;
    skl_counters_shm_t *counters_shm;
    skl_counters_t counters;
    skl_sheds_t sheds;
    int64_t now;
} shed_world_t;

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

static inline void world_new(shed_world_t *w, uint32_t shedders)
{
    memset(w, 0, sizeof(*w));
    w->bytes = skl_sheds_bytes(shedders);
    w->section = shared_pages(w->bytes);
    w->gauge = shared_pages(sizeof(*w->gauge));
    w->counters_shm = shared_pages(sizeof(*w->counters_shm));
    skl_counters_init(w->counters_shm);
    skl_counters_attach(&w->counters, w->counters_shm);
    skl_sheds_init(w->section, shedders);
    skl_sheds_attach(&w->sheds, w->section, w->gauge, &w->counters);
    w->now = SHED_T0;
}

static inline void world_free(shed_world_t *w)
{
    skl_sheds_detach(&w->sheds);
    munmap(w->section, w->bytes);
    munmap(w->gauge, sizeof(*w->gauge));
    munmap(w->counters_shm, sizeof(*w->counters_shm));
}

static inline skl_shed_t *shedder_of(shed_world_t *w, const char *name,
                                     seckill_shedder_options_t o)
{
    skl_shed_t *s = NULL;

    o.struct_size = sizeof(o);
    if (!CHECK_INT(SECKILL_OK, skl_sheds_open(&w->sheds, name, &o, &s))) {
        exit(1);
    }
    return s;
}

/* A permit, or 0. */
static inline uint64_t admit_in(shed_world_t *w, skl_shed_t *s, int row,
                                uint32_t priority)
{
    uint64_t permit = 0;
    int64_t retry;

    (void)skl_shed_admit(s, row, priority, w->now, &permit, &retry);
    return permit;
}

static inline uint64_t admit(shed_world_t *w, skl_shed_t *s, uint32_t priority)
{
    return admit_in(w, s, 0, priority);
}

static inline seckill_shedder_stats_t stats_of(shed_world_t *w, skl_shed_t *s)
{
    seckill_shedder_stats_t out;

    skl_shed_stats(s, w->now, &out);
    return out;
}

/* The CPU is at this share from now on: also where it was another before. */
static inline void cpu_is(shed_world_t *w, double share)
{
    atomic_store(&w->gauge->word, 0);
    skl_gauge_feed(w->gauge, share, w->now);
}

#endif
