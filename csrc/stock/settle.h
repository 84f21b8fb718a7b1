/*
 * What happens to a reservation after it was made: confirm, cancel, expire,
 * refund; and the answer that describes one.
 */
#ifndef SKL_STOCK_SETTLE_H
#define SKL_STOCK_SETTLE_H

#include "stock/commit.h"
#include "stock/stock.h"

/* The time an operation on this item decides with: it does not go back. */
static inline int64_t skl_item_now(const skl_item_row_t *item, int64_t now)
{
    int64_t last = SKL_LD(item->last_time);

    return now > last ? now : last;
}

/* End one hold that is due. The item's lock is held. OK or EBUSY. */
int skl_expire_row(skl_held_t *h, uint32_t item, uint32_t slot, int64_t now);
/* End at most `max` holds of an item that are due: how many, or EBUSY. */
int skl_expire_due(skl_held_t *h, uint32_t item, int64_t now, int max);
/* Describe a reservation; the item's lock is held. */
void skl_fill_answer(const skl_stock_t *s, uint32_t slot,
                     seckill_reservation_t *out);

#endif
