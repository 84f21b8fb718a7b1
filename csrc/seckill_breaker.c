/*
 * Circuit breakers of the public API: reads the clock, and knows the names.
 * The work is in breaker/.
 */
#include "base/clock.h"
#include "seckill.h"
#include "seckill_internal.h"

/* seckill_breaker_t is the public name of skl_breaker_t. */
static inline skl_breaker_t *inner(seckill_breaker_t *brk)
{
    return (skl_breaker_t *)(void *)brk;
}

static inline int64_t or_now(int64_t now_ns)
{
    return now_ns != 0 ? now_ns : skl_clock_mono_ns();
}

int seckill_breaker_open(seckill_t *sk, const char *name,
                         const seckill_breaker_options_t *options,
                         seckill_breaker_t **out)
{
    skl_breaker_t *b = NULL;
    int rc = skl_breakers_open(&sk->breakers, name, options,
                               skl_clock_mono_ns(), &b);

    if (rc == SECKILL_OK) {
        *out = (seckill_breaker_t *)(void *)b;
    }
    return rc;
}

int seckill_breaker_set(seckill_breaker_t *brk,
                        const seckill_breaker_options_t *options)
{
    return skl_breaker_set(inner(brk), options);
}

void seckill_breaker_get(seckill_breaker_t *brk, seckill_breaker_options_t *out)
{
    skl_breaker_get(inner(brk), out);
}

int seckill_breaker_allow(seckill_breaker_t *brk, int64_t now_ns,
                          uint64_t *permit, int64_t *retry_ns)
{
    return skl_breaker_allow(inner(brk), or_now(now_ns), permit, retry_ns);
}

int seckill_breaker_report(seckill_breaker_t *brk, uint64_t permit, int ok,
                           int64_t latency_ns, int64_t now_ns)
{
    return skl_breaker_report(inner(brk), permit, ok, latency_ns,
                              or_now(now_ns));
}

int seckill_breaker_cancel(seckill_breaker_t *brk, uint64_t permit,
                           int64_t now_ns)
{
    return skl_breaker_cancel(inner(brk), permit, or_now(now_ns));
}

int seckill_breaker_state(seckill_breaker_t *brk, int64_t now_ns)
{
    return skl_breaker_state(inner(brk), or_now(now_ns));
}

int seckill_breaker_force(seckill_breaker_t *brk, int state)
{
    return skl_breaker_force(inner(brk), state, skl_clock_mono_ns());
}

void seckill_breaker_stats(seckill_breaker_t *brk, seckill_breaker_stats_t *out)
{
    skl_breaker_stats(inner(brk), skl_clock_mono_ns(), out);
}

int seckill_breaker_at(seckill_t *sk, uint32_t i, seckill_breaker_t **out)
{
    skl_breaker_t *b = skl_breakers_at(&sk->breakers, i);

    if (b == NULL) {
        return SECKILL_ENOTFOUND;
    }
    *out = (seckill_breaker_t *)(void *)b;
    return SECKILL_OK;
}

const char *seckill_breaker_name(seckill_breaker_t *brk)
{
    return inner(brk)->record->name;
}
