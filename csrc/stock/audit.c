/*
 * Recount everything and compare it with the counters.
 *
 * Shards first, then items, one lock at a time: what a lock covers is counted
 * while it is held, so the sale goes on meanwhile. Tables that nobody else has
 * are counted without locks, in one pass. Threads: any; not for the request
 * path (an item is locked while its rows are counted).
 */
#include "base/assert.h"
#include "stock/commit.h"
#include "stock/lines.h"
#include "stock/rebuild.h"
#include "stock/stock.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    skl_stock_t *s;
    char *text;
    size_t size, used;
    int problems;
    skl_audit_mark_t *marks; /* NULL: none are wanted */
    uint32_t mark_count;
} report_t;

__attribute__((format(printf, 2, 3))) static void problem(report_t *r,
                                                          const char *format,
                                                          ...)
{
    va_list args;
    int n;

    r->problems++;
    if (r->used + 1 >= r->size) {
        return;
    }
    va_start(args, format);
    n = vsnprintf(r->text + r->used, r->size - r->used, format, args);
    va_end(args);
    if (n > 0) {
        r->used += (size_t)n;
    }
    if (r->used >= r->size) {
        r->used = r->size - 1;
    }
}

/* ---- Shards: each slot is in exactly one of index and free list ---------- */

static uint32_t count_chain(const skl_tables_t *t, uint32_t shard)
{
    const uint32_t n = t->shm->requests;
    uint32_t found = 0;

    for (uint32_t i = 0; i < n; i++) {
        uint32_t slot = SKL_LD(t->request_heads[shard * n + i]);

        while (slot != SKL_NONE && found <= n) {
            found++;
            slot = SKL_LD(t->requests[slot].next);
        }
    }
    return found;
}

static uint32_t count_users(const skl_tables_t *t, uint32_t shard)
{
    const uint32_t n = t->shm->users;
    uint32_t found = 0;

    for (uint32_t i = 0; i < n; i++) {
        uint32_t slot = SKL_LD(t->user_heads[shard * n + i]);

        while (slot != SKL_NONE && found <= n) {
            found++;
            slot = SKL_LD(t->users[slot].next);
        }
    }
    return found;
}

static uint32_t count_free_requests(const skl_tables_t *t, uint32_t shard)
{
    uint32_t found = 0;
    uint32_t slot = SKL_LD(t->shards[shard].request_free);

    for (; slot != SKL_NONE && found <= t->shm->requests; found++) {
        slot = SKL_LD(t->requests[slot].next);
    }
    return found;
}

static uint32_t count_free_users(const skl_tables_t *t, uint32_t shard)
{
    uint32_t found = 0;
    uint32_t slot = SKL_LD(t->shards[shard].user_free);

    for (; slot != SKL_NONE && found <= t->shm->users; found++) {
        slot = SKL_LD(t->users[slot].next);
    }
    return found;
}

static uint32_t count_free_rows(const skl_tables_t *t, uint32_t shard)
{
    uint32_t found = 0;
    uint32_t slot = SKL_LD(t->shards[shard].row_free);

    for (; slot != SKL_NONE && found <= t->shm->rows; found++) {
        slot = t->rows[slot].next_free;
    }
    return found;
}

/* Reservation rows that a live id owns; an order of several lines must be a
 * chain of rows of this shard. */
static uint32_t rows_of_id(report_t *r, uint32_t shard,
                           const skl_request_row_t *q)
{
    const skl_tables_t *t = &r->s->tables;
    skl_lines_t l;

    if (q->kind != SKL_REQ_ORDER) {
        return q->kind == SKL_REQ_RESERVE;
    }
    if (!skl_lines_walk(t, q->row, &l)) {
        problem(r, "shard %u: the lines of an order are broken\n", shard);
        return 0;
    }
    for (uint32_t i = 0; i < l.count; i++) {
        if (l.row[i] / t->shm->rows != shard) {
            problem(r, "shard %u: a line of an order is elsewhere\n", shard);
        }
    }
    return l.count;
}

/* Walk the queue of live ids: how many, and how many rows they own. */
static uint32_t count_fifo(report_t *r, uint32_t shard, uint32_t *with_row)
{
    const skl_tables_t *t = &r->s->tables;
    const uint32_t wrap = 2 * t->shm->requests;
    const uint32_t end = SKL_LD(t->shards[shard].fifo_tail);
    uint32_t n = 0;

    *with_row = 0;
    for (uint32_t at = SKL_LD(t->shards[shard].fifo_head); at != end;
         at = (at + 1) % wrap) {
        const skl_request_row_t *q = &t->requests[skl_fifo_at(t, shard, at)];
        const skl_hash_t key = {SKL_LD(q->lo), SKL_LD(q->hi)};

        n++;
        *with_row += rows_of_id(r, shard, q);
        if (q->kind == 0 ||
            skl_find_request(t, shard, key) != skl_fifo_at(t, shard, at)) {
            problem(r, "shard %u: a live id is not in the index\n", shard);
        }
    }
    return n;
}

static void audit_shard_held(report_t *r, uint32_t shard)
{
    const skl_tables_t *t = &r->s->tables;
    uint32_t with_row;
    const uint32_t live = count_fifo(r, shard, &with_row);

    if (count_chain(t, shard) != live) {
        problem(r, "shard %u: index and queue of ids differ\n", shard);
    }
    if (live + count_free_requests(t, shard) != t->shm->requests) {
        problem(r, "shard %u: request rows are lost\n", shard);
    }
    if (count_users(t, shard) + count_free_users(t, shard) != t->shm->users) {
        problem(r, "shard %u: user rows are lost\n", shard);
    }
    if (with_row + count_free_rows(t, shard) != t->shm->rows) {
        problem(r, "shard %u: reservation rows are lost\n", shard);
    }
}

/* ---- Items: counters against rows ---------------------------------------- */

static void audit_counters(report_t *r, uint32_t slot, const skl_recount_t *n)
{
    const skl_item_row_t *item = &r->s->tables.items[slot];
    const int64_t a = SKL_LD(item->available), b = SKL_LD(item->reserved);
    const int64_t c = SKL_LD(item->sold);

    if (!skl_item_is_sound(item)) {
        problem(r,
                "item %u: available %lld + reserved %lld + sold %lld is not "
                "total %lld\n",
                slot, (long long)a, (long long)b, (long long)c,
                (long long)SKL_LD(item->total));
    }
    if (n->pending_qty != b || n->listed_qty != b) {
        problem(r, "item %u: reserved %lld, pending rows %lld, listed %lld\n",
                slot, (long long)b, (long long)n->pending_qty,
                (long long)n->listed_qty);
    }
    /* Damaged numbers may be any: the difference is that of words. */
    if ((uint64_t)n->user_units - (uint64_t)b != (uint64_t)c) {
        problem(r, "item %u: users have %lld, reserved %lld, sold %lld\n", slot,
                (long long)n->user_units, (long long)b, (long long)c);
    }
}

static void audit_rows(report_t *r, uint32_t slot, const skl_recount_t *n)
{
    const skl_item_row_t *item = &r->s->tables.items[slot];

    if (n->ids != n->rows || n->users != SKL_LD(item->users)) {
        problem(r, "item %u: rows and ids of users differ\n", slot);
    }
    if (n->wrong_rows > 0 || n->wrong_users > 0) {
        problem(r, "item %u: %llu rows are broken, %llu are not their users'\n",
                slot, (unsigned long long)n->wrong_rows,
                (unsigned long long)n->wrong_users);
    }
    if (n->wrong_ids > 0) {
        problem(r, "item %u: %llu request ids have a wrong hash\n", slot,
                (unsigned long long)n->wrong_ids);
    }
    if (n->wrong_lines > 0) {
        problem(r, "item %u: %llu rows are no lines of their orders\n", slot,
                (unsigned long long)n->wrong_lines);
    }
}

static void audit_item(report_t *r, uint32_t slot, const skl_recount_t *n)
{
    const skl_tables_t *t = &r->s->tables;
    const skl_item_row_t *item = &t->items[slot];

    skl_assert(slot < t->shm->items);
    audit_counters(r, slot, n);
    audit_rows(r, slot, n);
    if (n->is_list_broken) {
        problem(r, "item %u: hold list %u: broken at slot %u\n", slot,
                n->broken_list, n->broken_slot);
    } else if (SKL_LD(item->earliest) != skl_hold_earliest(t, item)) {
        problem(r, "item %u: the first deadline is wrong\n", slot);
    }
}

/* An item that is removed loses its user rows one after the other. */
static int auditable(const skl_item_row_t *item)
{
    const uint32_t state = SKL_LD(item->state);

    return state == SECKILL_ITEM_OPEN || state == SECKILL_ITEM_PAUSED;
}

static void mark_item(report_t *r, const skl_item_row_t *item, uint32_t slot)
{
    skl_audit_mark_t *m;

    skl_assert(r->marks == NULL || r->mark_count < r->s->tables.shm->items);
    if (r->marks == NULL) {
        return;
    }
    m = &r->marks[r->mark_count++];
    m->lsn = SKL_LD(item->lsn);
    m->available = SKL_LD(item->available);
    m->reserved = SKL_LD(item->reserved);
    m->sold = SKL_LD(item->sold);
    m->slot = slot;
    m->live = SKL_LD(item->live);
    m->users = SKL_LD(item->users);
}

static void set_fault(skl_stock_t *s, skl_item_row_t *item)
{
    if (SKL_LD(item->fault) == 0) {
        SKL_ST(item->fault, 1);
        skl_count(s->counters, SKL_EV_items_quarantined, 1);
    }
}

void skl_quarantine(skl_stock_t *s, uint32_t slot, uint64_t lsn)
{
    skl_item_row_t *item = &s->tables.items[slot];
    skl_held_t h = {.s = s};

    skl_assert(slot < s->tables.shm->items);
    if (skl_hold_item_any(&h, slot) == SECKILL_OK && SKL_LD(item->lsn) == lsn) {
        set_fault(s, item);
    }
    skl_release(&h);
}

/* An item that is wrong is put under quarantine if it will be rebuilt. Else it
 * sells on, as wrong as it is: nothing could bring it back. */
static int has_a_witness(skl_stock_t *s, uint32_t slot, const skl_recount_t *n)
{
    skl_units_t units;

    return skl_stock_has_log(s) ||
           skl_units_of_rows(s, slot, n, &units) == SECKILL_OK;
}

static int audit_item_locked(report_t *r, uint32_t slot)
{
    skl_item_row_t *item = &r->s->tables.items[slot];
    const int before = r->problems;
    skl_held_t h = {.s = r->s};
    int rc = skl_hold_item_any(&h, slot);

    skl_assert(slot < r->s->tables.shm->items);
    if (rc == SECKILL_OK && auditable(item)) {
        skl_recount_t n;

        skl_recount_item(&r->s->tables, slot, &n);
        audit_item(r, slot, &n);
        if (r->problems > before) {
            if (has_a_witness(r->s, slot, &n)) {
                set_fault(r->s, item);
            }
        } else if (SKL_LD(item->fault) == 0) {
            mark_item(r, item, slot);
        }
    }
    skl_release(&h);
    return rc;
}

int skl_stock_audit(skl_stock_t *s, char *text, size_t size,
                    skl_audit_mark_t *marks, uint32_t *count)
{
    report_t r = {.s = s, .text = text, .size = size, .marks = marks};
    const uint32_t items = SKL_LD(s->tables.shm->high_water);

    if (size > 0) {
        text[0] = '\0';
    }
    for (uint32_t i = 0; i < s->tables.shm->shards; i++) {
        skl_held_t h = {.s = s};
        int rc = skl_hold_shard(&h, i);

        if (rc != SECKILL_OK) {
            return rc;
        }
        audit_shard_held(&r, i);
        skl_release(&h);
    }
    for (uint32_t i = 0; i < items; i++) {
        int rc = audit_item_locked(&r, i);

        if (rc != SECKILL_OK) {
            return rc;
        }
    }
    if (count != NULL) {
        *count = r.mark_count;
    }
    return r.problems;
}

int skl_tables_audit(const skl_tables_t *t, char *text, size_t size)
{
    skl_stock_t s = {.tables = *t};
    report_t r = {.s = &s, .text = text, .size = size};
    skl_recount_t *by_item = calloc(t->shm->items, sizeof(*by_item));

    if (by_item == NULL) {
        return SECKILL_ENOMEM;
    }
    if (size > 0) {
        text[0] = '\0';
    }
    for (uint32_t i = 0; i < t->shm->shards; i++) {
        audit_shard_held(&r, i);
    }
    skl_recount_all(t, by_item);
    for (uint32_t i = 0; i < SKL_LD(t->shm->high_water); i++) {
        if (auditable(&t->items[i])) {
            audit_item(&r, i, &by_item[i]);
        }
    }
    free(by_item);
    return r.problems;
}
