/* Giving back what a take took; see limits.h. Any thread. */
#include "base/assert.h"
#include "limit/take.h"
#include "limit/window.h"

#define NS_ROUND ((UINT64_C(1) << SKL_LIMIT_SHIFT) - 1)
/* Undo trusts its count of nanoseconds up to here. */
#define UNDO_MAX (UINT64_C(1) << 62)

/* A state that can be lowered: a slot while it has the key, or a cell. */
typedef struct {
    skl_limit_slot_t *slot;
    _Atomic uint64_t *cell;
    uint64_t key;
} state_t;

static int state_read(const state_t *s, uint64_t *tat)
{
    if (s->slot != NULL) {
        return skl_slot_read(s->slot, s->key, tat);
    }
    *tat = atomic_load(s->cell);
    return 1;
}

static int state_swap(const state_t *s, uint64_t old, uint64_t new)
{
    return s->slot != NULL ? skl_slot_swap(s->slot, s->key, old, s->key, new)
                           : atomic_compare_exchange_strong(s->cell, &old, new);
}

/* 0: the key has gone, or the ticket is of another limiter. */
static int state_of(skl_limiter_t *lim, uint64_t key, state_t *s)
{
    skl_limit_place_t place;

    *s = (state_t){.key = key};
    if (key <= SKL_LIMIT_CELL_MAX) {
        s->cell = &lim->record->cells[(key - 1) % SKL_LIMIT_CELLS];
        return (key - 1) / SKL_LIMIT_CELLS == lim->index;
    }
    skl_assert(lim->limits != NULL);
    skl_slot_place(lim->limits, key, &place);
    s->slot = skl_slot_find(&place);
    return s->slot != NULL;
}

/* ---- Buckets ------------------------------------------------------------- */

/*
 * How much of a charge may be given back: as much as surely still lies between
 * the bucket and the state it would have without that charge. Time passing
 * over an idle bucket eats a charge; being behind other charges protects it.
 *  - What is left when only time counts: charge - elapsed.
 *  - What is left of the TAT the take had left behind: depth - elapsed, where
 *    everything that was given back since is subtracted from the depth, as it
 *    may have been in front of this charge.
 * Both are safe, so the greater one holds.
 */
static uint64_t credit_of(const skl_limit_ticket_t *ticket, uint64_t elapsed,
                          uint64_t undone)
{
    int64_t ns = (int64_t)(ticket->depth - undone);
    uint64_t left = ticket->charge;

    if (undone < UNDO_MAX && ns > (int64_t)(left >> SKL_LIMIT_SHIFT)) {
        left = (uint64_t)ns << SKL_LIMIT_SHIFT;
    }
    left = left > elapsed ? left - elapsed : 0;
    return left < ticket->charge ? left : ticket->charge;
}

/* Announce a credit: later ones must count it. Its size, or 0. */
static uint64_t begin_undo(skl_limit_record_t *r,
                           const skl_limit_ticket_t *ticket, uint64_t elapsed)
{
    uint64_t undone = atomic_load(&r->undo_begun);
    uint64_t credit;
    uint64_t ns;

    do {
        credit = credit_of(ticket, elapsed, undone);
        ns = undone < UNDO_MAX ? (credit + NS_ROUND) >> SKL_LIMIT_SHIFT : 0;
    } while (
        !atomic_compare_exchange_weak(&r->undo_begun, &undone, undone + ns));
    return credit;
}

static void end_undo(skl_limit_record_t *r, uint64_t credit)
{
    atomic_fetch_add(&r->undo_done, (credit + NS_ROUND) >> SKL_LIMIT_SHIFT);
}

static int lower_bucket(const skl_limit_rule_t *r, const state_t *s,
                        uint64_t now, uint64_t credit)
{
    uint64_t tat;

    while (credit > 0 && state_read(s, &tat)) {
        uint64_t depth = skl_limit_span(r, now, tat);
        uint64_t give = depth < credit ? depth : credit;
        uint64_t lower = r->warm == SKL_WARM_SCHEDULE
                             ? skl_warm_word(r, depth - give, now)
                             : tat - give;

        if (give == 0) {
            return 0;
        }
        if (state_swap(s, tat, lower)) {
            return 1;
        }
    }
    return 0;
}

/* After a change that cut debts off a charge may be in none of them; far back
 * instants do not compare: what is so old has been paid; and a clock that is
 * behind the one of the take cannot tell what has run off since. */
static int is_stale(const skl_limiter_t *lim, int64_t at, int64_t now_ns)
{
#ifdef MUTANT_LIMIT_STALE_TICKET
    return at > now_ns && lim == NULL;
#else
    return at <= atomic_load(&lim->record->cut_ns) || now_ns < at ||
           now_ns - at > SKL_LIMIT_DEBT_NS;
#endif
}

static int undo_bucket(skl_limiter_t *lim, const skl_limit_rule_t *r,
                       const skl_limit_ticket_t *ticket, int64_t now_ns)
{
    const uint64_t now = skl_limit_units(now_ns);
    const int64_t at = (int64_t)ticket->at;
    uint64_t credit;
    state_t s;
    int given;

    if (is_stale(lim, at, now_ns)) {
        return 0;
    }
    credit = begin_undo(lim->record, ticket,
                        skl_limit_span(r, skl_limit_units(at), now));
    given = credit > 0 && state_of(lim, ticket->key, &s) &&
            lower_bucket(r, &s, now, credit);

    skl_assert(credit <= ticket->charge);
    end_undo(lim->record, credit);
    return given;
}

/* ---- Windows ------------------------------------------------------------- */

static int undo_window(skl_limiter_t *lim, const skl_limit_rule_t *r,
                       const skl_limit_ticket_t *ticket, int64_t now_ns)
{
    uint64_t word;
    uint64_t less;
    state_t s;

    if (!state_of(lim, ticket->key, &s)) {
        return 0;
    }
    while (state_read(&s, &word) &&
           skl_window_take_back(r, word, ticket->at, ticket->charge, now_ns,
                                &less)) {
        if (state_swap(&s, word, less)) {
            return 1;
        }
    }
    return 0;
}

static int refund_window(skl_limiter_t *lim, const skl_limit_rule_t *r,
                         uint64_t key, uint32_t cost, int64_t now_ns)
{
    uint64_t word;
    uint64_t less;
    state_t s;

    if (!state_of(lim, key, &s)) {
        return 0;
    }
    while (state_read(&s, &word) &&
           skl_window_give(r, word, cost, now_ns, &less)) {
        if (state_swap(&s, word, less)) {
            return 1;
        }
    }
    return 0;
}

/* ---- Permits ------------------------------------------------------------- */

static int release(skl_limiter_t *lim, const skl_limit_ticket_t *ticket)
{
    skl_permit_t permit = {.number = ticket->at,
                           .key = ticket->key,
                           .seq = ticket->depth,
                           .cost = ticket->charge};

    skl_assert(lim->limits->permits != NULL);
    return skl_permits_release(lim->limits->permits, &permit);
}

/* ---- All ----------------------------------------------------------------- */

static int undo_by_rule(skl_limiter_t *lim, const skl_limit_ticket_t *ticket,
                        int64_t now_ns)
{
    skl_limit_rule_t r;

    if (lim->record->algorithm == SECKILL_SLIDING_LOG) {
        return skl_log_undo(lim, ticket);
    }
    if (lim->record->algorithm == SECKILL_CONCURRENCY) {
        return release(lim, ticket);
    }
    (void)skl_take_rule(lim, ticket->key, NULL, &r);
    skl_limit_rule_at(&r, now_ns);
    return skl_limit_is_window(r.algorithm)
               ? undo_window(lim, &r, ticket, now_ns)
               : undo_bucket(lim, &r, ticket, now_ns);
}

int skl_limiter_undo(skl_limiter_t *lim, skl_limit_ticket_t *ticket,
                     int64_t now_ns)
{
    const skl_limit_ticket_t used = *ticket;
    int given;

    memset(ticket, 0, sizeof(*ticket));
    if (used.charge == 0 || used.key == 0 || used.limiter != lim) {
        return 0;
    }
    given = undo_by_rule(lim, &used, now_ns);
    if (given) {
        skl_limit_tally(lim, SKL_LIMIT_REFUNDED);
    }
    return given;
}

int skl_limiter_leave(skl_limiter_t *lim, skl_limit_ticket_t *ticket)
{
    const skl_limit_ticket_t used = *ticket;

    memset(ticket, 0, sizeof(*ticket));
    return used.limiter == lim && used.key != 0 &&
           lim->record->algorithm == SECKILL_CONCURRENCY && release(lim, &used);
}

static int refund_bucket(skl_limiter_t *lim, const skl_limit_rule_t *r,
                         uint64_t key, uint32_t cost, int64_t now_ns)
{
    skl_limit_ticket_t all = {.at = (uint64_t)now_ns, .key = key};

    if (__builtin_mul_overflow(r->interval, cost, &all.charge) ||
        all.charge > r->window) {
        all.charge = r->window;
    }
    return undo_bucket(lim, r, &all, now_ns);
}

int skl_limiter_refund(skl_limiter_t *lim, const skl_limit_place_t *place,
                       const void *rule, uint32_t cost, int64_t now_ns)
{
    const uint64_t now = skl_limit_units(now_ns);
    skl_limit_rule_t r;
    int rc = skl_take_rule(lim, place->key, rule, &r);

    skl_assert(cost >= 1);
    skl_limit_rule_at(&r, now_ns);
    if (rc != SECKILL_OK || r.algorithm == SECKILL_CONCURRENCY) {
        return SECKILL_ECONFLICT;
    }
    if (r.algorithm == SECKILL_SLIDING_LOG) {
        rc = skl_log_refund(lim, place->key, cost, now);
    } else if (skl_limit_is_window(r.algorithm)) {
        rc = refund_window(lim, &r, place->key, cost, now_ns);
    } else {
        rc = refund_bucket(lim, &r, place->key, cost, now_ns);
    }
    if (rc == 1) {
        skl_limit_tally(lim, SKL_LIMIT_REFUNDED);
    }
    return rc;
}
