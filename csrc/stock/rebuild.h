/*
 * Items that fail their own sum, and bringing them back.
 *
 * Every operation that locks an item first checks that available + reserved +
 * sold = total, all >= 0 (commit.c). An item that fails was damaged in memory:
 * it is put under quarantine, every call on it is SECKILL_EBUSY, and the rest
 * sells on. With a log its state is rebuilt from the records, in private tables
 * (`truth`), and copied over under its lock; nobody can have changed it since.
 *
 * Threads: any; the caller makes sure that `truth` has every record of it.
 */
#ifndef SKL_STOCK_REBUILD_H
#define SKL_STOCK_REBUILD_H

#include "stock/stock.h"

/* The first item under quarantine at or after *slot; 0: none. */
int skl_next_quarantined(const skl_stock_t *s, uint32_t *slot);
/* OK; EBUSY: not locked in time; ECORRUPT: the indexes of the shards do not
 * agree with the records either, only a new segment helps. */
int skl_rebuild_item(skl_stock_t *s, uint32_t slot, const skl_tables_t *truth);

#endif
