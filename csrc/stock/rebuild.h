/*
 * Items that fail their own sum, and bringing them back.
 *
 * Every operation that locks an item first checks that available + reserved +
 * sold = total, all >= 0 (commit.c). An item that fails was damaged in memory:
 * it is put under quarantine, every call on it is SECKILL_EBUSY, and the rest
 * sells on. Nobody can change it until it is rebuilt.
 *
 * With a log its state is rebuilt from the records, in private tables
 * (`truth`), and copied over under its lock.
 *
 * Without one the rows have the truth a second time (rebuild_rows.c): what is
 * reserved is what its pending rows and its hold lists add up to, and the rest
 * of what its users have is sold. The total and what is available are known
 * from each other; which of the two was damaged is told by the item's last
 * record, as long as it is in the ring, else by the total that was put. When
 * nothing tells, the smaller total holds, so that nothing is oversold. An item
 * whose rows contradict each other or the record stays under quarantine.
 *
 * A process may die at any instruction of a rebuild. `fault` goes last, and
 * what was stored before makes the next one decide the same.
 *
 * Threads: any; for skl_rebuild_item() the caller makes sure that `truth` has
 * every record of the item. An item is locked while the tables are walked.
 */
#ifndef SKL_STOCK_REBUILD_H
#define SKL_STOCK_REBUILD_H

#include "stock/recount.h"
#include "stock/stock.h"

/* The first item under quarantine at or after *slot; 0: none. */
int skl_next_quarantined(const skl_stock_t *s, uint32_t *slot);
/* OK; EBUSY: not locked in time; ECORRUPT: the indexes of the shards do not
 * agree with the records either, only a new segment helps. */
int skl_rebuild_item(skl_stock_t *s, uint32_t slot, const skl_tables_t *truth);

/* The counters of an item. */
typedef struct {
    int64_t available, reserved, sold, total;
} skl_units_t;

/* What the rows of an item say; its lock is held. OK or ECORRUPT. */
int skl_units_of_rows(skl_stock_t *s, uint32_t slot, const skl_recount_t *n,
                      skl_units_t *out);
/* OK; EBUSY: somebody holds a lock; ECORRUPT: it stays under quarantine. */
int skl_rebuild_from_rows(skl_stock_t *s, uint32_t slot);

#endif
