/*
 * Reading without locks, and what reserve decides from.
 *
 * Every function here takes values under the sequences of their domains
 * (tables.h) and falls back to the lock after a bounded number of tries, so a
 * change that a dead process left half made is repaired, not read.
 */
#ifndef SKL_STOCK_LOOKUP_H
#define SKL_STOCK_LOOKUP_H

#include "stock/commit.h"
#include "stock/stock.h"

/* What the refusals of reserve depend on, read as one whole. */
typedef struct {
    int64_t available, earliest, last_time;
    int64_t starts_at, ends_at, per_user, max_qty;
    int64_t user_count;
    uint32_t user_ids;
    uint32_t state;
    int sound; /* else nothing may be answered from it */
} skl_view_t;

/* The slot of an item: SECKILL_OK, EUNKNOWNITEM or EBUSY. */
int skl_lookup_item(skl_stock_t *s, skl_hash_t key, uint32_t *slot,
                    skl_wait_t *wait);

/* The item part of a view; the caller holds the lock or checks the sequence. */
void skl_view_item(const skl_item_row_t *item, skl_view_t *v);
/* The user part; user may be SKL_NONE. */
void skl_view_user(const skl_tables_t *t, uint32_t user, skl_view_t *v);

/* SECKILL_OK: reserve may go on; or the first refusal, in the order of the
 * contract. */
int skl_decide(const skl_view_t *v, int64_t qty, int64_t now);

/* A refusal that holds that are due could still turn around. */
static inline int skl_may_turn(const skl_view_t *v, int rc, int64_t now)
{
    return (rc == SECKILL_ESOLDOUT || rc == SECKILL_EUSERLIMIT) &&
           v->earliest <= now;
}

#endif
