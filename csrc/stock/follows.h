/*
 * Does a record follow from the tables as they are?
 *
 * For records from a file: a right checksum says that a record was written
 * so, not that it makes sense. Before it is applied everything is checked that
 * apply() takes for granted, and all that keeps the tables in order: rows come
 * from the head of their free list and go to the index that their key says,
 * only pending reservations are in hold lists, a slot is freed when nobody
 * names it any more. So tables that passed skl_tables_check() stay such that
 * no later record, and no operation, can leave them.
 *
 * Holds for a replay only: a repair applies records twice. Threads: one.
 */
#ifndef SKL_STOCK_FOLLOWS_H
#define SKL_STOCK_FOLLOWS_H

#include "stock/apply.h"

/* Does this record make a request id or a user row, so that the hashes of its
 * strings are needed? */
int skl_record_has_keys(const skl_record_t *r);
void skl_record_keys(const skl_tables_t *t, const skl_record_t *r,
                     skl_rec_keys_t *keys);
/* 1 or 0. `keys` where skl_record_has_keys(). */
int skl_record_follows(const skl_tables_t *t, const skl_record_t *r,
                       const skl_rec_keys_t *keys);

#endif
