/*
 * Load shedding of the public API: the row of this process, the clock, and the
 * gauge of the CPU. The work is in breaker/.
 *
 * A request is counted in the row of its process. When that row turns out to
 * belong to nobody any more (the thread that claimed it has ended, and another
 * process has cleared it), the request is counted again, in a new one.
 */
#include "base/assert.h"
#include "base/clock.h"
#include "seckill.h"
#include "seckill_internal.h"

/* seckill_shedder_t is the public name of skl_shed_t; the engine is where its
 * array of shedders is. */
static inline skl_shed_t *inner(seckill_shedder_t *shed)
{
    return (skl_shed_t *)(void *)shed;
}

skl_static_assert((int)SKL_SHED_ROWS == (int)SKL_PROCESSES,
                  "a row for each process");

static inline seckill_t *engine_of(skl_shed_t *s)
{
    return (seckill_t *)(void *)((char *)s->sheds - offsetof(seckill_t, sheds));
}

static inline int64_t or_now(int64_t now_ns)
{
    return now_ns != 0 ? now_ns : skl_clock_mono_ns();
}

static int process_died(void *ctx, uint32_t row)
{
    skl_sheds_reap(ctx, row);
    return 1;
}

void seckill_attach_breakers(seckill_t *sk)
{
    skl_header_t *h = sk->segment.header;

    skl_assert(h->config.breakers > 0 && h->config.shedders > 0);
    skl_breakers_attach(&sk->breakers, skl_section(h, SKL_SECTION_BREAKERS),
                        &sk->counters);
    skl_sheds_attach(&sk->sheds, skl_section(h, SKL_SECTION_SHEDDERS),
                     &sk->breakers.shm->gauge, &sk->counters);
    skl_processes_watch(&sk->processes, process_died, &sk->sheds);
}

void seckill_sample_cpu(seckill_t *sk, int64_t mono_now)
{
    double share;

    if (skl_cpu_sample(&sk->cpu, "", mono_now, &share)) {
        skl_gauge_feed(&sk->breakers.shm->gauge, share, mono_now);
    }
}

int seckill_shedder_open(seckill_t *sk, const char *name,
                         const seckill_shedder_options_t *options,
                         seckill_shedder_t **out)
{
    skl_shed_t *s = NULL;
    int rc = skl_sheds_open(&sk->sheds, name, options, &s);

    if (rc == SECKILL_OK) {
        *out = (seckill_shedder_t *)(void *)s;
    }
    return rc;
}

int seckill_shedder_set(seckill_shedder_t *shed,
                        const seckill_shedder_options_t *options)
{
    return skl_shed_set(inner(shed), options);
}

void seckill_shedder_get(seckill_shedder_t *shed,
                         seckill_shedder_options_t *out)
{
    skl_shed_get(inner(shed), out);
}

int seckill_shedder_admit(seckill_shedder_t *shed, uint32_t priority,
                          int64_t now_ns, uint64_t *permit, int64_t *retry_ns)
{
    skl_shed_t *s = inner(shed);
    skl_processes_t *processes = &engine_of(s)->processes;
    int row, rc;

    skl_assert(s->sheds->shm != NULL && s->record != NULL);
    for (;;) {
        row = skl_processes_mine(processes);
        rc = skl_shed_admit(s, row, priority, or_now(now_ns), permit, retry_ns);
        if (rc != SECKILL_OK || row < 0 ||
            skl_processes_owns(processes, (uint32_t)row)) {
            return rc;
        }
        (void)skl_shed_cancel(s, *permit);
    }
}

int seckill_shedder_done(seckill_shedder_t *shed, uint64_t permit, int ok,
                         int64_t latency_ns, int64_t now_ns)
{
    return skl_shed_done(inner(shed), permit, ok, latency_ns, or_now(now_ns));
}

int seckill_shedder_cancel(seckill_shedder_t *shed, uint64_t permit)
{
    return skl_shed_cancel(inner(shed), permit);
}

void seckill_shedder_stats(seckill_shedder_t *shed,
                           seckill_shedder_stats_t *out)
{
    skl_shed_stats(inner(shed), skl_clock_mono_ns(), out);
}

int seckill_shedder_at(seckill_t *sk, uint32_t i, seckill_shedder_t **out)
{
    skl_shed_t *s = skl_sheds_at(&sk->sheds, i);

    if (s == NULL) {
        return SECKILL_ENOTFOUND;
    }
    *out = (seckill_shedder_t *)(void *)s;
    return SECKILL_OK;
}

const char *seckill_shedder_name(seckill_shedder_t *shed)
{
    return inner(shed)->record->name;
}
