/*
 * Giving back time that nobody can measure.
 *
 * After a reboot the wall clock may be wrong, and how long the machine was off
 * is anybody's guess: a hold must not end early for it, nor a request id be
 * forgotten. So everything that runs is moved by the time between the last
 * record and the recovery. Only for tables that are not in use yet.
 */
#ifndef SKL_STOCK_SHIFT_H
#define SKL_STOCK_SHIFT_H

#include "stock/tables.h"

/* Move deadlines of pending reservations and births of request ids by ns: how
 * many ids there are. */
uint64_t skl_tables_shift(skl_tables_t *t, int64_t ns);

#endif
