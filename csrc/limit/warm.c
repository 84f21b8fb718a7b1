/* See warm.h. */
#include "limit/warm.h"

#include "base/assert.h"

#include <math.h>

#define UNITS_PER_SECOND 256e9

/* ---- Schedule ------------------------------------------------------------ */

/* Slow time from `left` units before the end of the rise to its end; negative
 * behind it. */
static long double slow_of(const skl_limit_rule_t *r, long double left)
{
    const long double span = (long double)r->warm_span;
    const long double a = 1 - 1 / (long double)r->cold_factor;

    if (left <= 0) {
        return left;
    }
    if (left <= span) {
        return left - a * left * left / (2 * span);
    }
    return span - a * span / 2 + (left - span) / (long double)r->cold_factor;
}

/* The inverse. */
static long double left_of(const skl_limit_rule_t *r, long double slow)
{
    const long double span = (long double)r->warm_span;
    const long double a = 1 - 1 / (long double)r->cold_factor;
    const long double rise = span - a * span / 2;

    if (slow <= 0) {
        return slow;
    }
    if (slow <= rise) {
        return span * (1 - sqrtl(1 - 2 * a * slow / span)) / a;
    }
    return span + (slow - rise) * (long double)r->cold_factor;
}

static inline long double left_at(const skl_limit_rule_t *r, uint64_t instant)
{
    const uint64_t end = (uint64_t)r->warm_end << SKL_LIMIT_SHIFT;

    return (long double)(int64_t)(end - instant);
}

uint64_t skl_warm_depth(const skl_limit_rule_t *r, uint64_t word, uint64_t now)
{
    long double depth;

    skl_assert(r->warm == SKL_WARM_SCHEDULE && r->warm_span > 0);
    if ((int64_t)(word - now) <= 0) {
        return 0;
    }
    depth = slow_of(r, left_at(r, now)) - slow_of(r, left_at(r, word));
    /* what was written by skl_warm_word is not read as more */
    return depth > 0.5L ? (uint64_t)(depth + 0.5L) : 0;
}

uint64_t skl_warm_word(const skl_limit_rule_t *r, uint64_t depth, uint64_t now)
{
    const long double left = left_at(r, now);
    const long double then = left_of(r, slow_of(r, left) - (long double)depth);
    const long double wait = ceill(left - then);

    skl_assert(r->warm == SKL_WARM_SCHEDULE && r->warm_span > 0);
    /* the slow clock is never fast: the wait is at least the depth */
    return now + (wait > (long double)depth ? (uint64_t)wait : depth);
}

/* ---- Cold start ---------------------------------------------------------- */

double skl_warm_cost(const skl_limit_rule_t *r, const skl_warm_store_t *store,
                     uint32_t n, uint64_t now, skl_warm_store_t *after)
{
    const double c = r->cold_factor;
    const double per_span = r->rate * (double)r->warm_span / UNITS_PER_SECOND;
    const double low = per_span / (c - 1);
    const double full = low + 2 * per_span / (1 + c);
    const int64_t idle = (int64_t)(now - store->free_at);
    const uint64_t slack = (uint64_t)(c * (double)r->window);
    double stored, above, dear, extra, units;

    skl_assert(r->warm == SKL_WARM_COLD_START && n >= 1);
    stored = full - store->missing +
             (idle > 0 ? full * (double)idle / (double)r->warm_span : 0);
    stored = store->free_at == 0 || stored > full ? full : stored;
    stored = stored < 0 ? 0 : stored;
    skl_assert(full > low && stored <= full);
    above = stored > low ? stored - low : 0;
    dear = above < n ? above : n;
    /* the mean of the rise over the tokens above the mark */
    extra = dear * (c - 1) * (above - dear / 2) / (full - low);
    units = ((double)n + extra) * (double)r->interval;
    after->free_at = (idle > 0 ? now : store->free_at) + (uint64_t)units;
    if ((int64_t)(after->free_at - now) > (int64_t)slack) {
        after->free_at = now + slack; /* several keys: none waits for others */
    }
    after->missing = full - stored + n < full ? full - stored + n : full;
    return 1 + extra / n;
}
