/*
 * Are tables from a file in order? Every chain, queue and free list, every
 * slot that a row names, every counter against its rows.
 *
 * Takes nothing for granted but the numbers of the tables, so any bytes may be
 * looked at: all walks are bounded by marks of what was seen. What passes can
 * be worked on by every operation and by records that follow (follows.h).
 *
 * Time and memory grow with the tables, not with their square: 1 bit for each
 * row and 16 bytes for each user and item. Threads: one; nobody changes the
 * tables meanwhile.
 */
#ifndef SKL_STOCK_CHECK_H
#define SKL_STOCK_CHECK_H

#include "stock/tables.h"

#include <stddef.h>

/* Problems found (1 and more mean: do not use them), or ENOMEM. `text` tells
 * the first one. */
int skl_tables_check(const skl_tables_t *t, char *text, size_t size);
/* Is what an item's row says, but for its counters, in the bounds that every
 * operation keeps to, and is its name that of its key? */
int skl_item_is_sane(const skl_tables_t *t, const skl_item_row_t *item);

#endif
