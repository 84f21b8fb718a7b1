/*
 * permits.h - tables of permits and processes in shared memory, without an
 * engine around them; header only.
 */
#ifndef SKL_TEST_PERMITS_H
#define SKL_TEST_PERMITS_H

#include "limit/permits.h"
#include "seckill.h"
#include "test/support/scratch.h"
#include "test/support/tap.h"

#define PERMITS_NOW INT64_C(1000000000000)

/* One process's view; `shared` is everybody's. */
typedef struct {
    skl_processes_shm_t *processes_shm;
    skl_counters_shm_t *counters_shm;
    void *section;
    size_t bytes;
    skl_processes_t processes;
    skl_counters_t counters;
    skl_permits_t permits;
    skl_permit_t last; /* of permits_take() */
    uint32_t in_use;
} permits_world_t;

/* Handles of one more process; also of this one a second time. */
static inline void permits_attach(permits_world_t *w)
{
    memset(&w->processes, 0, sizeof(w->processes));
    skl_counters_attach(&w->counters, w->counters_shm);
    skl_processes_attach(&w->processes, w->processes_shm);
    skl_permits_attach(&w->permits, w->section, &w->processes, &w->counters);
}

static inline void permits_new(permits_world_t *w, uint32_t permits)
{
    memset(w, 0, sizeof(*w));
    w->bytes = skl_permits_bytes(permits);
    w->processes_shm = scratch_shared(sizeof(*w->processes_shm));
    w->counters_shm = scratch_shared(sizeof(*w->counters_shm));
    w->section = scratch_shared(w->bytes);
    skl_processes_init(w->processes_shm);
    skl_counters_init(w->counters_shm);
    skl_permits_init(w->section, permits);
    permits_attach(w);
}

/* The row's lock must not go away with its memory. */
static inline void permits_free(permits_world_t *w)
{
    (void)skl_processes_leave(&w->processes);
    (void)munmap(w->section, w->bytes);
    (void)munmap(w->counters_shm, sizeof(*w->counters_shm));
    (void)munmap(w->processes_shm, sizeof(*w->processes_shm));
}

static inline int permits_take(permits_world_t *w, uint64_t key, uint32_t cost,
                               uint32_t limit)
{
    return skl_permits_take(&w->permits, key, cost, limit, 1, PERMITS_NOW,
                            &w->last, &w->in_use);
}

static inline int permits_peek(permits_world_t *w, uint64_t key, uint32_t cost,
                               uint32_t limit)
{
    return skl_permits_take(&w->permits, key, cost, limit, 0, PERMITS_NOW, NULL,
                            &w->in_use);
}

static inline int permits_release(permits_world_t *w, skl_permit_t permit)
{
    return skl_permits_release(&w->permits, &permit);
}

static inline uint32_t permits_count(const permits_world_t *w, uint64_t key)
{
    return skl_permits_in_use(&w->permits, key);
}

static inline uint64_t permits_event(const permits_world_t *w, int event)
{
    return skl_counters_event(&w->counters, event);
}

#endif
