/* The numbers of a shedder, as its readers copy them; see shed.h. */
#ifndef SKL_BREAKER_SHED_NUMBERS_H
#define SKL_BREAKER_SHED_NUMBERS_H

#include "breaker/shed.h"

/* 0 stands for off where a field can be off. */
typedef struct {
    uint64_t scale; /* changes with bucket_ns */
    int64_t bucket_ns;
    uint64_t mode, max_inflight;
    double cpu_high, cpu_low;
    double low_given; /* 0: cpu_low follows cpu_high */
    int64_t cool_ns;
    double reserve[SECKILL_PRIORITIES - 1];
} skl_shed_numbers_t;

skl_static_assert(sizeof(skl_shed_numbers_t) <= 8 * SKL_NUMBER_WORDS,
                  "numbers are copied word by word");

static inline void skl_shed_numbers(skl_shed_t *s, skl_shed_numbers_t *out)
{
    skl_numbers_read(&s->record->numbers, out, sizeof(*out));
}

#endif
