/*
 * What the rows of an item add up to. The audit compares it with the item's
 * counters; a rebuild from rows takes it for them.
 *
 * Takes nothing for granted: rows, users and hold lists may be damaged, and
 * sums that are too large stay above SECKILL_COUNT_MAX without overflowing.
 *
 * Threads: any; the item's lock is held. Ids and places of user rows are the
 * shards': as long as a dead process has left its change of one undone, rows
 * look damaged that are not.
 */
#ifndef SKL_STOCK_RECOUNT_H
#define SKL_STOCK_RECOUNT_H

#include "stock/tables.h"

typedef struct {
    int64_t pending_qty, sold_qty; /* of its reservations */
    int64_t listed_qty;            /* in its hold lists */
    int64_t user_units;            /* that its users have */
    uint64_t rows, listed, users;
    uint64_t ids; /* of its users */
    uint64_t wrong_rows, wrong_users, wrong_ids, wrong_lines;
    int is_list_broken;
    uint32_t broken_list, broken_slot; /* the first one */
} skl_recount_t;

void skl_recount_item(const skl_tables_t *t, uint32_t item, skl_recount_t *c);
/* The same for all items in one pass; by_item is zeroed. */
void skl_recount_all(const skl_tables_t *t, skl_recount_t *by_item);

#endif
