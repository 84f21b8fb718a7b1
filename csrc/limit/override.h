/*
 * Rules of single keys: a table from fingerprint to a rule of its own, open
 * addressing, read without a lock. Writers hold the lock of the section.
 *
 * A reader finds the fingerprint, copies the rule (whole: layout.h) and looks
 * at the fingerprint again: a cell is given to another key only after its
 * fingerprint has gone. A writer that dies leaves a rule without a
 * fingerprint, or the change done. Any thread.
 */
#ifndef SKL_LIMIT_OVERRIDE_H
#define SKL_LIMIT_OVERRIDE_H

#include "limit/layout.h"

/* Cells of the table for so many rules. */
uint64_t skl_overrides_cells(uint32_t overrides);
/* Copy a key's rule; 0: it has none. */
int skl_override_find(const skl_limits_t *l, uint64_t key,
                      skl_limit_rule_t *out);

#endif
