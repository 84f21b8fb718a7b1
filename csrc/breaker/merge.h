/*
 * The options of breakers and shedders, put over the numbers in force. A field
 * that is 0 leaves its number as it is; -1 switches off what can be off. Each
 * function returns 1, or 0: out of range, and the numbers are not to be used.
 * Pure; any thread.
 */
#ifndef SKL_BREAKER_MERGE_H
#define SKL_BREAKER_MERGE_H

#include "base/assert.h"
#include "base/clock.h"

#include <stdint.h>

static inline int skl_merge_ns(int64_t *to, int64_t ns, int64_t min,
                               int64_t max, int can_be_off)
{
    skl_assert(min >= 1 && min <= max);
    if (ns == 0) {
        return 1;
    }
    if (ns == -1 && can_be_off) {
        *to = 0;
        return 1;
    }
    *to = ns;
    return ns >= min && ns <= max;
}

static inline int skl_merge_count(uint64_t *to, int64_t n, int64_t max,
                                  int can_be_off)
{
    skl_assert(max >= 1);
    if (n == 0) {
        return 1;
    }
    if (n == -1 && can_be_off) {
        *to = 0;
        return 1;
    }
    *to = (uint64_t)n;
    return n >= 1 && n <= max;
}

/* NaN is given, and out of range. */
static inline int skl_merge_share(double *to, double share)
{
    if (!(share < 0 || share > 0 || share != share)) {
        return 1;
    }
    *to = share < 0 ? 0 : share;
    return (share > 0 && share <= 1) || (share >= -1 && share <= -1);
}

/* What was counted in buckets of another length is gone: another scale. */
static inline int skl_merge_window(uint64_t *scale, int64_t *bucket_ns,
                                   int64_t window_ns, int64_t buckets,
                                   int64_t max)
{
    const int64_t ns = window_ns / buckets;

    skl_assert(*bucket_ns > 0);
    if (window_ns == 0 || ns == *bucket_ns) {
        return 1;
    }
    *bucket_ns = ns;
    (*scale)++;
    return ns >= SKL_NS_PER_MS && window_ns <= max;
}

/* The way back: a share as it stands in options. */
static inline double skl_share_or_off(double share)
{
    return share > 0 ? share : -1;
}

#endif
