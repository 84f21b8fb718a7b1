/* The numbers of a breaker, as its readers copy them; see breaker.h. */
#ifndef SKL_BREAKER_NUMBERS_H
#define SKL_BREAKER_NUMBERS_H

#include "breaker/breaker.h"

/* 0 stands for off where a field can be off. */
typedef struct {
    uint64_t scale; /* changes with bucket_ns */
    int64_t bucket_ns;
    uint64_t min_calls, probes, consecutive, mode;
    double error_ratio, slow_ratio, cpu;
    int64_t slow_ns, open_ns, ramp_ns, lease_ns;
} skl_breaker_numbers_t;

skl_static_assert(sizeof(skl_breaker_numbers_t) <= 8 * SKL_NUMBER_WORDS,
                  "numbers are copied word by word");

static inline void skl_breaker_numbers(skl_breaker_t *b,
                                       skl_breaker_numbers_t *out)
{
    skl_numbers_read(&b->record->numbers, out, sizeof(*out));
}

/* ---- The state word ------------------------------------------------------ */

/* kind (3 bits), doublings (3 bits), ramp (1 bit), generation (24 bits from
 * bit 8). The other word is a time: of OPEN its end, else its beginning. */
enum { SKL_GENERATION_BITS = 24 };

#define SKL_GENERATION_MASK ((UINT64_C(1) << SKL_GENERATION_BITS) - 1)

static inline int skl_state_kind(uint64_t word)
{
    return (int)(word & 7);
}

static inline uint32_t skl_state_doublings(uint64_t word)
{
    return word >> 3 & 7;
}

static inline int skl_state_ramps(uint64_t word)
{
    return (int)(word >> 6 & 1);
}

static inline uint64_t skl_state_generation(uint64_t word)
{
    return word >> 8 & SKL_GENERATION_MASK;
}

static inline uint64_t skl_state_word(int kind, uint32_t doublings, int ramps,
                                      uint64_t generation)
{
    skl_assert(kind >= SECKILL_BREAKER_CLOSED &&
               kind <= SECKILL_BREAKER_DISABLED);
    skl_assert(doublings <= SKL_BREAKER_DOUBLINGS);
    return (uint64_t)kind | (uint64_t)doublings << 3 | (uint64_t) !!ramps << 6 |
           (generation & SKL_GENERATION_MASK) << 8;
}

#endif
