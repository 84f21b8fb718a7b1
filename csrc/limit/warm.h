/*
 * Warm-up: the rate of a bucket rises from rate / c to rate. Pure; any thread.
 *
 * Schedule: from t0 to t1 = t0 + P the rate is
 *
 *     r(t) = rate * (1/c + (1 - 1/c) * (t - t0) / P)
 *
 * rate / c before, rate after. A bucket with that rate is a bucket of constant
 * rate on a clock that runs at r(t) / rate. Words stay instants of the real
 * clock (the table must be able to tell when a slot is spent out); a take
 * measures between them on the slow clock:
 *
 *     V(u) = u - (1 - 1/c) * u^2 / 2P    slow time in the last u of the rise
 *
 * so the bound is burst + integral of r(t), and a charge taken during the rise
 * is worth the same afterwards.
 *
 * Cold start: as Guava's SmoothWarmingUp (and Sentinel's WarmUp): while the
 * limiter rests it stores tokens, up to Tm in P seconds; a token out of the
 * upper part of the store costs more time than 1 / rate, up to c / rate:
 *
 *     Tw = P * rate / (c - 1)              Tm = Tw + 2 * P * rate / (1 + c)
 *     cost(s) = (1 + (c - 1) * (s - Tw) / (Tm - Tw)) / rate     for s > Tw
 *
 * Under load it takes P from cold to warm. The store belongs to the limiter,
 * whichever of its keys come: what it protects gets warm as a whole.
 */
#ifndef SKL_LIMIT_WARM_H
#define SKL_LIMIT_WARM_H

#include "limit/rule.h"

#include <stdint.h>

/* Units of slow time from `now` until the instant `word`; 0 when it is past. */
uint64_t skl_warm_depth(const skl_limit_rule_t *r, uint64_t word, uint64_t now);
/* The first instant at which `depth` units of slow time are over. */
uint64_t skl_warm_word(const skl_limit_rule_t *r, uint64_t depth, uint64_t now);

/* The store of a limiter; all zero: it has never been used, and is cold. */
typedef struct {
    uint64_t free_at; /* units: idle from then on */
    double missing;   /* tokens, of a full store */
} skl_warm_store_t;

/* How much more than at the full rate n tokens cost now (1 .. c), and the
 * store after them. */
double skl_warm_cost(const skl_limit_rule_t *r, const skl_warm_store_t *store,
                     uint32_t n, uint64_t now, skl_warm_store_t *after);

#endif
