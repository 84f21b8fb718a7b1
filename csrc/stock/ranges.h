/*
 * What numbers of the ledger may be: checked when they come from a caller, and
 * again when they come from a file. What the one accepts the other must, or a
 * ledger is written that cannot be read.
 */
#ifndef SKL_STOCK_RANGES_H
#define SKL_STOCK_RANGES_H

#include "seckill.h"

#include <stdint.h>

/* Up to four years: the sum of a time and a duration is an int64. */
#define SKL_DURATION_MAX (1LL << 57)

static inline int skl_count_ok(int64_t n)
{
    return n >= 0 && n <= SECKILL_COUNT_MAX;
}

static inline int skl_time_ok(int64_t n)
{
    return n >= 0 && n <= SECKILL_TIME_MAX;
}

static inline int skl_duration_ok(int64_t n)
{
    return n >= 0 && n <= SKL_DURATION_MAX;
}

#endif
