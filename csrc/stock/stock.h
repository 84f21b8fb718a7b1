/*
 * The stock ledger: items, reservations and their log, in shared memory.
 *
 * How a change is made (files in this order):
 *   commit.c   1. take the locks: catalog, shards, item (tables.h)
 *   reserve.c  2. look up, decide, build a record of after-images
 *   order.c       (an order of several lines)
 *   settle.c
 *   order_end.c
 *   catalog.c
 *   retire.c
 *   ring.c     3. publish the record: the commit point
 *   apply.c    4. apply(record): blind stores, domain by domain
 *   commit.c   5. release the locks
 * A process may die at any instruction. The next owner of one of its locks
 * finds the record that the lock's `intent` names, applies that lock's part of
 * it, and goes on. The same apply() rebuilds a ledger from its records.
 *
 * Time is an argument (`now`, ledger time in ns). Threads: any; functions
 * block at most 5 ms in total and allocate nothing.
 */
#ifndef SKL_STOCK_STOCK_H
#define SKL_STOCK_STOCK_H

#include "seckill.h"
#include "shm/counters.h"
#include "stock/ring.h"
#include "stock/tables.h"

typedef struct {
    skl_tables_t tables;
    skl_ring_t ring;
    skl_counters_t *counters;
    int64_t window_ns;
    uint32_t request_ids;
    /* Of this process: cursors, and no rebuild from rows before. */
    uint32_t sweep_shard, sweep_item, sweep_user, sweep_fault;
    int64_t rebuild_at;
} skl_stock_t;

/* Is there a log on disk? Then it is the truth about an item. */
static inline int skl_stock_has_log(const skl_stock_t *s)
{
    return s->ring.shm->max_lag_ns != 0;
}

/* An id from outside: bytes, not terminated. */
typedef struct {
    const char *ptr;
    size_t len;
} skl_bytes_t;

uint64_t skl_stock_signature(void);
void skl_stock_attach(skl_stock_t *s, void *tables, void *ring,
                      const skl_hash_key_t *key, skl_counters_t *counters);

/* The LSN of the last answer given to this thread: of the change it made, else
 * of the newest record of which it could know. Replaying all records up to it
 * gives the state that it was given from. */
uint64_t skl_answer_lsn(void);
void skl_set_answer_lsn(uint64_t lsn);

/* Rows in use, added up without locks: for gauges. */
typedef struct {
    uint64_t items, requests, users, rows;
} skl_usage_t;
void skl_stock_usage(const skl_stock_t *s, skl_usage_t *out);

/* The public operations; see seckill.h for meaning and codes. */
int skl_stock_put(skl_stock_t *s, const seckill_item_t *item, int64_t now);
int skl_stock_get(skl_stock_t *s, skl_bytes_t item, seckill_item_t *out);
int skl_stock_next(skl_stock_t *s, uint32_t *cursor, seckill_item_t *out);
int skl_stock_remove(skl_stock_t *s, skl_bytes_t item, int64_t now);
int skl_stock_adjust(skl_stock_t *s, skl_bytes_t item, int64_t delta,
                     skl_bytes_t request, int64_t now);
int skl_stock_pause(skl_stock_t *s, skl_bytes_t item, int pause, int64_t now);
int skl_stock_reserve(skl_stock_t *s, skl_bytes_t item, skl_bytes_t user,
                      int64_t qty, skl_bytes_t request, int64_t now,
                      seckill_reservation_t *out);
int skl_stock_confirm(skl_stock_t *s, skl_bytes_t id, int64_t now);
/* qty 0: all; reacquire: also one that has expired. */
int skl_stock_confirm_with(skl_stock_t *s, skl_bytes_t id, int64_t qty,
                           int reacquire_it, int64_t now);
int skl_stock_cancel(skl_stock_t *s, skl_bytes_t id, int64_t now);
int skl_stock_refund(skl_stock_t *s, skl_bytes_t id, skl_bytes_t request,
                     int64_t now);
int skl_stock_find(skl_stock_t *s, skl_bytes_t request, int64_t now,
                   seckill_reservation_t *out);
/* *line: of which line the refusal is, from 1; 0: of none. */
int skl_stock_order(skl_stock_t *s, skl_bytes_t user, skl_bytes_t request,
                    const seckill_line_t *lines, size_t count, int64_t now,
                    seckill_order_t *out, uint32_t *line);
int skl_stock_find_order(skl_stock_t *s, skl_bytes_t request, int64_t now,
                         seckill_order_t *out);
/* Records written, or a code. */
int skl_stock_sweep(skl_stock_t *s, int max, int64_t now);
/* An item as an audit saw it. */
typedef struct {
    uint64_t lsn;
    int64_t available, reserved, sold;
    uint32_t slot, live, users, pad;
} skl_audit_mark_t;

/* Problems found, or a code. marks (NULL: none) has room for every item: gets
 * those that are alive and not under quarantine. */
int skl_stock_audit(skl_stock_t *s, char *text, size_t size,
                    skl_audit_mark_t *marks, uint32_t *count);
/* Put an item under quarantine, unless it has changed since `lsn`. */
void skl_quarantine(skl_stock_t *s, uint32_t slot, uint64_t lsn);
/* The same for tables that nobody else has, without locks; ENOMEM. They passed
 * skl_tables_check(). */
int skl_tables_audit(const skl_tables_t *t, char *text, size_t size);

#endif
