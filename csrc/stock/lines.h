/*
 * Orders of several lines: what making, ending, finding and retiring one have
 * in common.
 *
 * An order is one reservation row for each line. The rows are of the shard of
 * its request id and carry the same LSN; the row of the first line is the id
 * of the order, `line` of a row says its number and which row is next. The
 * lines of a live order are walked under the shard's lock, then their items
 * are locked, ascending; only then the rows may be read.
 *
 * All lines have one state and one deadline. Each may be ended on its own,
 * under the lock of its item alone, once the deadline has passed: whoever
 * locks all items decides with the latest of their times, by which the other
 * lines are due, too, and ends them.
 */
#ifndef SKL_STOCK_LINES_H
#define SKL_STOCK_LINES_H

#include "stock/commit.h"
#include "stock/retire.h"

typedef struct {
    uint32_t count;
    uint32_t row[SKL_LINES_MAX];
    uint32_t item[SKL_LINES_MAX];
} skl_lines_t;

/* The lines from the row of the first one on; the shard of the rows is held.
 * 0: it is no first line. For an id from outside what it gives must be checked
 * with skl_lines_alive(). */
int skl_lines_walk(const skl_tables_t *t, uint32_t first, skl_lines_t *l);
/* Lock the items of a list, ascending. Repetitions are allowed. */
int skl_hold_item_list(skl_held_t *h, const uint32_t *items, uint32_t count);
/* Are all rows of this LSN? The items are held. */
int skl_lines_alive(const skl_tables_t *t, const skl_lines_t *l, uint64_t lsn);
/* The time that an operation on all of them decides with. */
int64_t skl_lines_now(const skl_tables_t *t, const skl_lines_t *l, int64_t now);
/* End the lines that are due. OK or EBUSY. */
int skl_lines_expire(skl_held_t *h, const skl_lines_t *l, int64_t now);

/* A record about lines: everything as it is now but for state and parts. */
void skl_lines_record(skl_record_t *r, int type, uint32_t parts,
                      const skl_stock_t *s, const skl_lines_t *l, int64_t now);
/* Its strings; the request id is that of the order unless another is given. */
void skl_lines_strings(skl_record_t *r, const skl_tables_t *t,
                       const skl_lines_t *l, const skl_bytes_t *request);
/* A leg of zeros with the counters of an item as they are. */
void skl_leg_begin(skl_leg_t *leg, const skl_stock_t *s, uint32_t item);

void skl_lines_answer(const skl_stock_t *s, const skl_lines_t *l,
                      seckill_order_t *out);
/* The order or reservation of a live request id, whose shard is held: its
 * items are locked, what is due is ended. ECONFLICT: it is none. */
int skl_lines_recorded(skl_held_t *h, uint32_t request, int64_t now,
                       skl_lines_t *l);

#endif
