/*
 * One take on its way through the key table. Included by limit/ only; see
 * limits.h.
 */
#ifndef SKL_LIMIT_TAKE_H
#define SKL_LIMIT_TAKE_H

#include "limit/layout.h"
#include "limit/slots.h"

typedef struct {
    skl_limiter_t *lim;
    const skl_limit_place_t *place;
    skl_limit_ask_t *ask;
    skl_limit_rule_t rule; /* whole only when it warms up */
    uint64_t now;          /* units */
    uint64_t charge;       /* units */
    uint64_t window;       /* units of the burst, as of now */
    uint64_t undone;       /* record->undo_done, before the charge */
    int forgives;          /* an old debt is written off, also by the look of a
                              combine */
    /* What a look found in the table: where, what, and what would follow. */
    skl_limit_slot_t *slot;
    uint64_t seen, next;
    skl_warm_store_t store, store_after; /* of a cold start */
} skl_limit_take_t;

/* The three steps of a take. OK or ECONFLICT. */
int skl_take_prepare(skl_limit_take_t *t, skl_limiter_t *lim,
                     const skl_limit_place_t *place, skl_limit_ask_t *ask);
/* Decide, and charge when it is to be committed. OK or EREJECTED. */
int skl_take_decide(skl_limit_take_t *t);
/* After a look that passed: charge. OK or EREJECTED. */
int skl_take_charge(skl_limit_take_t *t);
/* Count what became of it. */
void skl_take_tally(skl_limit_take_t *t, int rc);

/* Decide and charge one key of the table, or its cell. OK or EREJECTED. */
int skl_take_key(skl_limit_take_t *t);
/* The state of a key, wherever it is. */
uint64_t skl_take_look(const skl_limits_t *l, const skl_limit_record_t *r,
                       const skl_limit_place_t *place);
/* A sliding log: as many keys as stamps. */
int skl_take_log(skl_limit_take_t *t);
int skl_log_undo(skl_limiter_t *lim, const skl_limit_ticket_t *ticket);
int skl_log_refund(skl_limiter_t *lim, uint64_t key, uint32_t cost,
                   uint64_t now);
/* A cold start: raise charge and burst to the price of now; after the charge
 * draw from the store; leave it full when it has been idle for long. */
void skl_cold_price(skl_limit_take_t *t);
void skl_cold_draw(skl_limit_take_t *t);
void skl_cold_rest(skl_limit_record_t *r, uint64_t now);
/* The rule of a key: the asker's, its own, or the limiter's. OK; ECONFLICT. */
int skl_take_rule(skl_limiter_t *lim, uint64_t key, const void *own,
                  skl_limit_rule_t *out);

static inline int64_t skl_limit_ns(uint64_t units)
{
    return (int64_t)((units + (UINT64_C(1) << SKL_LIMIT_SHIFT) - 1) >>
                     SKL_LIMIT_SHIFT);
}

static inline int skl_limit_is_window(uint32_t algorithm)
{
    return algorithm == SECKILL_FIXED_WINDOW ||
           algorithm == SECKILL_SLIDING_WINDOW;
}

/* Units of a bucket's time between two instants; 0 when `to` is past. */
static inline uint64_t skl_limit_span(const skl_limit_rule_t *r, uint64_t from,
                                      uint64_t to)
{
    return r->warm == SKL_WARM_SCHEDULE ? skl_warm_depth(r, to, from)
                                        : skl_limit_depth(to, from);
}

/* The instant at which so much of a bucket's time is over. */
static inline uint64_t skl_limit_after(const skl_limit_rule_t *r, uint64_t from,
                                       uint64_t units)
{
    return r->warm == SKL_WARM_SCHEDULE ? skl_warm_word(r, units, from)
                                        : from + units;
}

#endif
