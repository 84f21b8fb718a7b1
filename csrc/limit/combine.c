/* Several limiters at one instant; see limits.h. Any thread. */
#include "base/assert.h"
#include "limit/take.h"

/* What refuses now, without charging anything. */
static int look(uint32_t n, skl_limit_take_t *takes, uint32_t *mask)
{
    int rc = SECKILL_OK;

    skl_assert(n <= SECKILL_COMBINE_MAX);
    *mask = 0;
    for (uint32_t i = 0; i < n; i++) {
        const int commit = takes[i].ask->commit;
        int one;

        takes[i].ask->commit = 0;
        one = skl_take_decide(&takes[i]);
        takes[i].ask->commit = commit;
        if (one != SECKILL_OK) {
            *mask |= UINT32_C(1) << i;
            rc = one;
        }
    }
    return rc;
}

static void count_refusals(uint32_t n, skl_limit_take_t *takes, uint32_t mask)
{
    for (uint32_t i = 0; i < n; i++) {
        if ((mask >> i & 1) != 0) {
            skl_take_tally(&takes[i], SECKILL_EREJECTED);
        }
    }
}

/* Charge all, or give back what was charged before the first refusal. */
static int charge(uint32_t n, skl_limit_take_t *takes, uint32_t *mask)
{
    for (uint32_t i = 0; i < n; i++) {
        int rc = skl_take_charge(&takes[i]);

        skl_take_tally(&takes[i], rc);
        if (rc == SECKILL_OK) {
            continue;
        }
        *mask = UINT32_C(1) << i;
#ifndef MUTANT_LIMIT_COMBINE_NO_UNDO
        while (i > 0) {
            i--;
            (void)skl_limiter_undo(takes[i].lim, takes[i].ask->ticket,
                                   takes[i].ask->now_ns);
        }
#endif
        return rc;
    }
    return SECKILL_OK;
}

int skl_limiter_combine(uint32_t n, skl_limiter_t *const *lims,
                        const skl_limit_place_t *places, skl_limit_ask_t *asks,
                        uint32_t *mask)
{
    skl_limit_take_t takes[SECKILL_COMBINE_MAX];
    int rc;

    skl_assert(n >= 1 && n <= SECKILL_COMBINE_MAX);
    for (uint32_t i = 0; i < n; i++) {
        skl_assert(!asks[i].commit || asks[i].ticket != NULL);
        rc = skl_take_prepare(&takes[i], lims[i], &places[i], &asks[i]);
        if (rc != SECKILL_OK) {
            *mask = UINT32_C(1) << i;
            return rc;
        }
    }
    rc = look(n, takes, mask);
    if (rc != SECKILL_OK) {
        if (asks[0].commit) {
            count_refusals(n, takes, *mask);
        }
        return rc;
    }
    return asks[0].commit ? charge(n, takes, mask) : SECKILL_OK;
}
