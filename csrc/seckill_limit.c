/*
 * The limiters of the public API: checks what comes from callers, reads the
 * clock, counts results. The work is in limit/.
 */
#include "base/clock.h"
#include "seckill.h"
#include "seckill_internal.h"

#include <string.h>

_Static_assert(sizeof(seckill_ticket_t) == sizeof(skl_limit_ticket_t),
               "a public ticket holds an internal one");

/* seckill_limiter_t is the public name of skl_limiter_t. */
static inline skl_limiter_t *inner(seckill_limiter_t *lim)
{
    return (skl_limiter_t *)(void *)lim;
}

int seckill_limiter_open(seckill_t *sk, const char *name,
                         const seckill_limit_t *limit, seckill_limiter_t **out)
{
    skl_limiter_t *lim = NULL;
    int rc =
        skl_limits_open(&sk->limits, name, limit, skl_clock_mono_ns(), &lim);

    if (rc == SECKILL_OK) {
        *out = (seckill_limiter_t *)(void *)lim;
    }
    return rc;
}

int seckill_limiter_set(seckill_limiter_t *lim, const seckill_limit_t *limit)
{
    return skl_limiter_set(inner(lim), limit, skl_clock_mono_ns());
}

void seckill_limiter_get(seckill_limiter_t *lim, seckill_limit_t *out)
{
    skl_limiter_get(inner(lim), out);
}

/* Hash first, then the clock: it is read while the memory comes. */
static int take(skl_limiter_t *lim, const char *key, size_t key_len,
                skl_limit_ask_t *ask)
{
    skl_limit_place_t place;

    if (key == NULL || key_len == 0 || key_len > SECKILL_ID_MAX) {
        return SECKILL_EBADKEY;
    }
    if (ask->cost == 0) {
        return SECKILL_EBADQTY;
    }
    skl_limiter_locate(lim, key, key_len, &place);
    if (ask->now_ns == 0) {
        ask->now_ns = skl_clock_mono_ns();
    }
    if (ask->commit) {
        skl_hot_note(lim->limits->hot, place.key, lim->index, key, key_len,
                     ask->now_ns);
    }
    return skl_limiter_take(lim, &place, ask);
}

int seckill_limiter_take(seckill_limiter_t *lim, const char *key,
                         size_t key_len, uint32_t cost, int commit,
                         int64_t now_ns, seckill_ticket_t *ticket,
                         double *remaining, int64_t *retry_ns)
{
    skl_limit_ticket_t taken = {0};
    skl_limit_ask_t ask = {.now_ns = now_ns,
                           .cost = cost,
                           .commit = commit,
                           .ticket = ticket == NULL ? NULL : &taken};
    int rc = take(inner(lim), key, key_len, &ask);

    if (ticket != NULL) {
        memcpy(ticket, &taken, sizeof(taken));
    }
    if (rc == SECKILL_OK) {
        *remaining = (double)ask.remaining;
    } else if (rc == SECKILL_EREJECTED) {
        *retry_ns = ask.retry_ns;
    }
    if (commit) {
        skl_count_result(inner(lim)->limits->counters, SKL_OP_limiter, rc);
    }
    return rc;
}

int seckill_limiter_undo(seckill_limiter_t *lim, seckill_ticket_t *ticket,
                         int64_t now_ns)
{
    skl_limit_ticket_t taken;

    memcpy(&taken, ticket, sizeof(taken));
    memset(ticket, 0, sizeof(*ticket));
    if (now_ns == 0) {
        now_ns = skl_clock_mono_ns();
    }
    return skl_limiter_undo(inner(lim), &taken, now_ns);
}
