/*
 * Of one reservation or one line of an order: what follows.c and
 * follows_order.c have in common. A leg is looked at as the record of a
 * reservation of its own (skl_leg_record()).
 */
#ifndef SKL_STOCK_FOLLOWS_ROW_H
#define SKL_STOCK_FOLLOWS_ROW_H

#include "stock/apply.h"
#include "stock/ranges.h"

/* A new id: the first free row of the shard that its hash says, and the next
 * place in its queue. */
int skl_new_id_follows(const skl_tables_t *t, const skl_record_t *r,
                       const skl_rec_keys_t *keys);
/* The id that ends is the first one in its queue. */
int skl_end_of_id_follows(const skl_tables_t *t, const skl_record_t *r);

/* A new reservation in `row`; a new user row would be `user`. */
int skl_new_row_follows(const skl_tables_t *t, const skl_record_t *r,
                        const skl_rec_keys_t *keys, uint32_t row,
                        uint32_t user);
/* A step of one reservation; its item has `live` ids more. */
int skl_row_step_follows(const skl_tables_t *t, const skl_record_t *r,
                         int live);
/* The reservation of an id that ends, and perhaps the user row. */
int skl_row_end_follows(const skl_tables_t *t, const skl_record_t *r);

/* Records with legs that fit (follows_order.c). */
int skl_order_follows(const skl_tables_t *t, const skl_record_t *r,
                      const skl_rec_keys_t *keys);

#endif
