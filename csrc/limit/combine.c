/* Several limiters at one instant; see limits.h. Any thread. */
#include "base/assert.h"
#include "limit/take.h"

/* What refuses now, without charging anything. */
static uint32_t look(uint32_t n, skl_limiter_t *const *lims,
                     const skl_limit_place_t *places, skl_limit_ask_t *asks,
                     int *rc)
{
    uint32_t mask = 0;

    *rc = SECKILL_OK;
    for (uint32_t i = 0; i < n; i++) {
        const int commit = asks[i].commit;
        int one;

        asks[i].commit = 0;
        one = skl_limiter_take(lims[i], &places[i], &asks[i]);
        asks[i].commit = commit;
        if (one != SECKILL_OK) {
            mask |= UINT32_C(1) << i;
            *rc = one;
        }
    }
    return mask;
}

static void count_refusals(uint32_t n, skl_limiter_t *const *lims,
                           uint32_t mask)
{
    for (uint32_t i = 0; i < n; i++) {
        if ((mask >> i & 1) != 0) {
            skl_limit_tally(lims[i], SKL_LIMIT_REJECTED);
        }
    }
}

/* Charge all, or give back what was charged before the first refusal. */
static int charge(uint32_t n, skl_limiter_t *const *lims,
                  const skl_limit_place_t *places, skl_limit_ask_t *asks,
                  uint32_t *mask)
{
    for (uint32_t i = 0; i < n; i++) {
        int rc = skl_limiter_take(lims[i], &places[i], &asks[i]);

        if (rc == SECKILL_OK) {
            continue;
        }
        *mask = UINT32_C(1) << i;
        while (i > 0) {
            i--;
            (void)skl_limiter_undo(lims[i], asks[i].ticket, asks[i].now_ns);
        }
        return rc;
    }
    return SECKILL_OK;
}

int skl_limiter_combine(uint32_t n, skl_limiter_t *const *lims,
                        const skl_limit_place_t *places, skl_limit_ask_t *asks,
                        uint32_t *mask)
{
    int rc;

    skl_assert(n >= 1 && n <= SECKILL_COMBINE_MAX);
    *mask = look(n, lims, places, asks, &rc);
    if (rc != SECKILL_OK) {
        if (asks[0].commit) {
            count_refusals(n, lims, *mask);
        }
        return rc;
    }
    return asks[0].commit ? charge(n, lims, places, asks, mask) : SECKILL_OK;
}
