/*
 * The numbers of a limiter made ready: checked, in fixed point, rounded so
 * that never more is admitted than they say. Pure; any thread.
 */
#ifndef SKL_LIMIT_RULE_H
#define SKL_LIMIT_RULE_H

#include "seckill.h"

#include <stdint.h>

enum { SKL_LIMIT_SHIFT = 8 /* a unit is 2^-8 ns */ };

enum { SKL_WARM_NONE, SKL_WARM_SCHEDULE, SKL_WARM_COLD_START };

#define SKL_LIMIT_LOG_MAX 16 /* stamps of a sliding log */
/* The deepest debt, 2^62 units. */
#define SKL_LIMIT_DEBT_NS (INT64_C(1) << (62 - SKL_LIMIT_SHIFT))

typedef struct {
    /* What a take reads, but in a warm-up: one cache line. */
    uint32_t algorithm, mode;
    uint64_t interval; /* buckets: units for one token; log: of the window */
    uint64_t window;   /* buckets: units of the burst; windows: ns of it */
    int64_t debt_until_ns; /* a TAT up to here may stem from older numbers */
    double inverse;        /* 1 / interval */
    uint64_t limit;   /* buckets: units of the longest wait, of the clock */
    uint32_t shift;   /* windows: bits below the instant in a word;
                            buckets: the quota */
    uint32_t warm;    /* SKL_WARM_* */
    uint64_t nodelay; /* units */
    /* The rest. */
    double rate, burst, free; /* as given; free: nodelay */
    int64_t max_delay_ns;     /* -1: none */
    int64_t warm_up_ns;
    int64_t warm_up_at; /* as given */
    double cold_factor;
    int64_t warm_end;   /* ns: the end of the rise */
    uint64_t warm_span; /* units of the rise */
} skl_limit_rule_t;

enum {
    SKL_LIMIT_HOT_WORDS = 8,
    SKL_LIMIT_WORDS = 17 /* copied word by word */
};

_Static_assert(sizeof(skl_limit_rule_t) == 8 * SKL_LIMIT_WORDS,
               "rules are copied word by word");
_Static_assert(sizeof(skl_limit_rule_t) <= sizeof(seckill_rule_t),
               "a public rule holds an internal one");

/* What is in force when nothing is given. */
void skl_limit_rule_init(skl_limit_rule_t *r, uint32_t algorithm);
/* Put the fields that are given over those of *r. `offset_ns`: ledger time
 * less the limiters' time. EBADOPTION; ECONFLICT: another window. *r is
 * whole only after OK. `fresh`: the window may still be given. */
int skl_limit_rule_merge(skl_limit_rule_t *r, const seckill_limit_t *limit,
                         int64_t offset_ns, int fresh);
/* A rule from numbers alone: for those who bring their own. */
int skl_limit_rule_make(skl_limit_rule_t *r, const seckill_limit_t *limit,
                        int64_t offset_ns);
void skl_limit_rule_get(const skl_limit_rule_t *r, seckill_limit_t *out);

/* How much a key may take that rested. */
static inline uint64_t skl_limit_quota(const skl_limit_rule_t *r)
{
    return r->algorithm <= SECKILL_LEAKY_BUCKET ? r->shift : r->limit;
}

/* Instants compare within 2^63 units: a rise that is over is none, and one that
 * begins later than any debt is over (2^62 units) may as well begin then. */
static inline void skl_limit_rule_at(skl_limit_rule_t *r, int64_t now_ns)
{
#ifdef MUTANT_LIMIT_RISES_AGAIN
    (void)r, (void)now_ns;
#else
    if (r->warm != SKL_WARM_SCHEDULE) {
        return;
    }
    if (now_ns >= r->warm_end) {
        r->warm = SKL_WARM_NONE;
    } else if (r->warm_end - now_ns > SKL_LIMIT_DEBT_NS + r->warm_up_ns) {
        r->warm_end = now_ns + SKL_LIMIT_DEBT_NS + r->warm_up_ns;
    }
#endif
}

/* Sliding window: bits of the current count in a word, the rest below the
 * instant is the count of the window before, as skl_window_encode writes it. */
static inline uint32_t skl_limit_prev_bits(uint32_t shift)
{
    return shift >= 40 ? 14 : 13;
}

#endif
