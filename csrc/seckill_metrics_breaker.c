/*
 * Breakers and shedders as Prometheus text; see seckill_metrics_breaker.h.
 * Families are written whole, so each walks all breakers. Any thread; not for
 * a hot path.
 */
#include "seckill_metrics_breaker.h"

#include "base/assert.h"
#include "base/clock.h"
#include "seckill_internal.h"

#include <stdio.h>

/* A family: its name, and where its number is in the stats. */
typedef struct {
    const char *name, *type, *help;
    size_t offset;
} family_t;

/* ---- Breakers ------------------------------------------------------------ */

#define OF(field) offsetof(seckill_breaker_stats_t, field)

static const family_t breaker_families[] = {
    {"allowed_total", "counter", "Calls that were admitted", OF(allowed)},
    {"rejected_total", "counter", "Calls that were refused", OF(rejected)},
    {"shadow_total", "counter", "Calls that shadow mode did not refuse",
     OF(shadow)},
    {"succeeded_total", "counter", "Calls reported good", OF(succeeded)},
    {"failed_total", "counter", "Calls reported failed", OF(failed)},
    {"slow_total", "counter", "Calls that took too long", OF(slow)},
    {"stale_total", "counter", "Reports that came too late to count",
     OF(stale)},
    {"cancelled_total", "counter", "Permits given back", OF(cancelled)},
    {"opened_total", "counter", "Times it opened", OF(opened)},
    {"half_opened_total", "counter", "Times it began to probe",
     OF(half_opened)},
    {"closed_total", "counter", "Times it closed", OF(closed)},
    {"expired_total", "counter", "Probes that were lost", OF(expired)},
    {"window_calls", "gauge", "Calls in the window", OF(calls)},
    {"window_errors", "gauge", "Failures in the window", OF(errors)},
    {"window_slows", "gauge", "Slow calls in the window", OF(slows)},
};

static void write_label(skl_text_t *t, const char *kind, const char *name,
                        const char *family)
{
    skl_text_printf(t, "seckill_%s_%s{%s=\"", kind, family, kind);
    skl_text_label(t, name, strlen(name));
    skl_text_printf(t, "\"");
}

static void write_family(skl_text_t *t, const char *kind, const char *name,
                         const char *type, const char *help)
{
    char full[96];

    (void)snprintf(full, sizeof(full), "seckill_%s_%s", kind, name);
    skl_text_family(t, full, type, help);
}

static void write_number(skl_text_t *t, const char *kind, const char *name,
                         const char *family, uint64_t value)
{
    write_label(t, kind, name, family);
    skl_text_printf(t, "} %llu\n", (unsigned long long)value);
}

static uint64_t number_at(const void *stats, size_t offset)
{
    uint64_t n;

    skl_assert(offset % sizeof(n) == 0);
    memcpy(&n, (const char *)stats + offset, sizeof(n));
    return n;
}

static void write_breaker_family(seckill_t *sk, skl_text_t *t,
                                 const family_t *f, int64_t now)
{
    seckill_breaker_stats_t s;
    skl_breaker_t *b;

    write_family(t, "breaker", f->name, f->type, f->help);
    for (uint32_t i = 0; (b = skl_breakers_at(&sk->breakers, i)) != NULL; i++) {
        skl_breaker_stats(b, now, &s);
        write_number(t, "breaker", b->record->name, f->name,
                     number_at(&s, f->offset));
    }
}

void seckill_write_breakers(seckill_t *sk, skl_text_t *t)
{
    const int64_t now = skl_clock_mono_ns();
    skl_breaker_t *b;

    if (skl_breakers_count(&sk->breakers) == 0) {
        return;
    }
    for (size_t i = 0;
         i < sizeof(breaker_families) / sizeof(breaker_families[0]); i++) {
        write_breaker_family(sk, t, &breaker_families[i], now);
    }
    write_family(t, "breaker", "state", "gauge",
                 "1 closed, 2 open, 3 half open, 4 forced open, 5 forced "
                 "closed, 6 disabled");
    for (uint32_t i = 0; (b = skl_breakers_at(&sk->breakers, i)) != NULL; i++) {
        write_number(t, "breaker", b->record->name, "state",
                     (uint64_t)skl_breaker_state(b, now));
    }
}

/* ---- Shedders ------------------------------------------------------------ */

#undef OF
#define OF(field) offsetof(seckill_shedder_stats_t, field)

/* By priority. */
static const family_t priority_families[] = {
    {"admitted_total", "counter", "Requests that were admitted", OF(admitted)},
    {"shed_total", "counter", "Requests that were shed", OF(shed)},
    {"inflight", "gauge", "Requests in flight", OF(inflight)},
};

static const family_t shed_families[] = {
    {"shadow_total", "counter", "Requests that shadow mode did not shed",
     OF(shadow)},
    {"succeeded_total", "counter", "Requests done", OF(succeeded)},
    {"failed_total", "counter", "Requests that failed", OF(failed)},
    {"lost_total", "counter", "Requests in flight in processes that died",
     OF(lost)},
    {"stale_total", "counter", "Decisions without a fresh value of the CPU",
     OF(stale)},
};

static void write_priorities(skl_text_t *t, skl_shed_t *s, const family_t *f,
                             const seckill_shedder_stats_t *stats)
{
    for (size_t p = 0; p < SECKILL_PRIORITIES; p++) {
        write_label(t, "shedder", s->record->name, f->name);
        skl_text_printf(
            t, ",priority=\"%zu\"} %llu\n", p,
            (unsigned long long)number_at(stats, f->offset + 8 * p));
    }
}

static void write_shed_family(seckill_t *sk, skl_text_t *t, const family_t *f,
                              int by_priority, int64_t now)
{
    seckill_shedder_stats_t stats;
    skl_shed_t *s;

    write_family(t, "shedder", f->name, f->type, f->help);
    for (uint32_t i = 0; (s = skl_sheds_at(&sk->sheds, i)) != NULL; i++) {
        skl_shed_stats(s, now, &stats);
        if (by_priority) {
            write_priorities(t, s, f, &stats);
        } else {
            write_number(t, "shedder", s->record->name, f->name,
                         number_at(&stats, f->offset));
        }
    }
}

static void write_limits(seckill_t *sk, skl_text_t *t, int64_t now)
{
    int64_t min_rt;
    skl_shed_t *s;

    write_family(t, "shedder", "limit", "gauge",
                 "Requests in flight that keep the host busy");
    for (uint32_t i = 0; (s = skl_sheds_at(&sk->sheds, i)) != NULL; i++) {
        write_label(t, "shedder", s->record->name, "limit");
        skl_text_printf(t, "} %.9g\n", skl_shed_limit(s, now, &min_rt));
    }
}

/* The gauge is there for all: breakers read it, too. */
static void write_cpu(seckill_t *sk, skl_text_t *t, int64_t now)
{
    int64_t age;
    double cpu = skl_gauge_peek(&sk->breakers.shm->gauge, now, &age);

    if (age < 0) {
        return;
    }
    skl_text_family(t, "seckill_cpu_share", "gauge",
                    "Mean share of the CPU that is used");
    skl_text_printf(t, "seckill_cpu_share %.6g\n", cpu);
    skl_text_family(t, "seckill_cpu_age_seconds", "gauge",
                    "Age of that value; older than 2 s it is ignored");
    skl_text_printf(t, "seckill_cpu_age_seconds %.6g\n",
                    (double)age / (double)SKL_NS_PER_SEC);
}

void seckill_write_sheds(seckill_t *sk, skl_text_t *t)
{
    const int64_t now = skl_clock_mono_ns();
    size_t i;

    write_cpu(sk, t, now);
    if (skl_sheds_count(&sk->sheds) == 0) {
        return;
    }
    for (i = 0; i < sizeof(priority_families) / sizeof(priority_families[0]);
         i++) {
        write_shed_family(sk, t, &priority_families[i], 1, now);
    }
    for (i = 0; i < sizeof(shed_families) / sizeof(shed_families[0]); i++) {
        write_shed_family(sk, t, &shed_families[i], 0, now);
    }
    write_limits(sk, t, now);
}
