/*
 * apply(): the one place where a record changes the tables. Used by the live
 * path, by the repair of a dead process's change, and by the rebuild of a
 * ledger from its records.
 *
 * A record's parts belong to one lock domain each, and a part is applied only
 * under the lock of its domain; so a repair applies just the part of the lock
 * it took over, whatever happened to the others since.
 */
#ifndef SKL_STOCK_APPLY_H
#define SKL_STOCK_APPLY_H

#include "stock/record.h"
#include "stock/tables.h"

/* Hashes of a record's strings, where the caller has them already. */
typedef struct {
    skl_hash_t request, user;
} skl_rec_keys_t;

/* keys may be NULL. */
void skl_apply(skl_tables_t *t, const skl_record_t *r, uint32_t parts,
               const skl_rec_keys_t *keys);
/* A leg as the record of a reservation of its own. */
void skl_leg_record(const skl_record_t *r, uint32_t i, skl_record_t *one);
/* Numbers that would make apply() leave the tables: for records from outside
 * of this process. */
int skl_apply_fits(const skl_tables_t *t, const skl_record_t *r);
/* The same for a record with legs (fits.c), whose shape is valid. */
int skl_order_fits(const skl_tables_t *t, const skl_record_t *r);

#endif
