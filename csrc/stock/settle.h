/*
 * What happens to a reservation after it was made: confirm, cancel, expire,
 * refund; and the answer that describes one.
 */
#ifndef SKL_STOCK_SETTLE_H
#define SKL_STOCK_SETTLE_H

#include "stock/commit.h"
#include "stock/retire.h"
#include "stock/stock.h"

/* How a reservation is settled. */
typedef struct {
    uint8_t target;    /* CONFIRMED or CANCELLED */
    uint8_t reacquire; /* confirm: take the units of an expired one again */
    int64_t qty;       /* confirm: so many; 0: all */
} skl_settle_t;

enum { SKL_AGAIN = 1 }; /* give others a turn, then call again */

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
/* The refusal of a state that is not the one asked for. */
int skl_refusal_of(uint8_t state);
/* May n units of what has expired be taken again? OK, EUSERLIMIT, ESOLDOUT;
 * SKL_AGAIN: some holds that were due in this item have been ended; EBUSY. The
 * item is held. */
int skl_may_reacquire(skl_held_t *h, uint32_t slot, int64_t n, int64_t now);
/* The same operations on an order of several lines (order_end.c). */
int skl_order_settle(skl_stock_t *s, skl_bytes_t id, const skl_settle_t *how,
                     int64_t now);
/* The shards of q and of the order are held. */
int skl_order_refund(skl_held_t *h, skl_bytes_t id, const skl_new_request_t *q,
                     int64_t now);
/* Describe a reservation; the item's lock is held. */
void skl_fill_answer(const skl_stock_t *s, uint32_t slot,
                     seckill_reservation_t *out);

#endif
